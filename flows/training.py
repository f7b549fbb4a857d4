"""From manifests to a model: the DVC stages `encode` and `train`."""

from prefect import flow

from flows.stages import Limits, reproduce


@flow
def training(limits: Limits | None = None) -> None:
    """Encode the images that are not encoded yet and train the detector.

    Args:
        limits: After how many minutes a stage is ended.
    """
    reproduce("encode", limits)
    reproduce("train", limits, ["start", "train"])
