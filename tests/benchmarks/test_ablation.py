from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks import ablation, common, tables
from benchmarks.plot import write_plot
from harmoniad.errors import HarmoniadError
from harmoniad.report.tables import METRICS


def result(data: str, variant: str, seed: int, scores: dict[str, float]) -> dict[str, Any]:
    """As `child.py` measures it, with every metric of a category the same number."""
    categories = {name: dict.fromkeys(METRICS, score) for name, score in scores.items()}
    return {
        "data": data,
        "encoder": "lite0",
        "detector": variant,
        "seed": seed,
        "mean": dict.fromkeys(METRICS, sum(scores.values()) / len(scores)),
        "categories": categories,
        "found": {name: {"tiny": [1, 4], "small": [0, 0], "large": [2, 2], "good": [1, 10]} for name in scores},
        "test_images": 40,
        "peak_memory_bytes": 1e9,
        "train_seconds": 10.0 + seed,
        "scoring_images_per_second": 20.0,
        "end_to_end_images_per_second": 10.0,
        "threads": 1,
    }


@pytest.fixture
def results() -> list[dict[str, Any]]:
    """Variant b is better on all products but z, where it is much worse."""
    found = []
    for seed, shift in ((0, 0.0), (1, 0.02)):
        for variant, bonus, at_z in (("default", 0.0, 0.9), ("b", 0.1, 0.4)):
            found.append(result("one", variant, seed, {"x": 0.6 + bonus + shift, "y": 0.7 + bonus + shift}))
            found.append(result("two", variant, seed, {"z": at_z}))
    return found


def test_difference_to_the_first_variant_and_mean_over_the_data_sets(
    results: list[dict[str, Any]], tmp_path: Path
) -> None:
    text = ablation.write_tables(results, tmp_path, "command")
    table = pd.read_csv(tmp_path / "ablation.csv").set_index(["data", "detector"])
    assert table.loc[("one", "b"), "aupro_difference"] == pytest.approx(0.1)
    assert table.loc[("one", "b"), "aupro_std"] == pytest.approx(0.02 / 2**0.5, rel=1e-4)
    assert table.loc[("mean", "default"), "image_auroc_mean"] == pytest.approx((0.66 + 0.9) / 2)
    assert table.loc[("mean", "b"), "score_difference"] == pytest.approx((0.1 - 0.5) / 2)
    assert "| lite0 | one | b | 0.760 ± 0.014 (+0.100) |" in text


def test_the_product_left_out_has_no_say_in_the_choice(results: list[dict[str, Any]], tmp_path: Path) -> None:
    text = ablation.write_tables(results, tmp_path, "command")
    left = pd.read_csv(tmp_path / "left_out.csv").set_index("product")
    assert left.loc["two/z", "chosen"] == "b"
    assert left.loc["two/z", "its_score"] == pytest.approx(0.4)
    assert left.loc["two/z", "best_here"] == "default"
    assert left.loc["one/x", "chosen"] == "default"
    assert "| lite0 | two/z | b | 0.400 (-0.500) | 0.900 | default (0.900) |" in text


def test_recall_is_over_all_images_and_a_group_without_images_has_none(results: list[dict[str, Any]]) -> None:
    summary = tables.over_seeds(tables.long_table(results))
    row = summary[(summary["data"] == "one") & (summary["detector"] == "b") & (summary["category"] == "mean")]
    text = tables.markdown(row, tables.NAMES, ["tiny", "small", "large", "good", "train_seconds"])
    assert text.splitlines()[-1] == (
        "| one | lite0 | b | 0.250 ± 0.000 | – | 1.000 ± 0.000 | 0.100 ± 0.000 | 10.5 ± 0.7 |"
    )


def test_the_plot_is_drawn_with_crowded_points(results: list[dict[str, Any]], tmp_path: Path) -> None:
    write_plot(tmp_path / "plot ü.png", tables.over_seeds(tables.long_table(results)))
    assert (tmp_path / "plot ü.png").stat().st_size > 10_000


def test_every_variant_that_comes_with_the_benchmark_is_valid() -> None:
    for name, section in (("ablation.yaml", "variants"), ("npgmf.yaml", "variants"), ("accuracy.yaml", "detectors")):
        source = common.BENCHMARKS / name
        config = common.read_yaml(source)
        base = common.read_yaml(common.BENCHMARKS.parent / "params.yaml")
        encoders = common.named_overrides(config, "encoders", source)
        common.check_all(base, encoders, common.named_overrides(config, section, source), source)


def test_a_variant_with_an_unknown_key_names_it(tmp_path: Path) -> None:
    config = tmp_path / "ablation.yaml"
    config.write_text("seeds: [0]\nencoders: {a: {}}\nvariants: {b: {detector: {harmoniad: {blades: 3}}}}\n")
    params = str(common.BENCHMARKS.parent / "params.yaml")
    with pytest.raises(HarmoniadError, match=r"ablation.yaml, a, b: unknown key `detector.harmoniad.blades`"):
        ablation.main(["--config", str(config), "--params", params])
