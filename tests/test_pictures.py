"""The same image, whatever it comes as."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmoniad.data.images import ImageError
from harmoniad.errors import HarmoniadError
from harmoniad.pictures import as_list, to_rgb

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]
THREE = np.repeat(GREY[:, :, None], 3, axis=2)


def png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_arrays() -> None:
    np.testing.assert_array_equal(to_rgb(RGB), RGB)
    np.testing.assert_array_equal(to_rgb(np.dstack([RGB, GREY])), RGB)
    np.testing.assert_array_equal(to_rgb(RGB[::-1, ::2]), RGB[::-1, ::2])
    np.testing.assert_array_equal(to_rgb(GREY), THREE)
    np.testing.assert_array_equal(to_rgb(GREY[:, :, None]), THREE)
    np.testing.assert_array_equal(to_rgb(GREY.astype(np.uint16) * 257), THREE)


def test_files_their_bytes_and_pillow_images(tmp_path: Path) -> None:
    path = tmp_path / "with space ü.png"
    path.write_bytes(png(Image.fromarray(RGB)))
    for picture in (path, str(path), path.read_bytes(), Image.fromarray(RGB), Image.open(path)):
        np.testing.assert_array_equal(to_rgb(picture), RGB)
    np.testing.assert_array_equal(to_rgb(Image.fromarray(GREY).convert("LA")), THREE)


def test_exif_turns_all_alike(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.png"
    path.write_bytes(png(Image.fromarray(RGB), exif=exif))
    assert to_rgb(path).shape == (30, 20, 3)
    np.testing.assert_array_equal(to_rgb(Image.open(path)), to_rgb(path))


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32 \(4, 4, 3\)"),
        (np.zeros((4, 4, 2), np.uint8), r"uint8 \(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), r"uint8 \(0, 4, 3\)"),
        (None, "NoneType"),
    ],
)
def test_other_arrays_are_refused(picture: object, told: str) -> None:
    with pytest.raises(HarmoniadError, match=f"image 3: must be uint8 .* but it is {told}"):
        to_rgb(picture, "image 3")  # type: ignore[arg-type]


def test_what_cannot_be_decoded_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="image 3: is not an image"):
        to_rgb(b"PK\x03\x04 a ZIP", "image 3")
    path = tmp_path / "a.png"
    path.write_bytes(png(Image.fromarray(RGB))[:500])
    with pytest.raises(ImageError, match="image 3: the file is damaged or truncated"):
        to_rgb(Image.open(path), "image 3")
    with pytest.raises(ImageError, match=r"is too large \(more than 0.0001 million pixels\)"):
        to_rgb(png(Image.fromarray(RGB)), max_pixels=100)


def test_a_batch_may_be_an_array_and_a_single_image_is_a_batch_of_one() -> None:
    assert [picture.shape for picture in as_list(np.stack([RGB, RGB]))] == [RGB.shape] * 2  # type: ignore[union-attr]
    for picture in (RGB, GREY, "a.png", Path("a.png"), b"", Image.fromarray(RGB)):
        assert len(as_list(picture)) == 1
    assert as_list(("a.png", RGB))[0] == "a.png"
    assert as_list([]) == []
