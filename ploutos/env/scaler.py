"""Robust scaling of features, fitted on a fold's training rows only.

In: a panel and training rows. Out: a `Scaler` that belongs to the policy, and the share of values
that it clips; the block stays unscaled.
"""

from typing import NamedTuple

import numpy as np

from ploutos.errors import PolicyError
from ploutos.folds import Rows
from ploutos.panel import Panel

# Of a normal variable, in standard deviations: the interquartile range, and how far from the median
# the quantiles of 0.5 % and 99.5 % lie.
IQR_OF_NORMAL = 1.349
TAIL_OF_NORMAL = 2.576
TAIL_PERCENT = 0.5


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


class Scaling(NamedTuple):
    """A `Scaler` as the kernel reads it: repeated for each symbol, and inverted.

    center, inverse : (N*F,) float32; macro_center, macro_inverse : (M,) float32; clip : (1,).
    `scaled = (value - center) * inverse`, then clipped.
    """

    center: np.ndarray
    inverse: np.ndarray
    macro_center: np.ndarray
    macro_inverse: np.ndarray
    clip: np.ndarray


def scaling_of(scaler: Scaler, n_symbols: int) -> Scaling:
    """Lay a scaler out for rows of N symbols."""
    one = np.float32(1.0)
    return Scaling(
        center=np.tile(scaler.center, n_symbols),  # (F,) -> (N*F,)
        inverse=np.tile(one / scaler.scale, n_symbols),
        macro_center=scaler.macro_center,
        macro_inverse=one / scaler.macro_scale,
        clip=scaler.clip,
    )


def fit_scaler(panel: Panel, rows: Rows, clip: float) -> Scaler:
    """Fit center and scale on `rows` of the panel, and on nothing else.

    The center is the median. The scale is the larger of two estimates of a normal variable's
    standard deviation: the interquartile range over 1.349, and the distance of the farther 0.5 %
    tail from the median over 2.576. The second one keeps fat tails, which are most of what a
    return has to tell, from being flattened by the clip.

    A feature whose interquartile range is zero but which varies (a rare event flag) is scaled by
    how far it goes when it does, so that a flag reads 1 or -1. A feature that is constant or
    missing on these rows gets scale 1.

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
        center[column] = np.median(known)
        spread = _spread(known)
        if spread > 1e-12:
            scale[column] = spread
    return center, scale


def _spread(known: np.ndarray) -> float:
    percents = [TAIL_PERCENT, 25, 50, 75, 100 - TAIL_PERCENT]
    lowest, low, middle, high, highest = np.percentile(known, percents)
    if high > low:
        tail = max(middle - lowest, highest - middle)
        return float(max((high - low) / IQR_OF_NORMAL, tail / TAIL_OF_NORMAL))
    away = np.abs(known - middle)
    away = away[away > 0]
    return float(np.percentile(away, 100 - TAIL_PERCENT)) if away.size else 0.0


def clip_shares(panel: Panel, rows: Rows, scaler: Scaler) -> np.ndarray:
    """Return the share of values that scaling puts at the clip, feature by feature.

    Parameters
    ----------
    panel, rows
        The values to look at: those the scaler was fitted on, or others.
    scaler
        Fitted on a panel with the same features.

    Returns
    -------
    (F + M,) float64 in [0, 1], the features (pooled over symbols) and then the macro features;
    NaN where no value is known.
    """
    values = panel.features[rows.start : rows.stop].reshape(-1, panel.n_features)  # (T*N, F)
    features = _shares_at_clip(values, scaler.center, scaler.scale, scaler.clip[0])
    macro = panel.macro[rows.start : rows.stop]
    return np.concatenate(
        [features, _shares_at_clip(macro, scaler.macro_center, scaler.macro_scale, scaler.clip[0])]
    )


def _shares_at_clip(
    values: np.ndarray, center: np.ndarray, scale: np.ndarray, clip: float
) -> np.ndarray:
    shares = np.full(values.shape[1], np.nan)
    for column in range(values.shape[1]):
        scaled = (values[:, column] - center[column]) / scale[column]
        known = np.isfinite(scaled)
        if known.any():
            shares[column] = np.mean(np.abs(scaled[known]) >= clip)
    return shares


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
