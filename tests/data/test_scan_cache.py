import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from harmoniad.data import scan_cache
from harmoniad.data.scan_cache import ScanCache, scan
from harmoniad.errors import HarmoniadError

READ: list[str] = []


def read(path: Path) -> dict[str, str]:
    READ.append(path.name)
    if path.read_text(encoding="utf-8") == "stop":
        raise KeyboardInterrupt
    return {"text": path.read_text(encoding="utf-8")}


@pytest.fixture
def files(tmp_path: Path) -> Iterator[list[Path]]:
    folder = tmp_path / "with space ü"
    folder.mkdir()
    paths = [folder / f"{number}.txt" for number in range(6)]
    for number, path in enumerate(paths):
        path.write_text(str(number), encoding="utf-8")
    READ.clear()
    yield paths
    READ.clear()


def run(files: list[Path], cache_file: Path | None, settings: str = "") -> tuple[list[str], list[str]]:
    """What was found, and which files were read for it."""
    READ.clear()
    found, known = scan("text", read, files, lambda path: [path], "scan", cache_file, lambda path: settings)
    assert known == len(files) - len(READ)
    return [value["text"] for value in found], sorted(READ)


def test_only_what_changed_is_read_again(files: list[Path], tmp_path: Path) -> None:
    cache = tmp_path / "new folder" / "scan.sqlite"
    assert run(files, cache) == (list("012345"), [file.name for file in files])
    assert run(files, cache) == (list("012345"), [])
    files[1].write_text("x", encoding="utf-8")  # the same size at another time
    os.utime(files[1], (1, 1))  # some clocks of file systems stand still for 10 ms
    times = files[2].stat()
    files[2].write_text("longer", encoding="utf-8")  # another size at the same time
    os.utime(files[2], ns=(times.st_atime_ns, times.st_mtime_ns))
    files.append(files[0].with_name("6.txt"))
    files[6].write_text("6", encoding="utf-8")
    assert run(files, cache) == (["0", "x", "longer", "3", "4", "5", "6"], ["1.txt", "2.txt", "6.txt"])
    assert run(files[::-1], cache)[1] == []


def test_other_settings_another_kind_and_another_version_are_not_taken(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "scan.sqlite"
    run(files, cache)
    assert len(run(files, cache, settings="50%")[1]) == 6
    assert scan("other", read, files, lambda path: [path], "scan", cache)[1] == 0
    monkeypatch.setattr(scan_cache, "_version", lambda: 7)
    assert len(run(files, cache, settings="50%")[1]) == 6
    assert run(files, cache, settings="50%")[1] == []


def test_an_interrupted_scan_goes_on_where_it_was(files: list[Path], tmp_path: Path) -> None:
    cache = tmp_path / "scan.sqlite"
    files[4].write_text("stop", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        run(files, cache)
    files[4].write_text("4", encoding="utf-8")
    found, read_again = run(files, cache)
    assert found == list("012345")
    assert not {"0.txt", "1.txt", "2.txt", "3.txt"} & set(read_again)


def test_without_a_cache_file_everything_is_read(files: list[Path]) -> None:
    run(files, None)
    assert len(run(files, None)[1]) == 6


@pytest.mark.parametrize("damage", ["garbage", "truncated", "flipped", "not a row"])
def test_a_damaged_cache_is_made_anew_with_a_note(
    damage: str, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "scan.sqlite"
    run(files, cache)
    content = cache.read_bytes()
    if damage == "garbage":
        cache.write_bytes(b"nothing that SQLite knows" * 1000)
    elif damage == "truncated":
        cache.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        place = content.index(b'{"text": "3"}')
        cache.write_bytes(content[: place + 10] + b"9" + content[place + 11 :])
    else:
        with sqlite3.connect(cache) as database:
            database.execute("UPDATE scanned SET value = 'x'")
    capsys.readouterr()
    assert run(files, cache)[0] == list("012345")
    note = capsys.readouterr().err
    assert note.startswith(f"note: {cache}: the scan cache cannot be used (")
    assert note.endswith("it is made anew.\n")
    run(files, cache)
    assert run(files, cache)[1] == []
    assert "note" not in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_costs_time_alone(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert run(files, tmp_path / "file" / "scan.sqlite")[0] == list("012345")
    assert capsys.readouterr().err.endswith("; this scan keeps nothing.\n")


def test_a_cache_that_another_process_writes_to(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "scan.sqlite"
    run(files[:3], cache)
    monkeypatch.setattr(scan_cache, "SECONDS_TO_WAIT", 0.05)
    other = sqlite3.connect(cache)
    other.execute("BEGIN EXCLUSIVE")
    assert run(files, cache)[0] == list("012345")
    assert "(database is locked); this scan keeps nothing." in capsys.readouterr().err
    other.rollback()
    other.close()
    assert len(run(files, cache)[1]) == 3


def test_values_are_saved_while_the_scan_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_cache, "SECONDS_BETWEEN_SAVES", 0.0)
    with ScanCache(tmp_path / "scan.sqlite") as cache:
        cache.keep("text", [tmp_path / "a"], "stamps", {"text": "ü"})
        with ScanCache(tmp_path / "scan.sqlite") as other:  # as the next scan after a kill would
            assert other.find("text", [tmp_path / "a"], "stamps") == {"text": "ü"}
            assert other.find("text", [tmp_path / "b"], "stamps") is None


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(HarmoniadError, match=r"a\.txt: cannot be read \(No such file or directory\)"):
        run([tmp_path / "a.txt"], tmp_path / "scan.sqlite")


def test_stamps_are_json(files: list[Path]) -> None:
    status = files[0].stat()
    assert json.loads(scan_cache.stamps_of(files[:1], "s")) == ["s", [status.st_size, status.st_mtime_ns]]
