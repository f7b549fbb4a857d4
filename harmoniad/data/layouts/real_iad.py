"""The layout of Real-IAD (Wang et al., CVPR 2024): every part is seen by five cameras.

`realiad_1024/<category>/{OK,NG/<defect>}/<part>/*_C<camera>_*.jpg`, with masks as PNG beside them, and a JSON file a
category, `realiad_jsons/<category>.json` or `realiad_jsons/realiad_jsons/<category>.json`, which tells split, defect
and mask of each image. Of several sizes of the images the largest is taken. Of several splits, that is, folders of JSON
files, the one is taken that is called `realiad_jsons`; leave just the wanted one there for another.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from harmoniad.data.layouts.record import Label, Record, check_label, is_junk, listed_file, sub_folders
from harmoniad.errors import HarmoniadError

EXPECTED = "realiad_jsons/CATEGORY.json and realiad_1024/CATEGORY/OK/S0001/*_C1_*.jpg"

_BASE_SPLIT = "realiad_jsons"
_SIZE = re.compile(r"realiad_(\d+|raw)")
_VIEW = re.compile(r"_(C\d+)_")


def is_category(folder: Path) -> bool:
    """Never: one JSON file stands for a category, beside the folders of images."""
    return False


def detect(root: Path) -> bool:
    """Whether `root` holds JSON files of splits and images of one of their categories."""
    return bool(_split_files(root))


def train_folder(category: Path) -> Path:
    """`OK`."""
    return _image_root(category.parent) / category.name / "OK"


def read(root: Path, category: str | None = None) -> Iterator[Record]:
    """Yield the images of all categories below `root` that were downloaded, or of the one that is named.

    Raises:
        HarmoniadError: A JSON file is not what it should be, or names files that are missing.
    """
    for path in _split_files(root):
        if category in (None, path.stem):
            yield from _read_category(path, _image_root(root) / path.stem)


def _split_files(root: Path) -> list[Path]:
    """The JSON files of the chosen split, of those categories whose images are here."""
    images = _image_root(root)
    tops = [folder for folder in sub_folders(root) if "json" in folder.name.lower()]
    folders = [root, *tops, *(inner for folder in tops for inner in sub_folders(folder))]
    folders.sort(key=lambda folder: (folder.name != _BASE_SPLIT, len(folder.parts), folder.name))
    for folder in folders:
        files = sorted(path for path in folder.glob("*.json") if not is_junk(path.name))
        found = [path for path in files if (images / path.stem).is_dir() and _holds_split(path)]
        if found:
            return found
    return []


def _holds_split(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(4096)
    return b'"meta"' in start or b'"train"' in start


def _image_root(root: Path) -> Path:
    sizes = [(match[1], folder) for folder in sub_folders(root) if (match := _SIZE.fullmatch(folder.name))]
    if not sizes:
        return root
    return max(sizes, key=lambda size: float("inf") if size[0] == "raw" else int(size[0]))[1]


def _read_category(path: Path, images: Path) -> Iterator[Record]:
    content = _read_json(path)
    normal = content["meta"].get("normal_class", "OK")
    parts: tuple[Literal["train", "test"], ...] = ("train", "test")
    for part in parts:
        for number, sample in enumerate(content[part]):
            where = f"{path}, {part}[{number}]"
            try:
                name, kind, mask = sample["image_path"], sample["anomaly_class"], sample.get("mask_path")
            except (TypeError, KeyError, AttributeError) as error:
                raise HarmoniadError(f"{where}: must have image_path and anomaly_class.") from error
            check_label(kind)
            image, view = listed_file(images, name, where), _VIEW.search(Path(name).name)
            masks = (listed_file(images, mask, where),) if mask and kind != normal else ()
            label: Label = "good" if kind == normal else "defect"
            defect = "good" if kind == normal else kind
            yield Record(image, path.stem, part, label, defect, masks, view[1] if view else "")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise HarmoniadError(f"{path}: not valid JSON ({error}).") from error
    if not (
        isinstance(content, dict)
        and isinstance(content.get("meta"), dict)
        and all(isinstance(content.get(part), list) for part in ("train", "test"))
    ):
        raise HarmoniadError(f"{path}: must have `meta`, `train` and `test`, as the files of Real-IAD do.")
    return content
