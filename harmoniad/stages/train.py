"""Stage `train`: one joint model over all categories, from cached features."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoniad.data.manifest import fingerprint, read_manifest, usable
from harmoniad.environment import STATE_DIR
from harmoniad.errors import HarmoniadError
from harmoniad.features.dataset import CachedFeatures, image_paths
from harmoniad.features.encode import ensure_features
from harmoniad.features.encoders import EncoderSpec, choose_device
from harmoniad.files import replacing, sha256_json
from harmoniad.models.detector import detector_class
from harmoniad.models.storage import MODEL_DIR, TrainedModel, save_model
from harmoniad.params import Params

if TYPE_CHECKING:
    import pandas as pd

LOSS = Path("results/train/loss.csv")


def run(params: Params) -> str:
    """Train the detector that `params.yaml` names; an interrupted training goes on where it was.

    Raises:
        HarmoniadError: There are no training images.
    """
    import pandas as pd

    manifest = usable(read_manifest(params.data.sets))
    spec = EncoderSpec.from_params(params.encoder)
    features = training_features(manifest, spec, params)
    detector = detector_class(params.detector.name).create(features.shapes, params)
    checkpoint = STATE_DIR / "checkpoints" / f"{_training_key(params, spec, features)}.safetensors"
    log = detector.fit(features, device=choose_device(params.device), checkpoint=checkpoint)
    model = TrainedModel(
        detector_name=params.detector.name,
        detector=detector,
        encoder=spec,
        categories=sorted(set(features.categories)),
        data_fingerprint=fingerprint(manifest),
        seed=params.seed,
    )
    save_model(MODEL_DIR, model)
    columns = ["step", "loss", "learning_rate", "high_share"]
    with replacing(LOSS) as temporary:
        pd.DataFrame(log, columns=columns).to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    checkpoint.unlink(missing_ok=True)
    return f"train: {params.detector.name} on {len(features)} images of {len(model.categories)} categories"


def training_features(manifest: "pd.DataFrame", spec: EncoderSpec, params: Params) -> CachedFeatures:
    """The features of a manifest's good training images, encoded where the cache lacks them.

    Raises:
        HarmoniadError: There are no such images.
    """
    rows = manifest[(manifest["split"] == "train") & (manifest["label"] == "good")]
    if rows.empty:
        raise HarmoniadError(f"data.sets: {', '.join(sorted(set(manifest['data_set'])))} have no good training images.")
    cache, _ = ensure_features(image_paths(rows), spec, params.encode, params.device)
    return CachedFeatures(cache, rows["sha256"].tolist(), rows["category"].tolist())


def _training_key(params: Params, spec: EncoderSpec, features: CachedFeatures) -> str:
    """A checkpoint may be used only by a training of the same detector on the same features."""
    content: dict[str, Any] = {
        "encoder": asdict(spec),
        "detector": params.detector.model_dump(),
        "train": params.train.model_dump(exclude={"checkpoint_seconds"}),
        "seed": params.seed,
        "images": list(features.images),
    }
    return sha256_json(content)[:16]
