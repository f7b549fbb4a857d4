"""What one model says of the current held-out and test images; re-scored once, then kept."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoniad.data.manifest import fingerprint, fingerprint_of_test_images, read_manifest, usable
from harmoniad.environment import STATE_DIR
from harmoniad.errors import HarmoniadError
from harmoniad.files import write_json
from harmoniad.params import Params
from harmoniad.tracking.results import SCORES_FILE, Results, read_latency

if TYPE_CHECKING:
    import pandas as pd

    from harmoniad.tracking.model_files import LoadedModel

SCORES_DIR = STATE_DIR / "scores"
FORMAT = 1
_KEY = ["sha256", "category", "split"]


@dataclass(frozen=True)
class CurrentImages:
    """The images that models are compared on.

    Attributes:
        rows: Of the manifest: the good held-out images and the test images.
        test_fingerprint: Of the test images.
        held_out_fingerprint: Of the held-out ones.
    """

    rows: "pd.DataFrame"
    test_fingerprint: str
    held_out_fingerprint: str


@dataclass(frozen=True)
class Scorecard:
    """One model's scores.

    Attributes:
        table: Columns path, sha256, category, split (held_out or test), label, defect, score, threshold and
            is_anomalous; the images of the categories that the model was trained on.
        trained_on: These categories.
        latency_ms: Milliseconds an image, None if it was not measured.
    """

    table: "pd.DataFrame"
    trained_on: list[str]
    latency_ms: float | None = None


def current_images(params: Params) -> CurrentImages:
    """Read which images models are compared on now.

    Raises:
        HarmoniadError: A manifest is missing, or there are no test images.
    """
    manifest = usable(read_manifest(params.data.sets))
    held_out = manifest[(manifest["split"] == "held_out") & (manifest["label"] == "good")]
    chosen = manifest.index.isin(held_out.index) | (manifest["split"] == "test")
    if not (manifest["split"] == "test").any():
        raise HarmoniadError(f"data.sets: {', '.join(params.data.sets)} have no test images to compare models on.")
    rows = manifest[chosen].reset_index(drop=True)
    return CurrentImages(rows, fingerprint_of_test_images(manifest), fingerprint(held_out))


def of_results(results: Results, images: CurrentImages) -> Scorecard:
    """The scorecard of the model in `results/`, as the evaluate stage measured it.

    Raises:
        HarmoniadError: It was measured on other images than the current ones.
    """
    import pandas as pd

    # Numbers as text first: pandas' own parser of numbers may be off by the last digit.
    table = pd.read_csv(SCORES_FILE, dtype="str", keep_default_na=False)[["path", "score", "threshold"]]
    scores = table.astype({"score": "float64", "threshold": "float64"})
    rows = _described(images).merge(scores, on="path", how="left", validate="one_to_one")
    if results.test_fingerprint != images.test_fingerprint or rows["score"].isna().any():
        raise HarmoniadError(f"{SCORES_FILE.as_posix()}: measured on other images than there are. Run `dvc repro`.")
    return _card(rows, results.model["categories"], read_latency())


def keep(digest: str, images: CurrentImages, card: Scorecard) -> None:
    """Write a scorecard to the cache, in one step.

    Raises:
        HarmoniadError: The disk is full.
    """
    rows = card.table[[*_KEY, "score", "threshold"]].drop_duplicates(_KEY)
    content = {"format": FORMAT, "model_digest": digest, "trained_on": card.trained_on, "rows": rows.values.tolist()}
    write_json(_file(digest, images), content)


def kept(digest: str, images: CurrentImages, latency_ms: float | None) -> Scorecard | None:
    """Read a scorecard from the cache; None if it is not there or not whole."""
    import json

    import pandas as pd

    try:
        content: dict[str, Any] = json.loads(_file(digest, images).read_text(encoding="utf-8"))
        if content["format"] != FORMAT or content["model_digest"] != digest:
            return None
        scores = pd.DataFrame(content["rows"], columns=[*_KEY, "score", "threshold"])
        trained_on = [str(name) for name in content["trained_on"]]
        rows = _described(images, trained_on).merge(scores, on=_KEY, how="left", validate="many_to_one")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if rows["score"].isna().any() else _card(rows, trained_on, latency_ms)


def measure(model: "LoadedModel", images: CurrentImages, params: Params, latency_ms: float | None) -> Scorecard:
    """Score the current images with a registered model, encoding what the feature cache lacks.

    Raises:
        HarmoniadError: The weights of the model's encoder are missing, or the disk is full.
    """
    rows = _described(images, model.trained.categories)
    whole = images.rows.loc[rows.index]
    rows["score"] = [scored.score for scored in model.score(whole, params, "re-score")]
    rows["threshold"] = [model.threshold.of(category) for category in rows["category"]]
    return _card(rows, model.trained.categories, latency_ms)


def _described(images: CurrentImages, categories: Iterable[str] | None = None) -> "pd.DataFrame":
    rows = images.rows[["path", "sha256", "category", "split", "label", "defect"]]
    return rows.copy() if categories is None else rows[rows["category"].isin(list(categories))].copy()


def _card(rows: "pd.DataFrame", trained_on: list[str], latency_ms: float | None) -> Scorecard:
    rows = rows[rows["category"].isin(trained_on)]
    table = rows.assign(is_anomalous=rows["score"] > rows["threshold"]).reset_index(drop=True)
    return Scorecard(table, list(trained_on), latency_ms)


def _file(digest: str, images: CurrentImages) -> Path:
    return SCORES_DIR / digest[:16] / f"{images.test_fingerprint}-{images.held_out_fingerprint}.json"
