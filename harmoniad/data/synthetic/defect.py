"""One synthetic defect on the image of a good part."""

import numpy as np
from scipy.ndimage import binary_closing

from harmoniad.data.synthetic.fills import Box, border_colour, contrasting, draw_fill
from harmoniad.data.synthetic.noise import log_uniform
from harmoniad.data.synthetic.shapes import draw_shape

VISIBLE = 6.0  # grey levels, mean of the channels: what changed more than this is part of the defect

_AREAS = (0.0002, 0.05)  # of the image
_OPACITIES = (0.25, 1.0)
_FEWEST_PIXELS = 4
_CORE = 0.5  # a pixel belongs to the core of a defect if it is covered by more than this
_ATTEMPTS = 4


def add_defect(image: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Put one random defect, of any kind, size and contrast, on the image of a good part.

    Args:
        image: (R, R, 3) uint8, R of 32 or more; is not changed.
        seed: 0 or more; the same image and seed give the same defect.

    Returns:
        The changed image (R, R, 3) uint8 and the mask (R, R) bool of the defect: every pixel that changed by more than
        `VISIBLE`, and those they enclose. The mask is never empty.
    """
    rng = np.random.default_rng(seed)
    side = len(image)
    shape = _shape(side, rng)
    box = _place(image, shape, rng)
    changed, change = _blend(image[box], shape, box, image, rng)
    result, mask = image.copy(), np.zeros((side, side), bool)
    result[box], mask[box] = changed, change
    return result, mask


def _shape(side: int, rng: np.random.Generator) -> np.ndarray:
    area = max(log_uniform(rng, *_AREAS) * side**2, _FEWEST_PIXELS)
    shape = draw_shape(area, side, rng)
    while (shape > _CORE).sum() < _FEWEST_PIXELS:
        area *= 1.5
        shape = draw_shape(area, side, rng)
    return shape


def _blend(
    surface: np.ndarray, shape: np.ndarray, box: Box, image: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Fill the shape so that most of it can be seen: with more contrast after each attempt that fails."""
    core = shape > _CORE
    for attempt in range(_ATTEMPTS):
        last = attempt == _ATTEMPTS - 1
        fill = contrasting(image, box) if last else draw_fill(image, box, shape, rng)
        opacity = rng.uniform(_OPACITIES[0] + 0.25 * attempt, _OPACITIES[1])
        changed = surface + opacity * shape[..., None] * (fill - surface)
        changed = np.clip(changed + 0.5, 0, 255).astype(np.uint8)
        change = np.abs(changed.astype(np.int16) - surface).mean(axis=2) > VISIBLE
        if (change & core).sum() >= max(0.5 * core.sum(), _FEWEST_PIXELS):
            break
    return changed, change | (binary_closing(change, np.ones((3, 3))) & core)


def _place(image: np.ndarray, shape: np.ndarray, rng: np.random.Generator) -> Box:
    """A box for the shape: half of the time anywhere, else where the image differs from its border or has texture."""
    side = len(image)
    centre = rng.uniform(0, side, 2)
    if rng.random() < 0.5:
        step = max(side // 32, 1)
        sparse = image[::step, ::step].astype(np.float32)
        relief = np.abs(np.gradient(sparse.mean(axis=2))).sum(axis=0)
        weight = np.abs(sparse - border_colour(image)).mean(axis=2) + 2 * relief + 1e-3
        weight = np.minimum(weight, 3 * weight.mean()).ravel()
        cell = rng.choice(weight.size, p=weight / weight.sum())
        centre = (np.array(np.unravel_index(cell, sparse.shape[:2])) + rng.uniform(0, 1, 2)) * step
    starts = [int(np.clip(c - n / 2, 0, side - n)) for c, n in zip(centre, shape.shape, strict=True)]
    return slice(starts[0], starts[0] + shape.shape[0]), slice(starts[1], starts[1] + shape.shape[1])
