from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photographs

from harmoniad.errors import HarmoniadError
from harmoniad.features import encode
from harmoniad.features.cache import MASK_GRID, FeatureCache
from harmoniad.features.dataset import CachedFeatures, image_views
from harmoniad.features.encode import ensure_features
from harmoniad.features.encoders import Encoder, EncoderSpec, resize
from harmoniad.features.views import View, tile_views, views_of
from harmoniad.files import sha256_file
from harmoniad.models.patchcore.detector import PatchcoreDetector
from harmoniad.params import Encode, Params, Views
from harmoniad.params import Encoder as EncoderParams
from harmoniad.tiling import Tiling

SHA = "ab" * 32
CPU = torch.device("cpu")


def photograph(size: int = 200) -> Image.Image:
    return Image.fromarray(photographs.astronaut()[:size, 100 : 100 + size])


def row(width: int, height: int, split: str = "train", label: str = "good") -> dict[str, object]:
    return {"width": width, "height": height, "split": split, "label": label}


def test_the_image_itself_keeps_its_key_and_pixels() -> None:
    assert View().key(SHA) == SHA
    assert (View().apply(photograph(), 64, SHA) == resize(photograph(), 64)).all()


def test_every_other_view_has_a_key_of_its_own() -> None:
    views = [View(), View((0, 0, 5, 5)), View((0, 0, 5, 6)), View(angle=90.0), View(angle=45.5), View(flip=True)]
    views += [View(synthetic=0), View(synthetic=1), View((0, 0, 5, 5), synthetic=0)]
    keys = [view.key(image) for view in views for image in (SHA, "cd" * 32)]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 64 for key in keys)
    assert View(angle=90).key(SHA) == View(angle=90.0).key(SHA)
    # Caches that exist stay valid only as long as this does not change.
    assert View((1, 2, 3, 4), 45.0, True).key(SHA).startswith("fe6f82e367412cd3")


def test_crop_flip_and_quarter_turns_are_exact() -> None:
    image, pixels = photograph(), np.asarray(photograph())
    assert (View((20, 30, 84, 94)).apply(image, 64, SHA) == pixels[30:94, 20:84]).all()
    assert (View(flip=True).apply(image, 200, SHA) == pixels[:, ::-1]).all()
    for quarters in (1, 2, 3):
        assert (View(angle=90.0 * quarters).apply(image, 200, SHA) == np.rot90(pixels, quarters)).all()
    both = View((20, 30, 84, 94), 90.0, True).apply(image, 64, SHA)
    assert (both == np.rot90(pixels[30:94, 20:84][:, ::-1])).all()


@pytest.mark.parametrize(("width", "height"), [(128, 128), (200, 90), (40, 300), (1000, 1000)])
@pytest.mark.parametrize("angle", [30.0, 45.0, 135.0, 200.0])
def test_no_corner_is_black(width: int, height: int, angle: float) -> None:
    image = Image.new("RGB", (width, height), (200, 120, 60))
    turned = View(angle=angle).apply(image, 96, SHA)
    assert (turned == (200, 120, 60)).all()


def test_turning_there_and_back_gives_the_middle_again() -> None:
    there = Image.fromarray(View(angle=30.0).apply(photograph(), 200, SHA))
    back = View(angle=-30.0).apply(there, 200, SHA).astype(int)
    middle = slice(60, 140)
    assert np.abs(back - np.asarray(photograph(), int))[middle, middle].mean() < 6


def test_made_defects_follow_the_image_and_the_copy() -> None:
    image = photograph()
    first, mask = View(synthetic=0).apply_with_mask(image, 96, SHA)
    again, same_mask = View(synthetic=0).apply_with_mask(image, 96, SHA)
    assert mask is not None
    assert (first == again).all()
    assert (mask == same_mask).all()
    assert mask.shape == (96, 96)
    assert 0 < mask.sum() < mask.size
    plain = View().apply(image, 96, SHA)
    change = np.abs(first.astype(int) - plain).mean(axis=2)
    assert change[~mask].max() < change[mask].mean()
    for view, sha256 in ((View(synthetic=1), SHA), (View(synthetic=0), "cd" * 32)):
        assert (view.apply(image, 96, sha256) != first).any()


def test_who_is_seen_how() -> None:
    params = Views(rotations=4, flips=True, synthetic=3)
    seen = views_of(row(100, 80), params)
    assert seen[0] == View()
    assert [view.angle for view in seen[:4]] == [0, 90, 180, 270]
    assert len([view for view in seen if view.synthetic is None]) == 8
    assert [view for view in seen if view.synthetic is not None] == [View(synthetic=copy) for copy in range(3)]
    for split, label in (("held_out", "good"), ("test", "good"), ("test", "defect"), ("train", "defect")):
        assert views_of(row(100, 80, split, label), params) == [View()]
    tiled = params.model_copy(update={"tile": 64})
    tiles = views_of(row(100, 80, "test"), tiled)
    assert tiles == tile_views(row(100, 80), Tiling(64, 0.25))
    assert len(tiles) == 4
    assert len(views_of(row(100, 80), tiled)) == 4 * (8 + 3)


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Path]:
    paths = [tmp_path / f"with space ü {index}.png" for index in range(3)]
    for index, path in enumerate(paths):
        photograph(100 + 8 * index).save(path)
    return {sha256_file(path): path for path in paths}


def test_only_what_is_new_is_encoded(images: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = EncoderSpec.from_params(EncoderParams(resolution=64))
    settings = Encode(cache=str(tmp_path / "cache"), batch_size=4)
    plain, encoded = ensure_features(images, spec, settings, "cpu")
    assert encoded == 3
    before = {path: path.read_bytes() for path in plain.folder.rglob("*.npy")}

    passes: list[int] = []
    real = Encoder.__call__

    def counted(self: Encoder, batch: list[np.ndarray]) -> list[torch.Tensor]:
        passes.append(len(batch))
        return real(self, batch)

    opened: list[Path] = []
    real_load = encode.load_rgb
    monkeypatch.setattr(Encoder, "__call__", counted)
    monkeypatch.setattr(encode, "load_rgb", lambda path: opened.append(path) or real_load(path))

    params = Views(rotations=8, synthetic=2)
    views = {sha256: views_of(row(100, 100), params) for sha256 in images}
    cache, encoded = ensure_features(images, spec, settings, "cpu", views)
    assert encoded == sum(passes) == 3 * (7 + 2)  # the images themselves were there
    assert max(passes) <= 4
    assert sorted(opened) == sorted(images.values())  # each once
    assert all(path.read_bytes() == content for path, content in before.items())
    assert ensure_features(images, spec, settings, "cpu", views) == (cache, 0)

    # What a kill or a damaged disk took away comes back, and nothing else.
    lost, unmasked = [
        view.key(sha256) for sha256, view in zip(images, (View(angle=45.0), View(synthetic=1)), strict=False)
    ]
    content = cache.path(lost).read_bytes()
    cache.path(lost).unlink()
    cache.mask_path(unmasked).write_bytes(b"half")
    with pytest.raises(HarmoniadError, match="harmoniad encode"):
        cache.read_mask(unmasked)
    assert ensure_features(images, spec, settings, "cpu", views)[1] == 2
    assert cache.path(lost).read_bytes() == content
    assert cache.read_mask(unmasked).any()


def test_a_detector_sees_views_and_where_their_defects_are(images: dict[str, Path], tmp_path: Path) -> None:
    import pandas as pd

    table = pd.DataFrame([{**row(100, 100), "sha256": sha256, "category": "a"} for sha256 in images])
    params = Views(rotations=2, synthetic=1)
    views = image_views(table, lambda of: views_of(of, params))
    assert [len(found) for found in views.values()] == [3] * 3
    spec = EncoderSpec.from_params(EncoderParams(resolution=128))
    cache, _ = ensure_features(images, spec, Encode(cache=str(tmp_path / "cache")), "cpu", views)
    features = CachedFeatures.of_rows(cache, table, lambda of: views_of(of, params))
    assert len(features) == 9
    assert list(features.images) == [sha256 for sha256 in images for _ in range(3)]
    assert features.keys[:3] == [
        view.key(features.images[0]) for view in (View(), View(angle=180.0), View(synthetic=0))
    ]
    plain = CachedFeatures(cache, list(images), ["a"] * 3)
    for one, two in zip(features.batch([0, 3, 6]), plain.batch([0, 1, 2]), strict=True):
        assert torch.equal(one, two)
    cells = features.masks([2, 5])
    assert cells.shape == (2, MASK_GRID, MASK_GRID)
    for number, sha256 in enumerate(list(images)[:2]):
        image = Image.open(images[sha256])
        _, mask = View(synthetic=0).apply_with_mask(image, 128, sha256)
        assert mask is not None
        share = mask.reshape(MASK_GRID, 2, MASK_GRID, 2).mean((1, 3))
        np.testing.assert_allclose(cells[number].numpy(), share, atol=1 / 255)


def test_a_defect_smaller_than_a_cell_leaves_a_trace(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, ((1, 2, 2),))
    mask = np.zeros((392, 392), bool)
    mask[123, 45] = True
    cache.write_mask("aa", mask)
    cells = cache.read_mask("aa")
    assert np.argwhere(cells).tolist() == [[123 * MASK_GRID // 392, 45 * MASK_GRID // 392]]
    assert cells.max() == round(255 * (MASK_GRID / 392) ** 2)
    assert cache.missing_masks(["aa", "bb"]) == ["bb"]


def stripes(count: int, seed: int) -> list[Image.Image]:
    """Pictures of an anisotropic pattern: upright stripes of varying place, with noise."""
    generator = np.random.default_rng(seed)
    x = np.arange(128)
    found = []
    for _ in range(count):
        wave = 128 + 70 * np.sin(2 * np.pi * (x / 12 + generator.random()))
        found.append(Image.fromarray(np.clip(wave + generator.normal(0, 6, (128, 128)), 0, 255).astype(np.uint8)))
    return found


def test_rotations_teach_what_lies_at_any_angle(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(8)]
    for path, image in zip(paths, stripes(8, seed=1), strict=True):
        image.save(path)
    for path, angle in zip(paths[4:], (30.0, 45.0, 80.0, 110.0), strict=True):  # parts that lie at other angles
        Image.fromarray(View(angle=angle).apply(Image.open(path), 128, SHA)).save(path)
    by_sha = {sha256_file(path): path for path in paths}
    train, turned = list(by_sha)[:4], list(by_sha)[4:]
    spec = EncoderSpec.from_params(EncoderParams(resolution=128))
    settings = Encode(cache=str(tmp_path / "cache"))

    def highest(rotations: int) -> torch.Tensor:
        views = views_of(row(128, 128), Views(rotations=rotations, synthetic=0))
        needed = {sha256: views if sha256 in train else [View()] for sha256 in by_sha}
        cache, _ = ensure_features(by_sha, spec, settings, "cpu", needed)
        detector = PatchcoreDetector.create(cache.shapes, Params())
        entries = [(sha256, view) for sha256 in train for view in views]
        features = CachedFeatures(cache, [s for s, _ in entries], ["a"] * len(entries), [view for _, view in entries])
        detector.fit(features, device=CPU, checkpoint=tmp_path / "unused")
        return detector.anomaly_maps(CachedFeatures(cache, turned, ["a"] * 4).batch(range(4))).amax((1, 2))

    without, with_rotations = highest(1), highest(8)
    assert (with_rotations < 0.9 * without).all()
