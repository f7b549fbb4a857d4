"""Saturation areas: from how many found pixels on a defect counts as found (Bergmann et al., IJCV 2022, section 4)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Saturation:
    """The rule for one mask: a number of pixels, or a share of the defect's own area."""

    threshold: float
    """Pixels, or the share from 0 to 1."""
    relative: bool = False
    grey: int | None = None
    """The grey value of the masks that the rule is for; None for any."""

    def area(self, defect_area: int) -> int:
        """The saturation area in pixels of a defect of `defect_area` pixels, which it never exceeds."""
        wanted = self.threshold * defect_area if self.relative else self.threshold
        return max(1, min(int(wanted), defect_area))

    def __str__(self) -> str:
        """As a manifest holds it: `6300`, `50%`, `254=50%`."""
        number = Decimal(str(self.threshold)) * (100 if self.relative else 1)
        text = f"{number:f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return f"{'' if self.grey is None else f'{self.grey}='}{text}{'%' if self.relative else ''}"


def parse(text: str) -> Saturation:
    """The rule that `str` gave.

    Raises:
        ValueError: It is none, or not more than 0, or a share above 100 %.
    """
    match = re.fullmatch(r"(?:(\d+)=)?(\d+(?:\.\d+)?)(%?)", text.strip())
    if not match:
        raise ValueError(f"`{text}` is no saturation area: write pixels (6300) or a share of the defect (50%)")
    grey, number, percent = match.groups()
    threshold = float(Decimal(number) / (100 if percent else 1))
    if threshold <= 0 or (percent and threshold > 1):
        raise ValueError(f"`{text}` is no saturation area: pixels must be more than 0, a share at most 100%")
    return Saturation(threshold, bool(percent), None if grey is None else int(grey))


def rule_for(rules: Sequence[Saturation], position: int, grey: int) -> Saturation | None:
    """The rule for the mask at a position among those of its image, whose marked pixels have the value `grey`.

    Rules with grey values are for all masks; of others, there is one for all or one a mask.
    """
    by_grey = [rule for rule in rules if rule.grey is not None]
    if by_grey:
        return next((rule for rule in by_grey if rule.grey == grey), None)
    return rules[0] if len(rules) == 1 else rules[position]
