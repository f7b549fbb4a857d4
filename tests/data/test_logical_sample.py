"""The logical sample: its rules and what breaks them, its layout, its masks and its reproducibility."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy import ndimage

from harmoniad.cli import cli
from harmoniad.data.layouts import mvtec_loco, recognise
from harmoniad.data.logical_sample import CATEGORIES, generate
from harmoniad.data.logical_sample.bare_board import SLOTS
from harmoniad.data.logical_sample.board import BOARD
from harmoniad.data.logical_sample.kit import KIT
from harmoniad.data.logical_sample.product import Arrangement, Product
from harmoniad.data.logical_sample.scene import Item, cover_of
from harmoniad.data.logical_sample.shots import CATALOGUE, LOGICAL, STRUCTURAL, Shot, defects_config, take
from harmoniad.data.logical_sample.tray import COMPARTMENTS
from harmoniad.data.sample import writing
from harmoniad.data.sample.shots import CHANGED
from harmoniad.errors import HarmoniadError

SIZE = 64
SMALL = {"size": SIZE, "train": 2, "validation": 1, "good": 1, "logical": 9, "structural": 7}
RULES = [(category, kind) for category, product in CATALOGUE.items() for kind in product.logical]
DAMAGES = [(category, kind) for category, product in CATALOGUE.items() for kind in product.structural]
# A shadow ends so many nominal pixels from the item that throws it.
SHADOW = 18


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("with space ü") / "logical"
    generate(root, **SMALL)
    return root


def contents(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


# What is legal, written down a second time.


def compartment_of(item: Item) -> str:
    places = [
        name for name, box in COMPARTMENTS.items() if box.left < item.x < box.right and box.top < item.y < box.bottom
    ]
    return places[0] if len(places) == 1 else "on a wall"


def kit_is_legal(items: Arrangement) -> bool:
    packed = Counter((item.shape, round(item.length), compartment_of(item)) for item in items)
    complete = packed == {
        ("nut", 0, "nuts"): 4,
        ("washer", 0, "washers"): 3,
        ("screw", 58, "screws"): 2,
        ("screw", 38, "screws"): 2,
        ("coil", 0, "cable"): 1,
        ("rod", 168, "rod"): 1,
        ("tag", 0, "tag"): 1,
        ("cap", 0, "tag"): 1,
    }
    colours = {item.colour for item in items if item.shape in ("cap", "tag")}
    return complete and len(colours) == 1


def board_is_legal(items: Arrangement) -> bool:
    large = {"A": "electrolytic", "B": "coil"}
    mounted = {"A": "RRR-CC--", "B": "RR--CCCR"}
    found = ["-"] * len(SLOTS)
    for item in items:
        if item.shape in ("resistor", "capacitor"):
            distances = [np.hypot(item.x - x, item.y - y) for x, y in SLOTS]
            found[int(np.argmin(distances))] = item.shape[0].upper()
    (label,) = (item for item in items if item.shape == "label")
    diodes = [item for item in items if item.shape == "diode"]
    (header,) = (item for item in items if item.shape == "header")
    (chip,) = (item for item in items if item.shape == "chip")
    return (
        "".join(found) == mounted[label.text]
        and [item.shape for item in items if item.shape in large.values()] == [large[label.text]]
        and len(diodes) == 2
        and len({item.colour for item in diodes}) == 1
        and header.length == 91
        and abs(chip.angle) < 0.1
    )


LEGAL = {"board": board_is_legal, "kit": kit_is_legal}


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_normal_arrangement_is_legal(category: str) -> None:
    for seed in range(40):
        assert LEGAL[category](CATALOGUE[category].arrange(np.random.default_rng(seed)))


@pytest.mark.parametrize(("category", "kind"), RULES)
def test_a_logical_defect_breaks_a_rule_with_parts_that_are_fine(category: str, kind: str) -> None:
    product = CATALOGUE[category]
    normal = {look(item) for seed in range(20) for item in product.arrange(np.random.default_rng(seed))}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        items = product.arrange(rng)
        broken, marks = product.logical[kind](items, rng)
        assert marks and not LEGAL[category](broken)
        assert all(mark.entry in product.saturation for mark in marks)
        if kind not in ("wrong_rod", "short_header"):
            assert {look(item) for item in broken} <= normal
        assert not any(item.bend for item in broken if item.shape != "coil" or category == "board")


def look(item: Item) -> tuple[object, ...]:
    return item.shape, item.length, item.colour, item.text


def test_normal_products_come_in_every_legal_arrangement() -> None:
    boards = [BOARD.arrange(np.random.default_rng(seed)) for seed in range(40)]
    kinds = Counter(
        (label.text, diode.colour)
        for board in boards
        for label in board
        if label.shape == "label"
        for diode in [next(item for item in board if item.shape == "diode")]
    )
    assert len(kinds) == 2 * 3
    caps = Counter(
        item.colour for seed in range(40) for item in KIT.arrange(np.random.default_rng(seed)) if item.shape == "cap"
    )
    assert len(caps) == 3 and min(caps.values()) >= 5


def test_every_part_of_a_kit_lies_in_its_compartment_and_beside_the_others() -> None:
    n = 256
    inside = np.maximum.reduce([compartment.inside(n) for compartment in COMPARTMENTS.values()])
    for seed in range(8):
        covers = [cover_of(item, KIT.shapes, n) for item in KIT.arrange(np.random.default_rng(seed))]
        for cover in covers:
            assert inside[cover > 0.5].min() > -1
        assert (np.sum(covers, axis=0) > 1.5).mean() < 0.001


@pytest.mark.parametrize(("category", "kind"), RULES)
def test_all_that_a_logical_defect_changes_lies_in_its_masks(category: str, kind: str) -> None:
    product, size = CATALOGUE[category], 96
    first = list(product.logical).index(kind)
    for index in (first, first + len(product.logical)):
        shot = Shot(category, LOGICAL, index)
        assert shot.kind == kind
        picture = take(shot, seed=5, size=size, compare=True)
        change = np.abs(picture.scene - picture.clean_scene).max(axis=-1) > CHANGED
        marked = np.maximum.reduce(picture.masks) > 0
        assert change.sum() > 12
        assert ndimage.distance_transform_edt(~marked)[change].max() <= SHADOW * size / 256
        for mask in picture.masks:
            # Every region has to do with what changed.
            assert (change & ndimage.binary_dilation(mask > 0, iterations=2)).any()


@pytest.mark.parametrize(("category", "kind"), DAMAGES)
def test_the_mask_of_damage_is_where_it_is(category: str, kind: str) -> None:
    product, size = CATALOGUE[category], 128
    shot = Shot(category, STRUCTURAL, product.structural.index(kind) + len(product.structural))
    assert shot.kind == kind
    picture = take(shot, seed=5, size=size)
    (mask,) = picture.masks
    change = np.abs(picture.scene - picture.clean_scene).max(axis=-1)
    assert 0.0005 < (mask > 0).mean() < 0.15
    assert change[mask == 0].max() <= CHANGED
    assert (change[mask > 0] > CHANGED).mean() > 0.6


def test_a_scratch_stays_on_one_thing() -> None:
    """Over the edge of an item, a scratch would have to jump."""
    size, n = 128, 256
    hits = Counter[bool]()
    for index in range(0, 8 * len(KIT.structural), len(KIT.structural)):
        picture = take(Shot("kit", STRUCTURAL, index), seed=2, size=size)
        items = arrangement_of(KIT, index)
        covers = np.maximum.reduce([cover_of(item, KIT.shapes, n) for item in items])
        covered = covers.reshape(size, 2, size, 2).mean(axis=(1, 3)) > 0.5
        # The camera sees the tray turned a little and shifted, hence not all or nothing.
        hits[bool(covered[picture.masks[0] > 0].mean() > 0.5)] += 1
    assert len(hits) == 2  # on items and on the tray


def arrangement_of(product: Product, index: int) -> Arrangement:
    import zlib

    keys = (zlib.crc32(b"kit"), zlib.crc32(STRUCTURAL.encode()), index)
    return product.arrange(np.random.default_rng(np.random.SeedSequence(2, spawn_key=keys).spawn(5)[0]))


def test_the_layout_is_recognised_and_read_with_its_saturation(sample: Path) -> None:
    assert recognise(sample).name == "mvtec_loco" and mvtec_loco.detect(sample)
    records = list(mvtec_loco.read(sample))
    counts = Counter((record.category, record.split, record.label, record.group) for record in records)
    assert counts == {
        (category, *rest): count
        for category in CATEGORIES
        for rest, count in {
            ("train", "good", ""): 2,
            ("held_out", "good", ""): 1,
            ("test", "good", ""): 1,
            ("test", "defect", "logical"): 9,
            ("test", "defect", "structural"): 7,
        }.items()
    }
    for record in records:
        assert bool(record.masks) == bool(record.saturation) == (record.label == "defect")
        rules = {rule.grey: rule for rule in record.saturation}
        for path in record.masks:
            mask = np.asarray(Image.open(path))
            assert mask.shape == (SIZE, SIZE) and mask.dtype == np.uint8
            black, grey = np.unique(mask)
            assert black == 0 and (mask > 0).mean() < 0.45
            area = int((mask > 0).sum())
            assert 1 <= rules[int(grey)].area(area) <= area
            assert rules[int(grey)].relative or rules[int(grey)].threshold < 1.15 * area


def test_images_are_colour_and_no_two_are_the_same(sample: Path) -> None:
    images = [path for path in sample.rglob("*.png") if "ground_truth" not in path.parts]
    assert len(images) == len(CATEGORIES) * 20
    assert len({path.read_bytes() for path in images}) == len(images)
    for path in images:
        with Image.open(path) as image:
            assert image.mode == "RGB" and image.size == (SIZE, SIZE)
            assert np.asarray(image).std() > 15


def test_saturation_areas_grow_with_the_image() -> None:
    small, large = defects_config(KIT, 128), defects_config(KIT, 256)
    assert len({rule["pixel_value"] for rule in small}) == len(small) == len(KIT.entries)
    for one, four in zip(small, large, strict=True):
        if one["relative_saturation"]:
            assert one["saturation_threshold"] == four["saturation_threshold"] == 1.0
        else:
            assert four["saturation_threshold"] == pytest.approx(4 * one["saturation_threshold"], abs=3)
    nut = next(rule for rule in large if rule["defect_name"] == "missing_nut")
    # A hexagon 22 wide across its flats, with a bore of radius 4.6.
    assert nut["saturation_threshold"] == pytest.approx(2 * np.sqrt(3) * 11**2 - np.pi * 4.6**2, rel=0.02)


def test_same_bytes_again_and_no_matter_how_many_others(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_available_cores", lambda: 1)
    fewer = {**SMALL, "train": 1, "logical": 5, "structural": 8}
    generate(tmp_path / "again", **fewer, categories=["kit"])
    again, first = contents(tmp_path / "again"), contents(sample)
    shared = again.keys() & first.keys()
    assert len([path for path in shared if "ground_truth" not in path]) == 1 + 1 + 1 + 5 + 7 + 1
    assert all(again[path] == first[path] for path in shared)
    generate(tmp_path / "other", **fewer, categories=["kit"], seed=1)
    other = contents(tmp_path / "other")
    images = [path for path in shared if path.endswith(".png") and "ground_truth" not in path]
    assert all(other[path] != first[path] for path in images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"categories": ["screw"]}, "unknown category 'screw' of the sample: choose from board, kit"),
        ({"size": 63}, "size 63 is too small"),
        ({"train": 0}, "train 0 is too small .* use 1 or more"),
        ({"validation": -1}, "validation -1 is too small"),
        ({"structural": -1}, "structural -1 is too small"),
        ({"seed": -1}, "seed -1 is too small"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(HarmoniadError, match=message):
        generate(tmp_path / "logical", **arguments)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(HarmoniadError, match=r"holds 'precious.txt'.*move it or name another folder"):
        generate(tmp_path, **SMALL)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_the_command_adds_it_to_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project ü"
    project.mkdir()
    (project / "params.yaml").write_text("sample: {size: 64, train: 2, good: 1}\n")
    monkeypatch.chdir(project)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "true")
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], check=True)
    result = CliRunner().invoke(cli, ["sample", "--logical"])
    assert result.exit_code == 0, result.output
    assert "added data/logical (layout mvtec_loco): 36 good images, 88 with defects" in result.output
    assert "30 images of its validation split are held out" in result.output
    assert "defects: 56 logical, 32 structural." in result.output
    assert "put logical into `sets` under `data` in params.yaml" in result.output
    assert (project / "data/logical.dvc").is_file()
    assert json.loads((project / "data/logical/dataset.json").read_text()) == {"layout": "mvtec_loco"}
    assert (project / "data/logical/kit/defects_config.json").is_file()
    again = CliRunner().invoke(cli, ["sample", "--logical"])
    assert isinstance(again.exception, HarmoniadError)
    assert str(again.exception) == "data/logical: exists already. Give another name with --name."
