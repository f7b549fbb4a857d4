"""Which images the pipeline has not seen yet."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass

from harmoniad.data.layouts import layout_named
from harmoniad.data.layouts.record import Record
from harmoniad.data.manifest import manifest_file
from harmoniad.data.sets import DATA_DIR, layout_name_of
from harmoniad.errors import HarmoniadError


@dataclass(frozen=True)
class News:
    """An image that is in a data set, but not in the manifest of the last run."""

    data_set: str
    record: Record


def news_of(data_sets: Sequence[str]) -> list[News]:
    """The images of some data sets that the last run did not see, however they came in; no image is opened.

    A set that is not here or has no known layout has none: `prepare` says what is wrong with it.
    """
    found = []
    for name in sorted(set(data_sets)):
        known = _known(name)
        try:
            records = list(layout_named(layout_name_of(DATA_DIR / name)).read(DATA_DIR / name))
        except HarmoniadError:
            continue
        found += [News(name, record) for record in records if record.path.as_posix() not in known]
    return found


def _known(data_set: str) -> set[str]:
    """The paths in the manifest; read without pandas, since this happens in every run."""
    file = manifest_file(data_set)
    if not file.is_file():
        return set()
    with file.open(encoding="utf-8", newline="") as lines:
        return {line.get("path", "") for line in csv.DictReader(lines)}
