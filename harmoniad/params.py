"""`params.yaml` as typed models: parsed once, and an unknown or wrong key names itself."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from harmoniad.errors import HarmoniadError
from harmoniad.models.designs import Detector
from harmoniad.section import Fraction, Positive, Section, Share

PARAMS_FILE = Path("params.yaml")

SetName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
Severity = Literal["error", "warning", "off"]


class Data(Section):
    """Which data sets take part."""

    sets: Annotated[list[SetName], Field(min_length=1)] = ["sample"]


class Sample(Section):
    """How many images of each category the sample factory makes, and their side in pixels."""

    train: Positive = 60
    good: Positive = 20
    defect: Positive = 30
    size: Annotated[int, Field(ge=64)] = 256


class Prepare(Section):
    """How images are split where the data set brings no split of its own."""

    held_out: Fraction = 0.15
    """Share of the good training images kept out of training, on which the threshold is set."""
    folder_test: Fraction = 0.25
    """Share of the good images that become test images in the `folder` layout, which has no test split."""


class Severities(Section):
    """The severity of each expectation."""

    decodable: Severity = "error"
    size: Severity = "error"
    mode: Severity = "error"
    min_train_images: Severity = "error"
    only_good_in_train: Severity = "error"
    duplicates: Severity = "error"
    near_duplicates: Severity = "warning"
    mask_missing: Severity = "warning"
    mask_size: Severity = "error"
    mask_empty: Severity = "warning"
    mask_binary: Severity = "warning"
    brightness: Severity = "warning"
    sharpness: Severity = "warning"


class Validate(Section):
    """What a failed expectation does: `error` stops the pipeline, `warning` is reported, `off` is not checked."""

    min_train_images: Positive = 10
    min_side: Positive = 32
    max_side: Positive = 16_384
    modes: list[str] = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I;16B", "I", "F"]
    near_duplicate_distance: Annotated[int, Field(ge=0, le=256)] = 6
    """Bits in which the perceptual hashes (256 bits) of two images may differ to be called near-duplicates."""
    drift_margin: Annotated[float, Field(ge=0)] = 0.5
    """How far brightness and sharpness may leave the range of the previous version, as a share of that range."""
    severity: Severities = Severities()


class Ingest(Section):
    """When a file in the inbox is taken for whole, and how unlike its data set's images a new one may be."""

    quiet_seconds: Annotated[float, Field(ge=0)] = 30
    """A file that changed later than this is left for the next time."""
    truncated_minutes: Annotated[float, Field(ge=0)] = 60
    """How long a truncated image may still be on its way; an older one goes to quarantine."""
    margin: Annotated[float, Field(ge=0)] = 1.0
    """How far brightness and sharpness of a good image may leave the range of its category in the last accepted version
    of the data, as a share of that range; what lies further out goes to quarantine."""


class Drift(Section):
    """How unlike the reference new good images may be before a person should look."""

    significance: Fraction = 0.01
    """Share of false alarms among all alarms (Benjamini and Hochberg) over all categories and measures."""
    effect: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least difference that matters, as Cliff's delta: 0 for equal distributions, 1 for those that do not overlap."""
    min_images: Annotated[int, Field(ge=2)] = 5
    """New good images of a category, and images of its reference, below which nothing is tested."""
    reference_images: Positive = 200
    """Images of a category's reference at most."""
    components: Positive = 4
    """Principal components of the pooled features that are compared."""
    retrain_from: Positive = 1
    """New images from which on a retraining is worth it; fewer count as nothing new."""
    stops: bool = True
    """Whether a retraining ends where drift is found, until a person accepts the images (`harmoniad drift --accept`);
    otherwise it goes on, and the gate alone protects the champion."""


class Encoder(Section):
    """The frozen network whose intermediate layers are the features."""

    name: Annotated[str, Field(pattern=r"^(timm|open_clip):.+$")] = "timm:tf_efficientnet_lite0"
    weights: str = "embedded"
    """`embedded` (the ImageNet weights that come with the install), a file, or a tag such as `openai`."""
    resolution: Annotated[int, Field(ge=32, le=2048)] = 256
    layers: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [2, 3]
    """Which blocks (of a transformer) or stages (of a convolutional network) are tapped, counted from 0."""

    @model_validator(mode="after")
    def _layers_ascend(self) -> "Encoder":
        if sorted(set(self.layers)) != self.layers:
            raise ValueError("layers must ascend and not repeat")
        return self


class Encode(Section):
    """How the encoder runs; none of it changes the features."""

    batch_size: Positive = 16
    workers: Annotated[int, Field(ge=0)] = 2
    cache: str = ".harmoniad/features"


class Views(Section):
    """How images are looked at. Each view is encoded once, as an image of its own."""

    rotations: Positive = 1
    """Evenly spaced angles at which each training image is seen."""
    flips: bool = False
    """Whether it is seen mirrored too."""
    synthetic: Annotated[int, Field(ge=0)] = 2
    """Copies of each training image with made defects; they teach the fusion and the head, never the threshold."""
    tile: Annotated[int, Field(ge=0)] = 0
    """Side of the tiles of large images, in the image's own pixels; 0 takes the whole image."""
    tile_overlap: Annotated[float, Field(ge=0, le=0.75)] = 0.25
    """Share of a tile that its neighbour shows too."""

    @model_validator(mode="after")
    def _tile_is_not_tiny(self) -> "Views":
        if 0 < self.tile < 32:
            raise ValueError("tile must be 0 or at least 32")
        return self


class Train(Section):
    """Optimisation; used by detectors that are trained by gradient."""

    steps: Positive = 300
    batch_size: Positive = 8
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    final_learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    clip: Annotated[float, Field(gt=0)] = 0.1
    hard_mining_share: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Share of the best fitted points whose gradient is damped, reached at `hard_mining_steps`."""
    hard_mining_steps: Positive = 1000
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 20
    warm_start: bool = False
    """Start from the champion's weights where detector, design and encoder are the same; otherwise, and for detectors
    without such weights (PatchCore, PaDiM), from scratch. The stage `start` keeps the weights in `results/start/model`,
    which DVC versions with the rest: `dvc repro` of an old commit after `dvc checkout` gives the same model. Without
    them, in DVC's cache or its remote, it starts from the present champion and gives another one."""


class Evaluate(Section):
    """How maps become scores, and what the line tolerates."""

    false_positive_rate: Fraction = 0.05
    """Share of good parts that may be flagged; sets the threshold on held-out good images."""
    top_share: Annotated[float, Field(gt=0, le=1)] = 0.01
    """The image score is the mean of this share of the highest pixels."""
    smoothing_kernel: Annotated[int, Field(ge=1)] = 5
    """Side of the Gaussian that smooths a map at the encoder's resolution, in pixels, odd; 1 does not smooth."""
    smoothing_sigma: Annotated[float, Field(gt=0)] = 4.0
    max_side: Positive = 1024
    """Pixel metrics are computed at the image's own size, shrunk to this longest side."""
    heatmaps: Annotated[int, Field(ge=0)] = 8
    """Heat maps written for each category."""
    report_images: Annotated[int, Field(ge=0, le=2000)] = 500
    """Images in the report's gallery at most, the worst of all categories."""

    @model_validator(mode="after")
    def _kernel_is_odd(self) -> "Evaluate":
        if self.smoothing_kernel % 2 == 0:
            raise ValueError("smoothing_kernel must be odd")
        return self


class Register(Section):
    """Where the run is logged and the model registered."""

    model_name: str = "harmoniad"
    experiment: str = "harmoniad"
    heatmap_samples: Annotated[int, Field(ge=0)] = 12


class Gate(Section):
    """When the challenger takes the champion's place. Both are measured on the same, current images."""

    confidence: Fraction = 0.95
    """Of the interval of the difference in mean image AUROC, which must lie above 0 for the challenger to win by it."""
    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 2000
    """Of the paired bootstrap."""
    mean_tolerance: Share = 0.002
    """The challenger's mean image AUROC may be lower than the champion's by this much."""
    category_tolerance: Share = 0.02
    """The same for each single category."""
    category_floor: Share = 0.0
    """No category's image AUROC may lie below this, unless the champion is as bad there; 0 sets no floor."""
    recall_tolerance: Share = 0.03
    """The mean recall where both models flag `evaluate.false_positive_rate` of the good test images may be lower by
    this much."""
    balanced_accuracy_tolerance: Share = 0.05
    """The mean balanced accuracy, each model at its own thresholds, may be lower by this much."""
    calibration_tolerance: Share = 0.05
    """The share of held-out good images above the threshold may exceed `evaluate.false_positive_rate` by this much."""
    latency_ms: Annotated[float, Field(ge=0)] = 0
    """Milliseconds that an image may take from file to verdict, as the evaluate stage measured it; 0 sets no limit."""


class Notify(Section):
    """Who is told how a retraining ended; nobody by default, then it is a line in the log."""

    webhook: Annotated[str, Field(pattern=r"^(https?://\S+|[A-Za-z_][A-Za-z0-9_]*)?$")] = ""
    """An address that takes JSON (`text`, `status`, `title`, `paragraph`, `links`), or the name of an environment
    variable that holds it. An address with a secret in it belongs into the variable: `params.yaml` is committed."""
    prefect_block: Annotated[str, Field(pattern=r"^([a-z0-9-]+/[\w -]+)?$")] = ""
    """A notification block on the Prefect server, as `type/name`, such as `slack-webhook/factory`."""


class Params(Section):
    """All of `params.yaml`."""

    data: Data = Data()
    seed: int = 0
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    sample: Sample = Sample()
    prepare: Prepare = Prepare()
    ingest: Ingest = Ingest()
    drift: Drift = Drift()
    validate_: Validate = Field(default_factory=Validate, alias="validate")
    encoder: Encoder = Encoder()
    encode: Encode = Encode()
    views: Views = Views()
    detector: Detector = Detector()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    register_: Register = Field(default_factory=Register, alias="register")
    gate: Gate = Gate()
    notify: Notify = Notify()


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check `params.yaml`.

    Raises:
        HarmoniadError: The file is missing, is not YAML, or a key is unknown or has a wrong value.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise HarmoniadError(f"{path}: no such file. Run harmoniad in the project's folder.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise HarmoniadError(f"{path}: not valid YAML ({reason})") from error
    return check_params(content, str(path))


def check_params(content: Any, source: str) -> Params:
    """Check what a YAML file with the sections of `params.yaml` holds.

    Args:
        content: As parsed.
        source: What an error message names as the place of the mistake.

    Raises:
        HarmoniadError: A key is unknown or has a wrong value.
    """
    if not isinstance(content, dict):
        raise HarmoniadError(f"{source}: must hold sections such as `data:` and `encoder:`.")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise HarmoniadError(f"{source}: {_first_problem(error)}") from error


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key `{key}`. Remove it or mend its name."
    if key.startswith("notify."):  # it may hold a secret
        return f"`{key}`: {problem['msg']}."
    hint = " Write it in quotes." if problem["type"] == "string_type" else ""
    return f"`{key}`: {problem['msg']}, but it is {problem['input']!r}.{hint}"
