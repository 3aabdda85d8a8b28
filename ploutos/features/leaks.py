"""Looks for look-ahead in feature rows. In: rows, bars. Out: the leaking feature and row, if any.

Truncation: every prefix of the history is computed anew; a value that differs from that of the
full history knows what came later. Perturbation: the future is doubled, shuffled and made missing
instead. Warm-up: the history starts later; after its warm-up a value must not notice. All of it
at every row, where sampling a few rows misses a leak that shows on few.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ploutos.errors import FeatureError
from ploutos.features.config import FeatureConfig
from ploutos.features.engine import compute_features
from ploutos.features.feature import Feature

RELATIVE_TOLERANCE = 1e-6
_PRICES = ("open", "high", "low", "close")
_CHECKS = ("truncation", "doubling", "shuffling", "hiding")
_ROWS_PER_CALL = 60_000
_LATE_STARTS = (1, 7, 40, 111)
_SPARE_BARS = 48

OnProgress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Leak:
    """Where a feature knows what it must not know.

    Attributes
    ----------
    feature
        Its name.
    check
        `truncation`, `doubling`, `shuffling`, `hiding` or `warm-up`.
    symbol, bar, closed_at
        The first bar whose value changes; bars are numbered from 0 within their symbol.
    bars_known
        Bars of each symbol that were left as they are; for the warm-up, bars that were cut away.
    expected, received
        The value of the full history, and that of the changed one.
    """

    feature: str
    check: str
    symbol: str
    bar: int
    closed_at: datetime
    bars_known: int
    expected: float | None
    received: float | None


def bars_needed(features: tuple[Feature, ...]) -> int:
    """Return how many bars of each symbol pass every warm-up, with some to spare."""
    return max(feature.warm_up_bars for feature in features) + _SPARE_BARS


def find_leaks(
    features: tuple[Feature, ...], bars: pl.DataFrame, on_progress: OnProgress | None = None
) -> list[Leak]:
    """Check every feature at every row.

    Parameters
    ----------
    features
        The rows to check.
    bars
        As `compute_features` takes them, the symbols with equally many bars; `bars_needed` are
        enough.
    on_progress
        Told the fraction of the work that is done, now and then.

    Returns
    -------
    The first leak of each feature and check; empty where there is none.

    Raises
    ------
    FeatureError
        If the bars are not fit to compute features on, if a feature cannot be computed, or if it
        has no value at any bar, so that nothing could be checked.
    """
    report = on_progress or (lambda _fraction: None)
    bars = bars.with_columns(number=pl.int_range(pl.len(), dtype=pl.Int64).over("symbol"))
    full = _compute(bars.with_columns(world=pl.lit(0, dtype=pl.Int64)), features)
    n_bars = bars.select(pl.len().over("symbol").max()).item(0, 0)
    _check_known(features, full, n_bars)
    leaks: dict[tuple[str, str], Leak] = {}
    for check, done, worlds in _futures(bars, n_bars):
        known = _compute(worlds, features).filter(pl.col("number") < pl.col("world"))
        for leak in _compare(check, known, full, features, 0.0):
            leaks.setdefault((leak.feature, check), leak)
        report(done)
    starts = pl.DataFrame({"world": [start for start in _LATE_STARTS if start < n_bars]})
    late = bars.join(starts, how="cross").filter(pl.col("number") >= pl.col("world"))
    for leak in _compare("warm-up", _compute(late, features), full, features, RELATIVE_TOLERANCE):
        leaks.setdefault((leak.feature, "warm-up"), leak)
    place = {feature.name: number for number, feature in enumerate(features)}
    order = {check: number for number, check in enumerate((*_CHECKS, "warm-up"))}
    return sorted(leaks.values(), key=lambda leak: (place[leak.feature], order[leak.check]))


def _check_known(features: tuple[Feature, ...], full: pl.DataFrame, n_bars: int) -> None:
    """Refuse to call a feature clean that was never seen."""
    unseen = [one for one in features if full[one.name].null_count() == full.height]
    if unseen:
        named = ", ".join(f"{one.name} (warm-up {one.warm_up_bars})" for one in unseen)
        raise FeatureError(
            f"no value at any of {n_bars} bars, so nothing can be checked: {named}. Give more bars "
            f"({bars_needed(tuple(unseen))} pass the warm-up), or look at the formula."
        )


def _futures(bars: pl.DataFrame, n_bars: int) -> Iterator[tuple[str, float, pl.DataFrame]]:
    """Yield worlds whose number is how many bars are left as they are, and how far we are."""
    future = pl.col("number") >= pl.col("world")
    changes = {
        "doubling": [
            *(_in_future(future, name, 2.0 * pl.col(name)) for name in _PRICES),
            _in_future(future, "volume", 2.0 * pl.col("volume")),
            _in_future(future, "split_ratio", pl.lit(1.5)),
            _in_future(future, "cash_dividend", pl.lit(0.25)),
        ],
        "shuffling": [
            pl.col(name)
            .gather(
                pl.when(future)
                .then(n_bars - 1 + pl.col("world") - pl.col("number"))
                .otherwise(pl.col("number"))
            )
            .over("world", "symbol")
            for name in (*_PRICES, "volume")
        ],
        "hiding": [_in_future(future, "volume", pl.lit(None, dtype=pl.Float64))],
    }
    per_call = max(1, _ROWS_PER_CALL // bars.height)
    for first in range(1, n_bars, per_call):
        cuts = list(range(first, min(first + per_call, n_bars)))
        done = cuts[-1] / n_bars
        worlds = bars.join(pl.DataFrame({"world": cuts}), how="cross")
        worlds = worlds.sort("world", "symbol", "closed_at")
        yield "truncation", done, worlds.filter(~future)
        for check, change in changes.items():
            yield check, done, worlds.with_columns(change)


def _in_future(future: pl.Expr, name: str, value: pl.Expr) -> pl.Expr:
    return pl.when(future).then(value).otherwise(pl.col(name)).alias(name)


def _compute(worlds: pl.DataFrame, features: tuple[Feature, ...]) -> pl.DataFrame:
    """Compute many histories in one call; a few nanoseconds keep their universes apart."""
    named = worlds.with_columns(
        (pl.col("world").cast(pl.String).str.zfill(6) + "/" + pl.col("symbol")).alias("symbol"),
        pl.col("closed_at").cast(pl.Datetime("ns", "UTC"))
        + pl.duration(nanoseconds=pl.col("world")),
        original=pl.col("symbol"),
        stamp=pl.col("closed_at"),
    ).sort("symbol", "closed_at")
    computed = compute_features(named, FeatureConfig(), features)
    keys = named.select("world", pl.col("original").alias("symbol"), "number", "stamp")
    return keys.hstack(computed.drop("symbol", "closed_at"))


def _compare(
    check: str,
    received: pl.DataFrame,
    full: pl.DataFrame,
    features: tuple[Feature, ...],
    tolerance: float,
) -> Iterator[Leak]:
    joined = received.join(
        full.drop("world", "stamp"),
        on=["symbol", "number"],
        how="left",
        suffix=" full",
        maintain_order="left",
    )
    age = (joined["number"] - joined["world"]).to_numpy() if tolerance else None
    for feature in features:
        own, expected = (
            joined[name].cast(pl.Float64).to_numpy()
            for name in (feature.name, f"{feature.name} full")
        )
        wrong = _differs(own, expected, tolerance)
        if age is not None:
            wrong &= age >= feature.warm_up_bars
        if wrong.any():
            row = joined.row(int(np.argmax(wrong)), named=True)
            yield Leak(
                feature.name,
                check,
                row["symbol"],
                row["number"],
                row["stamp"],
                row["world"],
                row[f"{feature.name} full"],
                row[feature.name],
            )


def _differs(
    received: NDArray[np.float64], expected: NDArray[np.float64], tolerance: float
) -> NDArray[np.bool_]:
    """Compare bit by bit, or relative to the value or, where it is small, to the usual size."""
    if tolerance == 0.0:
        return received.view(np.int64) != expected.view(np.int64)
    known = np.isfinite(expected)
    usual = np.median(np.abs(expected[known])) if known.any() else 0.0
    allowed = tolerance * np.maximum(np.abs(expected), usual + 1e-9)
    same = np.abs(received - expected) <= allowed
    return ~(same | (np.isnan(received) & np.isnan(expected)))
