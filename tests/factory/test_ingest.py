"""New images from the inbox into data sets of real files."""

import errno
import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import filelock
import numpy as np
import pytest
from PIL import Image

from harmoniad.data.layouts import layout_named
from harmoniad.data.sets import layout_name_of
from harmoniad.errors import HarmoniadError
from harmoniad.factory import ingest
from harmoniad.factory.journal import JOURNAL
from harmoniad.files import sha256_file, write_json
from harmoniad.params import Params, check_params
from harmoniad.stages.validate import REFERENCE

INBOX, QUARANTINE = Path("data/inbox"), Path("data/quarantine")
LONG_AGO = 10_000


def picture(path: Path, seed: int, *, grey: int = 90, size: int = 48, old: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(grey - 30, grey + 30, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return age(path) if old else path


def mask(path: Path, size: int = 48) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size, size), np.uint8)
    pixels[10:20, 10:20] = 255
    Image.fromarray(pixels).save(path)
    return age(path)


def age(path: Path, seconds: float = LONG_AGO) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "with space ü"
    root.mkdir()
    monkeypatch.chdir(root)
    for number in range(4):
        picture(Path(f"data/plant/gear/train/good/{number}.png"), number)
    picture(Path("data/plant/gear/test/bent/0.png"), 50)
    return root


def settings(**sections: object) -> Params:
    return check_params({"data": {"sets": ["plant"]}, **sections}, "params")


def contents(*folders: Path) -> dict[str, int]:
    """How often each content lies in some folders, hidden files and reasons aside."""
    found: dict[str, int] = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.name.endswith((".reason.json", ".sqlite")) and path.name != "dataset.json":
                found[sha256_file(path)] = found.get(sha256_file(path), 0) + 1
    return found


def reasons(report: ingest.Report) -> dict[str, str]:
    return {Path(file).name: "; ".join(why) for file, why in report.quarantined.items()}


def test_good_and_defective_images_go_where_the_layout_has_them(project: Path) -> None:
    good = picture(INBOX / "plant/gear/good/2026-11-22/ä 1.png", 100)
    bent = picture(INBOX / "plant/gear/defect/bent/7.png", 101)
    marked = mask(INBOX / "plant/gear/masks/bent/7_mask.png")
    new = picture(INBOX / "plant/Zahnrad ü/good/1.png", 102)
    hashes = [sha256_file(path)[:16] for path in (good, bent, new)]
    report = ingest.run(settings())
    root = Path("data/plant")
    assert (root / f"gear/train/good/ä 1-{hashes[0]}.png").is_file()
    assert (root / f"gear/test/bent/7-{hashes[1]}.png").is_file()
    assert (root / f"gear/ground_truth/bent/7-{hashes[1]}_mask.png").is_file()
    assert (root / f"Zahnrad ü/train/good/1-{hashes[2]}.png").is_file()
    assert not any(path.exists() for path in (good, bent, marked, new))
    assert report.notes == ["data/plant: the category Zahnrad ü is new"]
    record = next(r for r in layout_named("mvtec").read(root) if hashes[1] in r.path.name)
    assert (record.split, record.defect, len(record.masks)) == ("test", "bent", 1)
    assert not report.quarantined
    assert not report.waiting
    assert not JOURNAL.exists()
    assert ingest.run(settings()).lines() == ["ingest: nothing new in data/inbox"]


def test_good_images_are_held_out_by_their_hash(project: Path) -> None:
    """In a category with a validation split, and never as test images, not even in the layout that has no split."""
    picture(Path("data/plant/gear/validation/good/0.png"), 60)
    picture(Path("data/loose/gear/good/0.png"), 70)
    for number in range(30):
        picture(INBOX / f"plant/gear/good/{number}.png", 200 + number)
        picture(INBOX / f"loose/gear/good/{number}.png", 300 + number)
    params = settings(data={"sets": ["plant", "loose"]}, prepare={"held_out": 0.3})
    report = ingest.run(params)
    split = {image.image: image.split for image in report.taken}
    expected = {path: "held_out" if int(path.rpartition("-")[2][8:16], 16) / 16**8 < 0.3 else "train" for path in split}
    assert split == expected
    held_out = {path for path in split if "/validation/good/" in path}
    assert held_out == {path for path, side in expected.items() if side == "held_out" and "plant" in path}
    assert 0 < len(held_out) < 30
    loose = [record for record in layout_named("folder").read(Path("data/loose")) if "good_train" in record.path.parts]
    assert {record.split for record in loose} == {"train"}
    assert len(loose) == 30


@pytest.mark.parametrize(
    ("name", "seconds", "waits"),
    [
        ("1.png", 5, True),
        ("1.png", 31, False),
        (".1.png.Xy12ab", LONG_AGO, True),  # rsync's
        ("1.png.part", LONG_AGO, True),
        ("1.png", -3600, True),  # a camera whose clock is ahead: what counts is when the file last changed
    ],
)
def test_what_is_still_being_written_is_left(project: Path, name: str, seconds: float, waits: bool) -> None:
    path = picture(INBOX / "plant/gear/good/1.png", 1000).rename(INBOX / f"plant/gear/good/{name}")
    age(path, seconds)
    ingest.run(settings())
    assert path.exists() == waits
    assert not QUARANTINE.exists()


def test_a_truncated_image_waits_while_it_is_fresh(project: Path) -> None:
    path = picture(INBOX / "plant/gear/good/1.png", 1)
    path.write_bytes(path.read_bytes()[:2000])
    assert "still be on its way" in next(iter(ingest.run(settings(ingest={"quiet_seconds": 0})).waiting.values()))
    age(path, 3601)
    assert reasons(ingest.run(settings())) == {"1.png": "the file is truncated"}
    assert not path.exists()


def test_what_is_not_fit_goes_to_quarantine_with_its_reason(project: Path) -> None:
    write_json(
        REFERENCE,
        {
            "accepted": {
                "data_fingerprint": "1",
                "categories": {"gear": {"brightness": [80.0, 100.0], "sharpness": [1000.0, 20000.0]}},
            },
            "before": None,
        },
    )
    folder = INBOX / "plant/gear/good"
    folder.mkdir(parents=True)
    (folder / "text.png").write_text("no image")
    age(folder / "text.png")
    picture(folder / "small.png", 1, size=20)
    picture(folder / "dark.png", 2, grey=40)
    picture(folder / "known.png", 3)
    picture(folder / "twice a.png", 400)
    picture(folder / "twice b.png", 400)
    picture(folder / "both.png", 401)
    picture(INBOX / "plant/gear/defect/bent/both.png", 401)
    picture(INBOX / "plant/gear/defect/bent/misfit.png", 402)
    mask(INBOX / "plant/gear/masks/bent/misfit.png", 47)
    picture(INBOX / "plant/gear/loose.png", 403)
    picture(INBOX / "plant/gear/good/<b>.png", 404)
    picture(INBOX / "plant/gear/defect/good/odd.png", 405)
    everything = contents(Path("data"))
    report = ingest.run(settings())
    found = reasons(report)
    assert found["text.png"] == "is not an image (png, jpg, bmp, tiff or webp)"
    assert found["small.png"].startswith("20×20: smaller than 32 pixels a side")
    assert found["dark.png"].startswith("its brightness is 3")
    assert found["known.png"] == "same image as data/plant/gear/train/good/3.png"
    assert "twice a.png" not in found
    assert found["twice b.png"] == "same image as data/inbox/plant/gear/good/twice a.png, which came with it"
    assert "which is called gear, " in found["both.png"]
    assert found["misfit.png"] == "its mask is 47×47 pixels, but the image is 48×48"
    assert found["loose.png"].startswith("lies in no folder that is known. Expected <set>/<category>/good/")
    assert found["odd.png"] == "`good` cannot be the name of a kind of defect"
    assert len(report.quarantined) == 11
    assert [image.category for image in report.taken] == ["gear"]
    for path in QUARANTINE.rglob("*.reason.json"):
        image = path.with_name(path.name.removesuffix(".reason.json"))
        content = json.loads(path.read_text(encoding="utf-8"))
        assert sha256_file(image) == content["sha256"]
        assert content["reasons"] == report.quarantined[content["file"]]
    assert len(list(QUARANTINE.rglob("*.reason.json"))) == 11
    assert contents(Path("data/plant"), QUARANTINE) == everything


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no such name")
def test_a_name_of_two_lines_is_told_in_one(project: Path) -> None:
    picture(INBOX / "plant/gear/good/a\nerror: b.png", 1)
    report = ingest.run(settings())
    (line,) = [line for line in report.lines() if line.startswith("quarantine: ")]
    assert line.startswith("quarantine: data/inbox/plant/gear/good/a\\nerror: b.png: ")
    assert "\n" not in line
    (note,) = QUARANTINE.rglob("*.reason.json")
    assert json.loads(note.read_text(encoding="utf-8"))["file"] in report.quarantined


def test_a_mask_may_come_later(project: Path) -> None:
    image = picture(INBOX / "plant/gear/defect/bent/7.png", 101)
    name = f"7-{sha256_file(image)[:16]}"
    ingest.run(settings())
    mask(INBOX / "plant/gear/masks/bent/7_mask.png")
    early = mask(INBOX / "plant/gear/masks/bent/8_mask.png")
    report = ingest.run(settings())
    assert report.masks == 1
    assert Path(f"data/plant/gear/ground_truth/bent/{name}_mask.png").is_file()
    assert list(report.waiting) == [early.as_posix()]
    assert early.exists()


def test_images_stay_where_no_set_takes_them(project: Path) -> None:
    paths = [picture(INBOX / f"{name}/gear/good/1.png", 1) for name in ("inbox", "sample", "tpyo")]
    report = ingest.run(settings(data={"sets": ["plant", "sample"]}))
    assert all(path.exists() for path in paths)
    assert "data/sample: is made by the pipeline and takes no images" in report.notes[1]
    assert "data/tpyo: no such data set" in report.notes[2]


def test_a_set_that_params_name_is_made_with_its_first_images(project: Path) -> None:
    picture(INBOX / "line2/gear/good/1.png", 1000)
    ingest.run(settings(data={"sets": ["plant", "line2"]}))
    assert layout_name_of(Path("data/line2")) == "folder"
    assert len(list(layout_named("folder").read(Path("data/line2")))) == 1


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_list_of_images_is_added_to(project: Path, suffix: str) -> None:
    picture(Path("data/table/a.png"), 500)
    list_file = Path(f"data/table/manifest.{suffix}")
    lines = "image;label;lot\na.png;good;17\n" if suffix == "csv" else '{"path": "a.png", "label": "good"}\n'
    list_file.write_text(lines)
    good = picture(INBOX / "table/gear/good/1.png", 501)
    picture(INBOX / "table/gear/defect/bent/2.png", 502)
    mask(INBOX / "table/gear/masks/bent/2.png")
    assert good.exists()
    report = ingest.run(settings(data={"sets": ["table"]}))
    assert not report.quarantined
    records = list(layout_named("manifest").read(Path("data/table")))
    found = [(record.category, record.split, record.defect, len(record.masks)) for record in records]
    assert sorted(found) == [
        ("gear", "test", "bent", 1),
        ("gear", "train", "good", 0),
        ("manifest", "by_hash", "good", 0),
    ]
    if suffix == "csv":
        assert "a.png;good;17" in list_file.read_text()


def deliver() -> None:
    picture(INBOX / "plant/gear/good/1.png", 100)
    picture(INBOX / "plant/gear/good/2.png", 2)  # known
    picture(INBOX / "plant/gear/defect/bent/7.png", 101)
    mask(INBOX / "plant/gear/masks/bent/7.png")


WRITES = {"os.rename", "os.remove", "os.mkdir", "os.chmod", "os.truncate", "shutil.copyfile"}


def _killed_at(step: int, other_disk: bool) -> None:
    """Run an ingest that is killed right before its n-th change of the file system."""
    done = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal done
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in WRITES or writes:
            done += 1
            if done > step:
                os.kill(os.getpid(), signal.SIGKILL)

    if other_disk:
        Path.rename = _no_rename  # type: ignore[method-assign]
    sys.addaudithook(watch)
    ingest.run(settings())
    os._exit(0)


def _no_rename(source: Path, target: Path) -> Path:
    raise OSError(errno.EXDEV, "another disk")


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork and SIGKILL")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("other_disk", [False, True])
def test_a_kill_at_any_moment_loses_nothing_and_takes_nothing_twice(project: Path, other_disk: bool) -> None:
    deliver()
    wanted = contents(Path("data"))
    images = {path: path.read_bytes() for path in INBOX.rglob("*.png")}
    fork = multiprocessing.get_context("fork")
    for step in range(200):
        child = fork.Process(target=_killed_at, args=(step, other_disk))
        child.start()
        child.join()
        report = ingest.run(settings())
        assert not report.waiting
        assert not JOURNAL.exists()
        assert contents(Path("data/plant"), QUARANTINE) == wanted, f"killed before change {step}"
        assert sum(1 for _ in QUARANTINE.rglob("*.reason.json")) == 1
        assert not any(path.is_file() for path in INBOX.rglob("*"))
        assert not list(Path("data").rglob(".*"))
        if child.exitcode == 0:
            break
        for path in (*Path("data/plant").rglob("*-*"), *QUARANTINE.rglob("*")):
            if path.is_file():
                path.unlink()
        for path, content in images.items():
            path.write_bytes(content)
            age(path)
    assert child.exitcode == 0
    assert step > 15


def test_a_file_that_was_replaced_after_a_kill_is_not_taken_for_the_old_one(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = picture(INBOX / "plant/gear/good/1.png", 100)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("harmoniad.factory.journal._move", fail)
        with pytest.raises(KeyboardInterrupt):
            ingest.run(settings())
    assert JOURNAL.exists()
    picture(path, 101)  # cameras start again at 1.png
    content = sha256_file(path)
    ingest.run(settings())
    assert [content[:16] in found.name for found in Path("data/plant").rglob("1-*")] == [True]


def test_a_full_disk_is_told_and_the_next_run_goes_on(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver()
    wanted = contents(Path("data"))

    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises((HarmoniadError, OSError)):
            ingest.run(settings())
    ingest.run(settings())
    assert contents(Path("data")) == wanted


def test_one_ingest_at_a_time(project: Path) -> None:
    ingest.LOCK.parent.mkdir(exist_ok=True)
    with filelock.FileLock(ingest.LOCK), pytest.raises(HarmoniadError, match="another ingest is running"):
        ingest.run(settings())
