"""Images that look alike on both sides of the split: a test image that the model has all but seen in training."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

BLOCK = 256  # test images compared at once: the memory needed is 40 bytes × BLOCK × training images

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
    import numpy as np
    import pandas as pd

    hashed = manifest[manifest["phash"] != ""].sort_values("path")
    in_test = hashed["split"] == "test"
    test, train = hashed[in_test].reset_index(drop=True), hashed[~in_test].reset_index(drop=True)
    if test.empty or train.empty:
        return pd.DataFrame(columns=COLUMNS)
    test_bits, train_bits = _bits(test), _bits(train)
    test_files, train_files = _files(test, train)
    found = []
    for start in range(0, len(test), BLOCK):
        block = slice(start, start + BLOCK)
        bits = np.bitwise_count(test_bits[block, None] ^ train_bits).sum(axis=2, dtype=np.int64)
        bits[test_files[block, None] == train_files] = HASH_BITS + 1
        nearest = bits.argmin(axis=1)
        for row in np.flatnonzero(bits.min(axis=1) <= distance):
            other = nearest[row]
            found.append((test["path"][start + row], train["path"][other], int(bits[row, other])))
    return pd.DataFrame(found, columns=COLUMNS)


def _bits(table: "pd.DataFrame") -> "NDArray[np.uint64]":
    """The hashes as (N, 4): four words of 64 bits each."""
    import numpy as np

    return np.array([np.frombuffer(bytes.fromhex(value), dtype=np.uint64) for value in table["phash"]])


def _files(test: "pd.DataFrame", train: "pd.DataFrame") -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """A number for each image that is the same for identical files."""
    import pandas as pd

    numbers, _ = pd.factorize(pd.concat([test["sha256"], train["sha256"]]))
    return numbers[: len(test)], numbers[len(test) :]
