from pathlib import Path

import pytest

from harmoniad.data.layouts import LAYOUTS, folder, layout_named, mvtec, recognise
from harmoniad.data.layouts.record import Record
from harmoniad.errors import HarmoniadError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "with space ü"
    root.mkdir()
    return root


def test_mvtec(root: Path) -> None:
    touch(
        root,
        "Zahnrad groß/train/good/000.png",
        "Zahnrad groß/train/good/001.JPG",
        "Zahnrad groß/test/good/000.Tiff",
        "Zahnrad groß/test/tiefer Kratzer/000.webp",
        "Zahnrad groß/test/tiefer Kratzer/001.jpeg",
        "Zahnrad groß/test/tiefer Kratzer/002.bmp",
        "Zahnrad groß/ground_truth/tiefer Kratzer/000.png",
        "Zahnrad groß/ground_truth/tiefer Kratzer/000_mask.png",
        "Zahnrad groß/ground_truth/tiefer Kratzer/001.TIF",
        "Zahnrad groß/ground_truth/tiefer Kratzer/999_mask.png",
        "alone/test/good/000.png",
    )
    gear = root / "Zahnrad groß"
    scratches, masks = gear / "test" / "tiefer Kratzer", gear / "ground_truth" / "tiefer Kratzer"
    assert list(mvtec.read(root)) == [
        Record(gear / "train/good/000.png", "Zahnrad groß", "train", "good", "good"),
        Record(gear / "train/good/001.JPG", "Zahnrad groß", "train", "good", "good"),
        Record(gear / "test/good/000.Tiff", "Zahnrad groß", "test", "good", "good"),
        Record(scratches / "000.webp", "Zahnrad groß", "test", "defect", "tiefer Kratzer", (masks / "000_mask.png",)),
        Record(scratches / "001.jpeg", "Zahnrad groß", "test", "defect", "tiefer Kratzer", (masks / "001.TIF",)),
        Record(scratches / "002.bmp", "Zahnrad groß", "test", "defect", "tiefer Kratzer"),
        Record(root / "alone/test/good/000.png", "alone", "test", "good", "good"),
    ]
    assert [record.path.name for record in mvtec.read(root, "alone")] == ["000.png"]


def test_mvtec_defect_in_train_is_read_so_that_validation_can_refuse_it(root: Path) -> None:
    touch(root, "gear/train/good/0.png", "gear/train/bent/0.png", "gear/ground_truth/bent/0_mask.png")
    assert Record(
        root / "gear/train/bent/0.png", "gear", "train", "defect", "bent", (root / "gear/ground_truth/bent/0_mask.png",)
    ) in list(mvtec.read(root))


def test_a_mask_in_good_is_not_taken(root: Path) -> None:
    touch(root, "gear/train/good/0.png", "gear/test/good/0.png", "gear/ground_truth/good/0_mask.png")
    assert [record.masks for record in mvtec.read(root)] == [(), ()]


@pytest.mark.parametrize("mask_folder", ["masks", "ground_truth"])
def test_folder(root: Path, mask_folder: str) -> None:
    touch(
        root,
        "gear/good/a.png",
        "gear/good/b.png",
        "gear/bent/a.png",
        "gear/bent/b.png",
        "gear/bent/c.png",
        f"gear/{mask_folder}/bent/a_mask.png",
        f"gear/{mask_folder}/bent/b.bmp",
        "no good/bent/a.png",
    )
    gear = root / "gear"
    assert list(folder.read(root)) == [
        Record(gear / "bent/a.png", "gear", "test", "defect", "bent", (gear / mask_folder / "bent/a_mask.png",)),
        Record(gear / "bent/b.png", "gear", "test", "defect", "bent", (gear / mask_folder / "bent/b.bmp",)),
        Record(gear / "bent/c.png", "gear", "test", "defect", "bent"),
        Record(gear / "good/a.png", "gear", "by_hash", "good", "good"),
        Record(gear / "good/b.png", "gear", "by_hash", "good", "good"),
        Record(root / "no good/bent/a.png", "no good", "test", "defect", "bent"),
    ]
    assert [record.path.name for record in folder.read(root, "no good")] == ["a.png"]


@pytest.mark.parametrize("layout", ["mvtec", "folder"])
def test_what_is_no_image_is_ignored(root: Path, layout: str) -> None:
    good = {"mvtec": "gear/train/good", "folder": "gear/good"}[layout]
    touch(root, *(f"{good}/{name}" for name in ("0.png", ".1.png", "._0.png", "Thumbs.db", "notes.txt", "0.png.part")))
    touch(root, "readme.txt", ".git/good/0.png", "__MACOSX/good/0.png", "__MACOSX/train/good/0.png")
    (root / good / "a folder.png").mkdir()
    assert [record.path for record in LAYOUTS[layout].read(root)] == [root / good / "0.png"]


@pytest.mark.parametrize("name", ["new\nline.png", "tab\t.png", "<script>.png"])
def test_names_that_no_table_or_page_can_show_are_refused(root: Path, name: str) -> None:
    touch(root, f"gear/good/{name}")
    with pytest.raises(HarmoniadError, match=r"the name holds `<`, `>` or a control character.*Rename it"):
        list(folder.read(root))


@pytest.mark.parametrize(
    ("files", "name", "single"),
    [
        (["gear/train/good/0.png"], "mvtec", False),
        (["gear/test/bent/0.png"], "mvtec", False),
        (["train/good/0.png", "test/bent/0.png"], "mvtec", True),
        (["gear/good/0.png", "gear/bent/0.png"], "folder", False),
        (["good/0.png", "bent/0.png"], "folder", True),
    ],
)
def test_recognise(root: Path, files: list[str], name: str, single: bool) -> None:
    touch(root, *files)
    found = recognise(root)
    assert (found.name, found.single_category, found.layout) == (name, single, LAYOUTS[name])


def test_recognise_says_what_it_saw_and_what_it_expects(root: Path) -> None:
    touch(root, "images/0.png", "labels/0.txt")
    with pytest.raises(
        HarmoniadError, match=r"it holds images, labels\..* Expected .*; mvtec: CATEGORY/train/.*; folder: "
    ):
        recognise(root)


def test_recognise_an_empty_folder(root: Path) -> None:
    with pytest.raises(HarmoniadError, match="no known layout, it holds no folders"):
        recognise(root)


def test_recognise_with_the_wrong_layout_named(root: Path) -> None:
    touch(root, "gear/good/0.png")
    with pytest.raises(
        HarmoniadError, match=r"it holds gear\. It looks like folder: leave out --layout\. Expected mvtec: (?!.*folder)"
    ):
        recognise(root, "mvtec")


def test_unknown_layout() -> None:
    with pytest.raises(HarmoniadError, match=r"unknown layout `yolo`\. There are: manifest, .*, folder"):
        layout_named("yolo")
