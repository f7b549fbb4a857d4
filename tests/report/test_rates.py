import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from harmoniad.metrics import recall_interval
from harmoniad.report.findings import against_tolerated, findings
from harmoniad.report.rates import Rate, area_name, by_area, by_kind, false_alarms, recall


def rows(**columns: list) -> pd.DataFrame:
    table = pd.DataFrame({"category": "bolt", "split": "test", "threshold": 1.0, **columns})
    return table.assign(label=np.where(table["defect"] == "good", "good", "defect"))


TEST = rows(
    defect=["dent", "dent", "dent", "hole", "good", "good", "good", "good"],
    score=[0.5, 1.0, 2.0, 3.0, 0.1, 1.0, 1.1, 0.2],  # a part on the threshold passes
    defect_share=[0.0001, 0.0003, 0.002, 0.5, 0, 0, 0, 0],
)


def test_rates_by_hand() -> None:
    found, alarms = recall(TEST), false_alarms(TEST)
    assert found is not None
    assert alarms is not None
    assert (found.count, found.total) == (2, 4)
    assert (alarms.count, alarms.total) == (1, 4)
    assert (found.low, found.high) == recall_interval(TEST["label"] == "defect", TEST["score"], 1.0)
    missed = found.opposite
    assert (missed.count, missed.low, missed.high) == (2, 1 - found.high, 1 - found.low)


def test_none_flagged_of_few_is_not_called_sure() -> None:
    alarms = false_alarms(rows(defect=["good"] * 20, score=[0.0] * 20))
    assert alarms is not None
    assert (alarms.low, alarms.high) == (0, pytest.approx(binomtest(0, 20).proportion_ci().high))
    assert alarms.about == "0 (0–17)"
    assert recall(rows(defect=["good"], score=[0.0])) is None


@pytest.mark.parametrize(
    ("rate", "of", "about", "percent"),
    [
        (Rate(5, 100, 0.02, 0.09), 100, "5 (2–9)", "5 % (2–9)"),
        (Rate(3, 1000, 0.001, 0.006), 1000, "3 (1–6)", "0.3 % (0.1–0.6)"),
        (Rate(1, 10_000, 0.0, 0.0003), 10_000, "1 (0–3)", "0.01 % (0–0.03)"),
        (Rate(0, 4000, 0.0, 0.0009), 1000, "0 (0–1)", "0 % (0–0.09)"),
        (Rate(299, 300, 0.99, 1.0), 100, "100 (99–100)", "99.7 % (99–100)"),
    ],
)
def test_rates_in_words(rate: Rate, of: int, about: str, percent: str) -> None:
    assert (rate.of, rate.about, rate.percent) == (of, about, percent)


def test_recall_by_kind_and_by_area() -> None:
    assert [(kind, rate.count, rate.total) for _, kind, rate in by_kind(TEST)] == [("dent", 1, 3), ("hole", 1, 1)]
    assert [(name, rate.count, rate.total) for name, rate in by_area(TEST)] == [
        ("below 0.03 %", 0, 1),
        ("0.03 to 0.1 %", 0, 1),
        ("0.1 to 0.3 %", 1, 1),
        ("10 % and more", 1, 1),
    ]
    assert by_area(TEST.assign(defect_share=0.0)) == []
    assert area_name(3) == "0.3 to 1 %"


def test_against_tolerated() -> None:
    assert against_tolerated(Rate(5, 50, 0.06, 0.2), 0.05) == "more than tolerated"
    assert against_tolerated(Rate(1, 500, 0.0, 0.01), 0.05) == "no more than tolerated"
    assert against_tolerated(Rate(3, 50, 0.02, 0.2), 0.05) == "in line with what is tolerated"


def category(name: str, found: Rate | None, alarms: Rate | None, held_out: int) -> dict:
    return {"name": name, "recall": found, "false_alarms": alarms, "held_out": held_out}


def test_findings_name_what_is_weak() -> None:
    good, bad = Rate(40, 40, 0.91, 1.0), Rate(20, 40, 0.35, 0.65)
    categories = [category("bolt", good, bad, 19), category("nut", bad, Rate(1, 40, 0.0, 0.08), 20)]
    kinds = [("nut", "dent", Rate(0, 4, 0.0, 0.6)), ("nut", "hole", good)]
    areas = [("below 0.03 %", Rate(1, 5, 0.0, 0.6)), ("1 to 3 %", good)]
    assert [title for title, _ in findings(categories, kinds, areas, 0.05, 20)] == [
        "Defects that are missed most",
        "Size of defect that is missed most",
        "More false alarms than tolerated",
        "Thresholds from few images",
    ]
    text = " ".join(sentence for _, sentence in findings(categories, kinds, areas, 0.05, 20))
    assert "“dent” on nut, 4 of 4 missed." in text
    assert "Marked area below 0.03 % of the image: 4 of 5 missed." in text
    assert "bolt, 20 of 40 good parts." in text
    assert "bolt: the threshold rests on fewer than 20 good images" in text


def test_nothing_to_complain_about() -> None:
    fine = category("bolt", Rate(40, 40, 0.91, 1.0), Rate(1, 40, 0.0, 0.08), 20)
    assert findings([fine], [("bolt", "dent", Rate(40, 40, 0.91, 1.0))], [], 0.05, 20) == []


def test_missing_and_few_parts_are_told() -> None:
    categories = [category(f"part {number}", None, Rate(0, 9, 0.0, 0.3), 20) for number in range(7)]
    categories.append(category("fine", Rate(40, 40, 0.9, 1.0), Rate(0, 40, 0.0, 0.1), 20))
    none, few = findings(categories, [], [], 0.05, 20)
    assert none[0] == "No defective parts"
    assert few[1].startswith("part 0, part 1, part 2, part 3, part 4 and 2 more: fewer than 30")
