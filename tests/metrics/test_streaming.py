import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmoniad.errors import HarmoniadError
from harmoniad.metrics import (
    ImageMetrics,
    PixelMetrics,
    aupimo,
    aupro,
    auroc,
    average_precision,
    f1_max,
    summary,
)

SIDE = 256
PIXEL_METRICS = ["pixel_auroc", "pixel_ap", "pixel_f1max", "aupro", "aupro_05", "aupimo"]


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits, np.float32)))


# For each: the scores of normal pixels and those of defects.
DISTRIBUTIONS = {
    "log-normal": lambda rng, n, hit: rng.lognormal(-6 + 1.5 * hit, 1.0, n),
    "uniform": lambda rng, n, hit: rng.random(n) + 0.3 * hit,
    "normal, both signs": lambda rng, n, hit: rng.normal(2.0 * hit, 1.0, n),
    "all negative": lambda rng, n, hit: -rng.lognormal(5.0 - hit, 1.0, n),
    "narrow band around 1": lambda rng, n, hit: 0.98 + 0.03 * rng.random(n) + 0.01 * hit,
    "tiny on top of 100": lambda rng, n, hit: 100 + 0.003 * rng.lognormal(1.0 * hit, 1.0, n),
    "saturated probabilities": lambda rng, n, hit: sigmoid(rng.normal(-3 + 15 * hit, 5.0, n)),
    "defects within 1e-4": lambda rng, n, hit: 1 - 1e-4 * rng.random(n) if hit else rng.random(n),
    "very long tail": lambda rng, n, hit: rng.pareto(0.5 - 0.2 * hit, n),
    "denormal to huge": lambda rng, n, hit: np.float32(10.0) ** rng.uniform(-42 + 10 * hit, 37, n),
    "half exactly 0": lambda rng, n, hit: np.maximum(rng.normal(1.0 * hit, 1.0, n), 0),
    "256 grey values": lambda rng, n, hit: rng.binomial(255, 0.1 + 0.1 * hit, n) / 255,
    "constant": lambda rng, n, hit: np.full(n, 0.25),
}


def draw(name, count, side=SIDE, seed=0):
    """Masks and maps; the first half are good images, as in the folders of a data set."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), bool)
    mask[side // 8 : side // 4, side // 8 : side // 3] = mask[-side // 8 :, -3:] = mask[side // 2, :2] = True
    masks, maps = [], []
    for index in range(count):
        masks.append(mask if index >= count // 2 else np.zeros_like(mask))
        scores = DISTRIBUTIONS[name](rng, (side, side), 0)
        hits = DISTRIBUTIONS[name](rng, (side, side), 1)
        maps.append(np.where(masks[-1], hits, scores).astype(np.float32))
    return masks, maps


def exact(masks, maps):
    masks, maps = np.array(masks), np.array(maps)
    best = f1_max(masks, maps)
    return {
        "pixel_auroc": auroc(masks, maps),
        "pixel_ap": average_precision(masks, maps),
        "pixel_f1max": best and best[0],
        "pixel_f1max_threshold": best and best[1],
        "aupro": aupro(masks, maps),
        "aupro_05": aupro(masks, maps, 0.05),
        "aupimo": aupimo(masks, maps),
    }


def feed(masks, maps):
    metrics = PixelMetrics()
    for mask, anomaly_map in zip(masks, maps, strict=True):
        metrics.update(mask, anomaly_map)
    return metrics


@pytest.fixture
def coarse(monkeypatch):
    """An eighth of the real points and a sixteenth of the real buffer: a harder case than the real one, and quicker."""
    monkeypatch.setattr(summary, "PENDING", 2**17)
    monkeypatch.setattr(summary, "POINTS", 2**14)


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_many_pixels_are_within_a_ten_thousandth_of_exact(name):
    masks, maps = draw(name, 10)
    got, expected = feed(masks, maps).compute(), exact(masks, maps)
    for metric in PIXEL_METRICS:
        assert got[metric] == pytest.approx(expected[metric], abs=1e-4), metric


def test_millions_of_pixels_are_within_a_ten_thousandth_of_exact():
    masks, maps = draw("log-normal", 9, side=512)
    assert np.count_nonzero(~np.array(masks)) > summary.EXACT, "the scores must really be summed up"
    got, expected = feed(masks, maps).compute(), exact(masks, maps)
    for metric in PIXEL_METRICS:
        assert got[metric] == pytest.approx(expected[metric], abs=1e-4), metric


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("name", ["256 grey values", "constant", "tiny on top of 100"])
def test_few_different_scores_are_exact_however_many_pixels(name):
    masks, maps = draw(name, 10)
    assert feed(masks, maps).compute() == pytest.approx(exact(masks, maps), abs=1e-9)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_few_pixels_are_exact(name):
    masks, maps = draw(name, 6, side=64)
    assert feed(masks, maps).compute() == pytest.approx(exact(masks, maps), abs=1e-12)


@pytest.mark.parametrize("name", ["log-normal", "normal, both signs", "saturated probabilities", "half exactly 0"])
def test_errors_of_many_thinnings_do_not_add_up(monkeypatch, name):
    monkeypatch.setattr(summary, "PENDING", 2**13)
    monkeypatch.setattr(summary, "POINTS", 2**11)  # a neighbourhood is then 1/150 of the mass above it
    masks, maps = draw(name, 200, side=64)  # 100 thinnings
    got, expected = feed(masks, maps).compute(), exact(masks, maps)
    for metric in ["pixel_auroc", "pixel_ap", "aupro"]:
        assert got[metric] == pytest.approx(expected[metric], abs=2e-4), metric
    assert got["pixel_f1max"] == pytest.approx(expected["pixel_f1max"], abs=2e-3)  # a maximum over noise


@pytest.mark.usefixtures("coarse")
def test_the_order_of_many_images_hardly_matters():
    masks, maps = draw("saturated probabilities", 10)
    forward, backward = feed(masks, maps).compute(), feed(masks[::-1], maps[::-1]).compute()
    for metric in PIXEL_METRICS:
        assert forward[metric] == pytest.approx(backward[metric], abs=1e-4)


@pytest.mark.usefixtures("coarse")
def test_merging_many_images_equals_one_pass():
    masks, maps = draw("log-normal", 12)
    left, right = feed(masks[:5], maps[:5]), feed(masks[5:], maps[5:])
    left.merge(right)
    got, expected = left.compute(), exact(masks, maps)
    for metric in PIXEL_METRICS:
        assert got[metric] == pytest.approx(expected[metric], abs=1e-4)


@st.composite
def images(draw_from):
    seed = draw_from(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    return [
        (rng.random((4, 5)) < 0.2, rng.integers(-3, 4, (4, 5)).astype(np.float32))
        for _ in range(draw_from(st.integers(0, 5)))
    ]


def fed(pairs):
    return feed([mask for mask, _ in pairs], [anomaly_map for _, anomaly_map in pairs])


@settings(deadline=None, max_examples=30)
@given(images(), images(), images())
def test_merging_is_associative_and_equals_one_pass(first, second, third):
    whole = fed(first + second + third).compute()
    left, middle, right = fed(first), fed(second), fed(third)
    left.merge(middle)
    left.merge(right)
    assert left.compute() == pytest.approx(whole, abs=1e-12)

    left, middle, right = fed(first), fed(second), fed(third)
    middle.merge(right)
    left.merge(middle)
    assert left.compute() == pytest.approx(whole, abs=1e-12)
    assert middle.compute() == pytest.approx(fed(second + third).compute(), abs=1e-12), "the other must stay as it is"


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=False), images())
def test_the_order_of_updates_does_not_matter(random, pairs):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert fed(shuffled).compute() == pytest.approx(fed(pairs).compute(), abs=1e-12)


@pytest.mark.usefixtures("coarse")
def test_compute_does_not_disturb():
    masks, maps = draw("log-normal", 12)
    watched = PixelMetrics()
    for mask, anomaly_map in zip(masks, maps, strict=True):
        watched.update(mask, anomaly_map)
        watched.compute()
    assert watched.compute() == feed(masks, maps).compute()


def test_memory_is_constant(monkeypatch):
    monkeypatch.setattr(summary, "PENDING", 2**14)
    monkeypatch.setattr(summary, "POINTS", 2**11)
    # Three buffers of scores, two small ones with weights, five lists of points, and one map in each.
    bound = (3 * 4 + 2 * 12 / 4) * summary.PENDING + 5 * 12 * 2 * summary.POINTS + 5 * 12 * 64**2
    masks, maps = draw("log-normal", 10, side=64)
    metrics = PixelMetrics()
    for index in range(1500):
        metrics.update(masks[index % 10], maps[index % 10] * np.float32(1 + index / 7))  # new scores each time
        assert metrics.nbytes < bound
    assert 1500 * maps[0].nbytes > 30 * bound


def test_memory_is_bounded_where_all_is_defect():
    metrics = PixelMetrics()
    rng = np.random.default_rng(0)
    mask = np.ones((512, 512), bool)
    tracemalloc.start()
    for _ in range(18):
        metrics.update(mask, rng.random(mask.shape, np.float32))
        assert metrics.nbytes < 64 * 2**20
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 256 * 2**20
    got = metrics.compute()
    assert got["pixel_auroc"] is None
    assert got["aupro"] is None
    assert got["pixel_ap"] == got["pixel_f1max"] == 1.0


def test_the_caller_may_reuse_its_arrays():
    mask, anomaly_map = np.eye(4, dtype=bool), np.arange(16, dtype=np.float32).reshape(4, 4)
    metrics = feed([mask], [anomaly_map])
    before = metrics.compute()
    anomaly_map[:], mask[:] = 0, False
    assert metrics.compute() == before


def test_the_limit_is_used():
    masks, maps = draw("log-normal", 4, side=64)
    metrics = PixelMetrics(fpr_limit=0.05)
    for mask, anomaly_map in zip(masks, maps, strict=True):
        metrics.update(mask, anomaly_map)
    assert metrics.compute()["aupro"] == pytest.approx(aupro(masks, maps, 0.05), abs=1e-12)


@pytest.mark.usefixtures("coarse")
def test_the_official_variant_is_read_from_the_same_curve():
    masks, maps = draw("log-normal", 10)
    metrics = PixelMetrics(variant="mvtec")
    for mask, anomaly_map in zip(masks, maps, strict=True):
        metrics.update(mask, anomaly_map)
    got = metrics.compute()
    assert got["aupro"] == pytest.approx(aupro(masks, maps, variant="mvtec"), abs=1e-4)
    assert got["aupro_05"] == pytest.approx(aupro(masks, maps, 0.05, variant="mvtec"), abs=1e-4)


@pytest.mark.parametrize("mask", [None, np.zeros((3, 3), bool)])
def test_none_without_defects(mask):
    metrics = PixelMetrics()
    if mask is not None:
        metrics.update(mask, np.ones((3, 3)))
    assert set(metrics.compute().values()) == {None}


@pytest.mark.parametrize(
    ("mask", "anomaly_map", "message"),
    [
        (np.eye(2, dtype=bool), [[0.0, np.nan], [0.0, 0.0]], "the anomaly map must be finite, but 1 of 4 values"),
        (np.eye(2, dtype=bool), [[0.0, -np.inf], [0.0, 0.0]], "the anomaly map must be finite, but 1 of 4 values"),
        (np.eye(2, dtype=bool), [[0.0, 1e300], [0.0, 0.0]], "infinite as float32"),
        (np.eye(2, dtype=bool), np.zeros((4, 4)), r"the mask has shape \(2, 2\) but the anomaly map has"),
        (np.eye(2, dtype=bool), np.zeros((1, 2, 2)), r"must have the shape \(H, W\), not \(1, 2, 2\)"),
        (np.zeros((0, 2), bool), np.zeros((0, 2)), r"must have the shape \(H, W\), not \(0, 2\)"),
        (np.eye(2), np.zeros((2, 2)), "the mask must be boolean or whole numbers"),
        (np.eye(2, dtype=bool), np.zeros((2, 2), object), "must hold real numbers"),
    ],
)
def test_a_bad_map_is_refused_by_name_and_not_added(mask, anomaly_map, message):
    metrics = PixelMetrics()
    with pytest.raises(HarmoniadError, match=message) as refused:
        metrics.update(mask, anomaly_map, name="böttle/test/broken/000.png")
    assert str(refused.value).startswith("böttle/test/broken/000.png: the ")
    assert metrics.nbytes == 0


def test_merging_refuses_what_makes_no_sense():
    metrics = PixelMetrics()
    with pytest.raises(HarmoniadError, match=r"fpr_limit 0\.3 and 0\.05"):
        metrics.merge(PixelMetrics(fpr_limit=0.05))
    with pytest.raises(HarmoniadError, match='variant "exact" and "mvtec"'):
        metrics.merge(PixelMetrics(variant="mvtec"))
    with pytest.raises(HarmoniadError, match="with themselves"):
        metrics.merge(metrics)
    images = ImageMetrics()
    with pytest.raises(HarmoniadError, match="with themselves"):
        images.merge(images)
    with pytest.raises(HarmoniadError, match="fpr_limit must be"):
        PixelMetrics(fpr_limit=30)


def test_the_import_is_light():
    code = (
        "import sys, harmoniad.metrics; print([m for m in ('scipy', 'torch', 'sklearn', 'pandas') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_pro_curve_has_the_area_of_aupro() -> None:
    generator = np.random.default_rng(3)
    metrics = PixelMetrics()
    for _ in range(4):
        mask = np.zeros((40, 40), bool)
        mask[5:12, 5:15] = mask[25:28, 30:33] = True
        metrics.update(mask, generator.normal(size=mask.shape) + 1.5 * mask)
    curve = metrics.pro_curve(points=2000)
    assert curve is not None
    rates, overlaps = curve
    assert (rates[0], rates[-1]) == (0, pytest.approx(0.3))
    assert (np.diff(overlaps) >= 0).all()
    assert np.trapezoid(overlaps, rates) / 0.3 == pytest.approx(metrics.compute()["aupro"], abs=1e-3)


def test_without_a_defect_there_is_no_pro_curve() -> None:
    metrics = PixelMetrics()
    metrics.update(np.zeros((4, 4), bool), np.ones((4, 4)))
    assert metrics.pro_curve() is None
