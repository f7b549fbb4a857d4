"""Whether an exported graph answers as torch does, on real images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harmoniad.data.images import FORMATS, load_rgb
from harmoniad.errors import HarmoniadError
from harmoniad.params import Params

if TYPE_CHECKING:
    import pandas as pd

    from harmoniad.export.engines import ExportedInspector
    from harmoniad.inspector import Inspector

# Shares of the range that torch's pixels span. Runtimes add in another order, so a feature's last bit differs, and at
# a token that lies between two remembered ones another may be the nearest: rare, seen in single pixels, not in scores.
SCORE_TOLERANCE, MAP_TOLERANCE = 1e-3, 1e-2
IMAGES = 32
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Sample:
    """An image to compare on."""

    path: Path
    category: str | None


@dataclass(frozen=True)
class Parity:
    """How far a graph's answers lie from torch's.

    Attributes:
        images: How many were compared.
        largest_score_difference: Over the images.
        largest_map_difference: Over all pixels.
        in_graph_resize_difference: Largest difference of a score where the graph resizes the image itself; None for a
            model that cuts images into tiles, which the graph does not.
        at_the_threshold: Images whose verdict differs because their score is the threshold, to within the tolerance.
            A threshold is the score of one of the held-out images, so there may be one.
        range: From torch's lowest to its highest pixel.
        score_tolerance: What is allowed.
        map_tolerance: What is allowed.
    """

    images: int
    largest_score_difference: float
    largest_map_difference: float
    in_graph_resize_difference: float | None
    at_the_threshold: list[str]
    range: float
    score_tolerance: float
    map_tolerance: float

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def choose_images(folder: Path | None, params: Params) -> list[Sample]:
    """The images of a folder, or the held-out good images of the project, evenly spread; `IMAGES` at most.

    Raises:
        HarmoniadError: There are none.
    """
    if folder is not None:
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        found = [Sample(path, None) for path in paths]
        if not found:
            raise HarmoniadError(f"{folder}: no images ({', '.join(FORMATS)}) to check the export on.")
    else:
        rows = good_images(params, "held_out")
        found = [Sample(Path(path), name) for path, name in zip(rows["path"], rows["category"], strict=True)]
        if not found:
            raise HarmoniadError("no held-out good images to check the export on. Name a folder with --images.")
    return spread(found, IMAGES)


def good_images(params: Params, split: str) -> "pd.DataFrame":
    """The good images of one split in the project's manifests.

    Raises:
        HarmoniadError: There are no manifests.
    """
    manifest = read_project(params)
    return manifest[(manifest["split"] == split) & (manifest["label"] == "good")]


def read_project(params: Params) -> "pd.DataFrame":
    """The usable rows of the project's manifests.

    Raises:
        HarmoniadError: There are none.
    """
    from harmoniad.data.manifest import read_manifest, usable

    try:
        return usable(read_manifest(params.data.sets))
    except HarmoniadError as error:
        raise HarmoniadError(f"export: {error} Or name a folder of images with --images.") from error


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of some items, evenly spaced."""
    if len(items) <= count:
        return list(items)
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, count)]


def compare(reference: "Inspector", exported: "ExportedInspector", samples: Sequence[Sample]) -> Parity:
    """Score some images with both.

    Raises:
        HarmoniadError: A score or a map differs by more than the tolerance, or a verdict differs.
    """
    pairs = [_compare_one(reference, exported, sample) for sample in samples]
    span = max(max(pair.high for pair in pairs) - min(pair.low for pair in pairs), 1e-6)
    resized = [abs(pair.in_graph - pair.wanted) for pair in pairs if pair.in_graph is not None]
    parity = Parity(
        images=len(samples),
        largest_score_difference=float(np.max([abs(pair.found - pair.wanted) for pair in pairs])),
        largest_map_difference=float(np.max([pair.of_maps for pair in pairs])),
        in_graph_resize_difference=float(np.max(resized)) if resized else None,
        at_the_threshold=[str(pair.sample.path) for pair in pairs if pair.differs],
        range=span,
        score_tolerance=SCORE_TOLERANCE * span,
        map_tolerance=MAP_TOLERANCE * span,
    )
    for name, difference, tolerance in (
        ("score", parity.largest_score_difference, parity.score_tolerance),
        ("pixel", parity.largest_map_difference, parity.map_tolerance),
    ):
        if not difference <= tolerance:  # a NaN is none either
            raise HarmoniadError(
                f"export: a {name} differs from torch's by {difference:.3g}, more than the tolerance of "
                f"{tolerance:.3g}. Nothing was written."
            )
    for pair in pairs:
        if pair.differs and abs(pair.wanted - pair.threshold) > parity.score_tolerance:
            raise HarmoniadError(
                f"export: {pair.sample.path}: the verdict is not torch's (score {pair.found:.6g} instead of "
                f"{pair.wanted:.6g}, threshold {pair.threshold:.6g}). Nothing was written."
            )
    return parity


@dataclass(frozen=True)
class _Pair:
    """An image's score by torch (`wanted`), by the graph, and by the graph that resizes the image itself."""

    sample: Sample
    threshold: float
    wanted: float
    found: float
    in_graph: float | None
    of_maps: float
    low: float
    high: float

    @property
    def differs(self) -> bool:
        scores = [score for score in (self.wanted, self.found, self.in_graph) if score is not None]
        return len({score > self.threshold for score in scores}) > 1


def _compare_one(reference: "Inspector", exported: "ExportedInspector", sample: Sample) -> _Pair:
    image = load_rgb(sample.path)
    (wanted,), (found,) = (each.predict([image], [sample.category]) for each in (reference, exported))
    return _Pair(
        sample,
        wanted.threshold,
        wanted.score,
        found.score,
        float(exported.engine(image[None])[0][0]) if not reference.model.tiling.side else None,
        float(np.abs(found.anomaly_map - wanted.anomaly_map).max()),
        float(wanted.anomaly_map.min()),
        float(wanted.anomaly_map.max()),
    )
