"""NPGMF as a detector."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from harmoniad.errors import HarmoniadError
from harmoniad.features.cache import Shape
from harmoniad.features.text import has_text_tower, text_embeddings
from harmoniad.models.detector import FeatureSet, SyntheticSet
from harmoniad.models.harmoniad.entries import Subset
from harmoniad.models.npgmf.design import Npgmf
from harmoniad.models.npgmf.modules import Modules
from harmoniad.params import Encoder, Params, Train

JOINT = "all categories"


class NpgmfDetector:
    """One pair of modules over all categories, or one a category."""

    def __init__(
        self, shapes: tuple[Shape, ...], design: Npgmf, optimisation: Train, seed: int, text_from: Encoder | None = None
    ) -> None:
        self._shapes, self._design, self._train_params, self._seed = shapes, design, optimisation, seed
        self._text_from = text_from
        self._categories: list[str] = []
        self._modules: dict[str, Modules] = {}

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """A detector that knows nothing yet.

        Raises:
            HarmoniadError: A text prior is wanted, and no text tower is named.
        """
        design = params.detector.npgmf
        own = {"name": design.text_encoder, "weights": design.text_weights}
        tower = params.encoder.model_copy(update=own) if design.text_encoder else params.encoder
        wanted = design.logical and design.prior in ("auto", "text")
        if design.logical and design.prior == "text" and not has_text_tower(tower):
            raise HarmoniadError(
                f"detector.npgmf.prior: {tower.name} has no text tower. Name a model of open_clip in "
                "`detector.npgmf.text_encoder` and its weights in `text_weights`, or set prior to `learned`."
            )
        text_from = tower if wanted and has_text_tower(tower) else None
        return cls(shapes, design, params.train, params.seed, text_from)

    @classmethod
    def restore(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """A trained detector."""
        shapes = tuple(tuple(shape) for shape in config["shapes"])
        detector = cls(shapes, Npgmf(**config["design"]), Train(**config["train"]), config["seed"])
        detector._categories = config["categories"]
        for index, (name, members) in enumerate(detector._groups().items()):
            own = {key.removeprefix(f"{index}."): t for key, t in tensors.items() if key.startswith(f"{index}.")}
            # Of the right size; the text itself is among the tensors.
            text = torch.zeros_like(own["logical.prior"]) if config["has_text"] else None
            modules = Modules(shapes, detector._design, text, len(members), config["seed"])
            modules.restore(own)
            detector._modules[name] = modules
        detector._has_text = config["has_text"]
        return detector

    _has_text = False

    def fit(
        self, features: FeatureSet, *, synthetic: SyntheticSet | None = None, device: torch.device, checkpoint: Path
    ) -> list[dict[str, float]]:
        """Fit the modules of all categories together, or of one category after the other.

        Raises:
            HarmoniadError: The text tower's weights are missing.
        """
        self._categories = sorted(set(features.categories))
        self._has_text = self._text_from is not None
        log = []
        for name, members in self._groups().items():
            text = self._read(members)
            indices = [index for index, category in enumerate(features.categories) if category in members]
            category = torch.tensor([members.index(features.categories[index]) for index in indices])
            modules = Modules(self._shapes, self._design, text, len(members), self._seed)
            number = self._categories.index(members[0])
            path = checkpoint.with_name(f"{checkpoint.stem}-{number}{checkpoint.suffix}")
            own = Subset(features, indices)
            log += modules.fit(own, category, self._train_params, device=device, checkpoint=path)
            self._modules[name] = modules
        return log

    @torch.no_grad()
    def anomaly_maps(self, layers: Sequence[Tensor], categories: Sequence[str] | None = None) -> Tensor:
        """The fused maps of the modules: (B, h, w).

        A joint detector is told no category: the priors are those of the category whose training images look most like
        the image, which on held-out normal images rebuilds better than the mean of all categories' priors.

        Raises:
            HarmoniadError: The modules are one a category, and a category is not given or has none.
        """
        if self._design.joint:
            return self._modules[JOINT].anomaly_maps(layers)
        maps = []
        for index, category in enumerate(categories or [""] * len(layers[0])):
            if category not in self._modules:
                known = ", ".join(sorted(self._modules))
                raise HarmoniadError(f"npgmf: no model for category `{category}`. Known: {known}.")
            maps.append(self._modules[category].anomaly_maps([layer[[index]] for layer in layers]))
        return torch.cat(maps)

    def to(self, device: torch.device) -> Self:
        """Move to a device."""
        for modules in self._modules.values():
            modules.to(device)
        return self

    def config(self) -> dict[str, Any]:
        """Shapes of the features, design, optimisation, seed, categories, and whether a text tower gave the priors."""
        return {
            "shapes": [list(shape) for shape in self._shapes],
            "design": self._design.model_dump(),
            "train": self._train_params.model_dump(exclude={"warm_start"}),
            "seed": self._seed,
            "categories": self._categories,
            "has_text": self._has_text,
        }

    def tensors(self) -> dict[str, Tensor]:
        """What the modules learned, numbered in the order of their categories."""
        return {
            f"{index}.{key}": tensor
            for index, name in enumerate(self._groups())
            for key, tensor in self._modules[name].state().items()
        }

    def _groups(self) -> dict[str, list[str]]:
        """The categories of each pair of modules."""
        return {JOINT: self._categories} if self._design.joint else {name: [name] for name in self._categories}

    def _read(self, names: Sequence[str]) -> Tensor | None:
        """What the text tower makes of the names of categories."""
        if self._text_from is None:
            return None
        prompts = [self._design.prompt.replace("{}", name.replace("_", " ")) for name in names]
        return text_embeddings(self._text_from, prompts)
