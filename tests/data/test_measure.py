import hashlib
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import laplace

from harmoniad.data.layouts.record import Record
from harmoniad.data.measure import brightness, measure, measure_all, perceptual_hash, sharpness
from harmoniad.errors import HarmoniadError


def noise(seed: int, height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def smooth(seed: int) -> Image.Image:
    return Image.fromarray(noise(seed, 12, 12)).resize((200, 200), Image.Resampling.BICUBIC)


def record(path: Path, mask: Path | None = None) -> Record:
    return Record(path, "gear", "test", "defect", "bent", (mask,) if mask else ())


def slow_hash(image: Image.Image) -> str:
    """The hash by the definition of the type II transform, a sum a coefficient."""
    pixels = np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS), dtype=float)
    place = np.arange(64)
    low = np.empty((16, 16))
    for u in range(16):
        for v in range(16):
            wave = np.outer(np.cos(np.pi * u * (2 * place + 1) / 128), np.cos(np.pi * v * (2 * place + 1) / 128))
            low[u, v] = 4 * (pixels * wave).sum()
    bits = "".join("1" if value > np.median(low) else "0" for value in low.ravel())
    return f"{int(bits, 2):064x}"


def test_brightness_by_hand() -> None:
    assert brightness(Image.fromarray(np.array([[0, 10], [20, 31]], dtype=np.uint8))) == 15.25


def test_sharpness_by_hand() -> None:
    pixels = np.zeros((3, 4), dtype=np.uint8)
    pixels[1, 1] = 10  # the Laplacian of the two inner pixels is -40 and 10: mean -15, variance 625
    assert sharpness(Image.fromarray(pixels)) == 625


@pytest.mark.parametrize("seed", range(3))
def test_sharpness_against_scipy(seed: int) -> None:
    expected = laplace(noise(seed).astype(float))[1:-1, 1:-1].var()
    assert sharpness(Image.fromarray(noise(seed))) == pytest.approx(expected, abs=1e-4)


def test_sharpness_of_an_image_without_inner_pixels() -> None:
    assert sharpness(Image.fromarray(noise(0, 2, 9))) == 0


@pytest.mark.parametrize("seed", range(5))
def test_hash_against_the_definition(seed: int) -> None:
    assert perceptual_hash(smooth(seed)) == slow_hash(smooth(seed))


def test_hash_survives_compression_and_size_but_not_another_image(tmp_path: Path) -> None:
    def distance(one: Image.Image, other: Image.Image) -> int:
        return (int(perceptual_hash(one), 16) ^ int(perceptual_hash(other), 16)).bit_count()

    smooth(0).save(tmp_path / "a.jpg", quality=60)
    with Image.open(tmp_path / "a.jpg") as compressed:
        assert distance(smooth(0), compressed) <= 6
    assert distance(smooth(0), smooth(0).resize((160, 160))) <= 6
    assert distance(smooth(0), smooth(1)) > 40


@pytest.mark.parametrize("value", [0, 100, 255])
def test_hash_of_a_uniform_image_is_not_noise(value: int) -> None:
    expected = ("0" if value == 0 else "8") + "0" * 63
    assert perceptual_hash(Image.new("L", (50, 30), value)) == expected


def test_measure(tmp_path: Path) -> None:
    image, mask = tmp_path / "ü 0.png", tmp_path / "0_mask.png"
    Image.fromarray(noise(0)).save(image)
    Image.fromarray(np.array([[0, 255, 255], [0, 3, 0]], dtype=np.uint8)).save(mask)
    assert measure(record(image, mask)) == {
        "sha256": hashlib.sha256(image.read_bytes()).hexdigest(),
        "mask_sha256": hashlib.sha256(mask.read_bytes()).hexdigest(),
        "width": 60,
        "height": 40,
        "mode": "L",
        "brightness": round(noise(0).mean(), 4),
        "sharpness": sharpness(Image.fromarray(noise(0))),
        "phash": perceptual_hash(Image.fromarray(noise(0))),
        "mask_width": 3,
        "mask_height": 2,
        "mask_area": 3,
        "mask_values": 3,
        "saturation": "",
        "problem": "",
    }


def test_deep_image_is_measured_as_it_is_shown(tmp_path: Path) -> None:
    Image.fromarray(np.full((5, 5), 2570, dtype=np.uint16)).save(tmp_path / "a.png")
    row = measure(record(tmp_path / "a.png"))
    assert (row["mode"], row["brightness"]) == ("I;16", 10)


def test_broken_image_and_broken_mask(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(noise(0)).save(good)
    bad.write_text("nothing")
    of_image, of_mask = measure_all([record(bad, good), record(good, bad)], "check", None)
    reason = "is not an image (png, jpg, bmp, tiff or webp)"
    assert (of_image["problem"], of_image["width"], of_image["phash"], of_image["mask_width"]) == (reason, 0, "", 60)
    assert of_image["sha256"] == hashlib.sha256(b"nothing").hexdigest()
    assert (of_mask["problem"], of_mask["width"]) == (f"its mask {bad.as_posix()}: {reason}", 60)


def test_order_is_kept_and_warnings_stay_as_they_are(tmp_path: Path) -> None:
    records = []
    for number in range(40):
        Image.new("L", (20, 20), number).save(tmp_path / f"{number}.png")
        records.append(record(tmp_path / f"{number}.png"))
    filters = list(warnings.filters)
    assert [row["brightness"] for row in measure_all(records, "check", None)] == list(range(40))
    assert warnings.filters == filters


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch(mode=0)
    with pytest.raises(HarmoniadError, match=r"a\.png: cannot be read \(Permission denied\)"):
        measure(record(tmp_path / "a.png"))


def test_file_that_vanished(tmp_path: Path) -> None:
    with pytest.raises(HarmoniadError, match=r"a\.png: cannot be read \(No such file or directory\)"):
        measure(record(tmp_path / "a.png"))
