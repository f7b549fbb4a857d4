import numpy as np
import pytest

from harmoniad.errors import HarmoniadError
from harmoniad.metrics import (
    ImageMetrics,
    auroc,
    auroc_interval,
    average_precision,
    f1_max,
    rates_at,
    recall_by_area,
    recall_interval,
)


def test_image_metrics_equal_the_functions():
    rng = np.random.default_rng(3)
    labels = rng.random(50) < 0.4
    scores = rng.normal(labels, 1.0)
    shares = labels * rng.choice([0.0005, 0.005, 0.05], 50)
    first, second = ImageMetrics(threshold=0.5), ImageMetrics(threshold=0.5)
    for index, (label, score, share) in enumerate(zip(labels, scores, shares, strict=True)):
        (first if index % 2 else second).update(label, score, share=share)
    first.merge(second)
    f1, threshold = f1_max(labels, scores)
    order = np.argsort(scores)
    low, high = auroc_interval(labels[order], scores[order])
    recall_low, recall_high = recall_interval(labels, scores, 0.5)
    rates = rates_at(labels, scores, 0.5)
    sizes = recall_by_area(shares[labels], scores[labels], 0.5)
    assert first.compute() == {
        "image_auroc": auroc(labels, scores),
        "image_auroc_low": low,
        "image_auroc_high": high,
        "image_ap": average_precision(labels, scores),
        "image_f1max": f1,
        "image_f1max_threshold": threshold,
        "recall": rates.recall,
        "recall_low": recall_low,
        "recall_high": recall_high,
        "false_positive_rate": rates.false_positive_rate,
        "balanced_accuracy": rates.balanced_accuracy,
        **{f"recall_{name}": flagged / count for name, (flagged, count) in sizes.items()},
    }


def test_image_metrics_without_a_threshold_have_no_rates():
    metrics = ImageMetrics()
    metrics.update(True, 1.0)
    assert not [name for name in metrics.compute() if name.startswith("recall")]
    with pytest.raises(HarmoniadError, match=r"at the thresholds None and 0\.5"):
        metrics.merge(ImageMetrics(threshold=0.5))


def test_image_metrics_are_none_without_images_or_defects():
    metrics = ImageMetrics()
    assert set(metrics.compute().values()) == {None}
    metrics.update(False, 0.3)
    assert set(metrics.compute().values()) == {None}


@pytest.mark.parametrize(
    ("label", "score", "message"),
    [
        (True, float("nan"), "a.png: the image score must be finite"),
        (0.5, 1.0, "a.png: the label must be boolean"),
        (True, [1.0, 2.0], "a.png: an image has one label and one score, not 1 and 2"),
    ],
)
def test_a_bad_image_score_is_refused_by_name(label, score, message):
    with pytest.raises(HarmoniadError, match=message):
        ImageMetrics().update(label, score, name="a.png")
