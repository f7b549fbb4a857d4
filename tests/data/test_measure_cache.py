"""What the scan cache means for the measurements of a data set."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import laplace

from harmoniad.data.images import load_rgb
from harmoniad.data.layouts import mvtec
from harmoniad.data.layouts.record import Record
from harmoniad.data.measure import STRIP, measure_all, remember_copies, sharpness
from harmoniad.data.saturation import Saturation


def write_images(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng([len(folder.name), number]).integers(0, 256, (9, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "with space ü"
    write_images(root / "gear" / "train" / "good", 5)
    write_images(root / "gear" / "test" / "bent", 2)
    write_images(root / "gear" / "ground_truth" / "bent", 2)
    return root


def test_rows_from_the_cache_are_the_rows_that_were_measured(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, records = tmp_path / "scan.sqlite", list(mvtec.read(root))
    (root / "gear/train/good/003.png").write_text("nothing")
    rows = measure_all(records, "check", cache)
    assert capsys.readouterr().err == ""
    assert measure_all(records, "check", cache) == rows == measure_all(records, "check", None)
    assert capsys.readouterr().err == "check: 7 of 7 images are unchanged since an earlier scan\n"
    assert [row["problem"] for row in rows].count("") == 6


def test_a_mask_that_changes_is_measured_again(root: Path, tmp_path: Path) -> None:
    cache, records = tmp_path / "scan.sqlite", list(mvtec.read(root))
    measure_all(records, "check", cache)
    mask = root / "gear/ground_truth/bent/000.png"
    Image.new("L", (8, 9), 255).save(mask)
    row = next(
        row for record, row in zip(records, measure_all(records, "check", cache), strict=True) if mask in record.masks
    )
    assert (row["mask_area"], row["mask_values"]) == (72, 1)


def test_other_saturation_areas_are_not_mixed_up(root: Path, tmp_path: Path) -> None:
    image, mask = root / "gear/test/bent/000.png", tmp_path / "mask.png"
    Image.new("L", (8, 9), 255).save(mask)
    for pixels in (10, 20):
        record = Record(image, "gear", "test", "defect", "bent", (mask,), saturation=(Saturation(pixels),))
        assert measure_all([record], "check", tmp_path / "scan.sqlite")[0]["saturation"] == str(pixels)


def test_copies_are_known_but_for_those_of_other_images(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, records = tmp_path / "scan.sqlite", list(mvtec.read(root))
    rows = measure_all(records, "check", cache)
    copy = tmp_path / "copy"
    for record in records:
        for file in (record.path, *record.masks):
            target = copy / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    copies = list(mvtec.read(copy))
    remember_copies(records, [*copies[1:2], *copies[1:]], copy, cache)  # the first is out of line
    capsys.readouterr()
    assert measure_all(copies, "prepare", cache) == rows
    assert capsys.readouterr().err == "prepare: 6 of 7 images are unchanged since an earlier scan\n"


def test_sharpness_of_an_image_of_several_strips() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2 * STRIP + 3, 7), dtype=np.uint8)
    expected = laplace(pixels.astype(float))[1:-1, 1:-1].var()
    assert sharpness(Image.fromarray(pixels)) == pytest.approx(expected, abs=1e-4)


def test_deep_image_of_several_strips(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (1100, 3), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert (load_rgb(tmp_path / "a.png")[:, :, 0] == np.rint(values / 257).astype(np.uint8)).all()


def test_files_that_vanish_between_scans(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "scan.sqlite"
    measure_all(list(mvtec.read(root)), "check", cache)
    (root / "gear/train/good/000.png").unlink()
    assert len(measure_all(list(mvtec.read(root)), "check", cache)) == 6
