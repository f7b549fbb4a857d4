"""A model as one network of torch, from the image to its score and map, out of operations that every runtime has.

A detector as it is trained cannot be exported as it stands: its loops depend on the batch, and its Fourier transforms
and the most frequent category are operations that the runtimes lack or compute another way. Those parts are replaced
here by twins that compute the same, on a copy of the detector that is made for the export alone.
"""

import copy
import math
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.errors import HarmoniadError
from harmoniad.features.encoders import Encoder
from harmoniad.models.detector import Detector
from harmoniad.models.harmoniad.detector import HarmoniadDetector
from harmoniad.models.harmoniad.frequency import FrequencySplit
from harmoniad.models.harmoniad.memory import NOBODY, NormalMemory, low_tokens
from harmoniad.models.inp_former.network import InpFormerNetwork
from harmoniad.models.memory import patches_of
from harmoniad.models.network_detector import NetworkDetector
from harmoniad.models.padim.detector import JOINT as ALL_POSITIONS
from harmoniad.models.padim.detector import PadimDetector
from harmoniad.models.padim.gaussian import mahalanobis
from harmoniad.models.patchcore.detector import JOINT as ALL_PATCHES
from harmoniad.models.patchcore.detector import PatchcoreDetector
from harmoniad.scoring import ImageScore

TokenMaps = Callable[[Sequence[Tensor]], Tensor]  # layers (B, D, h, w) to maps (B, h, w)


class WholeGraph(nn.Module):
    """Images (B, 3, R, R) of uint8, resized, to scores (B,) and anomaly maps (B, R, R)."""

    def __init__(self, encoder: Encoder, detector: Detector, detector_name: str, image_score: ImageScore) -> None:
        """Put the parts together.

        Raises:
            HarmoniadError: The detector cannot be exported.
        """
        super().__init__()
        self.encoder = EncoderGraph(encoder)
        self._token_maps = token_maps_of(detector, detector_name)
        self._image_score, self._resolution = image_score, encoder.spec.resolution

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        maps = self._image_score.pixel_maps(self.token_maps(images), self._resolution)
        return self._image_score(maps), maps

    def token_maps(self, images: Tensor) -> Tensor:
        """The detector's own maps (B, h, w)."""
        return self._token_maps([layer.half().float() for layer in self.encoder(images)])  # as the cache stores them


class EncoderGraph(nn.Module):
    """What `Encoder.forward` does, as a network."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.network = encoder._network
        self.mean, self.std = nn.Buffer(encoder._mean), nn.Buffer(encoder._std)
        self._layers = list(encoder.spec.layers)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, R, R) of uint8 to layers (B, D, h, w)."""
        pixels = (images.float() / 255 - self.mean) / self.std
        found = self.network.forward_intermediates(
            pixels, indices=self._layers, stop_early=True, intermediates_only=True
        )
        return found["image_intermediates"] if isinstance(found, dict) else list(found)


def token_maps_of(detector: Detector, name: str) -> TokenMaps:
    """The function from layers to maps, in operations that can be exported.

    Raises:
        HarmoniadError: The detector needs to be told the category, or has no exportable twin.
    """
    detector = copy.deepcopy(detector)
    if isinstance(detector, HarmoniadDetector):
        return _harmoniad(detector)
    if isinstance(detector, PatchcoreDetector):
        return _patchcore(detector)
    if isinstance(detector, PadimDetector):
        return _padim(detector)
    if isinstance(detector, NetworkDetector):
        return _network(detector)
    raise HarmoniadError(f"export: the detector {name} cannot be exported. Use another, or --runtime torch.")


def _harmoniad(detector: HarmoniadDetector) -> TokenMaps:
    detector.__class__ = _GraphDetector
    for place in ("_memory", "_low_memory"):
        if getattr(detector, place) is not None:
            setattr(detector, place, GraphMemory(getattr(detector, place)))
    if detector._split is not None:
        detector._split = RealSplit(detector._split)  # type: ignore[assignment]
    for module in detector._modules().values():
        _replace_splits(module)
    if detector._place is not None:
        detector._place = _Place(_padim(detector._place))  # type: ignore[assignment]

    def token_maps(layers: Sequence[Tensor]) -> Tensor:
        return detector._fusion.fuse(*detector._maps(layers))

    return token_maps


def _patchcore(detector: PatchcoreDetector) -> TokenMaps:
    if not detector._design.joint:
        raise _needs_category("patchcore")
    bank, grid = detector._banks[ALL_PATCHES], detector._grid
    squares = bank.square().sum(1)

    def token_maps(layers: Sequence[Tensor]) -> Tensor:
        patches = patches_of(layers, grid)
        nearest = bank[(squares - 2 * (patches @ bank.T)).argmin(2)]
        return (patches - nearest).norm(dim=2).unflatten(1, (grid, grid))

    return token_maps


def _padim(detector: PadimDetector) -> TokenMaps:
    if not detector._design.joint:
        raise _needs_category("padim")
    mean, whitening = detector._gaussians[ALL_POSITIONS]
    size = (detector._grid, detector._grid)
    bounds = pairwise(accumulate((shape[0] for shape in detector._shapes), initial=0))
    # Chosen beforehand: how many channels of a layer are drawn must not depend on what the graph computes.
    drawn = [
        torch.tensor([c - start for c in detector._channels.tolist() if start <= c < end]) for start, end in bounds
    ]

    def token_maps(layers: Sequence[Tensor]) -> Tensor:
        picked = [
            F.interpolate(
                layer[:, channels],
                size=size,
                mode="bilinear",
                align_corners=False,
                antialias=detector._grid < layer.shape[-1],
            )
            for layer, channels in zip(layers, drawn, strict=True)
            if len(channels)
        ]
        embeddings = torch.cat(picked, dim=1).flatten(2).transpose(1, 2)
        return mahalanobis(embeddings, mean, whitening).unflatten(1, size)

    return token_maps


def _network(detector: NetworkDetector[Any]) -> TokenMaps:
    _replace_splits(detector._network)
    if isinstance(detector._network, InpFormerNetwork):
        detector._network.__class__ = _GraphInpFormer

    def token_maps(layers: Sequence[Tensor]) -> Tensor:
        return detector._network.anomaly_maps(layers, detector._fine_grid)

    return token_maps


def _needs_category(name: str) -> HarmoniadError:
    return HarmoniadError(
        f"export: a {name} that was trained a category each cannot be exported. "
        f"Train it with `detector.{name}.joint: true`."
    )


class _GraphDetector(HarmoniadDetector):
    """HarmoniAD with a batch of any size: `len` of a tensor would fix it."""

    def _low_map(self, tokens: Tensor, owner: int = NOBODY) -> Tensor:
        assert self._low_memory is not None
        low = low_tokens(tokens, self._grid)
        side = math.isqrt(low.shape[1])
        return self._on_grid(self._low_memory.distance(low.flatten(0, 1)).view(-1, 1, side, side))


class _GraphInpFormer(InpFormerNetwork):
    """INP-Former with a batch of any size."""

    def prototypes(self, tokens: Tensor) -> Tensor:
        prototypes = self.queries.expand(tokens.shape[0], -1, -1)
        for block in self.extractor:
            prototypes = block(prototypes, tokens)
        return prototypes


class _Place:
    """HarmoniAD's map of places, in the shape of a detector."""

    def __init__(self, token_maps: TokenMaps) -> None:
        self._token_maps = token_maps

    def anomaly_maps(self, layers: Sequence[Tensor]) -> Tensor:
        return self._token_maps(layers)


class GraphMemory(NormalMemory):
    """A memory that is searched in one product, whatever the batch; the runtime bounds the batch instead."""

    def __init__(self, memory: NormalMemory) -> None:
        super().__init__(memory.mean, memory.components, memory.tokens, memory.categories, memory.owners)
        self._count = int(memory.categories.max()) + 1

    def nearest(self, tokens: Tensor, owner: int = NOBODY) -> Tensor:
        """See `NormalMemory.nearest`."""
        return (self._squares - 2 * (tokens @ self.tokens.T)).argmin(1)

    def category_of(self, nearest: Tensor) -> Tensor:
        """See `NormalMemory.category_of`; of categories that are equally frequent, both choose the first."""
        numbers = torch.arange(self._count, device=nearest.device)
        return (self.categories[nearest][:, :, None] == numbers).float().sum(1).argmax(1)


class RealSplit(nn.Module):
    """`FrequencySplit` without complex numbers: a Hartley transform, which is two products with real matrices.

    The gate is a function of the radius, so it is even along each axis and multiplies the coefficients of the Hartley
    transform as it does those of the Fourier transform (Bracewell, The Hartley Transform, 1986).
    """

    def __init__(self, split: FrequencySplit) -> None:
        super().__init__()
        self.split = split

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """See `FrequencySplit.forward`."""
        height, width = features.shape[-2:]
        rows, columns = hartley(height).to(features), hartley(width).to(features)
        mirrored = [min(place, width - place) for place in range(width)]  # rfft2 gives half of the frequencies
        gate = self.split.gate(features)[..., torch.tensor(mirrored, device=features.device)]
        low = rows @ ((rows @ features @ columns) * gate) @ columns
        return low, features - low


def hartley(size: int) -> Tensor:
    """The matrix (size, size) of the Hartley transform, which is its own inverse."""
    turns = torch.arange(size)[:, None] * torch.arange(size) % size  # whole turns left out, to be exact
    angles = 2 * math.pi * turns.double() / size
    return ((angles.cos() + angles.sin()) / math.sqrt(size)).float()


def _replace_splits(module: nn.Module) -> None:
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, FrequencySplit):
                setattr(parent, name, RealSplit(child))


def shrink_bilinear(
    images: Tensor,
    size: Sequence[int],
    align_corners: bool,
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> Tensor:
    """`F.interpolate(..., antialias=True)` as two products with matrices; OpenVINO leaves antialias out."""
    rows, columns = (_shrinking(old, new) for old, new in zip(images.shape[-2:], size, strict=True))
    return rows.to(images) @ images @ columns.to(images).T


def _shrinking(old: int, new: int) -> Tensor:
    """The matrix (new, old) that shrinks one axis: a triangle as wide as the step, as Pillow's and torch's."""
    step = max(old / new, 1.0)
    centres = (torch.arange(new) + 0.5) * (old / new)
    weights = (1 - (torch.arange(old) + 0.5 - centres[:, None]).abs() / step).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


def frequencies(count: int, spacing: float = 1.0, **_: Any) -> Tensor:
    """`torch.fft.fftfreq`, of which ONNX knows nothing."""
    place = torch.arange(count)
    return torch.where(place < (count + 1) // 2, place, place - count).float() / (count * spacing)


def half_frequencies(count: int, spacing: float = 1.0, **_: Any) -> Tensor:
    """`torch.fft.rfftfreq`."""
    return torch.arange(count // 2 + 1).float() / (count * spacing)


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten._upsample_bilinear2d_aa.default: shrink_bilinear,
    torch.ops.aten._upsample_bilinear2d_aa.vec: shrink_bilinear,  # what `F.interpolate` calls
    torch.ops.aten.fft_fftfreq.default: frequencies,
    torch.ops.aten.fft_rfftfreq.default: half_frequencies,
}
