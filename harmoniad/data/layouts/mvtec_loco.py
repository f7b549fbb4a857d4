"""The layout of MVTec LOCO AD (Bergmann et al., IJCV 2022): structural and logical anomalies.

`<category>/train/good/*`, `<category>/validation/good/*`, `<category>/test/<good or kind>/*`, where the kinds are
`structural_anomalies` and `logical_anomalies`, and `<category>/ground_truth/<kind>/<stem>/*.png`, one mask a region,
whose grey value names its entry in `<category>/defects_config.json`: from how many found pixels on it is found.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harmoniad.data.layouts import mvtec
from harmoniad.data.layouts.record import Record, sub_folders
from harmoniad.data.saturation import Saturation
from harmoniad.errors import HarmoniadError

EXPECTED = (
    "CATEGORY/defects_config.json, CATEGORY/train/good/*.png, CATEGORY/validation/good/*.png, "
    "CATEGORY/test/logical_anomalies/*.png and CATEGORY/ground_truth/logical_anomalies/000/*.png"
)

_GROUPS = {"structural_anomalies": "structural", "logical_anomalies": "logical"}
_CONFIG = "defects_config.json"

train_folder = mvtec.train_folder


def is_category(folder: Path) -> bool:
    """Whether the folder holds `defects_config.json` or tests of structural or logical anomalies."""
    return mvtec.is_category(folder) and (
        (folder / _CONFIG).is_file() or any((folder / "test" / kind).is_dir() for kind in _GROUPS)
    )


def detect(root: Path) -> bool:
    """Whether a folder in `root` is a category."""
    return any(is_category(folder) for folder in sub_folders(root))


def read(root: Path, category: str | None = None) -> Iterator[Record]:
    """Yield the images of all categories below `root`, or of the one that is named.

    Raises:
        HarmoniadError: A `defects_config.json` is not what it should be.
    """
    folders = [root / category] if category else sub_folders(root)
    for folder in filter(is_category, folders):
        rules = _read_config(folder / _CONFIG)
        for record in mvtec.read(root, folder.name):
            yield dataclasses.replace(
                record, group=_GROUPS.get(record.defect, ""), saturation=rules if record.masks else ()
            )


def _read_config(path: Path) -> tuple[Saturation, ...]:
    """A rule for each grey value; none if there is no such file: then sPRO is PRO."""
    if not path.is_file():
        return ()
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(entries, list):
            raise TypeError
        return tuple(map(_rule, entries))
    except (ValueError, TypeError, KeyError) as error:
        raise HarmoniadError(
            f"{path}: must be a list of objects with `pixel_value` (1 to 255), `saturation_threshold` and "
            "`relative_saturation`."
        ) from error


def _rule(entry: dict[str, Any]) -> Saturation:
    grey, threshold, relative = entry["pixel_value"], entry["saturation_threshold"], entry["relative_saturation"]
    if not (
        1 <= int(grey) <= 255 and threshold > 0 and isinstance(relative, bool) and (not relative or threshold <= 1)
    ):
        raise ValueError
    return Saturation(threshold, relative, int(grey))
