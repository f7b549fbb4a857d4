"""Stage `train`: one joint model over all categories, from cached features."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoniad.data.manifest import fingerprint, read_manifest, usable
from harmoniad.environment import STATE_DIR
from harmoniad.errors import HarmoniadError
from harmoniad.features.dataset import CachedFeatures, image_paths, image_views, training_features
from harmoniad.features.encode import ensure_features
from harmoniad.features.encoders import EncoderSpec, choose_device
from harmoniad.features.views import views_of
from harmoniad.files import replacing, sha256_file, sha256_json
from harmoniad.models.detector import detector_class
from harmoniad.models.storage import MODEL_DIR, TrainedModel, save_model
from harmoniad.models.warm_start import Start, start_from
from harmoniad.params import Params
from harmoniad.stages import start as start_stage
from harmoniad.tiling import Tiling

if TYPE_CHECKING:
    import pandas as pd

LOSS = Path("results/train/loss.csv")
_CODE = Path(__file__).parents[1] / "models"


@dataclass(frozen=True)
class Training:
    """What a training gave, before anything of it is saved.

    Attributes:
        model: The trained model.
        features: What it was trained on.
        log: A row a step; empty for a detector that is not trained by gradient.
        checkpoint: May be deleted as soon as the model is saved.
        start: How it started; None from scratch.
    """

    model: TrainedModel
    features: CachedFeatures
    log: list[dict[str, float]]
    checkpoint: Path
    start: Start | None = None


def run(params: Params) -> str:
    """Train the detector that `params.yaml` names; an interrupted training goes on where it was.

    Raises:
        HarmoniadError: There are no training images.
    """
    import pandas as pd

    manifest = usable(read_manifest(params.data.sets))
    if params.train.warm_start:
        start_stage.check()
    training = train_model(
        manifest, params, STATE_DIR / "checkpoints", start_stage.START_DIR if params.train.warm_start else None
    )
    save_model(MODEL_DIR, training.model)
    columns = list(training.log[0]) if training.log else ["step", "loss", "learning_rate"]
    with replacing(LOSS) as temporary:
        table = pd.DataFrame(training.log, columns=columns)
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    delete_checkpoints(training.checkpoint)
    categories = len(training.model.categories)
    how = f"; {training.start.line}" if training.start else ""
    return f"train: {params.detector.name} on {len(training.features)} images of {categories} categories{how}"


def delete_checkpoints(checkpoint: Path) -> None:
    """Delete a training's checkpoint and those that the parts of a detector keep beside it, under longer names."""
    for path in checkpoint.parent.glob(f"{checkpoint.stem}*"):
        path.unlink(missing_ok=True)


def train_model(
    manifest: "pd.DataFrame", params: Params, checkpoints: Path, start_folder: Path | None = None
) -> Training:
    """Train on the good training images of a manifest, encoding those that the cache lacks.

    Args:
        manifest: Of all images.
        params: Name the detector.
        checkpoints: Folder for an interrupted training.
        start_folder: A model whose weights the training starts from, if they fit; None for a start from scratch.

    Raises:
        HarmoniadError: There are no such images.
    """
    rows = manifest[(manifest["split"] == "train") & (manifest["label"] == "good")]
    if rows.empty:
        raise HarmoniadError(f"data.sets: {', '.join(sorted(set(manifest['data_set'])))} have no good training images.")
    spec = EncoderSpec.from_params(params.encoder)
    views = image_views(rows, lambda row: views_of(row, params.views))
    cache, _ = ensure_features(image_paths(rows), spec, params.encode, params.device, views)
    features, synthetic = training_features(cache, rows, params.views)

    detector = detector_class(params.detector.name).create(cache.shapes, params)
    start = start_from(start_folder, detector, cache.shapes, spec, params) if start_folder else None
    started_from = start.sha256 if start else None
    checkpoint = checkpoints / f"{_training_key(params, spec, features, synthetic, started_from)}.safetensors"
    device = choose_device(params.device)
    log = detector.fit(features, synthetic=synthetic, device=device, checkpoint=checkpoint)
    model = TrainedModel(
        detector_name=params.detector.name,
        detector=detector,
        encoder=spec,
        categories=sorted(set(features.categories)),
        data_fingerprint=fingerprint(manifest),
        seed=params.seed,
        tiling=Tiling.from_params(params.views),
        started_from=started_from,
    )
    return Training(model, features, log, checkpoint, start)


def _training_key(
    params: Params,
    spec: EncoderSpec,
    features: CachedFeatures,
    synthetic: CachedFeatures | None,
    started_from: str | None,
) -> str:
    """A checkpoint may be used only by a training of the same detector, of the same code, on the same features."""
    content: dict[str, Any] = {
        "code": [sha256_file(path) for path in sorted(_CODE.rglob("*.py"))],
        "encoder": asdict(spec),
        "detector": params.detector.model_dump(),
        "train": params.train.model_dump(exclude={"checkpoint_seconds", "warm_start"}),
        "seed": params.seed,
        "views": features.keys,
        "synthetic": synthetic.keys if synthetic else [],
        **({"started_from": started_from} if started_from else {}),
    }
    return sha256_json(content)[:16]
