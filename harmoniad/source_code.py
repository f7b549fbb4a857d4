"""Hashes of the package's own source code, by which kept figures know that the code behind them has changed."""

import hashlib
import re
from pathlib import Path

PACKAGE = Path(__file__).parent
_IMPORTED_FOLDER = re.compile(r"harmoniad\.models\.(\w+)\.")


def code_of(*parts: str) -> str:
    """Hash of source files and folders of the package, by their paths inside it."""
    digest = hashlib.sha256()
    for part in parts:
        place = PACKAGE / part
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def code_of_detector(name: str) -> tuple[str, ...]:
    """The files and folders that decide what a detector does; work on another detector is none of its business."""
    folders, waiting = set(), {name}
    while waiting:
        folder = waiting.pop()
        folders.add(folder)
        texts = [file.read_text(encoding="utf-8") for file in (PACKAGE / "models" / folder).rglob("*.py")]
        waiting |= {found for text in texts for found in _IMPORTED_FOLDER.findall(text)} - folders
    shared = [file.relative_to(PACKAGE).as_posix() for file in (PACKAGE / "models").glob("*.py")]
    return *sorted(shared), *(
        f"models/{folder}" for folder in sorted(folders) if (PACKAGE / "models" / folder).is_dir()
    )
