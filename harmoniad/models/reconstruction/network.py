"""The frame of a network that predicts groups of encoder layers from themselves."""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.models.reconstruction.loss import token_distance
from harmoniad.models.reconstruction.targets import TargetNetwork


class ReconstructionNetwork(TargetNetwork):
    """Tells how far the prediction of a subclass lies from the targets."""

    @abstractmethod
    def forward(self, targets: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Predict the groups.

        Args:
            targets: (B, D, grid, grid) for each group, from `targets`.

        Returns:
            Predictions of the same shapes, and a scalar of the subclass's own.
        """

    def anomaly_maps(self, layers: Sequence[Tensor], side: int) -> Tensor:
        """1 - cosine between the features and their prediction, the mean over the groups.

        Args:
            layers: (B, D, h, w) for each layer, on the network's device.
            side: Of the map.

        Returns:
            (B, side, side), each value in [0, 2].
        """
        targets = self.targets(layers)
        device = targets[0].device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            predictions, _ = self(targets)
        distances = [token_distance(t, p) for t, p in zip(targets, predictions, strict=True)]
        maps = torch.stack(distances).mean(0)
        return F.interpolate(maps[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]

    def _predictions(self, outputs: list[Tensor], heads: nn.ModuleList) -> list[Tensor]:
        """Predict each group by its head from the mean of its share of the decoder's outputs (B, N, W).

        The last blocks give back the shallowest layers.
        """
        count = len(self.members)
        bounds = [round(part * len(outputs) / count) for part in range(count + 1)]
        shares = [outputs[start:end] or outputs[-1:] for start, end in pairwise(bounds)]
        means = [torch.stack(share).mean(0) for share in reversed(shares)]
        return [
            head(mean).transpose(1, 2).unflatten(2, (self.grid, self.grid))
            for head, mean in zip(heads, means, strict=True)
        ]
