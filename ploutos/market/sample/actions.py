"""Splits and dividends told apart from prices. In: raw or adjusted prices. Out: prices as traded.

Two ways: where a source has both the traded and the adjusted close, the change of their ratio *is*
the split or the dividend; where it has only dividend-adjusted prices, published dividends undo the
adjustment, and the cent grid of traded prices tells whether they were the right ones.
"""

from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ploutos.errors import DataError

PRICES = ("open", "high", "low", "close")
RATIO_MOVES_ABOVE = 1e-7
DIVIDEND_BELOW = 0.3
SPLIT_TOLERANCE = 1e-9
CENT_TOLERANCE = 1e-6


def separate_actions(bars: pl.DataFrame) -> pl.DataFrame:
    """Find the splits and dividends of one symbol in its adjusted/traded ratio.

    Quandl's WIKI prices multiply every earlier adjusted close, at an ex-date with the close `c`, by
    1 / (1 + dividend / c), and at a split by 1 / ratio. With the growth g of adjusted/traded from
    one row to the next, a dividend is c * (g - 1) and a split is g.

    Parameters
    ----------
    bars
        `date`, `close`, `adjusted_close` of one symbol, ascending.

    Returns
    -------
    pl.DataFrame
        The same rows with `split_ratio` and `cash_dividend` (in whole cents).

    Raises
    ------
    DataError
        If a change is neither a whole-number split nor a dividend of whole cents to 1e-6.
    """
    ratio = bars["adjusted_close"].to_numpy() / bars["close"].to_numpy()
    growth = np.concatenate([[1.0], ratio[1:] / ratio[:-1]])
    split = np.ones(bars.height)
    dividend = np.zeros(bars.height)
    for row in np.flatnonzero(np.abs(growth - 1) > RATIO_MOVES_ABOVE):
        where = f"{bars['date'][int(row)]}: adjusted/traded grows by {growth[row]}"
        if growth[row] > 1 + DIVIDEND_BELOW:
            split[row] = _whole(growth[row], SPLIT_TOLERANCE, where)
        else:
            cents = 100 * bars["close"][int(row)] * (growth[row] - 1)
            dividend[row] = _whole(cents, 100 * CENT_TOLERANCE, where) / 100
    return bars.with_columns(split_ratio=split, cash_dividend=dividend)


def undo_dividend_adjustment(bars: pl.DataFrame, dividends: Mapping[date, float]) -> pl.DataFrame:
    """Rebuild traded prices and volumes of one symbol from dividend-adjusted ones.

    The adjustment multiplied every earlier price, at an ex-date with the dividend d and the traded
    close p of the session before, by 1 - d / p, and divided the volumes by the same.

    Parameters
    ----------
    bars
        `date`, prices and volume of one symbol, ascending; the last row is not adjusted.
    dividends
        Published dividend per share, by ex-date; every ex-date up to the last row.

    Returns
    -------
    pl.DataFrame
        Traded prices (USD), whole-share volumes, `split_ratio` 1 and `cash_dividend`.
    """
    adjusted = bars["close"].to_numpy()
    days = bars["date"].to_list()
    factor = np.ones(bars.height)
    current = 1.0
    for row in range(bars.height - 1, -1, -1):
        factor[row] = current
        if row and days[row] in dividends:
            # 1 - d / p with the traded close p = adjusted / factor, solved for the factor.
            current /= 1 + dividends[days[row]] * current / adjusted[row - 1]
    return bars.with_columns(
        *(pl.Series(price, bars[price].to_numpy() / factor) for price in PRICES),
        pl.Series("volume", np.round(bars["volume"].to_numpy() * factor)),
        pl.Series("cash_dividend", [dividends.get(day, 0.0) for day in days], pl.Float64),
        split_ratio=pl.lit(1.0),
    )


def undo_split_adjustment(bars: pl.DataFrame, splits: Mapping[date, float]) -> pl.DataFrame:
    """Rebuild traded prices and volumes of one symbol from split-adjusted ones.

    Parameters
    ----------
    bars
        `date`, prices, volume of one symbol, ascending; adjusted for every split in `splits`.
    splits
        New shares per old share, by the first session on which the new shares trade.

    Returns
    -------
    pl.DataFrame
        Prices in whole cents, volumes in whole shares, `split_ratio`, `cash_dividend` 0.
    """
    later = np.ones(bars.height)
    days = bars["date"].to_numpy()
    for day, ratio in splits.items():
        later[days < np.datetime64(day)] *= ratio
    return bars.with_columns(
        *(pl.Series(price, np.round(bars[price].to_numpy() * later, 2)) for price in PRICES),
        pl.Series("volume", np.round(bars["volume"].to_numpy() / later)),
        pl.Series("split_ratio", [splits.get(day, 1.0) for day in bars["date"]], pl.Float64),
        cash_dividend=pl.lit(0.0),
    )


def distance_to_cents(prices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each price lies from a whole cent, in USD."""
    return np.abs(prices - np.round(prices, 2))


def _whole(value: float, tolerance: float, where: str) -> float:
    whole = round(value)
    if whole < 1 or abs(value - whole) > tolerance:
        raise DataError(
            f"{where}: expected a split of a whole number or a dividend of whole cents, received "
            f"{value} in that unit"
        )
    return float(whole)
