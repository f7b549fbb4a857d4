"""A model at work: images in, scores, verdicts and anomaly maps out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harmoniad.errors import HarmoniadError
from harmoniad.features.encoders import Encoder, Precision, choose_device
from harmoniad.files import read_json
from harmoniad.inference import Source, predict_stream
from harmoniad.models.storage import TrainedModel, load_model
from harmoniad.pictures import Picture, as_list, to_rgb
from harmoniad.regions import Region, find_regions
from harmoniad.scoring import Threshold, resize_map
from harmoniad.tiling import Box

BATCH_SIZE = 16  # tiles that the encoder and the detector see at once


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        score: Raw image score.
        threshold: What it is compared with.
        is_anomalous: Whether the score is above the threshold.
        anomaly_map: Raw score of each pixel, (H, W) float32, in the image's own size.
    """

    score: float
    threshold: float
    is_anomalous: bool
    anomaly_map: np.ndarray

    @cached_property
    def regions(self) -> list[Region]:
        """Where the map lies above the threshold, the largest region first; see `find_regions`."""
        return find_regions(self.anomaly_map, self.threshold, self.is_anomalous)


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        name: For people: "harmoniad version 3", or the folder.
        digest: SHA-256 over the model's files: the same for the same model, wherever it lies.
        version: In the registry; None for a folder.
    """

    name: str
    digest: str
    version: int | None = None


class Inspector:
    """A detector together with its encoder and its thresholds. Threads may share one.

    Args:
        model: The detector.
        threshold: Its thresholds.
        encoder: What the detector sees images with.
        origin: Where it comes from, if it was loaded with `harmoniad.load`.
    """

    def __init__(
        self, model: TrainedModel, threshold: Threshold, encoder: Encoder, origin: Origin | None = None
    ) -> None:
        self.model, self.threshold, self.encoder, self.origin = model, threshold, encoder, origin

    @classmethod
    def load(cls, folder: Path, device: str = "auto", precision: Precision = "float32") -> Self:
        """Load a folder that holds `model.json`, `detector.safetensors` and `threshold.json`.

        Args:
            folder: The model.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            precision: Of the encoder on a CPU. `float32` gives the scores of the evaluation; `bfloat16` is faster on a
                CPU with instructions for it, and scores differ a little (`benchmarks/throughput.py` says how much).

        Raises:
            HarmoniadError: A file is missing or has been changed, or the encoder's weights are missing.
        """
        chosen = choose_device(device)
        model = load_model(folder, chosen)
        threshold = Threshold.from_dict(read_json(folder / "threshold.json"))
        return cls(model, threshold, Encoder(model.encoder, chosen, precision))

    def predict(
        self,
        images: Picture | np.ndarray | Sequence[Picture],
        categories: str | Sequence[str | None] | None = None,
    ) -> list[Prediction]:
        """Score images.

        Args:
            images: Arrays of uint8, (H, W, 3) in RGB, (H, W, 4) or grey (H, W); uint16 grey; Pillow images; paths; or
                the content of files. Sizes and kinds may differ. An array (B, H, W, 3) is a batch, a single image a
                batch of one.
            categories: Category of each image where it is known, or one for all; it chooses the threshold. Where it is
                None or unknown to the model, the joint threshold holds.

        Raises:
            HarmoniadError: An image cannot be decoded, an array has another shape or type, or there are not as many
                categories as images.
        """
        pictures = as_list(images)
        names = [categories] * len(pictures) if isinstance(categories, str) else categories
        if names is not None and len(names) != len(pictures):
            raise HarmoniadError(f"{len(pictures)} images, but {len(names)} categories: give one for each image.")
        arrays = [to_rgb(picture, f"image {number}") for number, picture in enumerate(pictures)]
        return self._predict(arrays, names)

    def _predict(self, images: Sequence[np.ndarray], categories: Sequence[str | None] | None) -> list[Prediction]:
        if not len(images):
            return []
        names = list(categories or [None] * len(images))
        boxes = [self.model.tiling.boxes(image.shape[1], image.shape[0]) for image in images]
        tiles = [(number, box) for number, of_image in enumerate(boxes) for box in of_image]
        maps: Iterator[Tensor] = chain.from_iterable(
            self._maps(images, names, tiles[start : start + BATCH_SIZE]) for start in range(0, len(tiles), BATCH_SIZE)
        )
        return [
            self._prediction(torch.stack(list(islice(maps, len(of_image)))), of_image, image, name)
            for of_image, image, name in zip(boxes, images, names, strict=True)
        ]

    def predict_stream(
        self,
        images: Iterable[Source],
        categories: Iterable[str | None] | None = None,
        *,
        batch_size: int = 16,
        workers: int = 2,
    ) -> Iterator[Prediction]:
        """Score files, or their bytes, as they come: see `harmoniad.inference.predict_stream`."""
        return predict_stream(self, images, categories, batch_size=batch_size, workers=workers)

    def _maps(
        self, images: Sequence[np.ndarray], names: Sequence[str | None], tiles: Sequence[tuple[int, Box | None]]
    ) -> Tensor:
        """Maps (B, R, R) of some tiles, each the number of its image and its place there."""
        resolution = self.model.encoder.resolution
        layers = self.encoder([self.encoder.resize(Image.fromarray(_cut(images[n], box))) for n, box in tiles])
        layers = [layer.half() for layer in layers]  # as the cache stores them, so that both ways give one score
        known = None if None in names else [str(names[n]) for n, _ in tiles]
        with torch.inference_mode():
            token_maps = self.model.detector.anomaly_maps([layer.float() for layer in layers], known)
            return self.threshold.image_score.pixel_maps(token_maps, resolution)

    def _prediction(self, maps: Tensor, boxes: Sequence[Box | None], image: np.ndarray, name: str | None) -> Prediction:
        height, width = image.shape[:2]
        threshold = self.threshold.of(name)
        score, anomaly_map = self.threshold.image_score.join(maps, boxes, width, height)
        return Prediction(score, threshold, score > threshold, resize_map(anomaly_map, height, width))


def _cut(image: np.ndarray, box: Box | None) -> np.ndarray:
    if box is None:
        return image
    left, top, right, bottom = box
    return image[top:bottom, left:right]
