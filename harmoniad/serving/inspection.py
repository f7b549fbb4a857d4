"""One request: from the bytes of an image to the answer."""

import base64
import threading
from pathlib import Path

from pydantic import BaseModel, Field

from harmoniad.data.images import ImageError, load_rgb
from harmoniad.errors import HarmoniadError
from harmoniad.report.text import one_line
from harmoniad.serving.batching import Batcher, Judged, PixelBudget
from harmoniad.serving.current_model import LOGGER
from harmoniad.serving.metrics import Metrics
from harmoniad.serving.review.pictures import MAP, heat_map, map_levels
from harmoniad.serving.review.store import ReviewStore
from harmoniad.serving.settings import Settings
from harmoniad.serving.untrusted import read_header, refused

DECODERS = 2  # images decoded at the same time
MOST_REGIONS = 100


class RegionAnswer(BaseModel):
    """Neighbouring pixels above the threshold."""

    box: tuple[int, int, int, int] = Field(description="Left, top, right, bottom in pixels; the last two lie outside.")
    area: int = Field(description="Number of pixels.")
    max_score: float = Field(description="Highest pixel.")


class ModelAnswer(BaseModel):
    """Which model answered."""

    name: str
    version: int | None = Field(description="In the registry; null for a model from a folder.")


class Answer(BaseModel):
    """What the model says of an image."""

    score: float = Field(description="Raw image score; higher is worse.")
    threshold: float = Field(description="Of the category where the model knows it, else the joint one.")
    is_anomalous: bool = Field(description="Whether the score is above the threshold.")
    regions: list[RegionAnswer] = Field(description=f"The largest first, at most {MOST_REGIONS}.")
    category: str | None = Field(description="As it was given.")
    width: int = Field(description="Of the image, upright.")
    height: int
    model: ModelAnswer
    heatmap: str | None = Field(None, description="PNG in base64, if it was asked for.")


class Inspection:
    """Decodes, waits for the model, and keeps what a person should see; called in worker threads."""

    def __init__(self, settings: Settings, batcher: Batcher, review: ReviewStore | None, metrics: Metrics) -> None:
        self._settings, self._batcher, self._review, self._metrics = settings, batcher, review, metrics
        self._decoders = threading.Semaphore(DECODERS)
        self._budget = PixelBudget(2 * settings.max_pixels)

    def inspect(self, content: bytes, name: str, category: str | None, heatmap: bool) -> Answer:
        """Judge an image.

        Args:
            content: Of the image's file.
            name: Of the file, for people.
            category: Where it is known; it chooses the threshold.
            heatmap: Whether to draw the heat map.

        Raises:
            RefusedError: The image is too large or cannot be decoded.
        """
        header = read_header(content, self._settings.max_pixels)
        with self._budget.of(header.pixels):
            try:
                with self._decoders:
                    image = load_rgb(Path("image"), content, max_pixels=self._settings.max_pixels)
            except ImageError as error:
                raise refused(error) from error
            judged = self._batcher.predict(image, category)
            prediction, inspector = judged.prediction, judged.inspector
            answer = _answer(judged, category, image.shape[1], image.shape[0])
            if heatmap:
                answer.heatmap = base64.b64encode(heat_map(image, prediction, inspector)).decode()
            self._metrics.verdicts.labels("flagged" if prediction.is_anomalous else "passed").inc()
            if self._review is not None and (prediction.is_anomalous or self._settings.keep == "all"):
                self._keep(content, name, header.suffix, judged, answer)
            return answer

    def _keep(self, content: bytes, name: str, suffix: str, judged: Judged, answer: Answer) -> None:
        """Keep an image for review; a full disk must not keep the line from its verdict."""
        assert self._review is not None
        try:
            self._review.add(
                content,
                {MAP: map_levels(judged.prediction, judged.inspector)},
                **{"name": name, "category": one_line(answer.category or ""), "suffix": suffix},
                **{"score": answer.score, "threshold": answer.threshold, "is_anomalous": answer.is_anomalous},
                **{"model": answer.model.name, "width": answer.width, "height": answer.height},
            )
        except (OSError, HarmoniadError) as error:
            self._metrics.not_kept.inc()
            LOGGER.error("an image is not kept for review: %s", " ".join(str(error).split()))


def _answer(judged: Judged, category: str | None, width: int, height: int) -> Answer:
    prediction, origin = judged.prediction, judged.inspector.origin
    return Answer(
        score=prediction.score,
        threshold=prediction.threshold,
        is_anomalous=prediction.is_anomalous,
        regions=[
            RegionAnswer(box=region.box, area=region.area, max_score=region.max_score)
            for region in prediction.regions[:MOST_REGIONS]
        ],
        category=category,
        width=width,
        height=height,
        model=ModelAnswer(name=origin.name if origin else "", version=origin.version if origin else None),
        heatmap=None,
    )
