import subprocess
from pathlib import Path

import pytest

from harmoniad.params import Params
from harmoniad.tracking import provenance


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "with space ü"
    root.mkdir()
    monkeypatch.chdir(root)
    (root / "code.py").write_text("1")
    (root / "dvc.lock").write_text("1")
    (root / "data.dvc").write_text("1")
    (root / "results").mkdir()
    (root / "results/reference.json").write_text("1")
    git("init", "--quiet")
    git("add", "--force", ".")
    git("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", "first")
    return root


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_commit(repository: Path) -> None:
    assert provenance.git_commit() == git("rev-parse", "HEAD")
    assert not provenance.git_is_dirty()


def test_commit_outside_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert provenance.git_commit() == "none"
    assert not provenance.git_is_dirty()


def test_repository_without_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    assert provenance.git_commit() == "none"


def test_commit_without_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert provenance.git_commit() == "none"


def test_changed_code_is_dirty(repository: Path) -> None:
    (repository / "code.py").write_text("2")
    assert provenance.git_is_dirty()


def test_what_the_pipeline_writes_is_not_dirty(repository: Path) -> None:
    for name in ("dvc.lock", "data.dvc", "results/reference.json", "new.txt"):
        (repository / name).write_text("2")
    assert not provenance.git_is_dirty()


def test_key_depends_on_data_params_and_commit_alone() -> None:
    key = provenance.registration_key("data", Params(), "commit")
    assert key == provenance.registration_key("data", Params(), "commit")
    others = [
        provenance.registration_key("other", Params(), "commit"),
        provenance.registration_key("data", Params(seed=1), "commit"),
        provenance.registration_key("data", Params(), "other"),
    ]
    assert len({key, *others}) == 4


def test_folder_digest_sees_names_and_contents(tmp_path: Path) -> None:
    digests = set()
    for number, files in enumerate([{"a": "1", "b": "2"}, {"a": "2", "b": "1"}, {"a": "1", "c": "2"}]):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_text(content)
        digests.add(provenance.folder_digest(folder))
        assert provenance.folder_digest(folder) in digests
    assert len(digests) == 3


def test_hash_of_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert provenance.file_sha256(tmp_path / "nothing") == "none"
    assert provenance.file_sha256(tmp_path / "empty").startswith("e3b0c442")
