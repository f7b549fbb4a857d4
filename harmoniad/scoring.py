"""From token maps to image scores, and from scores of held-out good images to the threshold."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from harmoniad.errors import HarmoniadError
from harmoniad.params import Evaluate
from harmoniad.tiling import Box, blend


@dataclass(frozen=True)
class ImageScore:
    """How a map becomes one number.

    Attributes:
        top_share: Share of the highest pixels that are averaged.
        smoothing_kernel: Side of the Gaussian in pixels, odd.
        smoothing_sigma: Its standard deviation in pixels.
    """

    top_share: float
    smoothing_kernel: int
    smoothing_sigma: float

    @classmethod
    def from_params(cls, params: Evaluate) -> Self:
        """Take the settings of the evaluate stage."""
        return cls(params.top_share, params.smoothing_kernel, params.smoothing_sigma)

    def pixel_maps(self, token_maps: Tensor, resolution: int) -> Tensor:
        """Upsample token maps (B, h, w) to the encoder's resolution and smooth them: (B, R, R), raw scores."""
        size = (resolution, resolution)
        maps = F.interpolate(token_maps.float().unsqueeze(1), size=size, mode="bilinear", align_corners=False)
        return self._smooth(maps).squeeze(1)

    def __call__(self, pixel_maps: Tensor) -> Tensor:
        """Mean of the highest pixels of each map: (B, H, W) to (B,)."""
        flat = pixel_maps.flatten(1)
        return flat.topk(max(1, math.ceil(self.top_share * flat.shape[1])), dim=1).values.mean(1)

    def join(self, maps: Tensor, boxes: Sequence[Box | None], width: int, height: int) -> tuple[float, Tensor]:
        """Score and map of an image from the maps (n, R, R) of its tiles, which lie in `boxes`.

        The score is that of the worst tile, which is the map's own score where there is one tile. A mean over the
        highest pixels of the whole map would lose what tiles are there to find: a scratch 5 pixels wide and 200 long is
        0.4 % of a tile of 512 pixels, but 0.025 % of an image of 2,000, where the highest 1 % is nearly all background.
        """
        return self(maps).max().item(), blend(maps, boxes, width, height)

    def _smooth(self, maps: Tensor) -> Tensor:
        if self.smoothing_kernel == 1:
            return maps
        reach = self.smoothing_kernel // 2
        place = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
        kernel = torch.exp(-0.5 * (place / self.smoothing_sigma) ** 2)
        kernel = kernel / kernel.sum()
        padded = F.pad(maps, (reach, reach, reach, reach), mode="reflect")
        return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def resize_map(anomaly_map: Tensor, height: int, width: int) -> np.ndarray:
    """Bring one map (h, w) to an image's own size: (height, width) of float32."""
    resized = F.interpolate(anomaly_map[None, None].float(), size=(height, width), mode="bilinear", align_corners=False)
    return resized[0, 0].cpu().numpy()


@dataclass(frozen=True)
class Threshold:
    """The score above which a part is flagged.

    Attributes:
        false_positive_rate: Share of held-out good images that may lie above it.
        joint: Over all categories; for an image whose category is not known.
        categories: For each category.
        held_out_images: How many good images each category's threshold rests on.
        normal_level: Median pixel of the held-out maps; with the threshold it anchors the colour scale of heat maps.
        image_score: How maps become scores.
    """

    false_positive_rate: float
    joint: float
    categories: dict[str, float]
    held_out_images: dict[str, int]
    normal_level: float
    image_score: ImageScore

    def of(self, category: str | None) -> float:
        """The category's threshold, or the joint one where the category is unknown."""
        return self.categories.get(category, self.joint) if category else self.joint

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Read back what `to_dict` gave."""
        return cls(**{**content, "image_score": ImageScore(**content["image_score"])})


def calibrate(
    scores: Sequence[float],
    categories: Sequence[str],
    *,
    false_positive_rate: float,
    normal_level: float,
    image_score: ImageScore,
) -> Threshold:
    """Set the thresholds from scores of held-out good images; no defect and no test image has a say.

    A threshold is the smallest held-out score such that no larger share than the false-positive rate lies above it.
    Fewer than 1 / rate images cannot show that rate; then it is also at least the one-sided prediction limit of a
    normal distribution, mean + t(n - 1) * s * sqrt(1 + 1 / n) (Hahn and Meeker, Statistical Intervals, section 4.8).

    Raises:
        HarmoniadError: There are no held-out images.
    """
    if not scores:
        raise HarmoniadError(
            "no held-out good images, so no threshold can be set. Add good images to the training set."
        )
    values, names = np.asarray(scores, dtype=np.float64), np.asarray(categories)
    return Threshold(
        false_positive_rate=false_positive_rate,
        joint=_limit(values, false_positive_rate),
        categories={str(name): _limit(values[names == name], false_positive_rate) for name in np.unique(names)},
        held_out_images={str(name): int((names == name).sum()) for name in np.unique(names)},
        normal_level=normal_level,
        image_score=image_score,
    )


def _limit(scores: np.ndarray, false_positive_rate: float) -> float:
    seen = float(np.quantile(scores, 1 - false_positive_rate, method="inverted_cdf"))
    count = len(scores)
    if count == 1 or count * false_positive_rate >= 1:
        return seen
    from scipy.special import stdtrit  # Student's quantile, without the second that scipy.stats takes to load

    reach = stdtrit(count - 1, 1 - false_positive_rate) * scores.std(ddof=1) * math.sqrt(1 + 1 / count)
    return max(seen, float(scores.mean() + reach))
