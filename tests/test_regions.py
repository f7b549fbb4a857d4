import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harmoniad.regions import Region, find_regions


def test_regions_by_hand() -> None:
    anomaly_map = np.zeros((6, 8), np.float32)
    anomaly_map[0, 0] = 3
    anomaly_map[1, 1] = 5  # touches the one before at a corner
    anomaly_map[4:6, 4:8] = 2
    anomaly_map[0, 7] = 1  # not above the threshold
    assert find_regions(anomaly_map, 1.0, True) == [
        Region((4, 4, 8, 6), 8, 2.0),
        Region((0, 0, 2, 2), 2, 5.0),
    ]


def test_of_equal_areas_the_higher_comes_first() -> None:
    assert [found.max_score for found in find_regions(np.array([[2, 0, 3]], np.float32), 1.0, True)] == [3, 2]


def test_a_flagged_part_has_a_region_and_a_passed_one_need_not() -> None:
    anomaly_map = np.array([[0.1, 0.9, 0.2]], np.float32)
    assert find_regions(anomaly_map, 1.0, False) == []
    assert find_regions(anomaly_map, 1.0, True) == [Region((1, 0, 2, 1), 1, float(np.float32(0.9)))]


def flood(above: np.ndarray) -> list[set[tuple[int, int]]]:
    """An oracle: regions by walking from pixel to pixel."""
    left, found = set(zip(*map(list, np.nonzero(above)), strict=True)), []
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            row, column = edge.pop()
            region.add((row, column))
            near = {(row + y, column + x) for y in (-1, 0, 1) for x in (-1, 0, 1)} & left
            left -= near
            edge += near
        found.append(region)
    return found


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (7, 9), elements=st.sampled_from([0.0, 0.5, 1.0, 2.0])))
def test_regions_are_those_of_a_flood(anomaly_map: np.ndarray) -> None:
    wanted = [
        (
            (min(x for _, x in pixels), min(y for y, _ in pixels), max(x for _, x in pixels) + 1),
            len(pixels),
            max(anomaly_map[pixel] for pixel in pixels),
        )
        for pixels in flood(anomaly_map > 0.5)
    ]
    found = find_regions(anomaly_map, 0.5, False)
    assert sorted((region.box[:3], region.area, region.max_score) for region in found) == sorted(wanted)
    assert [region.area for region in found] == sorted((region.area for region in found), reverse=True)
