"""EfficientNet-Lite0, the network of the embedded weights, in torch alone.

timm has the same network, and tests hold this one to its bytes; but loading timm takes longer than most commands that
encode a few images with the default encoder. Tan and Le, *EfficientNet*, ICML 2019, table 1, in the lite variant: ReLU6
and no squeeze and excitation. Padding is TensorFlow's `SAME`.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from harmoniad.errors import HarmoniadError

MEAN = STD = (0.5, 0.5, 0.5)
# Of each stage: expansion, kernel, stride, channels, blocks.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
TAPPED = (0, 1, 2, 4, 6)
"""The last stage at each size, which is what a layer of the encoder is."""


class Lite0(nn.Module):
    """The network up to its last stage, without the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(SameConv(3, 32, 3, 2), norm(32), nn.ReLU6(inplace=True))
        self.stages = nn.ModuleList()
        width = 32
        for expansion, kernel, stride, channels, blocks in STAGES:
            strides = [stride] + [1] * (blocks - 1)
            widths = [width] + [channels] * (blocks - 1)
            self.stages.append(
                nn.Sequential(
                    *(Block(first, channels, expansion, kernel, s) for first, s in zip(widths, strides, strict=True))
                )
            )
            width = channels

    def forward_intermediates(
        self, pixels: Tensor, indices: Sequence[int], *, stop_early: bool = True, intermediates_only: bool = True
    ) -> list[Tensor]:
        """The layers that are asked for, as timm's networks give them.

        Args:
            pixels: (B, 3, H, W).
            indices: Places in `TAPPED`, rising.
            stop_early: Always: what lies behind the last of them is not computed.
            intermediates_only: Always.

        Returns:
            For each a tensor (B, D, h, w).
        """
        wanted = [TAPPED[index] for index in indices]
        found, values = [], self.stem(pixels)
        for number, stage in enumerate(self.stages[: wanted[-1] + 1]):
            values = stage(values)
            if number in wanted:
                found.append(values)
        return found


class Block(nn.Module):
    """Inverted residual: expand, a convolution a channel, project; added to what came in where the shapes are equal."""

    def __init__(self, width: int, channels: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = expansion * width
        expand = [conv(width, inner), norm(inner), nn.ReLU6(inplace=True)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            SameConv(inner, inner, kernel, stride, groups=inner),
            norm(inner),
            nn.ReLU6(inplace=True),
            conv(inner, channels),
            norm(channels),
        )
        self._adds = stride == 1 and width == channels

    def forward(self, values: Tensor) -> Tensor:
        """(B, width, h, w) to (B, channels, h / stride, w / stride)."""
        found: Tensor = self.layers(values)
        return found + values if self._adds else found


class SameConv(nn.Conv2d):
    """A convolution without bias whose output has the input's size divided by the stride, rounded up."""

    def __init__(self, width: int, channels: int, kernel: int, stride: int, groups: int = 1) -> None:
        # At stride 1 SAME is the usual padding; otherwise it depends on the input.
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(width, channels, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        """(B, width, h, w) to (B, channels, ceil(h / stride), ceil(w / stride))."""
        if self.stride[0] > 1:
            rows, columns = (self._missing(side) for side in values.shape[-2:])
            values = F.pad(values, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return super().forward(values)

    def _missing(self, side: int) -> int:
        kernel, stride = self.kernel_size[0], self.stride[0]
        return max((-(-side // stride) - 1) * stride + kernel - side, 0)


def conv(width: int, channels: int) -> nn.Conv2d:
    """Of one pixel."""
    return nn.Conv2d(width, channels, 1, bias=False)


def norm(channels: int) -> nn.BatchNorm2d:
    """With TensorFlow's epsilon."""
    return nn.BatchNorm2d(channels, eps=1e-3)


def rename(state: dict[str, Tensor], target: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of `efficientnet-lite-pytorch` the target's names: both list them in the order of the network.

    Args:
        state: Of the file.
        target: Of a network that may end before the classifier.

    Raises:
        HarmoniadError: The shapes differ, so the file is not an EfficientNet-Lite0.
    """
    pairs = list(zip(state.values(), target.items(), strict=False))
    if len(state) < len(target) or any(found.shape != wanted.shape for found, (_, wanted) in pairs):
        raise HarmoniadError("The embedded weights are not those of EfficientNet-Lite0. Install the package again.")
    return {name: found for found, (name, _) in pairs}
