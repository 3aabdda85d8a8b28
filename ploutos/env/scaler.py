"""Robust scaling of features, fitted on a fold's training rows only.

In: a panel and training rows. Out: a `Scaler` that belongs to the policy; the block stays unscaled.
"""

from typing import NamedTuple

import numpy as np

from ploutos.errors import PolicyError
from ploutos.folds import Rows
from ploutos.panel import Panel

# For a normal variable the interquartile range is 1.349 standard deviations.
IQR_OF_NORMAL = 1.349


class Scaler(NamedTuple):
    """`scaled = clip((value - center) / scale, -clip, clip)`; NaN becomes 0.

    center, scale : (F,) float32 for the features (pooled over symbols);
    macro_center, macro_scale : (M,) float32; clip : float32 scalar array of shape (1,).
    """

    center: np.ndarray
    scale: np.ndarray
    macro_center: np.ndarray
    macro_scale: np.ndarray
    clip: np.ndarray


def fit_scaler(panel: Panel, rows: Rows, clip: float) -> Scaler:
    """Fit median and interquartile range on `rows` of the panel, and on nothing else.

    A feature that is constant or missing on these rows gets scale 1. A feature whose interquartile
    range is zero but which varies (a rare event flag) is scaled by its standard deviation.

    Raises
    ------
    PolicyError
        If `rows` is empty or reaches outside the panel.
    """
    if not 0 <= rows.start < rows.stop <= panel.n_rows:
        raise PolicyError(
            f"expected scaler rows inside [0, {panel.n_rows}), received "
            f"[{rows.start}, {rows.stop}). Fit on a fold's training rows."
        )
    values = panel.features[rows.start : rows.stop].reshape(-1, panel.n_features)  # (T*N, F)
    center, scale = _center_and_scale(values)
    macro_center, macro_scale = _center_and_scale(panel.macro[rows.start : rows.stop])
    return Scaler(center, scale, macro_center, macro_scale, np.array([clip], np.float32))


def _center_and_scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    center = np.zeros(values.shape[1], np.float32)
    scale = np.ones(values.shape[1], np.float32)
    for column in range(values.shape[1]):
        known = values[:, column].astype(np.float64)
        known = known[np.isfinite(known)]
        if known.size == 0:
            continue
        low, middle, high = np.percentile(known, [25, 50, 75])
        spread = (high - low) / IQR_OF_NORMAL
        if spread <= 0:
            spread = float(known.std())
        center[column] = middle
        if spread > 1e-12:
            scale[column] = spread
    return center, scale


def scaler_arrays(scaler: Scaler) -> dict[str, np.ndarray]:
    """Return the scaler as named arrays, for a `.npz` or safetensors file."""
    return {f"scaler.{name}": value for name, value in scaler._asdict().items()}


def scaler_from_arrays(arrays: dict[str, np.ndarray]) -> Scaler:
    """Rebuild a scaler from `scaler_arrays`.

    Raises
    ------
    PolicyError
        If one of its arrays is missing or not finite.
    """
    found: dict[str, np.ndarray] = {}
    for name in Scaler._fields:
        value = arrays.get(f"scaler.{name}")
        if value is None or not np.isfinite(value).all():
            raise PolicyError(f"expected finite numbers in scaler.{name}, received {value}")
        found[name] = np.ascontiguousarray(value, np.float32)
    return Scaler(**found)
