import pandas as pd
import pytest

from harmoniad.report.samples import choose, outcome, outcomes


def table(*rows: tuple[str, float], category: str = "bottle", split: str = "test") -> pd.DataFrame:
    """Rows of (defect, score) at a threshold of 1."""
    return pd.DataFrame(
        [
            {
                "path": f"data/{category}/{split}/{defect}/{number:03}.png",
                "category": category,
                "split": split,
                "label": "good" if defect == "good" else "defect",
                "defect": defect,
                "score": score,
                "threshold": 1.0,
                "is_anomalous": score > 1,
            }
            for number, (defect, score) in enumerate(rows)
        ]
    )


def chosen(scores: pd.DataFrame, per_category: int) -> list[tuple[str, float]]:
    rows = scores.iloc[choose(scores, per_category)]
    return list(zip(rows["defect"], rows["score"], strict=True))


@pytest.mark.parametrize(
    ("is_defect", "is_anomalous", "expected"),
    [
        (True, False, "missed defect"),
        (False, True, "false alarm"),
        (True, True, "defect found"),
        (False, False, "good part passed"),
    ],
)
def test_outcome(is_defect: bool, is_anomalous: bool, expected: str) -> None:
    assert outcome(is_defect, is_anomalous) == expected


def test_outcomes_keep_the_index() -> None:
    scores = table(("dent", 2.0), ("good", 0.5))
    scores.index = [7, 3]
    assert outcomes(scores).to_dict() == {7: "defect found", 3: "good part passed"}


def test_first_one_of_each_kind_by_hand() -> None:
    scores = table(
        ("good", 0.1), ("good", 0.5), ("good", 0.9), ("good", 1.2), ("good", 1.7),
        ("dent", 0.8), ("dent", 0.3), ("dent", 1.1), ("dent", 2.0), ("dent", 3.0),
    )  # fmt: skip
    expected = [("dent", 0.3), ("good", 1.7), ("dent", 3.0), ("dent", 1.1), ("good", 0.5)]
    for count in range(6):
        assert chosen(scores, count) == expected[:count]
    rest = [("dent", 0.8), ("good", 1.2), ("dent", 2.0), ("good", 0.9), ("good", 0.1)]
    assert chosen(scores, 100) == expected + rest


def test_what_is_missing_makes_room_for_the_rest() -> None:
    scores = table(("good", 0.1), ("dent", 3.0), ("dent", 2.0))
    assert chosen(scores, 2) == [("dent", 3.0), ("dent", 2.0)]
    assert chosen(table(("good", 0.2)), 3) == [("good", 0.2)]
    assert chosen(table(("dent", 0.2)), 3) == [("dent", 0.2)]


def test_a_frequent_kind_of_defect_does_not_crowd_out_a_rare_one() -> None:
    scores = table(*[("dent", 0.1 + number / 100) for number in range(10)], ("hole", 0.9), ("scratch", 0.8))
    assert [defect for defect, _ in chosen(scores, 3)] == ["dent", "scratch", "hole"]


def test_each_category_gets_its_own_and_held_out_images_get_none() -> None:
    scores = pd.concat(
        [
            table(("good", 5.0), split="held_out"),
            table(("good", 0.1), ("dent", 2.0), category="screw"),
            table(("good", 0.2), ("dent", 3.0), category="bolt"),
        ]
    )
    assert chosen(scores, 1) == [("dent", 3.0), ("dent", 2.0)]
    assert len(choose(scores, 9)) == 4


def test_the_choice_does_not_depend_on_the_order_of_the_rows() -> None:
    scores = table(*[(["good", "dent", "hole"][number % 3], (number * 7 % 5) / 2) for number in range(40)])
    shuffled = scores.sample(frac=1, random_state=1)
    first, second = scores.iloc[choose(scores, 8)], shuffled.iloc[choose(shuffled, 8)]
    assert first["path"].tolist() == second["path"].tolist()


def test_nothing_to_choose_from() -> None:
    assert choose(table(("good", 0.1), split="held_out"), 5) == []
