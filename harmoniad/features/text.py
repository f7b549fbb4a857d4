"""The text tower of an open_clip encoder: prompts become vectors in the space that it shares with images."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from harmoniad.errors import HarmoniadError
from harmoniad.features import weights as weights_files
from harmoniad.features.encoders import load_open_clip
from harmoniad.params import Encoder


def has_text_tower(encoder: Encoder) -> bool:
    """Whether the model that `params.yaml` names was trained together with a text tower; no file is read."""
    return encoder.name.startswith("open_clip:")


def text_embeddings(encoder: Encoder, prompts: Sequence[str]) -> Tensor:
    """What the text tower makes of prompts such as "a photo of a metal nut".

    Args:
        encoder: An encoder of open_clip; the text tower's weights lie in the same file.
        prompts: A text each.

    Returns:
        (n, E) of unit length, on the CPU.

    Raises:
        HarmoniadError: The encoder has no text tower, or its weights or its tokenizer are missing.
    """
    tower = TextTower.load(encoder)
    with torch.inference_mode():
        return tower.encode(tower.tokens(prompts)).clone()


class TextTower:
    """A frozen text tower through which the gradient reaches learned tokens.

    Attributes:
        width: Of a token.
        dimensions: E of an embedding.
        vision_end: Last norm and projection of the vision tower, as `norm.weight`, `norm.bias` and `project.weight` of
            a linear layer (E, D); None where the tower has no such pair.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """Take the text half of a model of open_clip; its vision tower is let go."""
        self.vision_end = _vision_end(model.visual)
        del model.visual
        self._model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._embedding = getattr(model, "text", model).token_embedding
        self.width: int = self._embedding.weight.shape[1]
        with torch.inference_mode():
            self.dimensions = self.encode(self.tokens([""])).shape[1]

    @classmethod
    def load(cls, encoder: Encoder) -> Self:
        """Read the text tower of an encoder.

        Raises:
            HarmoniadError: The encoder has no text tower, or its weights or its tokenizer are missing.
        """
        if not has_text_tower(encoder):
            raise HarmoniadError(
                f"encoder.name: {encoder.name} has no text tower. Set it to a model of open_clip and encoder.weights "
                "to its weights, such as open_clip:ViT-L-14-336 and openai."
            )
        import open_clip

        model = load_open_clip(weights_files.resolve(encoder), encoder)
        name = encoder.name.removeprefix("open_clip:")
        try:
            tokenizer = open_clip.get_tokenizer(name)
        except Exception as error:  # some models keep theirs on a hub, whose client raises dozens of types
            reason = str(error).strip().split("\n")[0][:200]
            raise HarmoniadError(
                f"encoder.name: the tokenizer of {encoder.name} is not on this machine ({reason}). "
                "Choose a model of open_clip that brings its own, such as open_clip:ViT-L-14-336."
            ) from error
        if not hasattr(getattr(model, "text", model), "token_embedding"):
            raise HarmoniadError(
                f"encoder.name: the text tower of {encoder.name} is not open_clip's own. "
                "Choose one that is, such as open_clip:ViT-L-14-336."
            )
        return cls(model, tokenizer)

    def to(self, device: torch.device) -> Self:
        """Move to a device."""
        self._model.to(device)
        return self

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """Numbers of the tokens of prompts: (n, L), on the tower's device; a start token comes first."""
        numbers: Tensor = self._tokenizer(list(prompts))
        return numbers.to(self._embedding.weight.device)

    def encode(self, tokens: Tensor, learned: Tensor | None = None) -> Tensor:
        """Embed prompts.

        Args:
            tokens: (n, L) from `tokens`.
            learned: (n, k, width) that take the place of the k tokens after the first; the gradient reaches them.

        Returns:
            (n, E) of unit length.
        """
        if learned is None:
            return F.normalize(self._model.encode_text(tokens).float(), dim=-1)

        def replace(module: torch.nn.Module, inputs: Any, embedded: Tensor) -> Tensor:
            return torch.cat([embedded[:, :1], learned, embedded[:, 1 + learned.shape[1] :]], dim=1)

        handle = self._embedding.register_forward_hook(replace)
        try:
            return F.normalize(self._model.encode_text(tokens).float(), dim=-1)
        finally:
            handle.remove()


def _vision_end(tower: Any) -> dict[str, Tensor] | None:
    """A tower of open_clip's own multiplies by (D, E) after its last norm; one of timm's ends in other ways."""
    norm, projection = getattr(tower, "ln_post", None), getattr(tower, "proj", None)
    if norm is None or projection is None:
        return None
    found = {"norm.weight": norm.weight, "norm.bias": norm.bias, "project.weight": projection.T}
    return {name: tensor.detach().clone() for name, tensor in found.items()}
