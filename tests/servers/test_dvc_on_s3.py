"""`dvc push` to an S3 store, and back."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import git, run_command

# One set of servers for all; on a busy machine they take minutes to start.
pytestmark = [pytest.mark.xdist_group("servers"), pytest.mark.timeout(900)]


def test_data_set_is_pushed_and_pulled(tmp_path: Path, s3: Any, s3_keys: dict[str, str]) -> None:
    folder = tmp_path / "with space ü"
    (folder / "data/mine").mkdir(parents=True)
    (folder / "data/mine/1 ü.png").write_bytes(b"one")
    git(folder, "init", "--quiet")
    run_command("dvc", "init", "--quiet", cwd=folder)
    remote = {"url": "s3://dvc/harmoniad", "endpointurl": s3.meta.endpoint_url}
    lines = [f"{name} = {value}" for name, value in remote.items()]
    (folder / ".dvc/config").write_text("\n".join(["[core]", "remote = s3", '[remote "s3"]', *lines]))
    for command in (["add", "--quiet", "data/mine"], ["push", "--quiet"]):
        run_command("dvc", *command, cwd=folder, **s3_keys)
    stored = s3.list_objects_v2(Bucket="dvc", Prefix="harmoniad/")["Contents"]
    assert len(stored) == 2  # the image, and the list of the folder's files
    shutil.rmtree(folder / "data/mine")
    shutil.rmtree(folder / ".dvc/cache")
    run_command("dvc", "pull", "--quiet", cwd=folder, **s3_keys)
    assert (folder / "data/mine/1 ü.png").read_bytes() == b"one"
