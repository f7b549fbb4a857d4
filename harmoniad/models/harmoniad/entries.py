"""Choosing among the entries of a set of features."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from harmoniad.models.detector import FeatureSet

BATCH_SIZE = 16
FUSION_SHARE = 4  # every fourth image is kept from what is fitted, for the fusion to judge it by


def choose(count: int, limit: int, seed: int) -> list[int]:
    """At most `limit` of `count` entries, drawn at random, in order."""
    if count <= limit:
        return list(range(count))
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False)).tolist()


def number_images(images: Sequence[str], more: Sequence[str]) -> tuple[list[int], list[int]]:
    """Number the images of two lists, in the order of their first appearance."""
    number = {image: index for index, image in enumerate(dict.fromkeys([*images, *more]))}
    return [number[image] for image in images], [number[image] for image in more]


def every_fourth(owners: Sequence[int], categories: Sequence[str]) -> set[int]:
    """Every fourth image of each category; none of a category that has a single one."""
    judged: set[int] = set()
    for name in set(categories):
        images = sorted({owner for owner, category in zip(owners, categories, strict=True) if category == name})
        judged |= set(images[::FUSION_SHARE]) if len(images) > 1 else set()
    return judged


class Subset:
    """Some entries of a set of features."""

    def __init__(self, features: FeatureSet, indices: Sequence[int]) -> None:
        self._features, self._indices = features, indices
        self.shapes = features.shapes
        self.categories = [features.categories[index] for index in indices]
        self.images = [features.images[index] for index in indices]

    def __len__(self) -> int:
        return len(self._indices)

    def batch(self, indices: Sequence[int]) -> list[Tensor]:
        """See `FeatureSet.batch`."""
        return self._features.batch([self._indices[index] for index in indices])


def batches_of(features: FeatureSet, indices: Sequence[int]) -> Iterator[list[Tensor]]:
    """The layers (B, D, h, w) of some entries, a batch at a time."""
    for start in range(0, len(indices), BATCH_SIZE):
        yield features.batch(indices[start : start + BATCH_SIZE])
