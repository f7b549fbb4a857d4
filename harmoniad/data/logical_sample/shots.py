"""How one image of a product comes about: its arrangement, what is wrong with it, and the masks."""

import zlib
from dataclasses import dataclass, replace

import numpy as np

from harmoniad.data.logical_sample.board import BOARD
from harmoniad.data.logical_sample.kit import KIT
from harmoniad.data.logical_sample.product import Arrangement, Mark, Product, pick
from harmoniad.data.logical_sample.scene import Scene, cover_of
from harmoniad.data.sample.camera import locate, photograph, read_out
from harmoniad.data.sample.defects import DEFECTS
from harmoniad.data.sample.part import NOMINAL_SIZE, Part, draw_light
from harmoniad.data.sample.shots import CHANGED, COVERED
from harmoniad.data.sample.surface import Surface

CATALOGUE = {"board": BOARD, "kit": KIT}
LOGICAL, STRUCTURAL = "logical_anomalies", "structural_anomalies"
FOLDERS = {
    "train": "train/good",
    "validation": "validation/good",
    "good": "test/good",
    LOGICAL: f"test/{LOGICAL}",
    STRUCTURAL: f"test/{STRUCTURAL}",
}
_SUPERSAMPLING = 2
# Structural defects smaller, in pixels of a 256 px image, or fainter than this are drawn again, stronger.
_SMALLEST, _FAINTEST, _TRIES = 60, 0.08, 12
_VISIBILITY = 1.2


@dataclass(frozen=True)
class Shot:
    """One image to take. `group` is a key of `FOLDERS`; `index` counts within it."""

    category: str
    group: str
    index: int

    @property
    def kind(self) -> str:
        """What is wrong: the kinds of a product take turns. Empty for a good one."""
        product = CATALOGUE[self.category]
        kinds = {LOGICAL: tuple(product.logical), STRUCTURAL: product.structural}.get(self.group)
        return kinds[self.index % len(kinds)] if kinds else ""

    @property
    def image_path(self) -> str:
        """Where the image goes, relative to the root."""
        return f"{self.category}/{FOLDERS[self.group]}/{self.index:03d}.png"

    @property
    def mask_folder(self) -> str:
        """Where the masks of a defect go, relative to the root."""
        return f"{self.category}/ground_truth/{self.group}/{self.index:03d}"


@dataclass(frozen=True)
class Picture:
    """What came of a shot.

    Attributes:
        image: (size, size, 3) uint8.
        masks: (size, size) uint8, one a region; its grey value names its entry in `defects_config.json`.
        scene: (size, size, 3) float32, the image before noise.
        clean_scene: the same of the product as it was before the defect; the scene itself where nobody asked for it.
    """

    image: np.ndarray
    masks: list[np.ndarray]
    scene: np.ndarray
    clean_scene: np.ndarray


def grey_values(product: Product) -> dict[str, int]:
    """The grey value of the masks of each entry: from 255 downwards, as in MVTec LOCO AD."""
    return {name: 255 - k for k, name in enumerate(product.entries)}


def defects_config(product: Product, size: int) -> list[dict[str, object]]:
    """The content of `defects_config.json` for images of this size."""
    rules: list[dict[str, object]] = []
    for name, grey in grey_values(product).items():
        nominal = product.entries[name]
        threshold = 1.0 if nominal is None else max(1, round(nominal * (size / NOMINAL_SIZE) ** 2))
        rules.append(
            {
                "defect_name": name,
                "pixel_value": grey,
                "saturation_threshold": threshold,
                "relative_saturation": nominal is None,
            }
        )
    return rules


def take(shot: Shot, seed: int, size: int, *, compare: bool = False) -> Picture:
    """Arrange one product, with the defect that its group asks for, and photograph it.

    Args:
        shot: Which image.
        seed: Of the data set.
        size: Side of the image in pixels.
        compare: Whether to photograph the product of a logical defect as it was before, too.
    """
    product = CATALOGUE[shot.category]
    keys = (zlib.crc32(shot.category.encode()), zlib.crc32(shot.group.encode()), shot.index)
    seeds = np.random.SeedSequence(seed, spawn_key=keys).spawn(5)
    arrangement_seed, ground_seed, camera_seed, noise_seed, defect_seed = seeds
    items = product.arrange(np.random.default_rng(arrangement_seed))

    def lay_out(arranged: Arrangement) -> Part:
        return _lay_out(product, arranged, _SUPERSAMPLING * size, np.random.default_rng(ground_seed))

    def see(part: Part) -> np.ndarray:
        return photograph(part, product.fixture, size, np.random.default_rng(camera_seed))

    def where(footprint: np.ndarray) -> np.ndarray:
        return locate(footprint, product.fixture, size, np.random.default_rng(camera_seed)) > COVERED

    defect_rng = np.random.default_rng(defect_seed)
    grey = grey_values(product)
    masks: list[np.ndarray] = []
    marks: list[Mark] = []
    before = items
    if shot.group == LOGICAL:
        items, marks = product.logical[shot.kind](items, defect_rng)
    part = lay_out(items)
    scene = see(part)
    clean_scene = see(lay_out(before)) if marks and compare else scene
    if shot.group == LOGICAL:
        masks = [
            where(mark.region(product.shapes, part.colour.shape[0])) * np.uint8(grey[mark.entry]) for mark in marks
        ]
    elif shot.group == STRUCTURAL:
        for severity in map(float, np.linspace(defect_rng.uniform(0.35, 0.9), 1, _TRIES)):
            footprint: np.ndarray = np.zeros(part.colour.shape[:2], np.float32)
            if shot.kind in product.bent:
                damaged = lay_out(product.bent[shot.kind](items, severity, defect_rng))
            else:
                surface = _surface(part, shot.kind, items, product, defect_rng)
                DEFECTS[shot.kind](surface, severity, defect_rng)
                damaged, footprint = replace(part, colour=_quantised(surface.colour)), surface.footprint
            scene = see(damaged)
            change = np.abs(scene - clean_scene).max(axis=-1)
            defective = where(footprint) | (change > CHANGED)
            big_enough = defective.sum() >= _SMALLEST * (size / NOMINAL_SIZE) ** 2
            if big_enough and change[defective].mean() >= _FAINTEST:
                break
        masks = [defective * np.uint8(grey[shot.kind])]
    return Picture(read_out(scene, np.random.default_rng(noise_seed)), masks, scene, clean_scene)


def _lay_out(product: Product, items: Arrangement, n: int, rng: np.random.Generator) -> Part:
    light = draw_light(rng)
    ground, cover = product.ground(rng, n, light)
    scene = Scene(ground, light, product.shapes)
    for item in items:
        scene.lay(item)
    return Part(_quantised(scene.colour), cover, light)


def _quantised(colour: np.ndarray) -> np.ndarray:
    return (np.clip(colour, 0, 1) * 255 + 0.5).astype(np.uint8)


def _surface(part: Part, kind: str, items: Arrangement, product: Product, rng: np.random.Generator) -> Surface:
    """What is damaged: a scratch or a crack stays on one item or on the ground; the rest lies on everything."""
    cover: np.ndarray | None = part.cover
    if kind in ("scratch", "crack"):
        n = part.colour.shape[0]
        fragile = [item for item in items if item.shape in product.fragile]
        if rng.random() < 0.5:
            cover = cover_of(pick(fragile, rng), product.shapes, n)
        elif cover is not None:
            cover = cover * (1 - np.maximum.reduce([cover_of(item, product.shapes, n) for item in items]))
    return Surface(replace(part, cover=cover), _VISIBILITY, product.palette)
