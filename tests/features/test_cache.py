import errno
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from harmoniad.errors import HarmoniadError
from harmoniad.features.cache import FeatureCache
from harmoniad.features.encoders import EncoderSpec

SPEC = EncoderSpec("timm:x", "w.safetensors", "0" * 64, 32, (1, 2))
SHAPES = ((3, 4, 4), (5, 2, 2))


def layers(value: float) -> list[np.ndarray]:
    return [np.full(shape, value, np.float32) for shape in SHAPES]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    cache = FeatureCache.create(tmp_path / "with space ü", SPEC, SHAPES)
    assert cache.missing(["aa", "bb", "aa"]) == ["aa", "bb"]
    cache.write("aa", layers(1.5))
    assert cache.missing(["aa", "bb"]) == ["bb"]
    found = cache.read("aa")
    assert [layer.shape for layer in found] == list(SHAPES)
    assert all(layer.dtype == np.float16 and (layer == 1.5).all() for layer in found)
    assert FeatureCache.open(tmp_path / "with space ü", SPEC) == cache


def test_layers_keep_their_order_and_place(tmp_path: Path) -> None:
    cache = FeatureCache.create(tmp_path, SPEC, SHAPES)
    first, second = np.arange(48.0).reshape(3, 4, 4), -np.arange(20.0).reshape(5, 2, 2)
    cache.write("aa", [first, second])
    found = cache.read("aa")
    assert (found[0] == first).all()
    assert (found[1] == second).all()


def test_another_encoder_has_another_folder(tmp_path: Path) -> None:
    FeatureCache.create(tmp_path, SPEC, SHAPES).write("aa", layers(1))
    for change in ({"resolution": 64}, {"layers": (1,)}, {"weights_sha256": "1" * 64}, {"name": "timm:y"}):
        assert FeatureCache.open(tmp_path, EncoderSpec(**{**vars(SPEC), **change})) is None
    moved = EncoderSpec(**{**vars(SPEC), "weights": "elsewhere/w.safetensors"})
    assert FeatureCache.open(tmp_path, moved) is not None


def test_reading_is_memory_mapped(tmp_path: Path) -> None:
    cache = FeatureCache.create(tmp_path, SPEC, SHAPES)
    cache.write("aa", layers(1))
    base = cache.read("aa")[0]
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_a_damaged_file_counts_as_missing(tmp_path: Path) -> None:
    cache = FeatureCache.create(tmp_path, SPEC, SHAPES)
    cache.write("aa", layers(1))
    content = cache.path("aa").read_bytes()
    cache.path("aa").write_bytes(content[:-1])
    assert cache.missing(["aa"]) == ["aa"]
    with pytest.raises(HarmoniadError, match="harmoniad encode"):
        cache.read("aa")
    with pytest.raises(HarmoniadError, match="harmoniad encode"):
        cache.read("bb")


def test_values_beyond_float16_are_refused(tmp_path: Path) -> None:
    cache = FeatureCache.create(tmp_path, SPEC, SHAPES)
    with pytest.raises(HarmoniadError, match="float16"), np.errstate(over="ignore"):
        cache.write("aa", layers(1e6))
    assert cache.missing(["aa"]) == ["aa"]


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache.create(tmp_path, SPEC, SHAPES)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(HarmoniadError, match="the disk is full"):
        cache.write("aa", layers(1))
    assert list(cache.path("aa").parent.iterdir()) == []


def _write_for_ever(root: Path, value: float) -> None:
    cache = FeatureCache.create(root, SPEC, SHAPES)
    while True:
        for number in range(50):
            cache.write(f"{number:02d}", layers(value))


def test_killed_writers_leave_only_whole_files(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_for_ever, args=(tmp_path, 2.0)) for _ in range(2)]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.rglob("*.npy")):
        time.sleep(0.05)
    time.sleep(0.3)
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)  # type: ignore[arg-type]
        writer.join()
    cache = FeatureCache.open(tmp_path, SPEC)
    assert cache is not None
    written = [path.stem for path in tmp_path.rglob("*.npy")]
    assert written
    assert cache.missing(written) == []
    assert all((layer == 2.0).all() for name in written for layer in cache.read(name))
