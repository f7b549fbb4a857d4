import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harmoniad.params import Views
from harmoniad.tiling import LONGEST_SIDE, Box, Tiling, blend

SIDES = st.integers(1, 700)


def tile_maps(boxes: list[Box | None], resolution: int, picture: np.ndarray) -> torch.Tensor:
    """Bilinear samples of a picture at the centres of the pixels of each tile's map."""
    from scipy.ndimage import map_coordinates

    maps = []
    for left, top, right, bottom in filter(None, boxes):
        y = top + (np.arange(resolution) + 0.5) * (bottom - top) / resolution - 0.5
        x = left + (np.arange(resolution) + 0.5) * (right - left) / resolution - 0.5
        maps.append(map_coordinates(picture, np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest"))
    return torch.from_numpy(np.stack(maps)).float()


@settings(deadline=None, max_examples=60)
@given(SIDES, SIDES, st.integers(32, 600), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75]))
def test_tiles_cover_the_image_lie_inside_and_overlap(width: int, height: int, side: int, overlap: float) -> None:
    boxes = Tiling(side, overlap).boxes(width, height)
    if max(width, height) <= side:
        assert boxes == [None]
        return
    seen = np.zeros((height, width), bool)
    for left, top, right, bottom in filter(None, boxes):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert (right - left, bottom - top) == (min(side, width), min(side, height))
        seen[top:bottom, left:right] = True
    assert seen.all()
    for axis, length in ((0, width), (1, height)):
        starts = sorted({box[axis] for box in boxes if box})
        steps = np.diff(starts)
        assert (steps <= np.ceil(min(side, length) * (1 - overlap))).all()
        assert np.ptp(steps) <= 1 if len(steps) else True  # evenly spaced


def test_without_a_side_no_image_is_cut() -> None:
    assert Tiling.from_params(Views()).boxes(9000, 9000) == [None]
    assert Tiling(512).boxes(2000, 2000)[:2] == [(0, 0, 512, 512), (372, 0, 884, 512)]
    assert len(Tiling(512).boxes(2000, 2000)) == 25
    maps = torch.rand(1, 8, 8)
    assert blend(maps, [None], 30, 20) is not None
    assert torch.equal(blend(maps, [None], 30, 20), maps[0])


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
@pytest.mark.parametrize(("width", "height"), [(200, 130), (50, 333), (5000, 700)])
def test_a_constant_stays_constant(width: int, height: int, overlap: float) -> None:
    boxes = Tiling(64 if width < 5000 else 640, overlap).boxes(width, height)
    whole = blend(torch.full((len(boxes), 24, 24), 3.5), boxes, width, height)
    factor = min(1, LONGEST_SIDE / max(width, height))
    assert whole.shape == (round(height * factor), round(width * factor))
    torch.testing.assert_close(whole, torch.full_like(whole, 3.5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("overlap", [0.25, 0.5])
def test_a_ramp_stays_a_ramp(overlap: float) -> None:
    width, height, side, resolution = 300, 220, 96, 64
    y, x = np.mgrid[:height, :width]
    ramp = 0.7 * x / width - 0.4 * y / height
    boxes = Tiling(side, overlap).boxes(width, height)
    whole = blend(tile_maps(boxes, resolution, ramp), boxes, width, height).numpy()
    edge = 1  # the centre of a map's outermost pixel lies 0.75 pixels inside the image; beyond it nothing is known
    inside = (slice(edge, -edge), slice(edge, -edge))
    np.testing.assert_allclose(whole[inside], ramp[inside], atol=1e-5)
    np.testing.assert_allclose(whole, ramp, atol=0.01)


def test_there_is_no_seam_where_tiles_disagree() -> None:
    boxes = Tiling(100, 0.5).boxes(150, 100)
    assert len(boxes) == 2
    whole = blend(torch.stack([torch.zeros(50, 50), torch.ones(50, 50)]), boxes, 150, 100)[50]
    assert whole[:49].max() < 1e-3
    assert whole[101:].min() > 1 - 1e-3
    steps = whole.diff()
    assert (steps >= -1e-6).all()
    assert steps.max() < 0.05  # a seam would be a step of 1


def test_a_thin_line_survives_shrinking() -> None:
    width = height = 6000
    boxes = Tiling(1000, 0.25).boxes(width, height)
    maps = torch.zeros(len(boxes), 500, 500)
    for number, (left, _, _, _) in enumerate(filter(None, boxes)):
        column = (3001 - left) * 500 // 1000
        if 0 <= column < 500:
            maps[number, :, column] = 1
    whole = blend(maps, boxes, width, height)
    assert whole.shape == (LONGEST_SIDE, LONGEST_SIDE)
    hottest = whole.argmax(dim=1).float()
    assert ((hottest + 0.5) * width / LONGEST_SIDE - 3001).abs().max() < 4
    assert whole.max(dim=1).values.min() > 0.4  # a line of 2 pixels in pixels of 3
