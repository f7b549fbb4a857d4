"""Images that look alike on both sides of the split: a test image that the model has all but seen in training."""

from typing import TYPE_CHECKING

from harmoniad.pool import in_parallel

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

PAIRS_AT_ONCE = 500_000  # compared in one step of a thread: 10 bytes a pair, and 100 a pair of look-alikes

HASH_BITS = 256

COLUMNS = ["path", "nearest", "distance"]


def near_duplicates(manifest: "pd.DataFrame", distance: int) -> "pd.DataFrame":
    """Find the test images whose perceptual hash is near that of a training or held-out image.

    Files that are identical are left out. Products that always lie in the same place, and fine textures, can be near
    each other without being the same image, so this is a hint and no proof.

    Args:
        manifest: See `harmoniad.data.manifest`.
        distance: How many of the 256 bits may differ.

    Returns:
        One row a test image that has one: `path`, `nearest` (the path of the nearest training image, the first by name
        among equals) and `distance` in bits, in the order of `path`.
    """
    import pandas as pd

    hashed = manifest[manifest["phash"] != ""].sort_values("path")
    in_test = hashed["split"] == "test"
    test, train = hashed[in_test].reset_index(drop=True), hashed[~in_test].reset_index(drop=True)
    if test.empty or train.empty:
        return pd.DataFrame(columns=COLUMNS)
    test_bits, train_bits = _most_varied_first(_bits(test), _bits(train))
    nearest = _nearest(test_bits, train_bits, *_files(test, train), distance)
    found = [(test["path"][row], train["path"][other], bits) for row, other, bits in nearest]
    return pd.DataFrame(found, columns=COLUMNS)


def _nearest(
    test: "NDArray[np.uint64]",
    train: "NDArray[np.uint64]",
    test_files: "NDArray[np.int64]",
    train_files: "NDArray[np.int64]",
    distance: int,
) -> "Iterator[tuple[int, int, int]]":
    """A test row, its nearest other training file and the bits between them, where these are at most `distance`."""
    import numpy as np

    rows = max(1, PAIRS_AT_ONCE // len(train))
    first_word = np.ascontiguousarray(train[:, 0])

    def compare(start: int) -> "NDArray[np.int64]":
        block = test[start : start + rows]
        # Pairs that differ too much in the first word are almost all; only the others are looked at whole.
        row, other = np.nonzero(np.bitwise_count(block[:, :1] ^ first_word) <= distance)
        bits = np.bitwise_count(block[row] ^ train[other]).sum(axis=1, dtype=np.int64)
        near = (bits <= distance) & (test_files[row + start] != train_files[other])
        row, other, bits = row[near], other[near], bits[near]
        order = np.lexsort((other, bits, row))
        _, first = np.unique(row[order], return_index=True)
        nearest = order[first]
        return np.stack([row[nearest] + start, other[nearest], bits[nearest]], axis=1)

    for found in in_parallel(compare, range(0, len(test), rows), processes_from=None):
        yield from found.tolist()


def _bits(table: "pd.DataFrame") -> "NDArray[np.uint8]":
    """The hashes as (N, 256) zeros and ones."""
    import numpy as np

    content = bytes.fromhex("".join(table["phash"]))
    return np.unpackbits(np.frombuffer(content, dtype=np.uint8).reshape(len(table), -1), axis=1)


def _most_varied_first(
    test: "NDArray[np.uint8]", train: "NDArray[np.uint8]"
) -> "tuple[NDArray[np.uint64], NDArray[np.uint64]]":
    """The hashes as (N, 4) words, of which the first has the bits that differ most from image to image.

    Parts in a fixture agree in most bits. The bits that vary tell two images apart at once.
    """
    import numpy as np

    ones = test.sum(axis=0, dtype=np.int64) + train.sum(axis=0, dtype=np.int64)
    order = np.argsort(np.abs(2 * ones - len(test) - len(train)), kind="stable")
    return _words(test[:, order]), _words(train[:, order])


def _words(bits: "NDArray[np.uint8]") -> "NDArray[np.uint64]":
    import numpy as np

    return np.packbits(bits, axis=1).copy(order="C").view(np.uint64)


def _files(test: "pd.DataFrame", train: "pd.DataFrame") -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """A number for each image that is the same for identical files."""
    import pandas as pd

    numbers, _ = pd.factorize(pd.concat([test["sha256"], train["sha256"]]))
    return numbers[: len(test)], numbers[len(test) :]
