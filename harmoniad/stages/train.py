"""Stage `train`: one joint model over all categories, from cached features."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

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

LOSS = Path("results/train/loss.csv")


def run(params: Params) -> str:
    """Train the detector that `params.yaml` names; an interrupted training goes on where it was.

    Raises:
        HarmoniadError: There are no training images.
    """
    import pandas as pd

    manifest = usable(read_manifest(params.data.sets))
    rows = manifest[(manifest["split"] == "train") & (manifest["label"] == "good")]
    if rows.empty:
        raise HarmoniadError(f"data.sets: {', '.join(params.data.sets)} have no good training images.")
    spec = EncoderSpec.from_params(params.encoder)
    views = image_views(rows, lambda row: views_of(row, params.views))
    cache, _ = ensure_features(image_paths(rows), spec, params.encode, params.device, views)
    features, synthetic = training_features(cache, rows, params.views)

    detector = detector_class(params.detector.name).create(cache.shapes, params)
    checkpoint = STATE_DIR / "checkpoints" / f"{_training_key(params, spec, features, synthetic)}.safetensors"
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
    save_model(MODEL_DIR, model)
    columns = ["step", "loss", "learning_rate", "high_share"]
    with replacing(LOSS) as temporary:
        pd.DataFrame(log, columns=columns).to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    checkpoint.unlink(missing_ok=True)
    copies = f" and {len(synthetic)} with made defects" if synthetic else ""
    return (
        f"train: {params.detector.name} on {len(features)} views{copies} of {len(rows)} images "
        f"of {len(model.categories)} categories"
    )


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
