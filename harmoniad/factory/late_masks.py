"""Masks that come after their images: somebody draws them later."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harmoniad.data.layouts.mask_files import MASK
from harmoniad.data.layouts.record import Record
from harmoniad.data.measure import Row, measure_all
from harmoniad.factory.inbox import LooseMask
from harmoniad.factory.inspection import by_itself, may_still_come
from harmoniad.factory.journal import Entry, Move
from harmoniad.factory.listings import list_of
from harmoniad.factory.places import Target
from harmoniad.factory.quarantine import quarantine
from harmoniad.files import sha256_file
from harmoniad.params import Params
from harmoniad.stages.prepare import row_of

if TYPE_CHECKING:
    from harmoniad.factory.ingest import Report

_HASH = re.compile(r"-[0-9a-f]{16}$")  # what `new_name` adds
_WAITS = "its image has not come yet"


def match_late_masks(
    masks: Sequence[LooseMask], targets: Mapping[str, Target], params: Params, report: "Report"
) -> list[Entry]:
    """The way of masks to images that came before; a mask without an image waits."""
    groups: dict[tuple[str, str, str, str], list[Path]] = {}
    for mask in masks:
        groups.setdefault((mask.data_set, mask.category, mask.defect, _stem_of_image(mask)), []).append(mask.path)
    entries = []
    for (name, category, kind, stem), paths in groups.items():
        target = targets[name]
        found = [
            record
            for record in target.records
            if (record.category, record.label) == (category, "defect")
            and record.defect in (kind, "anomaly")
            and _HASH.sub("", record.path.stem) == stem
        ]
        if len(found) != 1 or list_of(target.root) is not None:
            report.waiting |= {path.as_posix(): _WAITS for path in paths}
            continue
        (record,) = found
        (measured,) = measure_all([replace(record, masks=tuple(paths))], "ingest")
        fresh = may_still_come(str(measured["problem"]), paths, params.ingest)
        if fresh:
            report.waiting |= {path.as_posix(): fresh for path in paths}
            continue
        if reasons := _reasons(record, tuple(paths), measured, params):
            report.quarantined[paths[0].as_posix()] = reasons
            entries.append(quarantine(paths, reasons))
            continue
        goals = target.mask_places(category, kind, record.path.stem, tuple(paths))
        moves = [Move(str(path), sha256_file(path), str(goal)) for path, goal in zip(paths, goals, strict=True)]
        report.masks += len(moves)
        entries.append(Entry("take", moves))
    return entries


def _stem_of_image(mask: LooseMask) -> str:
    """The stem of the image that a mask is named after, see `MaskFiles`."""
    if mask.path.parent.name != mask.defect:
        return mask.path.parent.name
    match = MASK.fullmatch(mask.path.stem)
    return match["stem"] if match else Path(mask.path.stem).stem


def _reasons(record: Record, masks: tuple[Path, ...], measured: Row, params: Params) -> list[str]:
    """Why masks cannot be those of an image."""
    if record.masks:
        return [f"{record.path.as_posix()} has a mask already"]
    if measured["problem"]:
        return [str(measured["problem"])]
    severity = params.validate_.severity.model_dump()
    found = by_itself(row_of(replace(record, masks=masks), "", measured), params.validate_)
    return [text for check, text in found if check.startswith("mask") and severity[check] == "error"]
