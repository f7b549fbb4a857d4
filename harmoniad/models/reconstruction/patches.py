"""The frame of a network that sees one map of patches."""

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.reconstruction.targets import TargetNetwork


class PatchNetwork(TargetNetwork):
    """Sees all layers as one map of patches, each channel of which has mean 0 and deviation 1 over the training set."""

    def __init__(self, shapes: tuple[Shape, ...], grid: int) -> None:
        super().__init__(shapes, grid=grid, groups=1, norm="channel")

    @abstractmethod
    def score(self, patches: Tensor) -> Tensor:
        """How unusual each patch of (B, C, grid, grid) is: (B, grid, grid)."""

    def patches(self, layers: Sequence[Tensor]) -> Tensor:
        """Join layers (B, D, h, w) into (B, C, grid, grid)."""
        return self.targets(layers)[0]

    def anomaly_maps(self, layers: Sequence[Tensor], side: int) -> Tensor:
        """The scores, brought to the side that is wanted: (B, side, side)."""
        maps = self.score(self.patches(layers))
        return F.interpolate(maps[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]


def as_tokens(patches: Tensor) -> Tensor:
    """(B, C, h, w) to (B, h * w, C)."""
    return patches.flatten(2).transpose(1, 2)


def squared_error(patches: Tensor, prediction: Tensor) -> Tensor:
    """Mean squared difference over the channels: (B, C, h, w) twice to (B, h, w)."""
    return (patches - prediction).square().mean(1)
