"""How often the model will be wrong, counted on the test images and said in plain words with its uncertainty."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harmoniad.metrics import recall_interval

if TYPE_CHECKING:
    import pandas as pd

# Lower ends of the classes of defect area, as shares of the image.
AREAS = (0.0, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)


@dataclass(frozen=True)
class Rate:
    """Something that happened `count` times out of `total`, with a 95 % confidence interval of its share."""

    count: int
    total: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The share that was counted."""
        return self.count / self.total

    @property
    def opposite(self) -> "Rate":
        """The rate at which it did not happen."""
        return Rate(self.total - self.count, self.total, 1 - self.high, 1 - self.low)

    @property
    def of(self) -> int:
        """100, or as many tens of it as it takes to speak of whole parts."""
        speaking = self.share or self.high
        return next((parts for parts in (100, 1000) if round(speaking * parts) >= 1), 10_000)

    @property
    def about(self) -> str:
        """How many of `of` parts, and between which numbers: "5 (2–9)"."""
        return f"{self.share * self.of:.0f} ({self.low * self.of:.0f}–{self.high * self.of:.0f})"

    @property
    def percent(self) -> str:
        """The share, and between which shares, in per cent: "5 % (2–9)"."""
        return f"{_short(self.share)} % ({_short(self.low)}–{_short(self.high)})"


def recall(rows: "pd.DataFrame") -> Rate | None:
    """How many of the defective parts are flagged, None without any.

    Args:
        rows: With `label` (good or defect), `score` and `threshold`.
    """
    return _flagged(rows, "defect")


def false_alarms(rows: "pd.DataFrame") -> Rate | None:
    """How many of the good parts are flagged, None without any."""
    return _flagged(rows, "good")


def by_kind(test: "pd.DataFrame") -> list[tuple[str, str, Rate]]:
    """Category, kind of defect and how many of its parts are found, the kind that is found least first."""
    groups = test[test["label"] == "defect"].groupby(["category", "defect"], sort=True)
    found = [(str(category), str(defect), _of_defects(rows)) for (category, defect), rows in groups]
    return sorted(found, key=lambda kind: kind[2].share)


def by_area(test: "pd.DataFrame") -> list[tuple[str, Rate]]:
    """How many defective parts are found by the share of the image that is marked, from small to large.

    Args:
        test: With `defect_share` too; 0 where nothing is marked, and then the part does not count.
    """
    marked = test[(test["label"] == "defect") & (test["defect_share"] > 0)]
    numbers = np.searchsorted(AREAS, marked["defect_share"].to_numpy(np.float64), side="right") - 1
    return [(area_name(int(number)), _of_defects(marked[numbers == number])) for number in np.unique(numbers)]


def _of_defects(rows: "pd.DataFrame") -> Rate:
    found = recall(rows)
    assert found is not None
    return found


def area_name(number: int) -> str:
    """A class of defect area in words."""
    low, high = [f"{100 * share:g}" for share in (*AREAS, 1)][number : number + 2]
    if number == 0:
        return f"below {high} %"
    return f"{low} to {high} %" if number < len(AREAS) - 1 else f"{low} % and more"


def _flagged(rows: "pd.DataFrame", label: str) -> Rate | None:
    counted = (rows["label"] == label).to_numpy()
    scores, thresholds = rows["score"].to_numpy(np.float64), rows["threshold"].to_numpy(np.float64)
    # The rate of any label is the recall of the images with that label.
    interval = recall_interval(counted, scores, thresholds)
    if interval is None:
        return None
    return Rate(int((scores > thresholds)[counted].sum()), int(counted.sum()), *interval)


def _short(share: float) -> str:
    """Whole per cent; below 1 and above 99 with as many decimals as it takes to be told from 0 and 100."""
    value = 100 * share
    if 1 <= value <= 99:
        return f"{value:.0f}"
    return f"{value:.1g}" if value < 1 else f"{100 - float(f'{100 - value:.1g}'):g}"
