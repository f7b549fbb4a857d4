import errno
import json
from pathlib import Path

import pytest

from harmoniad import files
from harmoniad.errors import HarmoniadError


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "with space ü" / "file.txt"
    files.write_bytes(path, b"old")
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_folder_leaves_the_old_one_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with files.replacing_folder(path) as temporary:
        (temporary / "a").write_text("old")
    with pytest.raises(RuntimeError), files.replacing_folder(path) as temporary:
        (temporary / "a").write_text("new")
        raise RuntimeError
    assert (path / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with files.replacing_folder(path) as temporary:
        (temporary / "b").write_text("new")
    assert [file.name for file in path.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(HarmoniadError, match=r"file\.txt: the disk is full"), files.replacing(tmp_path / "file.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_json_refuses_nan_and_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"ü": 1.5})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"ü": 1.5}
    assert files.read_json(path) == {"ü": 1.5}


def test_reading_what_is_not_there_or_not_json(tmp_path: Path) -> None:
    with pytest.raises(HarmoniadError, match="no such file"):
        files.read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(HarmoniadError, match="not valid JSON"):
        files.read_json(tmp_path / "a.json")


def test_hashes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # The well-known digest of "abc" (FIPS 180-2, appendix B.1).
    assert files.sha256_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256_json({"a": 1, "b": 2}) == files.sha256_json({"b": 2, "a": 1})
    assert files.sha256_json({"a": 1}) != files.sha256_json({"a": 2})
