"""Checks bars before anything is computed. In: bars as traded. Out: arrays and segments."""

import numpy as np
import polars as pl

from ploutos.errors import FeatureError
from ploutos.features.evaluate import Columns, Segments

BAR_COLUMNS: tuple[str, ...] = (
    "symbol",
    "closed_at",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "split_ratio",
    "cash_dividend",
)

_PRICES = ("open", "high", "low", "close")


def read_bars(bars: pl.DataFrame) -> tuple[Columns, Segments]:
    """Check bars and return their columns as arrays, with where each symbol begins.

    Returns
    -------
    Columns (rows,) float64, NaN where missing, by name: the numbers of `bars` as they are. Nothing
    is copied that Polars holds in one piece.

    Raises
    ------
    FeatureError
        If a column is missing, rows are unsorted or duplicated, or a price is not a positive
        finite number.
    """
    missing = [name for name in BAR_COLUMNS if name not in bars.columns]
    if missing:
        raise FeatureError(
            f"bars: missing columns {missing}; received {bars.columns}. Names are lower case."
        )
    instants = bars["closed_at"].cast(pl.Datetime("ns", "UTC")).to_physical().to_numpy()
    columns = {name: bars[name].cast(pl.Float64).to_numpy() for name in BAR_COLUMNS[2:]}
    symbol = bars["symbol"]
    begins = symbol.ne_missing(symbol.shift(1)).arg_true().to_numpy().astype(np.int64)
    bounds = np.concatenate([[0], begins[begins > 0], [bars.height] * bool(bars.height)])
    bounds = bounds.astype(np.int64)
    segments = Segments(bounds, instants)
    _check_order(bars, segments)
    _check_prices(bars, columns)
    return columns, segments


def _check_order(bars: pl.DataFrame, segments: Segments) -> None:
    bounds, instants = segments.bounds, segments.instants
    rising = np.ones(len(instants), bool)
    np.greater(instants[1:], instants[:-1], out=rising[1:])
    rising[bounds[:-1]] = True
    first = bars["symbol"].cast(pl.String)[bounds[:-1].tolist()].to_list()
    wrong = [] if rising.all() else [int(np.argmin(rising))]
    wrong += [int(bounds[k]) for k in range(1, len(first)) if first[k] <= first[k - 1]]
    if wrong:
        symbol, closed_at = bars.select("symbol", "closed_at").row(min(wrong))
        raise FeatureError(
            f"bars must be sorted by (symbol, closed_at) without duplicates; the row of {symbol} "
            f"at {closed_at} is out of order"
        )


def _check_prices(bars: pl.DataFrame, columns: Columns) -> None:
    if not bars.height or all(
        columns[name].min() > 0.0 and columns[name].max() < np.inf for name in _PRICES
    ):
        return
    sound = np.logical_and.reduce(
        [(columns[name] > 0.0) & np.isfinite(columns[name]) for name in _PRICES]
    )
    row = bars.row(int(np.argmin(sound)), named=True)
    raise FeatureError(
        f"bars: prices must be positive finite numbers; {row['symbol']} at {row['closed_at']} "
        f"has { ({name: row[name] for name in _PRICES}) }. Remove the row: a missing bar is an "
        "absent row."
    )
