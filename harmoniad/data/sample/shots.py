"""Which products there are, and how one image of one of them comes about."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from harmoniad.data.sample.camera import Fixture, locate, photograph, read_out
from harmoniad.data.sample.defects import DEFECTS
from harmoniad.data.sample.label import label
from harmoniad.data.sample.machined import machined_part
from harmoniad.data.sample.materials import brick, grass, gravel
from harmoniad.data.sample.part import NOMINAL_SIZE, Change, Part
from harmoniad.data.sample.surface import Palette, Surface

# The mask holds every pixel that the defect changes by more than this, in 0..1, and every pixel it mostly covers.
CHANGED, COVERED = 5 / 255, 0.5
# Among real defects most are plain to see: this share of them is barely visible, the others are this severe or more.
BARELY_VISIBLE, PLAIN = 1 / 8, 0.4
# A defect smaller than this, in pixels of a 256 px image at visibility 1, or fainter than its category allows is drawn
# again, stronger.
SMALLEST_DEFECT = 40
_TRIES = 14
_DAMAGE = tuple(DEFECTS)
_STRUCTURE = ("missing_element", "misplaced_element")


@dataclass(frozen=True)
class Category:
    """One product on its line.

    Attributes:
        render: draws the product from a generator, the width of the canvas and, if it has elements, a `Change`.
        supersampling: how much wider the canvas is than the image, so that thin lines and edges come out smooth.
        kinds: its defects; each is a folder of the test set.
        fixture: how the line presents it.
        palette: what soils it.
        visibility: makes damage stronger and larger where a rough material would hide it.
        faintest: the least mean change (0..1) over a mask that a careful eye can find on this product.
    """

    render: Callable[..., Part]
    supersampling: int
    kinds: tuple[str, ...]
    fixture: Fixture
    palette: Palette
    visibility: float
    faintest: float


# Oil, rust, ink and soot; dust, fluff and swarf.
_IN_THE_WORKS = Palette(
    stains=((0.45, 0.36, 0.22), (0.55, 0.30, 0.14), (0.22, 0.26, 0.42), (0.25, 0.25, 0.25)),
    objects=((0.10, 0.14, 0.45), (0.93, 0.92, 0.88), (0.55, 0.08, 0.10), (0.07, 0.07, 0.07), (0.42, 0.30, 0.18)),
)
# Dried-out grass in yellow and brown, and oil; litter in the colours of plastic, and wire.
_ON_GRASS = Palette(
    stains=((2.1, 1.4, 1.5), (1.4, 0.78, 0.75), (0.28, 0.22, 0.30), (1.9, 1.8, 3.0)),
    objects=((0.93, 0.93, 0.92), (0.12, 0.25, 0.75), (0.80, 0.12, 0.10), (0.62, 0.64, 0.68), (0.90, 0.55, 0.08)),
)
# Rust, oil and road paint.
_ON_GRAVEL = Palette(
    stains=((0.75, 0.33, 0.12), (0.22, 0.21, 0.22), (1.25, 0.95, 0.15), (0.30, 0.52, 1.05)),
    objects=((0.97, 0.97, 0.96), (0.10, 0.25, 0.75), (0.80, 0.12, 0.10), (0.10, 0.50, 0.20), (0.95, 0.60, 0.05)),
)

CATALOGUE = {
    "brick": Category(brick, 2, _DAMAGE, Fixture(), _IN_THE_WORKS, visibility=1.1, faintest=0.05),
    "grass": Category(
        grass,
        2,
        ("scratch", "stain", "hole", "contamination"),
        Fixture(unsteady=0.4),
        _ON_GRASS,
        visibility=1.6,
        faintest=0.13,
    ),
    "gravel": Category(
        gravel,
        2,
        _DAMAGE,
        Fixture("belt", angle=1.5, shift=2.0, height=5, unsteady=0.6),
        _ON_GRAVEL,
        visibility=1.6,
        faintest=0.10,
    ),
    "label": Category(
        label,
        3,
        ("scratch", "stain", "hole", "contamination", *_STRUCTURE),
        Fixture("cardboard", angle=1.2, shift=2.0, height=0.6, unsteady=0.5),
        _IN_THE_WORKS,
        visibility=1.0,
        faintest=0.05,
    ),
    "machined_part": Category(
        machined_part,
        3,
        (*_DAMAGE, *_STRUCTURE),
        Fixture("belt", angle=1.2, shift=1.6, height=5),
        _IN_THE_WORKS,
        visibility=0.75,
        faintest=0.035,
    ),
}


@dataclass(frozen=True)
class Shot:
    """One image to take. `group` is train, good, or the kind of the defect; `index` counts within the group."""

    category: str
    group: str
    index: int

    @property
    def has_defect(self) -> bool:
        """Whether the group is a kind of defect, and not train or good."""
        return self.group in CATALOGUE[self.category].kinds

    @property
    def image_path(self) -> str:
        """Where the image goes, relative to the root."""
        folder = "train/good" if self.group == "train" else f"test/{self.group}"
        return f"{self.category}/{folder}/{self.index:03d}.png"

    @property
    def mask_path(self) -> str:
        """Where the mask of a defect goes, relative to the root."""
        return f"{self.category}/ground_truth/{self.group}/{self.index:03d}_mask.png"


@dataclass(frozen=True)
class Picture:
    """What came of a shot.

    Attributes:
        image: (size, size, 3) uint8.
        mask: (size, size) uint8, 0 or 255; None for a normal product.
        scene: (size, size, 3) float32, the image before noise.
        clean_scene: the same with the product as it was before the defect.
    """

    image: np.ndarray
    mask: np.ndarray | None
    scene: np.ndarray
    clean_scene: np.ndarray


def severity_of(shot: Shot, seed: int) -> float:
    """How severe the defect of a shot is, 0..1: under `BARELY_VISIBLE` for that share of a group, else from `PLAIN`."""
    first = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=_keys(shot))).random()
    # Steps of the golden ratio spread a group evenly, however many there are.
    rank = float(first + shot.index * 0.6180339887) % 1
    if rank < BARELY_VISIBLE:
        return rank
    return PLAIN + (1 - PLAIN) * (rank - BARELY_VISIBLE) / (1 - BARELY_VISIBLE)


def _keys(shot: Shot) -> tuple[int, int]:
    return zlib.crc32(shot.category.encode()), zlib.crc32(shot.group.encode())


def take(shot: Shot, seed: int, size: int, *, varied: bool = False) -> Picture:
    """Draw one product, with the defect that its group asks for, and photograph it.

    Args:
        shot: Which image.
        seed: Of the data set.
        size: Side of the image in pixels.
        varied: Whether it lies at any angle, the light is unsteady and its material differs from part to part.
    """
    category = CATALOGUE[shot.category]
    fixture = category.fixture
    if varied:
        fixture = replace(fixture, any_angle=True, unsteady=fixture.unsteady + 1)
    of_shot = np.random.SeedSequence(seed, spawn_key=(*_keys(shot), shot.index))
    part_seed, camera_seed, noise_seed, defect_seed, material_seed = of_shot.spawn(5)

    def render(*change: Change) -> Part:
        part = category.render(np.random.default_rng(part_seed), category.supersampling * size, *change)
        return _of_another_batch(part, np.random.default_rng(material_seed)) if varied else part

    def see(part: Part) -> np.ndarray:
        return photograph(part, fixture, size, np.random.default_rng(camera_seed))

    part = render()
    clean_scene = scene = see(part)
    mask = None
    if shot.has_defect:
        severity = severity_of(shot, seed)
        rng = np.random.default_rng(defect_seed)
        for _ in range(_TRIES):
            if shot.group in DEFECTS:
                damaged, footprint = _damage(part, shot.group, severity, category, rng)
            else:
                damaged = render(Change(shot.group, severity, int(rng.integers(2**32))))
                footprint = np.zeros(part.colour.shape[:2], np.float32)
            scene = see(damaged)
            covered = locate(footprint, fixture, size, np.random.default_rng(camera_seed)) > COVERED
            change = np.abs(scene - clean_scene).max(axis=-1)
            defective = covered | (change > CHANGED)
            big_enough = defective.sum() >= SMALLEST_DEFECT * (category.visibility * size / NOMINAL_SIZE) ** 2
            if big_enough and change[defective].mean() >= category.faintest:
                break
            severity = min(severity + 0.1, 1)
        mask = defective.astype(np.uint8) * 255
    return Picture(read_out(scene, np.random.default_rng(noise_seed)), mask, scene, clean_scene)


def _of_another_batch(part: Part, rng: np.random.Generator) -> Part:
    """The same part of a material with another tint and contrast."""
    tint, contrast = 1 + rng.uniform(-0.12, 0.12, size=3), rng.uniform(0.8, 1.25)
    levels = (np.arange(256)[:, None] / 255) ** contrast * tint
    table = (np.clip(levels, 0, 1) * 255 + 0.5).astype(np.uint8)
    colour = np.stack([table[part.colour[..., channel], channel] for channel in range(3)], axis=-1)
    return Part(colour, part.cover, part.light)


def _damage(
    part: Part, kind: str, severity: float, category: Category, rng: np.random.Generator
) -> tuple[Part, np.ndarray]:
    """Damage a part, now and then twice, and tell where: the footprint, (n, n) float32 0..1."""
    surface = Surface(part, category.visibility, category.palette)
    for _ in range(2 if rng.random() < 0.2 else 1):
        DEFECTS[kind](surface, severity, rng)
    colour = (np.clip(surface.colour, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Part(colour, part.cover, part.light), surface.footprint
