import time

import numpy as np
import pandas as pd
import pytest

from harmoniad.data import near_duplicates as module
from harmoniad.data.near_duplicates import near_duplicates


def manifest(rows: list[tuple[str, str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["path", "split", "sha256", "phash"])


def test_by_hand() -> None:
    table = manifest(
        [
            ("test/0", "test", "a", "00000000000000ff"),
            ("test/1", "test", "b", "ffffffffffffffff"),
            ("test/2", "test", "c", "0000000000000000"),
            ("test/3", "test", "d", ""),  # could not be decoded
            ("train/0", "train", "e", "00000000000000fe"),
            ("train/1", "held_out", "f", "7fffffffffffffff"),
            ("train/2", "train", "c", "0000000000000000"),  # the same file as test/2
            ("train/3", "train", "g", "000000000000000f"),
            ("train/4", "train", "h", "00000000000000fd"),  # as near to test/0 as train/0
        ]
    )
    assert near_duplicates(table, 2).to_numpy().tolist() == [["test/0", "train/0", 1], ["test/1", "train/1", 1]]
    assert near_duplicates(table, 0).empty
    assert near_duplicates(table, 4).to_numpy().tolist()[2] == ["test/2", "train/3", 4]


@pytest.mark.parametrize("split", ["test", "train"])
def test_one_side_alone(split: str) -> None:
    found = near_duplicates(manifest([("a", split, "1", "0" * 16), ("b", split, "2", "0" * 16)]), 2)
    assert list(found.columns) == ["path", "nearest", "distance"]
    assert found.empty


@pytest.mark.parametrize("seed", range(3))
def test_against_every_pair(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 10_000)  # many blocks
    generator = np.random.default_rng(seed)
    count = 350
    rows = []
    for number in range(count):
        split = str(generator.choice(["train", "held_out", "test", "test"]))
        bits = int(generator.integers(0, 2**12)) << 20  # few bits, so that many are near
        rows.append((f"{number:03d}", split, str(generator.integers(0, 300)), f"{bits:016x}"))
    expected = []
    for path, split, sha256, phash in rows:
        others = [
            ((int(phash, 16) ^ int(other[3], 16)).bit_count(), other[0])
            for other in rows
            if other[1] != "test" and other[2] != sha256
        ]
        if split == "test" and min(others)[0] <= 1:
            expected.append([path, min(others)[1], min(others)[0]])
    assert len(expected) > 50
    shuffled = manifest(rows).sample(frac=1, random_state=seed)
    assert near_duplicates(shuffled, 1).to_numpy().tolist() == expected


def test_five_thousand_images_are_quick() -> None:
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2**63, 5000)
    rows = [(f"{n:04d}", "test" if n % 2 else "train", str(n), f"{value:064x}") for n, value in enumerate(bits)]
    start = time.process_time()
    near_duplicates(manifest(rows), 2)
    assert time.process_time() - start < 3  # 0.1 s is usual
