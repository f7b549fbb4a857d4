"""The masks of an image of the manifest, upright as the image: their union, and the regions that sPRO counts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoniad.data.images import ImageError, mask_values, turn_as
from harmoniad.data.layouts.record import Record
from harmoniad.data.polygons import polygon_mask
from harmoniad.data.saturation import rule_for
from harmoniad.errors import HarmoniadError
from harmoniad.files import sha256_file, sha256_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEPARATOR = "|"
"""Between the masks of one image in a manifest."""


def join_masks(masks: Sequence[Path]) -> str:
    """Several paths as the column `mask` of a manifest holds them."""
    return SEPARATOR.join(path.as_posix() for path in masks)


def read_mask(row: Mapping[Any, Any]) -> "NDArray[np.bool_]":
    """The defective pixels of an image (H, W): every pixel that is not black in any of its masks.

    Args:
        row: Of a manifest, with at least one mask.

    Raises:
        ImageError: A mask cannot be decoded, or two differ in size.
    """
    return _union(_decode(row))


def read_regions(row: Mapping[Any, Any]) -> "list[tuple[NDArray[np.bool_], int]]":
    """The defective regions of an image with their saturation areas, for sPRO.

    A region is what one mask marks, be it in one piece or not, where the data set brings saturation areas (MVTec LOCO);
    elsewhere it is an 8-connected piece, and its saturation area is its own: sPRO is then PRO.

    Args:
        row: Of a manifest.

    Returns:
        For each region (H, W) bool at the image's own size, and the saturation area in pixels of that size; none for an
        image without masks, be it good or not.

    Raises:
        ImageError: See `read_mask`.
    """
    import numpy as np
    from scipy import ndimage

    if not row["mask"]:
        return []
    masks = [values != 0 for values in _decode(row)]
    if row["saturation"]:
        areas = [int(area) for area in row["saturation"].split(SEPARATOR)]
        return [(mask, area) for mask, area in zip(masks, areas, strict=True) if mask.any()]
    pieces, count = ndimage.label(_union(masks), structure=np.ones((3, 3)))
    regions = [pieces == number for number in range(1, count + 1)]
    return [(region, int(region.sum())) for region in regions]


def digest(record: Record) -> str:
    """A hash of what the masks of a record mark and of their saturation areas.

    Raises:
        HarmoniadError: A mask cannot be read at all.
    """
    try:
        files = [sha256_file(path) for path in record.masks]
    except OSError as error:
        raise HarmoniadError(f"{error.filename}: cannot be read ({error.strerror or error}).") from error
    if len(files) == 1 and not record.saturation:
        return files[0]
    return sha256_json([files, [str(rule) for rule in record.saturation]])


def measure_masks(record: Record, width: int, height: int) -> dict[str, str | int]:
    """Measure the masks of a record: their columns of the manifest but for the hash.

    Args:
        record: With at least one mask.
        width: Of the upright image; 0 if it is not known.
        height: The same.

    Raises:
        ImageError: A mask cannot be decoded, two differ in size, or one has no saturation area.
    """
    import numpy as np

    row = {"path": record.path, "width": width, "height": height, "mask": join_masks(record.masks)}
    masks = _decode(row)
    union = _union(masks)
    greys = [np.unique(values) for values in masks]
    return {
        "mask_width": union.shape[1],
        "mask_height": union.shape[0],
        "mask_area": int(np.count_nonzero(union)),
        "mask_values": max(len(values) for values in greys),
        "saturation": SEPARATOR.join(map(str, _saturation_areas(record, masks, greys))) if record.saturation else "",
    }


def _saturation_areas(record: Record, masks: "Sequence[NDArray[Any]]", greys: "Sequence[NDArray[Any]]") -> list[int]:
    import numpy as np

    areas = []
    for position, (path, mask, values) in enumerate(zip(record.masks, masks, greys, strict=True)):
        marked = [int(value) for value in values if value]
        by_grey = any(rule.grey is not None for rule in record.saturation)
        if by_grey and len(marked) > 1:
            raise ImageError(path, f"marks with {len(marked)} grey values; the mask of a region has one")
        rule = rule_for(record.saturation, position, marked[0] if marked else 0)
        if rule is None and marked:
            raise ImageError(path, f"no saturation area is given for its grey value {marked[0]}")
        areas.append(rule.area(int(np.count_nonzero(mask))) if rule else 1)
    return areas


def _decode(row: Mapping[Any, Any]) -> "list[NDArray[Any]]":
    """Each mask as (H, W) grey values, turned as its image where it was drawn on the pixels as they are stored.

    A mask of the size that the image has when it is shown upright is taken as it is.
    """
    upright = (int(row["width"]), int(row["height"]))
    masks: list[NDArray[Any]] = []
    for path in map(Path, row["mask"].split(SEPARATOR)):
        values = polygon_mask(path, upright) if path.suffix.lower() == ".json" else mask_values(path)
        if values.shape != upright[::-1] and values.shape == upright:
            values = turn_as(values, Path(row["path"]))
        if masks and values.shape != masks[0].shape:
            raise ImageError(path, "differs in size from the image's other masks")
        masks.append(values)
    return masks


def _union(masks: "Sequence[NDArray[Any]]") -> "NDArray[np.bool_]":
    import numpy as np

    union = masks[0] != 0
    for values in masks[1:]:
        union |= values != 0
    return np.asarray(union)
