"""Text that comes from folder and file names, made safe for one line of a picture, a table or a terminal."""

import unicodedata
from collections.abc import Sequence


def one_line(text: str) -> str:
    """Join all white space to single blanks and replace what cannot be printed, such as a terminal's escape codes."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split()))


def columns(text: str) -> int:
    """How many columns of a terminal the text takes: wide letters such as Chinese take two, accents none."""
    return sum(_columns_of(letter) for letter in text)


def padded(text: str, width: int) -> str:
    """The text with blanks behind it, up to so many columns."""
    return text + " " * (width - columns(text))


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Cells below one another, for a terminal."""
    widths = [max(map(columns, cells)) for cells in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(padded, row, widths)).rstrip() for row in rows)


def _columns_of(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
