"""Stage `evaluate`: threshold from held-out good images, metrics on the test images, heat maps and the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harmoniad.data.images import load_rgb
from harmoniad.data.manifest import fingerprint, fingerprint_of_test_images, read_manifest, usable
from harmoniad.data.masks import read_mask, read_regions
from harmoniad.errors import HarmoniadError
from harmoniad.evaluation import CategoryMetrics, score_images
from harmoniad.features.cache import FeatureCache
from harmoniad.features.dataset import image_paths, image_views
from harmoniad.features.encode import ensure_features
from harmoniad.features.encoders import choose_device
from harmoniad.features.views import tile_views
from harmoniad.files import replacing, replacing_folder, write_bytes, write_json
from harmoniad.latency import measure_latency
from harmoniad.models.storage import MODEL_DIR, TrainedModel, load_model
from harmoniad.params import Params
from harmoniad.report import gallery, heatmap
from harmoniad.report.page import write_report
from harmoniad.report.plots import pro_curves, write_plots
from harmoniad.report.samples import choose
from harmoniad.report.tables import metrics_table
from harmoniad.scoring import ImageScore, Threshold, calibrate, resize_map

if TYPE_CHECKING:
    import pandas as pd

EVALUATE_DIR = Path("results/evaluate")
METRICS_FILE = EVALUATE_DIR / "metrics.json"
HEATMAPS_DIR = EVALUATE_DIR / "heatmaps"
LATENCY_FILE = EVALUATE_DIR / "latency.json"
EVALUATION_REPORT = EVALUATE_DIR / "report.html"  # the stage `register` makes the report of it, with the decision
REPORT_FILE = Path("results/report/index.html")


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
    measured, test_scores = _measure(test, model, cache, threshold, params)
    scores = _score_table(rows, held_out_scores + test_scores, threshold)
    scores["heatmap"], panels = _draw_pictures(scores, rows, model, cache, threshold, params)
    metrics = measured.compute() | _provenance(params, model, manifest)
    with replacing(EVALUATE_DIR / "scores.csv") as temporary:
        scores.to_csv(temporary, index=False, lineterminator="\n")
    write_json(EVALUATE_DIR / "threshold.json", threshold.to_dict())
    pro = pro_curves(measured.pro_curves())
    write_plots(EVALUATE_DIR / "plots", metrics, scores, pro)
    write_report(EVALUATION_REPORT, metrics, threshold.to_dict(), scores, pro, panels)
    write_bytes(REPORT_FILE, EVALUATION_REPORT.read_bytes())  # no old report stays beside new figures
    write_json(LATENCY_FILE, measure_latency(test, model, threshold, params.device))
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
) -> tuple[CategoryMetrics, list[float]]:
    metrics = CategoryMetrics(params.evaluate.max_side, threshold)
    records, scores = test.to_dict("records"), []
    saturated = set(test.loc[test["saturation"] != "", "category"])
    for scored in score_images(test, model, cache, threshold.image_score, "evaluate"):
        row = records[scored.position]
        regions = read_regions(row) if row["category"] in saturated else None
        metrics.update(row, scored.score, scored.pixel_map, regions)  # type: ignore[arg-type]
        scores.append(scored.score)
    return metrics, scores


def _score_table(rows: "pd.DataFrame", scores: Sequence[float], threshold: Threshold) -> "pd.DataFrame":
    table = rows[["path", "category", "split", "label", "defect"]].copy()
    table["score"] = scores
    table["threshold"] = [threshold.of(category) for category in table["category"]]
    table["is_anomalous"] = table["score"] > table["threshold"]
    table["defect_share"] = rows["mask_area"] / (rows["width"] * rows["height"])
    return table


def _draw_pictures(
    scores: "pd.DataFrame",
    rows: "pd.DataFrame",
    model: TrainedModel,
    cache: FeatureCache,
    threshold: Threshold,
    params: Params,
) -> tuple[list[str], dict[int, list[gallery.Panel]]]:
    """Draw the most instructive images as heat maps and the worst for the report.

    Returns:
        The path of its heat map, or nothing, for each row of `scores`; and the panels of the rows in the gallery.
    """
    drawn = set(choose(scores, params.evaluate.heatmaps))
    shown = set(gallery.worst_first(scores, threshold.normal_level, params.evaluate.report_images))
    longest_side = gallery.longest_side(len(shown))
    positions = sorted(drawn | shown)
    paths, panels = [""] * len(scores), {}
    with replacing_folder(HEATMAPS_DIR) as folder:
        for scored in score_images(rows.iloc[positions], model, cache, threshold.image_score, "pictures"):
            position = positions[scored.position]
            row, verdict = rows.iloc[position], scores.iloc[position]
            image = load_rgb(Path(row["path"]))
            mask = read_mask(row.to_dict()) if row["mask_area"] > 0 else None
            scale = heatmap.Scale(threshold.normal_level, verdict["threshold"])
            if position in shown:
                small = scored.pixel_map.cpu().numpy()
                panels[position] = gallery.panels_of(image, small, mask, scale=scale, longest_side=longest_side)
            if position in drawn:
                picture = heatmap.draw(
                    image,
                    resize_map(scored.pixel_map, int(row["height"]), int(row["width"])),
                    mask,
                    scale=scale,
                    caption=heatmap.Caption(
                        row["category"], row["defect"], verdict["score"], verdict["threshold"], verdict["is_anomalous"]
                    ),
                )
                # Two data sets may hold the same category and file name, hence the start of the hash.
                name = Path(row["category"], f"{row['defect']}-{Path(row['path']).stem}-{row['sha256'][:6]}.png")
                heatmap.save(folder / name, picture)
                paths[position] = (HEATMAPS_DIR / name).as_posix()
    return paths, panels


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
