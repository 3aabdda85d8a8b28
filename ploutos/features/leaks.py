"""Looks for look-ahead in feature rows. In: rows, bars. Out: the leaking feature and row, if any.

Truncation: every prefix of the history is computed anew; a value that differs from that of the
full history knows what came later. Perturbation: the future is doubled, shuffled and made missing
instead. Warm-up: the history starts later; after its warm-up a value must not notice. All of it
at every row, where sampling a few rows misses a leak that shows on few.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ploutos.errors import FeatureError
from ploutos.features.config import FeatureConfig
from ploutos.features.engine import compute_features
from ploutos.features.feature import Feature

RELATIVE_TOLERANCE = 1e-6
_PRICES = ("open", "high", "low", "close")
_WORLDS_PER_CALL = 64
_LATE_STARTS = (1, 7, 40, 111)


@dataclass(frozen=True, slots=True)
class Leak:
    """Where a feature knows what it must not know.

    Attributes
    ----------
    feature
        Its name.
    check
        `truncation`, `doubling`, `shuffling`, `hiding` or `warm-up`.
    symbol, closed_at
        The first bar whose value changes.
    bars_known
        Bars of each symbol that were left as they are; for the warm-up, bars that were cut away.
    expected, received
        The value of the full history, and that of the changed one.
    """

    feature: str
    check: str
    symbol: str
    closed_at: object
    bars_known: int
    expected: float | None
    received: float | None


def load_features(reference: str) -> tuple[Feature, ...]:
    """Load rows from `module:attribute`, `path.py:attribute`, or the `FEATURES` of either.

    Raises
    ------
    FeatureError
        If there is no such module or attribute, or it holds no feature.
    """
    place, _, attribute = reference.partition(":")
    module = _load_file(Path(place)) if place.endswith(".py") else _import(place)
    found = getattr(module, attribute or "FEATURES", None)
    rows = (found,) if isinstance(found, Feature) else found
    if not isinstance(rows, Sequence) or not rows or not all(isinstance(x, Feature) for x in rows):
        raise FeatureError(
            f"expected a feature or a sequence of them as '{attribute or 'FEATURES'}' in {place}, "
            f"received {type(found).__name__}. Say where: module:attribute or file.py:attribute."
        )
    return tuple(rows)


def find_leaks(features: tuple[Feature, ...], bars: pl.DataFrame) -> list[Leak]:
    """Check every feature at every row.

    Parameters
    ----------
    features
        The rows to check.
    bars
        As `compute_features` takes them, the symbols with equally many bars; a year and a few
        weeks are enough to pass every warm-up.

    Returns
    -------
    The first leak of each feature and check; empty where there is none.

    Raises
    ------
    FeatureError
        If the bars are not fit to compute features on.
    """
    bars = bars.with_columns(number=pl.int_range(pl.len(), dtype=pl.Int64).over("symbol"))
    full = _compute(bars.with_columns(world=pl.lit(0, dtype=pl.Int64)), features)
    n_bars = int(bars["number"].max() or 0) + 1  # pyright: ignore[reportArgumentType]
    leaks: dict[tuple[str, str], Leak] = {}
    for check, worlds in _futures(bars, n_bars):
        known = _compute(worlds, features).filter(pl.col("number") < pl.col("world"))
        for leak in _compare(check, known, full, features, 0.0):
            leaks.setdefault((leak.feature, check), leak)
    starts = pl.DataFrame({"world": [start for start in _LATE_STARTS if start < n_bars]})
    late = bars.join(starts, how="cross").filter(pl.col("number") >= pl.col("world"))
    for leak in _compare("warm-up", _compute(late, features), full, features, RELATIVE_TOLERANCE):
        leaks.setdefault((leak.feature, "warm-up"), leak)
    return sorted(leaks.values(), key=lambda leak: (leak.feature, leak.check))


def _futures(bars: pl.DataFrame, n_bars: int) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield worlds whose number is how many bars are left as they are."""
    future = pl.col("number") >= pl.col("world")
    changes = {
        "doubling": [
            *(_in_future(future, name, 2.0 * pl.col(name)) for name in _PRICES),
            _in_future(future, "volume", 2.0 * pl.col("volume")),
            _in_future(future, "split_ratio", pl.lit(1.5)),
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
    for first in range(1, n_bars, _WORLDS_PER_CALL):
        cuts = list(range(first, min(first + _WORLDS_PER_CALL, n_bars)))
        worlds = bars.join(pl.DataFrame({"world": cuts}), how="cross")
        worlds = worlds.sort("world", "symbol", "closed_at")
        yield "truncation", worlds.filter(~future)
        for check, change in changes.items():
            yield check, worlds.with_columns(change)


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


def _load_file(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or specification is None or specification.loader is None:
        raise FeatureError(f"expected a Python file with features, received {path}")
    module = importlib.util.module_from_spec(specification)
    sys.modules.setdefault(path.stem, module)
    specification.loader.exec_module(module)
    return module


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise FeatureError(
            f"expected an importable module, received '{name}': {error}. Run from the folder that "
            "holds it, or name the file: path/to/file.py:FEATURES."
        ) from error
