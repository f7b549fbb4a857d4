"""Random fields and numbers that shapes and fills share."""

import numpy as np
from PIL import Image, ImageFilter


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform: as many small ones as large ones."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def perlin(height: int, width: int, cells: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Gradient noise (Perlin, SIGGRAPH 1985) with cells (down, across), as (height, width) float32 about 0."""
    angles = rng.uniform(0, 2 * np.pi, (cells[0] + 1, cells[1] + 1)).astype(np.float32)
    y = np.arange(height, dtype=np.float32)[:, None] * (cells[0] / height)
    x = np.arange(width, dtype=np.float32)[None, :] * (cells[1] / width)
    row, column = y.astype(int), x.astype(int)
    y, x = y - row, x - column
    gradient_y, gradient_x = np.sin(angles), np.cos(angles)

    def corner(down: int, right: int) -> np.ndarray:
        place = (row + down, column + right)
        return gradient_y[place] * (y - down) + gradient_x[place] * (x - right)

    fade_y, fade_x = y**3 * (y * (6 * y - 15) + 10), x**3 * (x * (6 * x - 15) + 10)
    top = corner(0, 0) + fade_x * (corner(0, 1) - corner(0, 0))
    bottom = corner(1, 0) + fade_x * (corner(1, 1) - corner(1, 0))
    return top + fade_y * (bottom - top)


def fractal(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """One to three octaves of Perlin noise, from a random scale on, which may be longer than wide; deviation 1."""
    down, across = (int(2 ** rng.integers(0, 4)) for _ in range(2))
    total = np.zeros((height, width), np.float32)
    for octave in range(rng.integers(1, 4)):
        cells = (min(down << octave, height), min(across << octave, width))
        total += perlin(height, width, cells, rng) / 2**octave
    return total / max(float(total.std()), 1e-6)


def blur(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of (h, w) values in 0..1, or of (h, w, 3) grey levels."""
    scale = 255 if values.ndim == 2 else 1
    image = Image.fromarray((np.clip(values * scale, 0, 255) + 0.5).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(float(sigma))), np.float32) / scale
