"""What came of a day."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Record:
    """What came of a day.

    Attributes:
        day: Its number.
        events: What was special.
        images: Files that came, masks among them.
        quarantined: Images that were refused.
        drift: The decision of each comparison, in order.
        reasons_of_drift: What they said.
        version: Of the model that was registered; None if there was none.
        gate: `promoted` or `kept`.
        reasons: The gate's.
        champion: The version at the end of the day.
        before: Mean image AUROC of the champion of the morning, on the test images of the evening, over the categories
            that both champions know.
        after: The same of the champion of the evening.
        quality: Of the champion of the evening over all its categories.
        mislabelled: How many defects were among the good images that were trained on or held out.
        troubles: What went wrong on purpose, and what was said of it.
        runs: How often the retraining was started.
        seconds: See `timing.Seconds`; of all runs.
        commit: Of git, at the end.
        grown: By how many bytes the project grew.
    """

    day: int
    events: list[str]
    images: int = 0
    quarantined: int = 0
    drift: list[str] = field(default_factory=list)
    reasons_of_drift: list[str] = field(default_factory=list)
    version: int | None = None
    gate: str = ""
    reasons: list[str] = field(default_factory=list)
    champion: int | None = None
    before: float | None = None
    after: float | None = None
    quality: float | None = None
    mislabelled: int = 0
    troubles: list[str] = field(default_factory=list)
    runs: int = 0
    seconds: dict[str, Any] = field(default_factory=dict)
    commit: str = ""
    grown: int = 0
