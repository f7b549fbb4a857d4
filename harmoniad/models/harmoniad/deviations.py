"""How training images deviate from the memory of the others: what head 2 and the fusion learn from."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.detector import FeatureSet, SyntheticSet
from harmoniad.models.harmoniad.feature_defects import with_feature_defects
from harmoniad.models.harmoniad.memory import NormalMemory, tokens_of
from harmoniad.progress import Progress


class Deviations:
    """Views of good images and copies with made defects, as a set that the training loop can draw batches from.

    Each is compared with the memory of the *other* images, as a new image would be. Which remembered token is nearest
    is looked up once; it takes 4 bytes a token.
    """

    def __init__(
        self,
        features: FeatureSet,
        made: SyntheticSet | None,
        chosen: tuple[Sequence[int], Sequence[int]],
        owners: tuple[Sequence[int], Sequence[int]],
        memory: NormalMemory,
        *,
        grid: int,
        norm: str,
    ) -> None:
        """Look up the nearest remembered tokens.

        Args:
            features: Views of good images.
            made: Copies with made defects.
            chosen: Which entries of either to take.
            owners: Number of the image of each entry of either, as the memory counts them.
            memory: What is normal.
            grid: Side of the token grid.
            norm: See `tokens_of`.
        """
        self._features, self._made, self._memory, self._grid, self._norm = features, made, memory, grid, norm
        self._entries = [(False, index) for index in chosen[0]] + [(True, index) for index in chosen[1]]
        self.good_count = len(chosen[0])
        self.feature_defects: float | None = None
        self._owners = owners
        # Made in one piece: small tensors that are kept between large ones that are not would tear the heap apart.
        self._nearest = torch.empty(len(self._entries), grid**2, dtype=torch.int32, device=memory.tokens.device)
        with Progress("compare", len(self._entries), "images") as progress:
            for position, (is_made, index) in enumerate(self._entries):
                tokens = self._tokens(is_made, index)
                self._nearest[position] = memory.nearest(tokens, owners[is_made][index])
                progress.advance()

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Of a batch."""
        return ((self._memory.tokens.shape[1], self._grid, self._grid), (1, self._grid, self._grid))

    def __len__(self) -> int:
        return len(self._entries)

    def batch(self, indices: Sequence[int]) -> list[Tensor]:
        """Deviation (B, C, h, w) and the share of each token that is defective, (B, h, w).

        With `feature_defects` half of the good entries get a defect in their features.
        """
        deviations, shares = [], []
        for position in indices:
            is_made, index = self._entries[position]
            tokens, nearest = self._tokens(is_made, index), self._nearest[position].long()
            share = self._share(index) if is_made else torch.zeros(self._grid, self._grid)
            if self.feature_defects is not None and not is_made and torch.rand(()) < 0.5:
                tokens, hit = with_feature_defects(tokens, self._grid, self.feature_defects)
                nearest[hit] = self._memory.nearest(tokens[hit], self._owners[0][index])
                share = hit.view(self._grid, self._grid).float()
            deviations.append(self._memory.deviation(tokens[None], nearest[None], self._grid)[0])
            shares.append(share.to(tokens.device))
        return [torch.stack(deviations), torch.stack(shares)]

    def tokens(self, position: int) -> tuple[Tensor, int]:
        """The tokens (1, N, C) of an entry, in the memory's channels, and its image."""
        is_made, index = self._entries[position]
        return self._tokens(is_made, index)[None], self._owners[is_made][index]

    def shares(self, copies: Sequence[int]) -> Tensor:
        """Defective share of each token of some copies, (n, h, w)."""
        found = [self._share(index) for index in copies]
        return torch.stack(found) if found else torch.zeros(0, self._grid, self._grid)

    def subset(self, positions: Sequence[int]) -> "Positions":
        """Some of the entries."""
        return Positions(self, positions)

    def _tokens(self, is_made: bool, index: int) -> Tensor:
        source: FeatureSet = self._made if is_made and self._made is not None else self._features
        layers = [layer.to(self._memory.tokens.device) for layer in source.batch([index])]
        return self._memory.project(tokens_of(layers, self._grid, self._norm)[0])

    def _share(self, index: int) -> Tensor:
        assert self._made is not None, "there are entries of it"
        size = (self._grid, self._grid)
        return F.interpolate(self._made.masks([index])[:, None], size=size, mode="area")[0, 0]


class Positions:
    """Some entries of `Deviations`, in the shape that the training loop takes."""

    def __init__(self, deviations: Deviations, positions: Sequence[int]) -> None:
        self._deviations, self._positions = deviations, positions
        self.shapes = deviations.shapes
        self.categories: Sequence[str] = [""] * len(positions)
        self.images: Sequence[str] = [""] * len(positions)

    def __len__(self) -> int:
        return len(self._positions)

    def batch(self, indices: Sequence[int]) -> list[Tensor]:
        """See `Deviations.batch`."""
        return self._deviations.batch([self._positions[index] for index in indices])
