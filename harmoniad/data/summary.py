"""What the user is told of a data set that was added."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harmoniad.data.layouts.record import Record, is_image_name


def summary(name: str, layout: str, records: Sequence[Record], files: Sequence[Path]) -> str:
    """What was added and what to do next, in lines.

    Args:
        name: Of the data set.
        layout: In which it was read.
        records: What was read.
        files: All files of the folder that it came from, where it is no manifest.
    """
    categories = sorted({record.category for record in records})
    defects = sum(record.label == "defect" for record in records)
    masks = {mask for record in records for mask in record.masks}
    lines = [
        f"added data/{name} (layout {layout}): {len(records) - defects} good images, {defects} with defects, "
        f"{len(masks)} masks; categories {', '.join(categories)}.",
        f"Next: put {name} into `sets` under `data` in params.yaml, run `dvc repro`, then "
        f"`git add data/{name}.dvc data/.gitignore params.yaml dvc.lock` and `git commit`.",
    ]
    lines[1:1] = _peculiarities(records)
    others = sorted({path for path in files if is_image_name(path.name)} - masks - {record.path for record in records})
    if others:
        lines.insert(-1, f"note: {len(others)} image files have no place in the layout, such as {others[0]}.")
    return "\n".join(lines)


def _peculiarities(records: Sequence[Record]) -> list[str]:
    """What not every data set has, a line for each."""
    lines = []
    held_out = sum(record.split == "held_out" for record in records)
    if held_out:
        lines.append(f"{held_out} images of its validation split are held out for the threshold.")
    views = sorted({record.view for record in records if record.view})
    if views:
        lines.append(f"seen from {len(views)} views: {', '.join(views)}.")
    groups = Counter(record.group for record in records if record.group)
    if groups:
        counts = ", ".join(f"{count} {group}" for group, count in sorted(groups.items()))
        saturated = "" if any(record.saturation for record in records) else "; no saturation areas"
        lines.append(f"defects: {counts}{saturated}.")
    return lines
