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
from harmoniad.files import replacing, sha256_json
from harmoniad.models.detector import detector_class
from harmoniad.models.storage import MODEL_DIR, TrainedModel, save_model
from harmoniad.params import Params
from harmoniad.tiling import Tiling

if TYPE_CHECKING:
    import pandas as pd

LOSS = Path("results/train/loss.csv")


@dataclass(frozen=True)
class Training:
    """What a training gave, before anything of it is saved.

    Attributes:
        model: The trained model.
        features: What it was trained on.
        log: A row a step; empty for a detector that is not trained by gradient.
        checkpoint: May be deleted as soon as the model is saved.
    """

    model: TrainedModel
    features: CachedFeatures
    log: list[dict[str, float]]
    checkpoint: Path


def run(params: Params) -> str:
    """Train the detector that `params.yaml` names; an interrupted training goes on where it was.

    Raises:
        HarmoniadError: There are no training images.
    """
    import pandas as pd

    manifest = usable(read_manifest(params.data.sets))
    training = train_model(manifest, params, STATE_DIR / "checkpoints")
    save_model(MODEL_DIR, training.model)
    columns = list(training.log[0]) if training.log else ["step", "loss", "learning_rate"]
    with replacing(LOSS) as temporary:
        table = pd.DataFrame(training.log, columns=columns)
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    training.checkpoint.unlink(missing_ok=True)
    categories = len(training.model.categories)
    return f"train: {params.detector.name} on {len(training.features)} images of {categories} categories"


def train_model(manifest: "pd.DataFrame", params: Params, checkpoints: Path) -> Training:
    """Train on the good training images of a manifest, encoding those that the cache lacks.

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
    checkpoint = checkpoints / f"{_training_key(params, spec, features, synthetic)}.safetensors"
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
    )
    return Training(model, features, log, checkpoint)


def _training_key(params: Params, spec: EncoderSpec, features: CachedFeatures, synthetic: CachedFeatures | None) -> str:
    """A checkpoint may be used only by a training of the same detector on the same features."""
    content: dict[str, Any] = {
        "encoder": asdict(spec),
        "detector": params.detector.model_dump(),
        "train": params.train.model_dump(exclude={"checkpoint_seconds"}),
        "seed": params.seed,
        "views": features.keys,
        "synthetic": synthetic.keys if synthetic else [],
    }
    return sha256_json(content)[:16]
