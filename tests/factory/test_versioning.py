"""Versions in real git and DVC repositories."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from harmoniad.errors import HarmoniadError
from harmoniad.factory import repository as repository_files
from harmoniad.factory import results_version, versioning
from harmoniad.files import write_json
from harmoniad.params import Params, check_params

PARAMS: Params = check_params({"data": {"sets": ["plant"]}}, "params")


def sh(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout


def dvc(*arguments: str) -> str:
    return sh(sys.executable, "-m", "dvc", *arguments)


def picture(path: str, grey: int) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (40, 40), grey).save(path)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty repository of git and DVC with a remote."""
    root = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        sh("git", "init", "-q")
        dvc("init", "-q")
        dvc("config", "core.analytics", "false")
        dvc("config", "core.autostage", "true")
    return root


@pytest.fixture
def repository(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import shutil

    root = tmp_path / "with space ü"
    shutil.copytree(template, root)
    monkeypatch.chdir(root)
    # Nobody's identity but the repository's.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("AUTHOR", "COMMITTER"):
        for what in ("NAME", "EMAIL"):
            monkeypatch.delenv(f"GIT_{name}_{what}", raising=False)
    sh("git", "config", "user.useConfigOnly", "true")
    for number in range(3):
        picture(f"data/plant/gear/train/good/{number}.png", number)
    picture("data/plant/gear/test/bent/0.png", 90)
    return root


def identify() -> None:
    sh("git", "config", "user.name", "plant")
    sh("git", "config", "user.email", "plant@example.com")


def test_what_came_in_is_committed_and_pushed(repository: Path, tmp_path: Path) -> None:
    identify()
    dvc("remote", "add", "store", str(tmp_path / "remote x"))  # the only one, though not the default
    Path("work.txt").write_text("half-finished")
    sh("git", "add", "work.txt")  # somebody works here
    assert versioning.is_needed(PARAMS)
    assert versioning.run(PARAMS) == [
        "version: data/plant is added to DVC",
        "version: committed “data: plant: 3 new good images, 1 with defects”",
        "version: pushed plant to `store`",
    ]
    assert not versioning.is_needed(PARAMS)
    assert versioning.run(PARAMS) == ["version: nothing has changed"]
    assert set(sh("git", "show", "--name-only", "--format=", "HEAD").split()) == {"data/plant.dvc", "data/.gitignore"}
    assert "A  work.txt" in sh("git", "status", "--short").splitlines()
    for number in (10, 11):
        picture(f"data/plant/gear/train/good/{number}.png", number)
    picture("data/plant/Mutter ü/test/rost ü/1.png", 40)
    Path("data/plant/gear/train/good/0.png").unlink()
    assert versioning.run(PARAMS)[1].startswith(
        "version: committed “data: plant: 2 new good images, 1 with defects, 1 fi"
    )
    message = sh("git", "log", "-1", "--format=%b")
    assert message.splitlines()[:2] == [
        "plant, Mutter ü: 1 with rost ü (test)",
        "plant, gear: 2 good (train or held out, by hash)",
    ]
    sh("git", "checkout", "-q", "HEAD~1", "--", "data/plant.dvc")  # the first version comes back from the remote
    subprocess.run(["rm", "-rf", "data/plant", ".dvc/cache"], check=True)
    dvc("pull", "-q", "--remote", "store", "data/plant.dvc")
    assert sorted(path.name for path in Path("data/plant/gear/train/good").iterdir()) == ["0.png", "1.png", "2.png"]


def test_without_an_identity_the_next_run_commits(repository: Path) -> None:
    lines = versioning.run(PARAMS)
    assert lines[1].startswith("warning: not committed: git does not know who you are. Run `git config user.name")
    assert lines[2].startswith("note: not pushed: no remote is configured")
    assert versioning.is_needed(PARAMS)
    identify()
    assert versioning.run(PARAMS)[0] == "version: committed “data: plant: 3 new good images, 1 with defects”"


def test_the_lock_of_a_killed_git_is_removed_once_it_is_old(repository: Path) -> None:
    identify()
    Path("params.yaml").write_text("seed: 1\n", encoding="utf-8")
    lock = Path(".git/index.lock")
    lock.touch()
    assert repository_files.commit(["params.yaml"], "news", "version").startswith("warning: not committed: another git")
    os.utime(lock, (0, 0))
    assert repository_files.commit(["params.yaml"], "news", "version") == "version: committed “news”"


def test_a_remote_that_fails_is_tried_again(repository: Path, tmp_path: Path) -> None:
    identify()
    (tmp_path / "remote").write_text("no folder")
    dvc("remote", "add", "--default", "store", str(tmp_path / "remote"))
    assert versioning.run(PARAMS)[2].startswith("warning: not pushed to `store`: ")
    assert versioning.is_needed(PARAMS)
    (tmp_path / "remote").unlink()
    assert versioning.run(PARAMS) == ["version: pushed plant to `store`"]
    assert not versioning.is_needed(PARAMS)


def test_without_git_dvc_keeps_the_version(repository: Path) -> None:
    subprocess.run(["rm", "-rf", ".git"], check=True)
    dvc("config", "core.no_scm", "true")
    lines = versioning.run(PARAMS)
    assert lines[1].startswith(
        "warning: data/plant.dvc not committed: this folder is no git repository. Run `git init`"
    )
    assert Path("data/plant.dvc").is_file()


def test_a_tracked_set_that_dvc_refuses_is_an_error(repository: Path) -> None:
    Path("data/plant.dvc").write_text("outs: 7\n")
    with pytest.raises(HarmoniadError, match=r"dvc add data/plant failed, so it is not a version yet: "):
        versioning.run(PARAMS)


def test_the_results_are_committed_with_what_the_gate_decided_and_nothing_else(
    repository: Path, tmp_path: Path
) -> None:
    identify()
    dvc("remote", "add", "--default", "store", str(tmp_path / "remote x"))
    Path("params.yaml").write_text("seed: 0\n")
    Path("dvc.yaml").write_text("stages:\n  train:\n    cmd: mkdir out && echo 1 > out/model\n    outs: [out]\n")
    Path(".gitignore").write_text("/out\n")
    Path("notes.txt").write_text("mine")
    sh("git", "add", "--all", ":(exclude)data/plant")
    sh("git", "commit", "-qm", "start")
    versioning.run(PARAMS)
    dvc("repro", "--quiet")
    fingerprint = {"data_fingerprint": "f"}
    write_json(results_version.METRICS_FILE, fingerprint)
    write_json(results_version.REFERENCE, {})
    registered = {**fingerprint, "name": "harmoniad", "version": 7, "decision": "kept", "reasons": ["it is worse"]}
    write_json(results_version.REGISTERED_FILE, {**registered, "compared_with": 5})
    Path("params.yaml").write_text("seed: 1\n")
    Path("notes.txt").write_text("half-finished")
    sh("git", "add", "notes.txt")
    assert results_version.is_needed()
    assert results_version.run() == [
        "results: committed “model: harmoniad version 7, the champion stays (version 5)”",
        "warning: params.yaml differs from the commit, so the commit does not give these results again. "
        "Commit it yourself.",
        "results: pushed to `store`",
    ]
    files = sh("git", "show", "--name-only", "--format=%B").split()
    assert files[-3:] == ["dvc.lock", "results/evaluate/metrics.json", "results/validate/reference.json"]
    assert "- it is worse" in sh("git", "show", "--format=%B", "--no-patch")
    assert sh("git", "status", "--porcelain", "--untracked-files=no").split() == ["M", "notes.txt", "M", "params.yaml"]
    assert not results_version.is_needed()
    shutil.rmtree(".dvc/cache")
    shutil.rmtree("out")
    dvc("pull", "--quiet", "train")
    assert Path("out/model").read_text() == "1\n"


def test_results_without_a_repository_or_an_identity_are_a_warning(repository: Path) -> None:
    Path("dvc.lock").write_text("schema: '2.0'\n")
    assert results_version.run()[0].startswith(
        "warning: not committed: git does not know who you are. Run `git config user.name"
    )
    assert results_version.is_needed()
    shutil.rmtree(".git")
    (line,) = results_version.run()
    assert line.startswith("warning: dvc.lock and the metrics are not committed: this folder is no git repository")
