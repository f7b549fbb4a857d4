"""What became of each test image, and which of them are worth a picture."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MISSED = "missed defect"
FALSE_ALARM = "false alarm"
FOUND = "defect found"
PASSED = "good part passed"
OUTCOMES = (MISSED, FALSE_ALARM, FOUND, PASSED)
"""From the most to the least instructive."""


def outcome(is_defect: bool, is_anomalous: bool) -> str:
    """The outcome of one image: what it is against what the model says."""
    if is_defect:
        return FOUND if is_anomalous else MISSED
    return FALSE_ALARM if is_anomalous else PASSED


def outcomes(scores: "pd.DataFrame") -> "pd.Series[str]":
    """The outcome of every row of a table of scores, with its index.

    Args:
        scores: With the columns `label` (good or defect) and `is_anomalous`.
    """
    import pandas as pd

    pairs = zip(scores["label"] == "defect", scores["is_anomalous"], strict=True)
    return pd.Series([outcome(bool(defect), bool(flag)) for defect, flag in pairs], index=scores.index, dtype="str")


def choose(scores: "pd.DataFrame", per_category: int) -> list[int]:
    """Choose the test images that get a heat map.

    First one of each kind: the worst missed defect, the worst false alarm, the strongest and the weakest defect found
    and a typical good part. Then the other missed defects, false alarms, defects found and good parts, one kind of
    defect after the other, so that a frequent kind does not crowd out a rare one.

    Args:
        scores: With the columns of `results/evaluate/scores.csv`.
        per_category: At most so many for each category.

    Returns:
        Positions of rows (for `iloc`), category by category, the most instructive first.
    """
    table = scores.assign(outcome=outcomes(scores), position=range(len(scores)))
    table = table[table["split"] == "test"].sort_values(["category", "path"])
    chosen: list[int] = []
    for _, rows in table.groupby("category", sort=True):
        chosen += _most_instructive(rows)[:per_category]
    return chosen


def _most_instructive(rows: "pd.DataFrame") -> list[int]:
    """Positions of the rows of one category, the most instructive first."""
    missed = _in_turn(rows[rows["outcome"] == MISSED], ascending=True)
    alarms = _in_turn(rows[rows["outcome"] == FALSE_ALARM], ascending=False)
    found = _in_turn(rows[rows["outcome"] == FOUND], ascending=True)
    passed = _in_turn(rows[rows["outcome"] == PASSED], ascending=False)
    strongest = rows[rows["outcome"] == FOUND].nlargest(1, "score")["position"].tolist()
    typical = passed[len(passed) // 2 :][:1]
    one_of_each = missed[:1] + alarms[:1] + strongest + found[:1] + typical
    return list(dict.fromkeys(one_of_each + missed + alarms + found + passed))


def _in_turn(rows: "pd.DataFrame", ascending: bool) -> list[int]:
    """Positions by score, one kind of defect after the other."""
    ordered = rows.sort_values("score", ascending=ascending, kind="stable")
    turn = ordered.groupby("defect").cumcount()
    positions: list[int] = ordered.assign(turn=turn).sort_values("turn", kind="stable")["position"].tolist()
    return positions
