"""What the metrics accept: finite raw scores, and masks and labels that say yes or no."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harmoniad.errors import HarmoniadError


def finite_scores(scores: ArrayLike, what: str, dtype: type[np.floating] | None = None) -> NDArray[np.floating]:
    """Return the scores as they are, as floating point numbers.

    Args:
        scores: numbers of any shape and any range.
        what: what an error message calls them.
        dtype: the type to convert to; None keeps a floating point type and turns integers into float64.

    Raises:
        HarmoniadError: a score is NaN, infinite, too large for `dtype`, or no real number.
    """
    raw = np.asarray(scores)
    if raw.dtype.kind not in "fiub":
        raise HarmoniadError(f"{what} must hold real numbers, not values of type {raw.dtype}")
    if dtype is None:
        dtype = raw.dtype.type if raw.dtype.kind == "f" else np.float64
    with np.errstate(over="ignore"):
        converted = raw.astype(dtype, copy=False)
    bad = converted.size - np.count_nonzero(np.isfinite(converted))
    if bad:
        raise HarmoniadError(
            f"{what} must be finite, but {bad} of {converted.size} values are NaN or infinite as {converted.dtype}: "
            "find where the model produced them, no metric is defined on them"
        )
    return converted


def yes_or_no(values: ArrayLike, what: str) -> NDArray[np.bool_]:
    """Return booleans; whole numbers count as yes where they are not zero, so a mask of 0 and 255 is fine.

    Raises:
        HarmoniadError: the values are neither boolean nor whole numbers.
    """
    raw = np.asarray(values)
    if raw.dtype.kind not in "biu" and raw.size:
        raise HarmoniadError(f"{what} must be boolean or whole numbers (0: normal), not of type {raw.dtype}")
    return raw.astype(bool, copy=False)


def labels_and_scores(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.floating]]:
    """Return both flattened.

    Raises:
        HarmoniadError: they are malformed or their shapes differ.
    """
    positive = yes_or_no(labels, "labels")
    values = finite_scores(scores, "scores")
    if positive.shape != values.shape:
        raise HarmoniadError(f"labels have shape {positive.shape} but scores have shape {values.shape}")
    return positive.ravel(), values.ravel()


def mask_and_map(
    mask: ArrayLike, anomaly_map: ArrayLike, name: str | None, dtype: type[np.floating] | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.floating]]:
    """Return a ground truth mask and the anomaly map of the same image, both (H, W).

    Raises:
        HarmoniadError: they are malformed or their shapes differ; the message begins with `name`.
    """
    prefix = f"{name}: " if name else ""
    defective = yes_or_no(mask, f"{prefix}the mask")
    values = finite_scores(anomaly_map, f"{prefix}the anomaly map", dtype)
    if values.ndim != 2 or values.size == 0:
        raise HarmoniadError(f"{prefix}the anomaly map must have the shape (H, W), not {values.shape}")
    if defective.shape != values.shape:
        raise HarmoniadError(
            f"{prefix}the mask has shape {defective.shape} but the anomaly map has shape {values.shape}: "
            "resize the map to the mask"
        )
    return defective, values


def check_other(metrics: object, other: object) -> None:
    """Raise a HarmoniadError if metrics are to be merged with themselves."""
    if other is metrics:
        raise HarmoniadError("cannot merge metrics with themselves: every image would count twice")
