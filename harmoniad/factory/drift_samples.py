"""What is compared: scores, pooled features, brightness and sharpness of new good images and of their reference."""

from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING

import numpy as np

from harmoniad.data.reference import MEASURES
from harmoniad.evaluation import score_images
from harmoniad.factory.two_samples import Floats, Samples
from harmoniad.features.cache import FeatureCache
from harmoniad.features.dataset import CachedFeatures, image_paths, image_views
from harmoniad.features.encode import ensure_features
from harmoniad.features.views import tile_views

if TYPE_CHECKING:
    import pandas as pd

    from harmoniad.factory.champion import Champion
    from harmoniad.params import Params


def samples_of(
    new: "pd.DataFrame",
    known: "pd.DataFrame",
    accepted: Mapping[str, Sequence[str]],
    unseen: Set[str],
    champion: "Champion",
    params: "Params",
) -> "tuple[dict[tuple[str, str], Samples], pd.DataFrame]":
    """Measure new images and their reference.

    Args:
        new: The rows of the new images.
        known: The manifests of the last run.
        accepted: The paths of images that a person has accepted, by category; these are not compared any more.
        unseen: Those of them that came when this champion was there already: it has not learned from them.
        champion: Scores the images.
        params: The pipeline's; the section `drift` bounds the reference.

    Returns:
        Samples by category and measure (`score`, `features`, `brightness`, `sharpness`), for each category that has new
        good images; and the champion's verdicts on all new images.
    """
    import pandas as pd

    is_accepted = new["path"].isin({path for paths in accepted.values() for path in paths})
    candidates = new[(new["label"] == "good") & ~is_accepted]
    there = pd.concat([known, new[is_accepted].assign(split="test")], ignore_index=True)
    reference = {
        str(category): _reference(str(category), there, accepted, champion, params)
        for category in sorted(set(candidates["category"]))
    }
    everything = pd.concat([new, *reference.values()], ignore_index=True)
    cache = _encoded(everything, champion, params)
    verdicts = _verdicts(new, cache, champion)
    scores = dict(zip(verdicts["path"], verdicts["score"], strict=True))
    scores |= dict(zip(champion.measured_on["path"], champion.measured_on["score"], strict=True))
    samples = {}
    for category, old in reference.items():
        of_category = candidates[candidates["category"] == category]
        # What the champion may have learned from scores lower.
        not_learned = old[(old["split"] != "train") | old["path"].isin(unseen)]
        scores |= _scores(not_learned[~not_learned["path"].isin(scores)], cache, champion)
        samples[category, "score"] = Samples(_of(scores, of_category), _of(scores, not_learned))
        samples[category, "features"] = Samples(*(_pooled(rows, cache, champion) for rows in (of_category, old)))
        for measure in MEASURES:
            samples[category, measure] = Samples(*(rows[measure].to_numpy(np.float64) for rows in (of_category, old)))
    return samples, verdicts


def _reference(
    category: str,
    there: "pd.DataFrame",
    accepted: Mapping[str, Sequence[str]],
    champion: "Champion",
    params: "Params",
) -> "pd.DataFrame":
    """The rows that the new images of a category are compared with; chosen by hash where there are too many."""
    rows = there[(there["category"] == category) & (there["label"] == "good") & (there["problem"] == "")]
    chosen = rows[rows["path"].isin(set(accepted.get(category, ())))]
    if len(chosen) < params.drift.min_images:
        chosen = rows[rows["path"].isin(set(champion.measured_on["path"]))]
    return chosen.sort_values("sha256").head(params.drift.reference_images)


def _encoded(rows: "pd.DataFrame", champion: "Champion", params: "Params") -> FeatureCache:
    model = champion.model
    views = image_views(rows, lambda row: tile_views(row, model.tiling))
    return ensure_features(image_paths(rows), model.encoder, params.encode, params.device, views)[0]


def _verdicts(new: "pd.DataFrame", cache: FeatureCache, champion: "Champion") -> "pd.DataFrame":
    table = new[["path", "category", "label", "defect"]].copy()
    found = _scores(new, cache, champion)
    table["score"] = [found[path] for path in table["path"]]
    table["threshold"] = [champion.threshold.of(category) for category in table["category"]]
    table["is_anomalous"] = table["score"] > table["threshold"]
    return table


def _scores(rows: "pd.DataFrame", cache: FeatureCache, champion: "Champion") -> dict[str, float]:
    """The champion's score of each path."""
    if rows.empty:
        return {}
    scored = score_images(rows, champion.model, cache, champion.threshold.image_score, "drift")
    return dict(zip(rows["path"], (one.score for one in scored), strict=True))


def _of(scores: Mapping[str, float], rows: "pd.DataFrame") -> Floats:
    return np.array([scores[path] for path in rows["path"]], dtype=np.float64)


def _pooled(rows: "pd.DataFrame", cache: FeatureCache, champion: "Champion") -> Floats:
    """The mean of each channel over an image (N, D), all layers beside each other; of tiles, over all of them."""
    pooled = []
    for row in rows.to_dict("records"):
        keys = [view.key(str(row["sha256"])) for view in tile_views(row, champion.model.tiling)]  # type: ignore[arg-type]
        tiles = CachedFeatures(cache, keys, [""] * len(keys)).batch(range(len(keys)))
        pooled.append(np.concatenate([layer.mean((0, 2, 3)).numpy() for layer in tiles]))
    channels = sum(shape[0] for shape in cache.shapes)
    return np.asarray(pooled, dtype=np.float64).reshape(len(rows), channels)
