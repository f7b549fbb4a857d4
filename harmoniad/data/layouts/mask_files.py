"""Which masks belong to an image: matched by the stem of its name, whatever their suffix."""

import re
from collections import defaultdict
from pathlib import Path

from harmoniad.data.layouts.record import check_characters, is_junk, list_images, sub_folders

MASK = re.compile(r"(?P<stem>.+)_mask(?:_?\d+)?")


class MaskFiles:
    """The masks of one folder, listed once."""

    def __init__(self, folder: Path | None) -> None:
        """List `folder`; None or a folder that does not exist has no masks."""
        self._marked: defaultdict[str, list[Path]] = defaultdict(list)
        self._plain: dict[str, Path] = {}
        self._polygons: dict[str, Path] = {}
        self._folders: dict[str, Path] = {}
        if folder is None or not folder.is_dir():
            return
        for path in list_images(folder):
            match = MASK.fullmatch(path.stem)
            if match:
                self._marked[match["stem"]].append(path)
            self._plain[path.stem] = path
            self._plain[path.name] = path
        for path in sorted(folder.glob("*.json")):
            if not is_junk(path.name):
                check_characters(path)
                self._polygons[path.stem] = path
        self._folders = {path.name: path for path in sub_folders(folder)}

    def of(self, image: Path) -> tuple[Path, ...]:
        """The masks of an image: the first that there is, for an image `000.png`, of

        * all images in the folder `000`,
        * `000_mask.png`, `000_mask_1.png`, `000_mask_2.png` and so on,
        * `000.png`, with any suffix,
        * labelme's polygons `000.json`, here or beside the image.
        """
        if image.stem in self._folders:
            inside = list_images(self._folders[image.stem])
            if inside:
                return tuple(inside)
        if image.stem in self._marked:
            return tuple(self._marked[image.stem])
        # 000.bmp and 000.png may be two images with a mask each; some tools name a mask 000.bmp.png.
        for found in (self._plain, self._polygons):
            for key in (image.name, image.stem):
                if key in found:
                    return (found[key],)
        beside = image.with_suffix(".json")
        return (beside,) if _is_labelme(beside) else ()


def _is_labelme(path: Path) -> bool:
    return path.is_file() and b'"shapes"' in path.read_bytes()
