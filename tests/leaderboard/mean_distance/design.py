"""The knobs of the detector."""

from harmoniad.section import Section


class MeanDistance(Section):
    """Distance to the mean of all normal tokens."""

    layer: int = -1
    """Which of the tapped layers is looked at, counted from 0; -1 is the last one."""
