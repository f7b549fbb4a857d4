"""Frozen encoders: the intermediate layers of an open_clip vision tower or a timm network."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from harmoniad.errors import HarmoniadError
from harmoniad.features import lite0
from harmoniad.features import weights as weights_files
from harmoniad.files import sha256_json
from harmoniad.params import Encoder as EncoderParams

TRANSFORM_VERSION = 2  # part of the cache key: raise it when `resize` or the forward pass changes the features


Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class EncoderSpec:
    """Everything that decides what the features are."""

    name: str
    weights: str
    weights_sha256: str
    resolution: int
    layers: tuple[int, ...]
    transform: int = TRANSFORM_VERSION

    @classmethod
    def from_params(cls, params: EncoderParams) -> Self:
        """Resolve the weights that `params.yaml` names.

        Raises:
            HarmoniadError: The weights are missing.
        """
        found = weights_files.resolve(params)
        return cls(params.name, params.weights, found.sha256, params.resolution, tuple(params.layers))

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Read back what `dataclasses.asdict` wrote."""
        return cls(**{**content, "layers": tuple(content["layers"])})

    @property
    def key(self) -> str:
        """Hash of all that decides the features. Not the place of the weights, only their content."""
        return sha256_json({name: value for name, value in asdict(self).items() if name != "weights"})

    def params(self) -> EncoderParams:
        """The section of `params.yaml` that gives this encoder."""
        return EncoderParams(name=self.name, weights=self.weights, resolution=self.resolution, layers=list(self.layers))


def resize(image: Image.Image, resolution: int) -> np.ndarray:
    """Squash an image to a square, as inspection must not cut off its edges.

    Returns:
        Array (resolution, resolution, 3) of uint8.
    """
    rgb = image.convert("RGB")
    if rgb.size != (resolution, resolution):
        rgb = rgb.resize((resolution, resolution), Image.Resampling.BICUBIC)
    return np.array(rgb)


class Encoder:
    """A frozen network that turns images into a list of feature maps, one for each tapped layer.

    Attributes:
        input_size: Side in pixels of the images that the network takes: the resolution, rounded down to whole patches.
            A transformer drops what is left over at the right and lower edge without a word (6 of 518 pixels with
            patches of 16), so a whole image is squashed to 512 pixels instead, and the map covers all of it.
    """

    def __init__(self, spec: EncoderSpec, device: torch.device, precision: Precision = "float32") -> None:
        """Build the network and load its weights.

        Args:
            spec: Which network, with which weights, at which resolution.
            device: Where it runs.
            precision: Of the products on a CPU. `float32` gives the same bytes again and is what the cache holds;
                `bfloat16` is faster where the CPU has instructions for it. CUDA always takes `bfloat16`.

        Raises:
            HarmoniadError: The model is unknown, a layer does not exist, or the weights do not fit.
        """
        self.spec, self.device = spec, device
        self._autocast = device.type != "cpu" or precision == "bfloat16"
        params = spec.params()
        found = weights_files.resolve(params)
        if found.sha256 != spec.weights_sha256:
            raise HarmoniadError(f"{found.path}: these are not the weights that the model was trained with.")
        library, _, model_name = spec.name.partition(":")
        if params.weights == weights_files.EMBEDDED:
            network, mean, std = _build_embedded(found, params)
        else:
            build = _build_open_clip if library == "open_clip" else _build_timm
            network, mean, std = build(model_name, found, params)
        self.input_size = _fit_patches(network, params)
        frozen: Any = network.eval().requires_grad_(False).to(device)
        self._network = frozen.to(memory_format=torch.channels_last)
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, 3, 1, 1)

    def resize(self, image: Image.Image) -> np.ndarray:
        """Squash an image to what the network takes: (input_size, input_size, 3) of uint8."""
        return resize(image, self.input_size)

    def pixels(self, images: np.ndarray) -> Tensor:
        """What the network sees, to the last bit that of open_clip's own transform with `resize_mode="squash"`.

        Args:
            images: (B, H, W, 3) of uint8.

        Returns:
            (B, 3, H, W) of float32, channels last, on the encoder's device.
        """
        batch = torch.from_numpy(np.ascontiguousarray(images)).to(self.device).permute(0, 3, 1, 2)
        return batch.float().div_(255).sub_(self._mean).div_(self._std).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """Encode resized images.

        Args:
            images: Arrays (input_size, input_size, 3) of uint8, from `resize`.

        Returns:
            For each tapped layer a float32 tensor (B, D, h, w), on the encoder's device.
        """
        if self.device.type == "cpu":
            # The kernels that a CPU picks depend on the batch, and with them the last bit of a feature. One image at
            # a time makes a feature independent of its company, so that an interrupted run gives the same bytes.
            singles = [self.forward(image[None]) for image in images]
            return [torch.cat(layer) for layer in zip(*singles, strict=True)]
        return self.forward(np.stack(images))

    @torch.inference_mode()
    def forward(self, images: np.ndarray) -> list[Tensor]:
        """Encode a batch (B, input_size, input_size, 3) of uint8 in one pass; for the result see `__call__`."""
        if images.shape[1:] != (self.input_size, self.input_size, 3):
            raise ValueError(f"images of {self.input_size} px are wanted, from `Encoder.resize`; got {images.shape}")
        batch = self.pixels(images)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast):
            found = self._network.forward_intermediates(
                batch, indices=list(self.spec.layers), stop_early=True, intermediates_only=True
            )
        layers = found["image_intermediates"] if isinstance(found, dict) else found  # open_clip or timm
        return [layer.float() for layer in layers]


Built = tuple[nn.Module, Sequence[float], Sequence[float]]


def _build_embedded(found: weights_files.Weights, params: EncoderParams) -> Built:
    network = lite0.Lite0()
    network.load_state_dict(lite0.rename(weights_files.load_state(found.path), network.state_dict()))
    _check_layers(params, len(lite0.TAPPED))
    return network, lite0.MEAN, lite0.STD


def _build_timm(name: str, found: weights_files.Weights, params: EncoderParams) -> Built:
    import timm

    if not timm.is_model(name):
        raise HarmoniadError(f"encoder.name: timm has no model `{name}`.{_similar(name, timm.list_models())}")
    config = timm.get_pretrained_cfg(name)
    size = {"img_size": params.resolution} if config.fixed_input_size else {}
    try:
        network = timm.create_model(name, pretrained=False, num_classes=0, **size)
    except (AssertionError, ValueError, RuntimeError) as error:
        raise HarmoniadError(f"encoder.resolution: {name} does not take {params.resolution} px ({error}).") from error
    if not hasattr(network, "forward_intermediates"):
        raise HarmoniadError(f"encoder.name: timm:{name} gives no intermediate features. Choose another model.")
    state = weights_files.load_state(found.path)
    adapt = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if adapt is not None:  # resamples the position grid to the resolution
        state = adapt(state, network)
    head = tuple(f"{part}." for part in _as_tuple(config.classifier))
    state = {key: value for key, value in state.items() if not key.startswith(head)}
    _load_exactly(network, state, found)
    _check_layers(params, len(network.feature_info))
    return network, config.mean, config.std


def _build_open_clip(name: str, found: weights_files.Weights, params: EncoderParams) -> Built:
    """A vision tower. A file tells nothing of its training: pixels are scaled as for the model's first known tag."""
    import open_clip

    model = load_open_clip(found, params)
    tag = open_clip.get_pretrained_cfg(name, params.weights) or {}
    tower = model.visual
    if not (hasattr(tower, "trunk") or hasattr(tower, "transformer")):  # CLIP's own ResNets
        raise HarmoniadError(f"encoder.name: open_clip:{name} gives no intermediate features. Choose another model.")
    _check_layers(params, _count_blocks(tower))
    tags = open_clip.list_pretrained_tags_by_model(name)
    pixels = tag or (open_clip.get_pretrained_cfg(name, tags[0]) if tags else {})
    return (
        tower,
        pixels.get("mean", open_clip.OPENAI_DATASET_MEAN),
        pixels.get("std", open_clip.OPENAI_DATASET_STD),
    )


def load_open_clip(found: weights_files.Weights, params: EncoderParams) -> Any:
    """A model of open_clip with both of its towers.

    Some weights (OpenAI's among them) were trained with another activation. A tag says so; with a file, the name of the
    model must: `open_clip:ViT-L-14-336-quickgelu`.

    Raises:
        HarmoniadError: open_clip knows no such model, or the weights do not fit it.
    """
    import open_clip

    name = params.name.removeprefix("open_clip:")
    if open_clip.get_model_config(name) is None:
        raise HarmoniadError(f"encoder.name: open_clip has no model `{name}`.{_similar(name, open_clip.list_models())}")
    tag = open_clip.get_pretrained_cfg(name, params.weights) or {}
    try:
        return open_clip.create_model(
            name,
            pretrained=str(found.path),
            force_image_size=params.resolution,
            force_quick_gelu=tag.get("quick_gelu", False),
            weights_only=True,
        )
    except Exception as error:
        # A wrong file surfaces as anything from KeyError to UnpicklingError, and none of them names the file.
        reason = str(error).strip().split("\n")[0]
        raise HarmoniadError(f"{found.path}: these weights do not fit {params.name} ({reason}).") from error


def _fit_patches(network: Any, params: EncoderParams) -> int:
    """Round the resolution down to whole patches and tell the network; a convolutional network has none."""
    trunk = getattr(network, "trunk", network)  # where open_clip keeps a tower of timm's
    patch: Any = getattr(network, "patch_size", None) or getattr(getattr(trunk, "patch_embed", None), "patch_size", 1)
    side: int = patch if isinstance(patch, int) else patch[0]
    size = params.resolution // side * side
    if size == params.resolution:
        return size
    if hasattr(trunk, "set_input_size"):
        trunk.set_input_size((size, size))
    elif not hasattr(network, "patch_size"):  # open_clip's own tower has it, and takes any size
        raise HarmoniadError(
            f"encoder.resolution: {params.name} takes whole patches of {side} px. "
            f"Choose {size} or {size + side}, not {params.resolution}."
        )
    return size


def _load_exactly(network: nn.Module, state: dict[str, Tensor], found: weights_files.Weights) -> None:
    try:
        network.load_state_dict({key: value.float() for key, value in state.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise HarmoniadError(f"{found.path}: these weights do not fit the encoder ({reason}).") from error


def _check_layers(params: EncoderParams, count: int) -> None:
    if params.layers[-1] >= count:
        raise HarmoniadError(
            f"encoder.layers: {params.layers}, but {params.name} has {count} layers, counted from 0 to {count - 1}."
        )


def _count_blocks(tower: Any) -> int:
    if hasattr(tower, "trunk"):
        return len(tower.trunk.feature_info)
    return len(tower.transformer.resblocks)


def _as_tuple(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _similar(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=3)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def choose_device(name: str) -> torch.device:
    """Turn `auto` into CUDA where there is one, else the CPU.

    Raises:
        HarmoniadError: The named CUDA device does not exist.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise HarmoniadError(f"device: {name} is not there ({torch.cuda.device_count()} CUDA devices). Use `auto`.")
    return device
