import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmoniad.data.images import MAX_PIXELS, ImageError, load_rgb, mask_values, open_image
from harmoniad.errors import HarmoniadError

GREY = np.array([[0, 51, 102], [153, 204, 255]], dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "with space ü"
    folder.mkdir()
    return folder


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def noise(height: int = 40, width: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_lossless_formats(folder: Path, suffix: str) -> None:
    path = save(folder / f"a.{suffix}", noise(), **({"lossless": True} if suffix == "webp" else {}))
    rgb = load_rgb(path)
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb, np.asarray(noise()))


def test_jpeg(folder: Path) -> None:
    rgb = load_rgb(save(folder / "a.jpg", Image.new("RGB", (60, 40), (200, 100, 50))))
    assert rgb.shape == (40, 60, 3)
    assert np.abs(rgb.astype(int) - (200, 100, 50)).max() <= 3


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("1", "png"),
        ("L", "png"),
        ("LA", "png"),
        ("P", "png"),
        ("RGB", "png"),
        ("RGBA", "png"),
        ("CMYK", "tif"),
        ("I;16", "png"),
        ("I;16", "tif"),
        ("I", "tif"),
        ("F", "tif"),
    ],
)
def test_every_mode_becomes_the_same_rgb(folder: Path, mode: str, suffix: str) -> None:
    expected = GREY
    if mode == "1":
        expected = np.where(GREY > 100, 255, 0).astype(np.uint8)
        image = Image.fromarray(expected).convert("1")
    elif mode == "I;16":
        image = Image.fromarray(GREY.astype(np.uint16) * 257)
    elif mode == "I":
        image = Image.fromarray(GREY.astype(np.int32) * 257)
    elif mode == "F":
        image = Image.fromarray(GREY.astype(np.float32) / 255)
    elif mode == "CMYK":
        image = Image.merge("CMYK", [Image.fromarray(255 - GREY)] * 3 + [Image.new("L", (3, 2), 0)])
    else:
        image = Image.fromarray(GREY).convert(mode)
    path = save(folder / f"a.{suffix}", image)
    assert open_image(path).mode == mode
    np.testing.assert_array_equal(load_rgb(path), np.repeat(expected[:, :, None], 3, axis=2))


def test_deep_images_keep_their_brightness(folder: Path) -> None:
    """A dark 16-bit image stays dark: nothing is stretched to the range of the image itself."""
    path = save(folder / "dark.png", Image.fromarray(np.full((4, 5), 1000, dtype=np.uint16)))
    assert load_rgb(path).max() == load_rgb(path).min() == 4


@pytest.mark.parametrize(
    ("values", "expected"), [([0, 1], [0, 255]), ([0, 51, 255], [0, 51, 255]), ([0, 65535], [0, 255])]
)
def test_float_images_take_the_smallest_scale(folder: Path, values: list[float], expected: list[int]) -> None:
    path = save(folder / "a.tif", Image.fromarray(np.array([values], dtype=np.float32)))
    assert load_rgb(path)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("value", [-1.0, 70_000.0, float("nan")])
def test_deep_images_out_of_range(folder: Path, value: float) -> None:
    path = save(folder / "a.tif", Image.fromarray(np.array([[0, value]], dtype=np.float32)))
    with pytest.raises(ImageError, match=r"a\.tif: its grey values lie outside of 0\.\.65535 \(mode F\)"):
        load_rgb(path)


def test_grey_with_premultiplied_alpha(folder: Path) -> None:
    path = save(folder / "a.tif", Image.fromarray(GREY).convert("LA"))
    extra_samples = b"\x52\x01\x03\x00\x01\x00\x00\x00"  # the tag that tells what alpha means: 1 is premultiplied
    path.write_bytes(path.read_bytes().replace(extra_samples + b"\x02", extra_samples + b"\x01"))
    assert open_image(path).mode == "La"
    np.testing.assert_array_equal(mask_values(path), GREY)
    np.testing.assert_array_equal(load_rgb(path), np.repeat(GREY[:, :, None], 3, axis=2))


def test_transparent_palette(folder: Path) -> None:
    image = noise().quantize(8)
    path = save(folder / "a.png", image, transparency=bytes([0, 128, 255]))
    np.testing.assert_array_equal(load_rgb(path), np.asarray(image.convert("RGB")))


def test_exif_orientation_is_applied(folder: Path) -> None:
    upright = noise()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to show it upright
    path = save(folder / "a.png", upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    assert open_image(path).size == (60, 40)
    np.testing.assert_array_equal(load_rgb(path), np.asarray(upright))


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated(folder: Path, suffix: str, share: float) -> None:
    path = save(folder / f"broken name.{suffix}", noise())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ImageError, match="truncated") as caught:
        load_rgb(path)
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    assert isinstance(caught.value, HarmoniadError)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_truncated_compressed_tiff(folder: Path) -> None:
    path = save(folder / "a.tif", noise(), compression="tiff_lzw")
    path.write_bytes(path.read_bytes()[:-500])  # the directory stands at the end
    with pytest.raises(ImageError, match=r"a\.tif: the file is (damaged or )?truncated"):
        load_rgb(path)


def test_damaged(folder: Path) -> None:
    path = save(folder / "a.png", noise())
    content = bytearray(path.read_bytes())
    content[500] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ImageError, match="the file is damaged or truncated"):
        load_rgb(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.jpg", b"this is no picture"),
        ("page.png", b"<html></html>"),
        ("drawing.png", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
        ("script.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),  # Pillow would start Ghostscript
    ],
)
def test_no_image(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ImageError, match=r"is not an image \(png, jpg, bmp, tiff or webp\)"):
        load_rgb(folder / name)


def test_formats_are_told_by_content(folder: Path) -> None:
    gif = save(folder / "a.gif", noise()).rename(folder / "a.png")
    with pytest.raises(ImageError, match="is not an image"):
        load_rgb(gif)
    misnamed = save(folder / "b.png", noise()).rename(folder / "b.jpg")
    np.testing.assert_array_equal(load_rgb(misnamed), np.asarray(noise()))


def test_empty(folder: Path) -> None:
    (folder / "a.png").touch()
    with pytest.raises(ImageError, match=r"a\.png: the file is empty"):
        load_rgb(folder / "a.png")


def test_missing(folder: Path) -> None:
    with pytest.raises(ImageError, match=r"a\.png: cannot be read \(No such file or directory\)"):
        load_rgb(folder / "a.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # Pillow warns before it refuses
@pytest.mark.parametrize("side", [10_001, 60_000])
def test_decompression_bomb(folder: Path, side: int) -> None:
    """A few hundred bytes that would become 100 megabytes or more are refused by their header."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path = folder / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    assert side**2 > MAX_PIXELS
    with pytest.raises(ImageError, match=r"bomb\.png: is too large \(more than 100 million pixels\)"):
        load_rgb(path)


def test_a_limit_of_ones_own(folder: Path) -> None:
    content = save(folder / "a.png", noise()).read_bytes()
    assert load_rgb(Path("a"), content, max_pixels=2400).shape == (40, 60, 3)
    with pytest.raises(ImageError, match=r"a: is too large \(more than 0.002399 million pixels\)"):
        load_rgb(Path("a"), content, max_pixels=2399)


@pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000)])
def test_threads_of_pixels(folder: Path, size: tuple[int, int]) -> None:
    path = save(folder / "thread.png", Image.new("L", size))
    told = rf"thread\.png: is too long \({size[0]} × {size[1]}; more than 65535 pixels a side\)"
    with pytest.raises(ImageError, match=told):
        load_rgb(path)
    assert load_rgb(save(folder / "line.png", Image.new("L", (60_000, 1)))).shape == (1, 60_000, 3)


def test_progressive_jpegs_of_thousands_of_scans(folder: Path) -> None:
    """Each scan costs as much as a whole image: 20 KB on disk would take minutes at 100 megapixels."""
    path = save(folder / "a.jpg", noise(), progressive=True)
    content = path.read_bytes()
    assert load_rgb(path).shape == (40, 60, 3)
    scan = content[content.rindex(b"\xff\xda") : -2]
    path.write_bytes(content[:-2] + 200 * scan + b"\xff\xd9")
    with pytest.raises(ImageError, match=r"a\.jpg: is a progressive JPEG of more than 100 scans"):
        load_rgb(path)


def test_chunks_that_unpack_to_hundreds_of_megabytes(folder: Path) -> None:
    path = save(folder / "a.png", noise())
    head, packed = path.read_bytes()[:33], zlib.compress(bytes(100_000_000), 9)
    for name in (b"zTXt", b"iCCP"):
        body = name + b"a\0\0" + packed
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        (folder / "bomb.png").write_bytes(head + chunk + path.read_bytes()[33:])
        with pytest.raises(ImageError, match=r"bomb\.png: the file is damaged or truncated"):
            load_rgb(folder / "bomb.png")


def test_polyglots_are_what_they_begin_with(folder: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("run.py", "print()")
    picture = save(folder / "a.png", noise()).read_bytes()
    np.testing.assert_array_equal(load_rgb(Path("a"), picture + buffer.getvalue()), np.asarray(noise()))
    for content in (buffer.getvalue() + picture, b"%PDF-1.4\n" + picture, b"GIF89a" + picture, buffer.getvalue()):
        with pytest.raises(ImageError, match="a: is not an image"):
            load_rgb(Path("a"), content)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_pipes_and_folders_are_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "a.png")
    for path in (folder / "a.png", folder):
        with pytest.raises(ImageError, match="is not a file"):
            load_rgb(path)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged TIFF files
def test_whatever_bytes_come_it_is_an_array_or_one_line() -> None:
    rng = np.random.default_rng(0)
    formats = [("PNG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}), ("BMP", {}), ("TIFF", {})]
    for number in range(300):
        buffer, (name, options) = io.BytesIO(), formats[number % len(formats)]
        noise(20, 30).save(buffer, name, **options)
        content = bytearray(buffer.getvalue())
        for position in rng.integers(len(content), size=rng.integers(1, 20)):
            content[position] = rng.integers(256)
        try:
            assert load_rgb(Path("a"), bytes(content)).ndim == 3
        except ImageError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_mask_is_whatever_is_not_black(folder: Path, mode: str) -> None:
    expected = np.array([[False, True, False], [True, False, False]])
    if mode == "I;16":
        image = Image.fromarray(expected.astype(np.uint16))  # 1 of 65535 is a defect too
    else:
        image = Image.fromarray(np.where(expected, 255, 0).astype(np.uint8)).convert(mode)
    path = save(folder / "mask.png", image)
    mask = mask_values(path) != 0
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, expected)


def test_faint_mask_values_count(folder: Path) -> None:
    path = save(folder / "mask.png", Image.fromarray(np.array([[0, 1, 7, 255]], dtype=np.uint8)))
    assert mask_values(path).tolist() == [[0, 1, 7, 255]]


def test_palette_mask(folder: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8))
    image.putpalette([0, 0, 0, 128, 0, 0])
    assert (mask_values(save(folder / "mask.png", image)) != 0).tolist() == [[False, True], [True, False]]


def test_broken_mask_names_itself(folder: Path) -> None:
    (folder / "mask.png").write_text("nothing")
    with pytest.raises(ImageError, match=r"mask\.png: is not an image"):
        mask_values(folder / "mask.png")


def test_deep_tiff_with_separate_planes_is_refused(folder: Path) -> None:
    """Pillow reads it without an error, but wrongly."""
    numbers = {256: 2, 257: 1, 258: 16, 259: 1, 262: 2, 273: 122, 277: 3, 278: 1, 279: 12, 284: 2}
    entries = b"".join(struct.pack("<HHII", tag, 3, 3 if tag == 258 else 1, value) for tag, value in numbers.items())
    entries = entries.replace(struct.pack("<HHII", 258, 3, 3, 16), struct.pack("<HHII", 258, 3, 3, 134))
    directory = struct.pack("<H", len(numbers)) + entries + bytes(4)
    header = b"II*\0" + struct.pack("<I", 8)
    pixels, bits = bytes(range(12)), struct.pack("<HHH", 16, 16, 16)
    content = (header + directory).ljust(122, b"\0") + bytes(12 - len(pixels)) + pixels
    (folder / "a.tif").write_bytes(content.ljust(134, b"\0")[:134] + bits)
    with pytest.raises(ImageError, match=r"a\.tif: is a TIFF of more than 8 bits with separate planes of colour"):
        load_rgb(folder / "a.tif")


def test_tiff_of_a_kind_that_cannot_be_read(folder: Path) -> None:
    path = save(folder / "a.tif", Image.fromarray(np.zeros((4, 5), np.float32)))
    path.write_bytes(
        path.read_bytes().replace(struct.pack("<HHII", 258, 3, 1, 32), struct.pack("<HHII", 258, 3, 1, 24))
    )
    with pytest.raises(
        ImageError, match=r"a\.tif: the file is damaged or truncated, or a TIFF of a kind that cannot be"
    ):
        load_rgb(path)
