"""Masks of all kinds: what they mark, lined up with their image, and the regions that sPRO counts."""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from harmoniad.data.images import ImageError, load_rgb
from harmoniad.data.layouts.mask_files import MaskFiles
from harmoniad.data.layouts.record import Record
from harmoniad.data.masks import join_masks, read_mask, read_regions
from harmoniad.data.measure import measure
from harmoniad.data.saturation import Saturation, parse, rule_for

HEIGHT, WIDTH = 20, 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "with space ü"
    folder.mkdir()
    return folder


def marked() -> NDArray[np.uint8]:
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[2:6, 3:14] = 255
    return pixels


def save(path: Path, pixels: NDArray[Any], **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def save_turned(path: Path, pixels: NDArray[np.uint8], orientation: int) -> Path:
    """Save pixels as they are stored, with the EXIF tag that says how they are to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(path, pixels, exif=exif, **({"lossless": True} if path.suffix == ".webp" else {}))


def row_of(image: Path, *masks: Path, saturation: Sequence[Saturation] = ()) -> dict[str, Any]:
    """The row of the manifest as far as masks are concerned."""
    record = Record(image, "gear", "test", "defect", "bent", masks, saturation=tuple(saturation))
    return {**measure(record), "path": image.as_posix(), "mask": join_masks(masks)}


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_mask_of_a_turned_image_lines_up(folder: Path, orientation: int, suffix: str) -> None:
    image = save_turned(folder / f"0.{suffix}", marked(), orientation)
    upright = load_rgb(image)[:, :, 0] > 127
    assert upright.sum() == pytest.approx((marked() > 0).sum(), abs=3)
    masks = [
        save(folder / "upright.png", upright.astype(np.uint8)),
        save_turned(folder / "same tag.png", marked(), orientation),
    ]
    if orientation in (1, 5, 6, 7, 8):  # the others have the same size when turned: such a mask counts as upright
        masks.append(save(folder / "as stored.png", marked()))
    for mask in masks:
        row = row_of(image, mask)
        assert (row["problem"], row["mask_width"], row["mask_height"]) == ("", row["width"], row["height"])
        assert read_mask(row).shape == upright.shape
        assert (read_mask(row) != upright).sum() <= 3  # pixels at the edge, in a JPEG


def test_polygons_of_a_turned_image_line_up(folder: Path) -> None:
    image = save_turned(folder / "0.png", marked(), 6)
    shape = {"label": "dent", "shape_type": "rectangle", "points": [[3, 2], [13, 5]]}
    polygons = folder / "0.json"
    polygons.write_text(json.dumps({"shapes": [shape], "imageWidth": WIDTH, "imageHeight": HEIGHT}))
    np.testing.assert_array_equal(read_mask(row_of(image, polygons)), load_rgb(image)[:, :, 0] > 127)


@pytest.mark.parametrize(
    ("pixels", "mode"),
    [
        (marked() // 255, None),
        (marked(), None),
        (marked() // 3, None),
        (marked().astype(np.uint16) * 7, None),
        (marked() > 0, None),
        (np.stack([marked() // 255, *[np.zeros_like(marked())] * 2], axis=2), None),
        (np.dstack([np.full((HEIGHT, WIDTH, 3), 255, np.uint8), marked()]), None),  # white all over, but transparent
        (marked(), "P"),
        (marked(), "LA"),
    ],
)
def test_masks_of_all_kinds_of_values(folder: Path, pixels: NDArray[Any], mode: str | None) -> None:
    image = save(folder / "0.png", marked())
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(folder / "0_mask.png")
    row = row_of(image, folder / "0_mask.png")
    np.testing.assert_array_equal(read_mask(row), marked() > 0)
    assert (row["mask_area"], row["mask_values"], row["saturation"]) == (44, 2, "")


def test_grey_values_are_counted(folder: Path) -> None:
    image, shades = save(folder / "0.png", marked()), marked()
    shades[2, 3:6] = (1, 2, 3)
    assert row_of(image, save(folder / "m.png", shades))["mask_values"] == 5


def test_several_masks(folder: Path) -> None:
    image, other = save(folder / "0.png", marked()), np.zeros((HEIGHT, WIDTH), np.uint8)
    other[5:8, 13:20] = 1
    masks = [save(folder / "a.png", marked()), save(folder / "b.png", other)]
    row = row_of(image, *masks)
    np.testing.assert_array_equal(read_mask(row), (marked() > 0) | (other > 0))
    assert row["mask_area"] == 44 + 21 - 1
    assert (
        row["mask_sha256"] != row_of(image, *reversed(masks))["mask_sha256"] != row_of(image, masks[0])["mask_sha256"]
    )
    ((region, area),) = read_regions(row)  # they touch
    assert region.sum() == area == 64
    save(folder / "b.png", other[:-1])
    assert (
        row_of(image, *masks)["problem"] == f"its mask {folder / 'b.png'}: differs in size from the image's other masks"
    )


def test_regions_without_saturation_are_pieces_that_touch_at_corners(folder: Path) -> None:
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[0, 0] = pixels[1, 1] = pixels[4, 4] = 255
    row = row_of(save(folder / "0.png", marked()), save(folder / "m.png", pixels))
    assert [(np.argwhere(region).tolist(), area) for region, area in read_regions(row)] == [
        ([[0, 0], [1, 1]], 2),
        ([[4, 4]], 1),
    ]


def test_regions_with_saturation(folder: Path) -> None:
    image, halves = save(folder / "0.png", marked()), marked()
    halves[4] = 0  # in two pieces, but one region
    mask, empty = save(folder / "a.png", halves), save(folder / "b.png", halves * 0)
    row = row_of(image, mask, empty, saturation=[Saturation(0.5, relative=True), Saturation(7)])
    ((region, area),) = read_regions(row)
    assert (int(region.sum()), area) == (33, 16)
    by_grey = [Saturation(20, grey=254), Saturation(10, grey=255)]
    assert row_of(image, mask, saturation=by_grey)["saturation"] == "10"
    assert row_of(image, mask, saturation=by_grey[:1])["problem"] == (
        f"its mask {mask}: no saturation area is given for its grey value 255"
    )
    halves[2, 3] = 254
    save(mask, halves)
    assert row_of(image, mask, saturation=by_grey)["problem"] == (
        f"its mask {mask}: marks with 2 grey values; the mask of a region has one"
    )


@pytest.mark.parametrize(
    ("rule", "defect_area", "area"),
    [(Saturation(100), 240, 100), (Saturation(6300), 240, 240), (Saturation(0.5, True), 55, 27), (Saturation(1), 0, 1)],
)
def test_saturation_area_by_hand(rule: Saturation, defect_area: int, area: int) -> None:
    assert rule.area(defect_area) == area


NUMBERS = st.integers(1, 10**7).map(float) | st.floats(0.001, 1e6)
RULES = st.builds(Saturation, NUMBERS, st.just(False), st.none() | st.integers(1, 255)) | st.builds(
    Saturation, st.floats(1e-6, 1), st.just(True), st.none() | st.integers(1, 255)
)


@settings(max_examples=50, deadline=None)
@given(RULES)
def test_saturation_reads_back(rule: Saturation) -> None:
    assert parse(str(rule)) == rule


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "0%", "101%", "5 px", "=5", "1e3", "nan"])
def test_saturation_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no saturation area"):
        parse(text)


def test_saturation_is_written_plainly() -> None:
    rules = [Saturation(6300), Saturation(0.5, True), Saturation(0.07, True, 254), Saturation(1.0, True)]
    assert [str(rule) for rule in rules] == ["6300", "50%", "254=7%", "100%"]
    assert rule_for(rules[:1], 3, 255) == rules[0]
    assert rule_for(rules[:2], 1, 255) == rules[1]


def draw(folder: Path, *shapes: dict[str, Any], **content: Any) -> NDArray[np.bool_]:
    path = folder / "0.json"
    size = {"imageWidth": 12, "imageHeight": 10}
    path.write_text(json.dumps({"version": "5.5.0", "shapes": shapes, **size, **content}))
    image = save(folder / "0.png", np.zeros((10, 12), np.uint8))
    row = row_of(image, path)
    if row["problem"]:
        raise ImageError(path, str(row["problem"]))
    return read_mask(row)


def box(rows: slice, columns: slice) -> NDArray[np.bool_]:
    pixels = np.zeros((10, 12), bool)
    pixels[rows, columns] = True
    return pixels


def test_labelme_shapes(folder: Path) -> None:
    square = box(slice(2, 6), slice(3, 8))
    corners = [[3, 2], [7, 2], [7, 5], [3, 5]]
    np.testing.assert_array_equal(draw(folder, {"label": "a", "points": corners}), square)  # a polygon by default
    rectangle = {"label": "a", "shape_type": "rectangle", "points": [[7, 5], [3, 2]]}
    np.testing.assert_array_equal(draw(folder, rectangle), square)
    np.testing.assert_array_equal(draw(folder, rectangle, imageWidth=None, imageHeight=None), square)
    np.testing.assert_array_equal(draw(folder, rectangle | {"label": "_background_"}), square & False)
    circle = draw(folder, {"label": "a", "shape_type": "circle", "points": [[5, 5], [5, 8]]})
    rows, columns = np.indices(circle.shape)
    np.testing.assert_array_equal(circle, (rows - 5) ** 2 + (columns - 5) ** 2 <= 3.3**2)
    assert draw(folder, {"label": "a", "shape_type": "point", "points": [[5, 5]]}).sum() > 70
    line = draw(folder, {"label": "a", "shape_type": "line", "points": [[0, 5], [11, 5]]})
    assert line.all(axis=1).tolist() == [False, *[True] * 9]  # ten pixels wide, of which one lies below the image
    content = io.BytesIO()
    Image.fromarray(np.array([[255, 0], [255, 255]], np.uint8)).convert("1").save(content, "PNG")
    piece = {"label": "a", "shape_type": "mask", "points": [[4, 1], [5, 2]]}
    piece["mask"] = base64.b64encode(content.getvalue()).decode()
    assert np.argwhere(draw(folder, piece)).tolist() == [[1, 4], [2, 4], [2, 5]]


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ({"points": [[1, 1]]}, r"shape 1 cannot be drawn: a polygon needs 3 points, not 1"),
        ({"points": [[1, 1]], "shape_type": "spiral"}, r"the kind `spiral` is not one of polygon, rectangle"),
        ({"points": [[1, 1], [float("nan"), 2], [2, 2]]}, r"a point is not finite"),
        ({"points": "x"}, r"shape 1 cannot be drawn"),
        ({"points": [[1]]}, r"shape 1 cannot be drawn"),
        ({}, r"shape 1 cannot be drawn: it is damaged"),
        ({"points": [[1, 1]], "shape_type": "mask", "mask": "no base64"}, r"shape 1 cannot be drawn"),
    ],
)
def test_labelme_shapes_that_are_wrong(folder: Path, shape: dict[str, Any], reason: str) -> None:
    with pytest.raises(ImageError, match=rf"its mask .*0\.json: .*{reason}"):
        draw(folder, shape)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not JSON"),
        ("[]", "it has no `shapes`"),
        ('{"shapes": 3}', "it has no `shapes`"),
        ("[" * 99999, "JSON"),
    ],
)
def test_json_that_is_not_labelmes(folder: Path, content: str, reason: str) -> None:
    (folder / "m.json").write_text(content)
    row = row_of(save(folder / "0.png", marked()), folder / "m.json")
    assert reason in row["problem"]


@pytest.mark.parametrize("size", [{"imageWidth": 10**6, "imageHeight": 10**6}, {"imageWidth": -1}, {"imageWidth": "x"}])
def test_labelme_with_an_impossible_size(folder: Path, size: dict[str, Any]) -> None:
    with pytest.raises(ImageError, match="`imageWidth` and `imageHeight` are no size"):
        draw(folder, {"label": "a", "points": [[1, 1], [2, 2], [3, 1]]}, **size)


def test_which_masks_belong_to_an_image(folder: Path) -> None:
    masks = folder / "masks"
    (masks / "000").mkdir(parents=True)
    for name in ("000/1.png", "000/0.png", "000_mask.png", "001_mask_2.png", "001_mask_1.png", "001.png", "002.bmp"):
        save(masks / name, marked())
    for name in ("002.png", "003.jpg.png", "004_mask.tif"):
        save(masks / name, marked())
    (masks / "005.json").write_text("{}")
    (folder / "006.json").write_text('{"shapes": []}')
    (folder / "007.json").write_text('{"exposure": 3}')
    found = MaskFiles(masks)
    names = [
        "000.png",
        "001.png",
        "002.bmp",
        "002.png",
        "003.jpg",
        "004.png",
        "005.png",
        "006.png",
        "007.png",
        "008.png",
    ]
    assert {name: [path.relative_to(folder).as_posix() for path in found.of(folder / name)] for name in names} == {
        "000.png": ["masks/000/0.png", "masks/000/1.png"],
        "001.png": ["masks/001_mask_1.png", "masks/001_mask_2.png"],
        "002.bmp": ["masks/002.bmp"],
        "002.png": ["masks/002.png"],
        "003.jpg": ["masks/003.jpg.png"],
        "004.png": ["masks/004_mask.tif"],
        "005.png": ["masks/005.json"],
        "006.png": ["006.json"],
        "007.png": [],
        "008.png": [],
    }
    assert MaskFiles(None).of(folder / "000.png") == MaskFiles(folder / "none").of(folder / "000.png") == ()
