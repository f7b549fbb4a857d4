"""What a defect looks like inside: functions of the image, the place, the shape and a generator.

Each gives grey levels (h, w, 3) float32 for the box (h, w) of the image (R, R, 3) uint8 that holds the shape.
"""

from collections.abc import Callable

import numpy as np

from harmoniad.data.synthetic.noise import blur, fractal, log_uniform

Box = tuple[slice, slice]
Fill = Callable[[np.ndarray, Box, np.ndarray, np.random.Generator], np.ndarray]


def draw_fill(image: np.ndarray, box: Box, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random fill."""
    return FILLS[rng.choice(len(FILLS), p=_SHARES)](image, box, shape, rng)


def shaded(image: np.ndarray, box: Box, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same surface, darker or brighter, perhaps in another tone."""
    return image[box] * _tone(image, 0.25, 0.9, rng) if rng.random() < 0.6 else _brighter(image, box, rng)


def rimmed(image: np.ndarray, box: Box, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Dark in the middle and bright round it, or the reverse."""
    dark, bright = image[box] * log_uniform(rng, 0.2, 0.7), _brighter(image, box, rng)
    inside = np.clip((shape - rng.uniform(0.3, 0.7)) * 4 + 0.5, 0, 1)[..., None]
    return bright + inside * (dark - bright) if rng.random() < 0.75 else dark + inside * (bright - dark)


def coloured(image: np.ndarray, box: Box, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One colour, a little grainy."""
    grain = rng.normal(0, log_uniform(rng, 1, 12), shape.shape).astype(np.float32)
    return _colour(image, box, rng) + grain[..., None]


def missing(image: np.ndarray, box: Box, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What lies beside the part, as if a piece of it were gone."""
    return border_colour(image) + rng.normal(0, 3, image[box].shape).astype(np.float32)


def noisy(image: np.ndarray, box: Box, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two colours mixed by noise of a random scale."""
    noise = rng.normal(size=shape.shape) if rng.random() < 0.4 else fractal(shape.shape[0], shape.shape[1], rng)
    return _mixed(image, box, 0.5 + 0.5 * noise, rng)


def striped(image: np.ndarray, box: Box, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two colours in stripes of a random width and direction."""
    height, width = shape.shape
    angle, period = rng.uniform(0, np.pi), log_uniform(rng, 3, 0.1 * len(image) + 4)
    across = np.arange(width) * np.cos(angle) + np.arange(height)[:, None] * np.sin(angle)
    wave = np.sin(across * (2 * np.pi / period) + rng.uniform(0, 6)) * log_uniform(rng, 0.5, 3)
    return _mixed(image, box, 0.5 + 0.5 * wave, rng)


def elsewhere(image: np.ndarray, box: Box, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another place of the image, turned, perhaps enlarged, a little darker or brighter."""
    height, width = shape.shape
    angle, scale = rng.uniform(0, 2 * np.pi), log_uniform(rng, 0.5, 1.5)
    down = scale * (np.arange(height)[:, None] - height / 2)
    across = scale * (np.arange(width)[None, :] - width / 2)
    place = rng.uniform(0, len(image), 2)
    rows = place[0] + down * np.cos(angle) + across * np.sin(angle)
    columns = place[1] - down * np.sin(angle) + across * np.cos(angle)
    return image[_mirrored(rows, len(image)), _mirrored(columns, len(image))] * _tone(image, 0.7, 1.4, rng)


def blurred(image: np.ndarray, box: Box, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same surface, smeared, a little darker or brighter."""
    return blur(image[box], log_uniform(rng, 1.5, 12)) * _tone(image, 0.75, 1.3, rng)


def sharpened(image: np.ndarray, box: Box, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same surface, rougher."""
    smooth = blur(image[box], log_uniform(rng, 1, 6))
    return smooth + log_uniform(rng, 2.5, 8) * (image[box] - smooth)


def shuffled(image: np.ndarray, box: Box, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The blocks of the surface round the defect in another order."""
    height, width = shape.shape
    block = max(int(min(height, width) / rng.integers(2, 6)), 1)
    down, across = -(-height // block), -(-width // block)
    top = min(box[0].start, len(image) - min(down * block, len(image)))
    left = min(box[1].start, len(image) - min(across * block, len(image)))
    area = image[top : top + down * block, left : left + across * block]
    area = np.pad(area, ((0, down * block - area.shape[0]), (0, across * block - area.shape[1]), (0, 0)), "edge")
    blocks = area.reshape(down, block, across, block, 3).swapaxes(1, 2).reshape(-1, block, block, 3)
    mixed = rng.permutation(blocks).reshape(down, across, block, block, 3).swapaxes(1, 2)
    return mixed.reshape(down * block, across * block, 3)[:height, :width] * _tone(image, 0.85, 1.18, rng)


FILLS: tuple[Fill, ...] = (
    shaded, rimmed, coloured, missing, noisy, striped, elsewhere, blurred, sharpened, shuffled,
)  # fmt: skip
_SHARES = (0.24, 0.12, 0.10, 0.07, 0.10, 0.04, 0.15, 0.06, 0.06, 0.06)


def contrasting(image: np.ndarray, box: Box) -> np.ndarray:
    """Black where the surface is bright, white where it is dark: half of it is visible on any surface."""
    return np.where(image[box] > 127, 0, 255).astype(np.float32)


def border_colour(image: np.ndarray) -> np.ndarray:
    """The median colour (3,) of the outermost pixels."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return np.median(border, axis=0).astype(np.float32)


def _mirrored(place: np.ndarray, side: int) -> np.ndarray:
    """Indices into an image that goes on as its mirror image beyond its borders."""
    folded = np.floor(place).astype(int) % (2 * side)
    return np.minimum(folded, 2 * side - 1 - folded)


def _tone(image: np.ndarray, low: float, high: float, rng: np.random.Generator) -> np.ndarray:
    """A factor for each channel, (3,): more often grey where the image is grey."""
    factor = log_uniform(rng, low, high)
    tint = rng.uniform(0.75, 1.25, 3) if rng.random() < _colourfulness(image) else np.ones(3)
    return (factor * tint).astype(np.float32)


def _brighter(image: np.ndarray, box: Box, rng: np.random.Generator) -> np.ndarray:
    return 255 - (255 - image[box].astype(np.float32)) * _tone(image, 0.3, 0.9, rng)


def _colour(image: np.ndarray, box: Box, rng: np.random.Generator) -> np.ndarray:
    """A colour (3,): of another pixel, or the surface's own, changed."""
    if rng.random() < 0.3:
        return image[tuple(rng.integers(len(image), size=2))].astype(np.float32)
    change = rng.choice((-1, 1)) * log_uniform(rng, 15, 160)
    tint = rng.normal(0, 40, 3) if rng.random() < _colourfulness(image) else 0
    return np.asarray(image[box].mean(axis=(0, 1)) + change + tint, np.float32)


def _mixed(image: np.ndarray, box: Box, mix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    first, second = _colour(image, box, rng), _colour(image, box, rng)
    return first + np.clip(mix, 0, 1)[..., None].astype(np.float32) * (second - first)


def _colourfulness(image: np.ndarray) -> float:
    """How often a defect of this image has a colour of its own."""
    sparse = image[::16, ::16].astype(np.float32)
    return 0.5 if np.ptp(sparse, axis=2).mean() > 8 else 0.1
