import pytest

from harmoniad.errors import HarmoniadError
from harmoniad.models.designs import DETECTORS
from harmoniad.models.detector import detector_class


@pytest.mark.parametrize("name", DETECTORS)
def test_every_name_in_the_params_is_a_detector(name: str) -> None:
    assert detector_class(name).__name__.lower() == f"{name}Detector".replace("_", "").lower()


def test_another_name_is_told_the_known_ones() -> None:
    with pytest.raises(HarmoniadError, match="no detector `magic`") as caught:
        detector_class("magic")
    assert all(name in str(caught.value) for name in DETECTORS)
