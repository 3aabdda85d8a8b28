"""`FeatureEngineer`, the pandas-or-Polars front. In: an OHLCV frame. Out: it, enriched."""

import sys
from collections.abc import Iterable
from typing import TypeVar

import pandas as pd
import polars as pl

from ploutos.errors import FeatureError
from ploutos.features.bases import carry_actions
from ploutos.features.catalog import select_features
from ploutos.features.config import FeatureConfig
from ploutos.features.engine import compute_features
from ploutos.features.feature import Feature

Frame = TypeVar("Frame", pd.DataFrame, pl.DataFrame)

_LARGEST = sys.float_info.max
_VALUES: tuple[str, ...] = ("open", "high", "low", "close", "volume")
_PRICES: tuple[str, ...] = _VALUES[:4]
_ACTIONS: dict[str, float] = {"split_ratio": 1.0, "cash_dividend": 0.0}
# What no bar can be; a missing number is neither.
_IMPOSSIBLE: dict[str, pl.Expr] = {
    "a price is infinite": pl.any_horizontal(pl.col(name).is_infinite() for name in _PRICES),
    "high is below low": pl.col("high") < pl.col("low"),
    "the volume is negative or infinite": ~pl.col("volume").is_between(0, _LARGEST),
    "split_ratio is not positive": ~pl.col("split_ratio").is_between(0, _LARGEST, closed="right"),
    "cash_dividend is negative or infinite": ~pl.col("cash_dividend").is_between(0, _LARGEST),
}


class FeatureEngineer:
    """Add the technical features to an OHLCV frame.

    Parameters
    ----------
    config
        Picks the families, by default all, and names the user's own features.
    time_column
        Column with the instant (or date) at which each bar closed. A pandas frame without that
        column may carry the instants as its `DatetimeIndex`. Naive times are taken as UTC.
    """

    def __init__(self, config: FeatureConfig | None = None, time_column: str = "closed_at") -> None:
        self.config = config if config is not None else FeatureConfig()
        self.time_column = time_column

    def compute(self, frame: Frame) -> Frame:
        """Return `frame` with one float64 column per feature appended.

        Parameters
        ----------
        frame
            Columns open, high, low, close, volume, in lower case, and the time column; `symbol`
            when it holds several; `split_ratio` (new shares per old) and `cash_dividend` (per
            share) when the prices are as traded, otherwise they are taken as adjusted. Rows in
            any order. A row in which a price is missing (null or NaN) is no bar: its features are
            missing and the others are computed as if it were absent.

        Returns
        -------
        A frame of the same kind with the same rows, order and index. Missing values are NaN in
        pandas, null in Polars; where they occur is told by `compute_features`.

        Raises
        ------
        FeatureError
            If `frame` is no pandas or Polars frame, if a column is missing, not numeric or already
            named like a feature, if a row is none that a market can have (a price that is not
            positive, high below low, a negative volume), or if a symbol has two bars at the same
            instant.
        """
        _check_kind(frame)
        features = select_features(self.config)
        names = [feature.name for feature in features]
        _check_names(frame.columns, names)
        if isinstance(frame, pd.DataFrame):
            computed = self._compute(self._from_pandas(frame), features)
            added = pd.DataFrame(
                {name: computed[name].to_numpy() for name in names}, index=frame.index
            )
            return pd.concat([frame, added], axis=1)
        self._check_time_column(frame)
        return pl.concat([frame, self._compute(frame, features)], how="horizontal")

    def bars_of(self, frame: pd.DataFrame | pl.DataFrame) -> pl.DataFrame:
        """Return the frame's bars in the form of `MarketData.bars`, sorted.

        A row in which one price is missing has none. Columns are those that `compute` takes. A
        frame without `symbol` becomes one symbol, "".

        Raises
        ------
        FeatureError
            If a column is missing or not of its kind, or a row is none that a market can have.
        """
        _check_kind(frame)
        _check_names(frame.columns, [])
        polars = self._from_pandas(frame) if isinstance(frame, pd.DataFrame) else frame
        self._check_time_column(polars)
        bars = _to_bars(polars, self.time_column).with_columns(_missing_prices())
        order = ["symbol", "closed_at", *_VALUES, *_ACTIONS]
        return bars.select(order).sort("symbol", "closed_at")

    def _check_time_column(self, frame: pl.DataFrame) -> None:
        if self.time_column not in frame.columns:
            raise FeatureError(
                f"expected a time column '{self.time_column}', received {frame.columns}. "
                "Rename yours, or name it: FeatureEngineer(time_column=...)."
            )

    def _from_pandas(self, frame: pd.DataFrame) -> pl.DataFrame:
        wanted = [*_VALUES, *_ACTIONS, "symbol", self.time_column]
        columns = {
            str(name): frame[name].reset_index(drop=True) for name in frame if name in wanted
        }
        if self.time_column not in columns:
            if not isinstance(frame.index, pd.DatetimeIndex):
                raise FeatureError(
                    f"expected a time column '{self.time_column}' or a DatetimeIndex, received "
                    f"columns {list(frame.columns)} and an index of type "
                    f"{type(frame.index).__name__}. Convert it: pd.to_datetime(frame.index)."
                )
            columns[self.time_column] = frame.index.to_series().reset_index(drop=True)
        return pl.from_pandas(pd.DataFrame(columns))

    def _compute(self, frame: pl.DataFrame, features: tuple[Feature, ...]) -> pl.DataFrame:
        names = [feature.name for feature in features]
        bars = _to_bars(frame, self.time_column)
        numbered = bars.with_row_index("row").sort("symbol", "closed_at", maintain_order=True)
        kept = carry_actions(numbered.with_columns(_missing_prices()))
        computed = compute_features(kept, self.config, features).select(names)
        rows = kept.select("row").hstack(computed)
        return (
            bars.with_row_index("row")
            .select("row")
            .join(rows, on="row", how="left", maintain_order="left")
            .select(names)
        )


def _check_kind(frame: object) -> None:
    if not isinstance(frame, pd.DataFrame | pl.DataFrame):
        raise FeatureError(
            "expected a pandas or a Polars DataFrame, received an object of type "
            f"{type(frame).__name__}"
            + (": collect() it" if isinstance(frame, pl.LazyFrame) else "")
        )


def _check_names(columns: Iterable[object], features: list[str]) -> None:
    received = [str(name) for name in columns]
    missing = [name for name in _VALUES if name not in received]
    if missing:
        renamed = set(missing) <= {name.lower() for name in received}
        raise FeatureError(
            f"expected the columns {list(_VALUES)} in lower case; missing {missing}, received "
            f"{received}" + (". Rename them: frame.rename(columns=str.lower)." if renamed else "")
        )
    twice = sorted({name for name in received if received.count(name) > 1})
    if twice:
        raise FeatureError(f"expected every column once; the frame has {twice} more than once")
    taken = sorted(set(received) & set(features))
    if taken:
        raise FeatureError(f"the frame already has columns named like features: {taken}")


def _to_bars(frame: pl.DataFrame, time_column: str) -> pl.DataFrame:
    numeric = [*_VALUES, *(name for name in _ACTIONS if name in frame.columns)]
    for name in numeric:
        if not (frame.schema[name].is_numeric() or frame.schema[name] == pl.Null):
            raise FeatureError(f"column '{name}': expected numbers, received {frame.schema[name]}")
    if not frame.schema[time_column].is_temporal():
        raise FeatureError(
            f"time column '{time_column}': expected dates or datetimes, received "
            f"{frame.schema[time_column]}"
        )
    symbol = pl.col("symbol").cast(pl.String) if "symbol" in frame.columns else pl.lit("")
    bars = frame.select(
        symbol.alias("symbol"),
        _to_utc(frame.schema[time_column], time_column).alias("closed_at"),
        *(pl.col(name).cast(pl.Float64).fill_nan(None) for name in numeric),
        *(pl.lit(value).alias(name) for name, value in _ACTIONS.items() if name not in numeric),
    )
    if bars["closed_at"].null_count() or bars["symbol"].null_count():
        raise FeatureError("the frame has rows without a time or without a symbol")
    _check_possible(bars)
    return bars


def _check_possible(bars: pl.DataFrame) -> None:
    found = bars.select(rule.any().alias(reason) for reason, rule in _IMPOSSIBLE.items())
    for reason, wrong in found.row(0, named=True).items():
        if wrong:
            row = bars.filter(_IMPOSSIBLE[reason]).row(0, named=True)
            raise FeatureError(
                f"{reason} in the bar of {row['symbol'] or 'the symbol'} at {row['closed_at']}: "
                f"{ ({name: row[name] for name in (*_VALUES, *_ACTIONS)}) }. Correct the row or "
                "remove it: a missing bar is an absent row."
            )


def _to_utc(dtype: pl.DataType, name: str) -> pl.Expr:
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return pl.col(name).dt.convert_time_zone("UTC").cast(pl.Datetime("ns", "UTC"))
    return pl.col(name).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")


def _missing_prices() -> list[pl.Expr]:
    """Make a row in which one price is missing a row in which all are."""
    prices = ("open", "high", "low", "close")
    complete = pl.all_horizontal(pl.col(name).is_not_null() for name in prices)
    return [pl.when(complete).then(pl.col(name)).alias(name) for name in prices]
