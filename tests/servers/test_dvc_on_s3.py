"""`dvc push` to an S3 store, and back."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import git, run_command

pytestmark = pytest.mark.xdist_group("servers")  # one set of servers for all


def test_data_set_is_pushed_and_pulled(tmp_path: Path, s3: Any, s3_keys: dict[str, str]) -> None:
    folder = tmp_path / "with space ü"
    (folder / "data/mine").mkdir(parents=True)
    (folder / "data/mine/1 ü.png").write_bytes(b"one")
    git(folder, "init", "--quiet")
    commands = [
        "init --quiet",
        "remote add --default store s3://dvc/harmoniad",
        f"remote modify store endpointurl {s3.meta.endpoint_url}",
        "add --quiet data/mine",
        "push --quiet",
    ]
    for command in commands:
        run_command("dvc", *command.split(), cwd=folder, **s3_keys)
    stored = s3.list_objects_v2(Bucket="dvc", Prefix="harmoniad/")["Contents"]
    assert len(stored) == 2  # the image, and the list of the folder's files
    shutil.rmtree(folder / "data/mine")
    shutil.rmtree(folder / ".dvc/cache")
    run_command("dvc", "pull", "--quiet", cwd=folder, **s3_keys)
    assert (folder / "data/mine/1 ü.png").read_bytes() == b"one"
