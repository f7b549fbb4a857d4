"""The sample factory: its layout, its masks, its reproducibility, and that it never damages what is there."""

import hashlib
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from harmoniad.data.sample import CATEGORIES, generate, materials, writing
from harmoniad.data.sample.label import ELEMENTS, _elements
from harmoniad.data.sample.machined import FEATURES, _changed
from harmoniad.data.sample.part import Change
from harmoniad.data.sample.shots import BARELY_VISIBLE, CATALOGUE, CHANGED, PLAIN, Shot, severity_of, take
from harmoniad.errors import HarmoniadError

SIZE, TRAIN, GOOD, DEFECT = 64, 6, 2, 7
SMALL = {"size": SIZE, "train": TRAIN, "good": GOOD, "defect": DEFECT}
TINY = {"size": SIZE, "train": 1, "good": 0, "defect": 0, "categories": ["brick"]}
EVERY_KIND = [(category, kind) for category, entry in CATALOGUE.items() for kind in entry.kinds]
DAMAGE = {"scratch", "crack", "stain", "hole", "contamination"}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("with space ü") / "sample"
    generate(root, **SMALL)
    return root


def contents(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_layout_and_counts(sample: Path) -> None:
    assert sorted(path.name for path in sample.iterdir()) == sorted(CATEGORIES)
    assert len(CATEGORIES) >= 5
    for category in CATEGORIES:
        folder = sample / category
        assert sorted(path.name for path in folder.iterdir()) == ["ground_truth", "test", "train"]
        assert [path.name for path in (folder / "train").iterdir()] == ["good"]
        assert sorted(path.name for path in (folder / "train/good").iterdir()) == [f"{i:03d}.png" for i in range(TRAIN)]
        assert sorted(path.name for path in (folder / "test/good").iterdir()) == [f"{i:03d}.png" for i in range(GOOD)]
        images = {path.relative_to(folder / "test") for path in (folder / "test").glob("*/*.png")}
        defects = {path for path in images if path.parent.name != "good"}
        assert len(defects) == DEFECT
        masks = {path.relative_to(folder / "ground_truth") for path in (folder / "ground_truth").glob("*/*.png")}
        assert masks == {path.with_name(f"{path.stem}_mask.png") for path in defects}
    assert not list(sample.parent.glob(".*"))


def test_images_are_colour_and_masks_are_black_and_white(sample: Path) -> None:
    for path in sample.rglob("*.png"):
        with Image.open(path) as image:
            pixels = np.asarray(image)
            assert pixels.dtype == np.uint8
            if "ground_truth" in path.parts:
                assert image.mode == "L" and pixels.shape == (SIZE, SIZE)
                assert set(np.unique(pixels)) == {0, 255}
                assert (pixels == 255).mean() < 0.35
            else:
                assert image.mode == "RGB" and pixels.shape == (SIZE, SIZE, 3)
                assert pixels.std() > 5


def test_no_two_images_are_the_same(sample: Path) -> None:
    images = [digest for path, digest in contents(sample).items() if "ground_truth" not in path]
    assert len(set(images)) == len(images) == len(CATEGORIES) * (TRAIN + GOOD + DEFECT)


def test_kinds_of_defects() -> None:
    kinds = {kind for _, kind in EVERY_KIND}
    assert kinds == DAMAGE | {"missing_element", "misplaced_element"}
    assert all(len(CATALOGUE[category].kinds) >= 4 for category in CATEGORIES)


def test_same_bytes_again_whatever_the_number_of_threads(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_available_cores", lambda: 1)
    generate(tmp_path / "again", **SMALL)
    assert contents(tmp_path / "again") == contents(sample)


def test_an_image_depends_neither_on_the_counts_nor_on_the_order(sample: Path, tmp_path: Path) -> None:
    some = ["machined_part", "brick"]
    generate(tmp_path / "few", size=SIZE, train=2, good=1, defect=9, categories=some)
    few, all_of_them = contents(tmp_path / "few"), contents(sample)
    shared = few.keys() & all_of_them.keys()
    assert {path.split("/")[0] for path in few} == set(some)
    assert len(shared) == len(some) * (2 + 1 + 2 * DEFECT)
    assert all(few[path] == all_of_them[path] for path in shared)


def test_another_seed_gives_other_images(sample: Path, tmp_path: Path) -> None:
    generate(tmp_path / "other", **SMALL, seed=1)
    other, first = contents(tmp_path / "other"), contents(sample)
    images = [path for path in other.keys() & first.keys() if "ground_truth" not in path]
    assert images
    assert all(other[path] != first[path] for path in images)


@pytest.mark.parametrize(("category", "kind"), EVERY_KIND)
def test_the_mask_is_where_the_defect_is(category: str, kind: str) -> None:
    for index in range(3):
        picture = take(Shot(category, kind, index), seed=5, size=128)
        assert picture.mask is not None
        mask = picture.mask == 255
        change = np.abs(picture.scene - picture.clean_scene).max(axis=-1)
        assert mask.any()
        assert change[~mask].max() <= CHANGED
        assert (change[mask] > CHANGED).mean() > 0.6
        # In the image, too, the change stands out against the noise, which is all that there is elsewhere.
        seen = np.abs(picture.image / 255 - picture.clean_scene).mean(axis=-1)
        assert seen[mask].mean() > 2 * seen[~mask].mean()


@pytest.mark.parametrize("category", CATEGORIES)
def test_no_mask_is_empty_or_fills_the_image_at_the_smallest_size(category: str) -> None:
    for kind in CATALOGUE[category].kinds:
        for index in range(8):
            picture = take(Shot(category, kind, index), seed=11, size=SIZE)
            assert picture.mask is not None
            assert 0 < (picture.mask == 255).mean() < 0.4, (kind, index)


@pytest.mark.parametrize("kind", sorted(DAMAGE))
def test_damage_lies_on_the_part_and_not_on_the_belt(kind: str) -> None:
    for index in range(4):
        picture = take(Shot("machined_part", kind, index), seed=2, size=128)
        metal = picture.clean_scene.mean(axis=-1) > 0.3
        near_metal = ndimage.binary_dilation(metal, iterations=3)
        assert picture.mask is not None
        assert near_metal[picture.mask == 255].all()


@pytest.mark.parametrize("category", CATEGORIES)
def test_defects_range_from_faint_to_obvious(category: str) -> None:
    strengths = []
    for index in range(12):
        picture = take(Shot(category, "stain", index), seed=0, size=SIZE)
        change = np.abs(picture.scene - picture.clean_scene).max(axis=-1)
        strengths.append(change.sum())
    assert max(strengths) > 3 * min(strengths)


def test_one_defect_in_eight_is_barely_visible_and_the_others_are_plain() -> None:
    severities = np.array([severity_of(Shot("brick", "crack", index), seed=3) for index in range(800)])
    faint = severities < BARELY_VISIBLE
    assert faint.mean() == pytest.approx(1 / 8, abs=0.01)
    assert severities[~faint].min() == pytest.approx(PLAIN, abs=0.01)
    assert severities.min() >= 0 and 0.99 < severities.max() <= 1


@pytest.mark.parametrize("category", CATEGORIES)
def test_plain_damage_covers_as_much_of_the_image_as_in_real_data_sets(category: str) -> None:
    kinds = [kind for kind in CATALOGUE[category].kinds if kind in DAMAGE]
    shots = [Shot(category, kind, index) for kind in kinds for index in range(5)]
    shares = [mask.mean() / 255 for mask in (take(s, seed=3, size=128).mask for s in shots if _is_plain(s))]
    assert 0.005 < np.median(shares) < 0.05
    assert min(shares) > 0.001 and max(shares) < 0.2


def _is_plain(shot: Shot) -> bool:
    return severity_of(shot, seed=3) >= PLAIN


@pytest.mark.parametrize("seed", range(20))
def test_a_plainly_misplaced_feature_is_off_by_more_than_its_radius(seed: int) -> None:
    changed = {f.name: f for f in _changed(FEATURES, Change("misplaced_element", PLAIN, seed))}
    moved = [(f, changed[f.name]) for f in FEATURES if changed[f.name] != f]
    assert len(changed) == len(FEATURES) and len(moved) == 1
    before, after = moved[0]
    assert np.hypot(after.x - before.x, after.y - before.y) > before.radius


@pytest.mark.parametrize("kind", ["missing_element", "misplaced_element"])
@pytest.mark.parametrize("seed", range(20))
def test_a_plain_change_of_the_label_is_a_whole_element(kind: str, seed: int) -> None:
    printed = list(_elements(Change(kind, PLAIN, seed)))
    (gone,) = (element for element in ELEMENTS if element not in printed)
    added = [element for element in printed if element not in ELEMENTS]
    if kind == "missing_element":
        assert not added
    else:
        assert np.hypot(added[0].x - gone.x, added[0].y - gone.y) > 10
        assert added[0].shape == gone.shape and added[0].text == gone.text


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_normal_product_varies_and_has_no_mask(category: str) -> None:
    first, second = (take(Shot(category, "train", index), seed=0, size=SIZE) for index in (0, 1))
    assert first.mask is None
    assert np.array_equal(first.scene, first.clean_scene)
    assert np.abs(first.scene - second.scene).mean() > 0.01


@pytest.mark.parametrize("size", [65, 100, 300])
def test_any_size(size: int) -> None:
    for category in CATEGORIES:
        picture = take(Shot(category, CATALOGUE[category].kinds[-1], 0), seed=0, size=size)
        assert picture.mask is not None
        assert picture.image.shape == (size, size, 3) and picture.mask.shape == (size, size)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_varied_product_lies_at_any_angle_within_the_picture(category: str) -> None:
    kind = CATALOGUE[category].kinds[0]
    pictures = [take(Shot(category, kind, index), seed=4, size=SIZE, varied=True) for index in range(3)]
    plain = take(Shot(category, kind, 0), seed=4, size=SIZE)
    again = take(Shot(category, kind, 0), seed=4, size=SIZE, varied=True)
    assert np.array_equal(again.image, pictures[0].image)
    changed = [np.abs(one.clean_scene - plain.clean_scene).mean() for one in pictures]
    assert min(changed) > 0.02
    for picture in pictures:
        assert picture.mask is not None and 0 < (picture.mask > 0).mean() < 0.5
        assert picture.clean_scene.max(axis=-1).min() > 0.01  # nothing of the picture is empty


def test_the_photographs_come_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    materials._photograph.cache_clear()
    assert [materials._photograph(name).size for name in ("brick", "gravel", "grass")] == [(512, 512)] * 3


def test_progress_counts_every_image(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    generate(
        tmp_path / "s", size=SIZE, train=2, good=1, defect=1, categories=["brick"], progress=lambda *c: calls.append(c)
    )
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"categories": ["brick", "screw"]}, "unknown category 'screw'.*brick, grass, gravel, label, machined_part"),
        ({"categories": []}, "no category .* chosen: choose from brick"),
        ({"size": 63}, "size 63 is too small .* use 64 or more"),
        ({"train": 0}, "train 0 is too small .* use 1 or more"),
        ({"good": -1}, "good -1 is too small .* use 0 or more"),
        ({"defect": -1}, "defect -1 is too small"),
        ({"seed": -1}, "seed -1 is too small"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(HarmoniadError, match=message):
        generate(tmp_path / "sample", **arguments)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_root_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(HarmoniadError, match=r"holds 'precious.txt'.*move it or name another folder"):
        generate(tmp_path, **TINY)
    with pytest.raises(HarmoniadError, match=r"precious.txt: is a file"):
        generate(tmp_path / "precious.txt", **TINY)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_an_existing_sample_is_replaced(tmp_path: Path) -> None:
    root = tmp_path / "sample"
    generate(root, **{**TINY, "categories": ["grass"]})
    generate(root, **TINY)
    assert [path.name for path in root.iterdir()] == ["brick"]
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_a_failure_half_way_leaves_the_old_sample(tmp_path: Path) -> None:
    root = tmp_path / "sample"
    generate(root, **TINY)
    before = contents(root)

    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(root, size=SIZE, train=4, good=0, defect=0, seed=1, progress=fail)
    assert contents(root) == before
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_a_killed_run_leaves_the_old_sample_and_the_next_one_tidies_up(tmp_path: Path) -> None:
    root = tmp_path / "sample"
    generate(root, **TINY)
    before = contents(root)
    code = (
        "import os, pathlib, sys; from harmoniad.data.sample import generate\n"
        "generate(pathlib.Path(sys.argv[1]), size=64, train=4, seed=1, progress=lambda *_: os._exit(9))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(root)], check=False).returncode == 9
    assert contents(root) == before
    assert len(list(tmp_path.iterdir())) == 2
    generate(root, **TINY)
    assert contents(root) == before
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_a_run_killed_between_its_last_two_renames_loses_nothing(tmp_path: Path) -> None:
    root = tmp_path / "sample"
    generate(root, **TINY)
    before = contents(root)
    root.rename(tmp_path / ".sample.abc.tmp.old")
    (tmp_path / ".sample.abc.tmp").mkdir()
    with pytest.raises(ZeroDivisionError):
        generate(root, **TINY, progress=lambda *_: 1 // 0)
    assert contents(root) == before
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]
