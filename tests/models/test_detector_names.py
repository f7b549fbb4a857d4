import pytest

from harmoniad.errors import HarmoniadError
from harmoniad.models.designs import DETECTORS
from harmoniad.models.detector import detector_class
from harmoniad.params import Params
from tests.models.features import PatternFeatures


@pytest.mark.parametrize("name", DETECTORS)
def test_every_name_in_the_params_is_a_detector(name: str) -> None:
    detector = detector_class(name).create(PatternFeatures.shapes, Params())
    assert detector.config()["shapes"] == [list(shape) for shape in PatternFeatures.shapes]


def test_another_name_is_told_the_known_ones() -> None:
    with pytest.raises(HarmoniadError, match="no detector `magic`") as caught:
        detector_class("magic")
    assert all(name in str(caught.value) for name in DETECTORS)
