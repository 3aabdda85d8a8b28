"""Macro features of VIX, TNX and DXY. In: released values, decision times. Out: (T, M) columns.

Each feature is computed on the series' own observations, in the order of their release, and joined
backward: a decision sees the newest value released at or before it, unless that is too old.
Nothing is filled back. A value that is not positive (a negative yield) has no logarithm and counts
as missing, with every window that holds it.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ploutos.errors import FeatureError
from ploutos.features.config import FeatureConfig
from ploutos.features.evaluate import Segments, evaluate_columns
from ploutos.features.expression import Expression, column, when
from ploutos.features.feature import Feature, outputs_of
from ploutos.features.primitives import (
    deviation,
    percentile,
    rolling_mean,
    rolling_median,
    terciles,
    zscore,
)

MACRO_SERIES: tuple[str, ...] = ("VIX", "TNX", "DXY")

_NS_PER_DAY = 86_400_000_000_000
_VALUE = when(column("value") > 0.0, column("value"))
_LOG_VALUE = _VALUE.log()
_RANK = percentile(_VALUE, 252)


def _rows(series: str) -> tuple[Feature, ...]:
    def row(name: str, expression: Expression, warm_up: int, unit: str, formula: str) -> Feature:
        own_name, source = f"{series.lower()}_{name}", f"{series}, on its own observations"
        return Feature(own_name, "macro", expression, warm_up, unit, formula, source)

    return (
        row(
            "level",
            (_VALUE / rolling_median(_VALUE, 252)).log(),
            251,
            "log ratio",
            "ln(value / median of the last 252)",
        ),
        *(
            row(
                f"zscore_{n}",
                zscore(_VALUE, n),
                n - 1,
                "standard deviations",
                f"(value - mean) / sample deviation of the last {n}",
            )
            for n in (20, 60, 252)
        ),
        *(
            row(
                f"change_{n}",
                _LOG_VALUE.diff(n),
                n,
                "log ratio",
                f"ln(value / value {n} observations ago)",
            )
            for n in (1, 5, 20)
        ),
        *(
            row(
                f"distance_{n}",
                _VALUE / rolling_mean(_VALUE, n) - 1.0,
                n - 1,
                "fraction",
                f"value / mean of the last {n} - 1",
            )
            for n in (20, 60)
        ),
        row("rank_252", _RANK, 251, "(0, 1)", "mid-rank among the last 252, (rank - 0.5) / 252"),
        row(
            "volatility_20",
            deviation(_LOG_VALUE.diff(1), 20),
            20,
            "log ratio per observation",
            "sample deviation of the last 20 log changes",
        ),
        row(
            "regime",
            terciles(_RANK),
            251,
            "-1, 0 or 1",
            "-1 where rank_252 < 1/3, 1 where it is > 2/3, else 0",
        ),
    )


MACRO_CATALOG: tuple[Feature, ...] = tuple(row for series in MACRO_SERIES for row in _rows(series))


def compute_macro_features(
    macro: pl.DataFrame, decided_at: NDArray[np.int64], config: FeatureConfig
) -> pl.DataFrame:
    """Compute the macro features that are known at each decision.

    Parameters
    ----------
    macro
        series String, released_at Datetime("ns", "UTC"), value Float64; one row per series and
        release. Series other than VIX, TNX and DXY are ignored.
    decided_at
        (T,) int64 nanoseconds since the epoch, UTC.
    config
        Holds the maximum age: a value released exactly that long ago is still used.

    Returns
    -------
    (T, M) Float64, columns named as in `MACRO_CATALOG`; null where the series is missing, not yet
    released, too old, or inside the feature's warm-up.

    Raises
    ------
    FeatureError
        If a column is missing, or one series has two values released at the same instant.
    """
    missing = [name for name in ("series", "released_at", "value") if name not in macro.columns]
    if missing:
        raise FeatureError(
            f"macro frame: missing columns {missing}; received {macro.columns}. "
            "Expected series, released_at, value."
        )
    columns: list[pl.Series] = []
    for series in MACRO_SERIES:
        own = macro.filter(pl.col("series") == series).sort("released_at")
        columns.extend(_join_series(series, own, decided_at, config))
    return pl.DataFrame(columns)


def _join_series(
    series: str, observations: pl.DataFrame, decided_at: NDArray[np.int64], config: FeatureConfig
) -> list[pl.Series]:
    rows = [row for row in MACRO_CATALOG if row.name.startswith(f"{series.lower()}_")]
    if observations.is_empty():
        return [pl.Series(row.name, [None] * len(decided_at), pl.Float64) for row in rows]
    released_at = _nanoseconds(observations["released_at"])
    if (np.diff(released_at) == 0).any():
        raise FeatureError(f"macro series {series}: two values are released at the same instant")
    values = {"value": observations["value"].cast(pl.Float64).to_numpy()}
    segments = Segments(np.array([0, len(released_at)]), released_at)
    computed = evaluate_columns(values, segments, outputs_of(rows))
    newest = np.searchsorted(released_at, decided_at, side="right") - 1
    age = decided_at - released_at[np.maximum(newest, 0)]
    known = (newest >= 0) & (age <= config.macro_max_age_days * _NS_PER_DAY)
    taken = np.where(known, computed[:, np.maximum(newest, 0)], np.nan)
    return [
        pl.Series(row.name, values).fill_nan(None) for row, values in zip(rows, taken, strict=True)
    ]


def _nanoseconds(instants: pl.Series) -> NDArray[np.int64]:
    return instants.cast(pl.Datetime("ns", "UTC")).cast(pl.Int64).to_numpy()
