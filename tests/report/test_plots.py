import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import metrics as oracle

from harmoniad.report.plots import (
    MAX_POINTS,
    distributions,
    precision_recall_curve,
    pro_curves,
    roc_curve,
    write_plots,
    write_score_plot,
)
from harmoniad.report.tables import METRICS

PRO = pro_curves({"bottle": (np.array([0, 0.3]), np.array([0.25, 1]))})


def scores_of(category: str, good: list[float], defect: list[float], threshold: float = 0.5) -> pd.DataFrame:
    rows = [("good", score) for score in good] + [("defect", score) for score in defect]
    table = pd.DataFrame(rows, columns=["label", "score"])
    return table.assign(category=category, split="test", threshold=threshold, is_anomalous=table["score"] > threshold)


def metrics_of(*categories: str) -> dict:
    figures = {key: 0.25 * number for number, key in enumerate(METRICS)} | {"aupro": None}
    return {"categories": dict.fromkeys(categories, figures)}


@pytest.fixture
def random_scores() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    is_defect = rng.random(500) < 0.3
    return is_defect, np.round(rng.normal(is_defect, 1.0), 1)  # rounded, so that there are ties


def test_roc_against_scikit_learn(random_scores: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = roc_curve(*random_scores)
    expected_x, expected_y, _ = oracle.roc_curve(*random_scores, drop_intermediate=False)
    np.testing.assert_allclose(x, expected_x)
    np.testing.assert_allclose(y, expected_y)


def test_precision_recall_against_scikit_learn(random_scores: tuple[np.ndarray, np.ndarray]) -> None:
    recall, precision = precision_recall_curve(*random_scores)
    expected_precision, expected_recall, _ = oracle.precision_recall_curve(*random_scores)
    np.testing.assert_allclose(recall, expected_recall[::-1])
    np.testing.assert_allclose(precision, expected_precision[::-1])


def test_files_by_hand(tmp_path) -> None:
    folder = tmp_path / "with space ü"
    scores = scores_of("bottle", [0.1, 0.6], [0.4, 0.9])
    held_out = scores_of("bottle", [9.0], []).assign(split="held_out")
    write_plots(folder, metrics_of("bottle"), pd.concat([scores, held_out], ignore_index=True), PRO)
    assert (folder / "roc.csv").read_text() == (
        "false_positive_rate,true_positive_rate,category\n"
        "0.000000,0.000000,bottle\n"
        "0.000000,0.500000,bottle\n"
        "0.500000,0.500000,bottle\n"
        "0.500000,1.000000,bottle\n"
        "1.000000,1.000000,bottle\n"
    )
    assert (folder / "precision_recall.csv").read_text() == (
        "recall,precision,category\n"
        "0.000000,1.000000,bottle\n"
        "0.500000,1.000000,bottle\n"
        "0.500000,0.500000,bottle\n"
        "1.000000,0.666667,bottle\n"
        "1.000000,0.500000,bottle\n"
    )
    assert (folder / "pro.csv").read_text() == (
        "false_positive_rate,mean_overlap,category\n0.000000,0.250000,bottle\n0.300000,1.000000,bottle\n"
    )
    assert (folder / "confusion.csv").read_text() == (
        "actual,verdict\ngood,passed\ngood,flagged\ndefect,passed\ndefect,flagged\n"
    )
    assert (folder / "categories.csv").read_text() == (
        f"category,{','.join(METRICS)}\nbottle,0.000000,0.250000,0.500000,0.750000,1.000000,1.250000,\n"
    )


def test_a_curve_is_thinned_and_keeps_its_ends(tmp_path) -> None:
    rng = np.random.default_rng(0)
    scores = scores_of("bottle", rng.random(900).tolist(), (rng.random(900) + 0.2).tolist())
    write_plots(tmp_path, metrics_of("bottle"), scores, PRO)
    for name, ends in [("roc.csv", [[0, 0], [1, 1]]), ("precision_recall.csv", [[0, 1], [1, 0.5]])]:
        curve = pd.read_csv(tmp_path / name)
        assert len(curve) == MAX_POINTS
        assert curve.iloc[[0, -1], :2].to_numpy().tolist() == ends


def test_a_category_without_good_or_without_defective_images_has_no_curve(tmp_path) -> None:
    scores = pd.concat([scores_of("only good", [0.1], []), scores_of("only defect", [], [0.9])])
    write_plots(tmp_path, metrics_of("only good", "only defect"), scores, pro_curves({}))
    assert (tmp_path / "roc.csv").read_text() == "false_positive_rate,true_positive_rate,category\n"
    assert (tmp_path / "precision_recall.csv").read_text() == "recall,precision,category\n"
    assert (tmp_path / "pro.csv").read_text() == "false_positive_rate,mean_overlap,category\n"
    assert (tmp_path / "scores.png").stat().st_size > 0


def test_the_same_scores_give_the_same_bytes(tmp_path) -> None:
    scores = pd.concat([scores_of(name, [0.1, 0.2], [0.4, 0.9]) for name in ("b", "a", "$x^{", "轴承", "<&>")])
    for name in ("first", "second"):
        write_plots(tmp_path / name, metrics_of("b", "a"), scores, PRO)
    names = sorted(file.name for file in (tmp_path / "first").iterdir())
    assert names == ["categories.csv", "confusion.csv", "precision_recall.csv", "pro.csv", "roc.csv", "scores.png"]
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert b"atplotlib" not in (tmp_path / "first" / "scores.png").read_bytes()


def test_no_bar_stands_on_both_sides_of_the_threshold() -> None:
    rng = np.random.default_rng(0)
    good, defect = rng.normal(0, 1, 200), rng.normal(2, 1, 300)
    (found,) = distributions(scores_of("bottle", good.tolist(), defect.tolist(), threshold=1.2345))
    edge = int(np.argmin(np.abs(found.edges - 1.2345)))
    assert found.edges[edge] == 1.2345
    assert found.good[edge:].sum() == pytest.approx((good > 1.2345).mean())
    assert found.defect[edge:].sum() == pytest.approx((defect > 1.2345).mean())
    assert found.good.sum() == pytest.approx(1)
    assert found.defect.sum() == pytest.approx(1)
    assert found.edges[0] < min(good.min(), defect.min())
    assert found.edges[-1] >= max(good.max(), defect.max())


def test_a_score_equal_to_the_threshold_counts_as_passed() -> None:
    (found,) = distributions(scores_of("bottle", [0.1, 0.5], [0.9]))
    edge = found.edges.tolist().index(0.5)
    assert found.good[edge - 1] == 0.5
    assert found.good[edge:].sum() == 0


@pytest.mark.parametrize("defect", [[], [0.5]])
def test_equal_scores_have_a_distribution(defect: list[float]) -> None:
    (found,) = distributions(scores_of("bottle", [0.5, 0.5], defect))
    assert found.good.sum() == 1
    assert found.defect.sum() == len(defect)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_picture_grows_with_the_categories(tmp_path, count: int) -> None:
    tables = [scores_of(f"category {number}", [0.1], [0.9]) for number in range(count)]
    found = distributions(pd.concat(tables)) if tables else []
    write_score_plot(tmp_path / "scores.png", found)
    assert Image.open(tmp_path / "scores.png").size == {0: (420, 290), 1: (420, 290), 7: (1260, 770)}[count]
