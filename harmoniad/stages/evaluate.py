"""Stage `evaluate`: threshold from held-out good images, metrics on the test images, heat maps and the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harmoniad.data.images import load_mask, load_rgb
from harmoniad.data.manifest import fingerprint, fingerprint_of_test_images, read_manifest, usable
from harmoniad.errors import HarmoniadError
from harmoniad.evaluation import CategoryMetrics, score_images
from harmoniad.features.cache import FeatureCache
from harmoniad.features.dataset import image_paths, image_views
from harmoniad.features.encode import ensure_features
from harmoniad.features.encoders import choose_device
from harmoniad.features.views import tile_views
from harmoniad.files import replacing, replacing_folder, write_json
from harmoniad.models.storage import MODEL_DIR, TrainedModel, load_model
from harmoniad.params import Params
from harmoniad.report import heatmap
from harmoniad.report.page import write_report
from harmoniad.report.plots import write_plots
from harmoniad.report.samples import choose
from harmoniad.report.tables import metrics_table
from harmoniad.scoring import ImageScore, Threshold, calibrate, resize_map

if TYPE_CHECKING:
    import pandas as pd

EVALUATE_DIR = Path("results/evaluate")
METRICS_FILE = EVALUATE_DIR / "metrics.json"
HEATMAPS_DIR = EVALUATE_DIR / "heatmaps"
REPORT_FILE = EVALUATE_DIR / "report.html"


def run(params: Params) -> str:
    """Evaluate the model that the train stage left behind.

    Raises:
        HarmoniadError: There is no model, no test image or no held-out good image.
    """
    torch.manual_seed(params.seed)
    manifest = usable(read_manifest(params.data.sets))
    held_out = manifest[(manifest["split"] == "held_out") & (manifest["label"] == "good")]
    test = manifest[manifest["split"] == "test"]
    if test.empty:
        raise HarmoniadError(f"data.sets: {', '.join(params.data.sets)} have no test images to evaluate on.")
    model = load_model(MODEL_DIR, choose_device(params.device))
    rows = _concat([held_out, test])
    views = image_views(rows, lambda row: tile_views(row, model.tiling))
    cache, _ = ensure_features(image_paths(rows), model.encoder, params.encode, params.device, views)

    threshold, held_out_scores = threshold_of(held_out, model, cache, params)
    metrics, test_scores = _measure(test, model, cache, threshold, params)
    scores = _score_table(rows, held_out_scores + test_scores, threshold)
    scores["heatmap"] = _draw_heatmaps(scores, rows, model, cache, threshold, params)
    metrics |= _provenance(params, model, manifest)
    with replacing(EVALUATE_DIR / "scores.csv") as temporary:
        scores.to_csv(temporary, index=False, lineterminator="\n")
    write_json(EVALUATE_DIR / "threshold.json", threshold.to_dict())
    write_plots(EVALUATE_DIR / "plots", metrics, scores)
    write_report(REPORT_FILE, metrics, threshold.to_dict(), scores)
    write_json(METRICS_FILE, metrics)
    return f"{metrics_table(metrics)}\n\nheat maps: {HEATMAPS_DIR.as_posix()}, report: {REPORT_FILE.as_posix()}"


def threshold_of(
    held_out: "pd.DataFrame", model: TrainedModel, cache: FeatureCache, params: Params
) -> tuple[Threshold, list[float]]:
    """Set the threshold on held-out good images, and give their scores in the order of the rows.

    Raises:
        HarmoniadError: There are none.
    """
    image_score = ImageScore.from_params(params.evaluate)
    scores, medians = [], []
    for scored in score_images(held_out, model, cache, image_score, "calibrate"):
        scores.append(scored.score)
        medians.append(scored.pixel_map.median().item())
    threshold = calibrate(
        scores,
        held_out["category"].tolist(),
        false_positive_rate=params.evaluate.false_positive_rate,
        normal_level=float(np.median(medians)) if medians else 0.0,
        image_score=image_score,
    )
    return threshold, scores


def _measure(
    test: "pd.DataFrame", model: TrainedModel, cache: FeatureCache, threshold: Threshold, params: Params
) -> tuple[dict[str, Any], list[float]]:
    metrics = CategoryMetrics(params.evaluate.max_side, threshold)
    records, scores = test.to_dict("records"), []
    for scored in score_images(test, model, cache, threshold.image_score, "evaluate"):
        metrics.update(records[scored.position], scored.score, scored.pixel_map)  # type: ignore[arg-type]
        scores.append(scored.score)
    return metrics.compute(), scores


def _score_table(rows: "pd.DataFrame", scores: Sequence[float], threshold: Threshold) -> "pd.DataFrame":
    table = rows[["path", "category", "split", "label", "defect"]].copy()
    table["score"] = scores
    table["threshold"] = [threshold.of(category) for category in table["category"]]
    table["is_anomalous"] = table["score"] > table["threshold"]
    return table


def _draw_heatmaps(
    scores: "pd.DataFrame",
    rows: "pd.DataFrame",
    model: TrainedModel,
    cache: FeatureCache,
    threshold: Threshold,
    params: Params,
) -> list[str]:
    """Draw the most instructive images and give the path of the picture, or nothing, for each row of `scores`."""
    chosen = choose(scores, params.evaluate.heatmaps)
    paths = [""] * len(scores)
    with replacing_folder(HEATMAPS_DIR) as folder:
        for scored in score_images(rows.iloc[chosen], model, cache, threshold.image_score, "heat maps"):
            position = chosen[scored.position]
            row, verdict = rows.iloc[position], scores.iloc[position]
            picture = heatmap.draw(
                load_rgb(Path(row["path"])),
                resize_map(scored.pixel_map, int(row["height"]), int(row["width"])),
                load_mask(Path(row["mask"])) if row["mask_area"] > 0 else None,
                scale=heatmap.Scale(threshold.normal_level, verdict["threshold"]),
                caption=heatmap.Caption(
                    row["category"], row["defect"], verdict["score"], verdict["threshold"], verdict["is_anomalous"]
                ),
            )
            # Two data sets may hold the same category and file name, hence the start of the hash.
            name = Path(row["category"], f"{row['defect']}-{Path(row['path']).stem}-{row['sha256'][:6]}.png")
            heatmap.save(folder / name, picture)
            paths[position] = (HEATMAPS_DIR / name).as_posix()
    return paths


def _provenance(params: Params, model: TrainedModel, manifest: "pd.DataFrame") -> dict[str, Any]:
    return {
        "encoder": model.encoder.name,
        "weights": f"{Path(model.encoder.weights).name} ({model.encoder.weights_sha256[:12]})",
        "layers": list(model.encoder.layers),
        "resolution": model.encoder.resolution,
        "detector": model.detector_name,
        "data_fingerprint": fingerprint(manifest),
        "test_fingerprint": fingerprint_of_test_images(manifest),
        "seed": model.seed,
    }


def _concat(tables: "list[pd.DataFrame]") -> "pd.DataFrame":
    import pandas as pd

    return pd.concat(tables, ignore_index=True)
