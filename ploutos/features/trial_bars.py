"""Bars to try features on. In: their number. Out: bars as traded, with something to trip over."""

from datetime import UTC, datetime

import polars as pl

from ploutos.market.config import SyntheticSource
from ploutos.market.data import FetchTerms
from ploutos.market.synthetic import fetch_synthetic

_PRICES = ("open", "high", "low", "close")


def trial_bars(n_bars: int) -> pl.DataFrame:
    """Return synthetic bars of three symbols, the same ones on every call.

    SYN1 is plain. SYN2 pays a dividend every 60 bars and splits 2-for-1 after two thirds. SYN3
    lacks the volume of a few bars, which a backward fill would take from the future.
    """
    source = SyntheticSource(symbols=("SYN1", "SYN2", "SYN3"), n_bars=n_bars)
    plain = fetch_synthetic(source, FetchTerms("XNYS", datetime.now(UTC))).bars
    number, symbol = pl.int_range(pl.len()).over("symbol"), pl.col("symbol")
    split_at = 2 * n_bars // 3
    after = (symbol == "SYN2") & (number >= split_at)
    gone = (symbol == "SYN3") & number.is_in([3, n_bars // 2, n_bars - 4])
    pays = (symbol == "SYN2") & (number % 60 == 30)
    split = (symbol == "SYN2") & (number == split_at)
    volume = pl.col("volume") * pl.when(after).then(2.0).otherwise(1.0)
    return plain.with_columns(
        *(pl.when(after).then(pl.col(name) / 2).otherwise(pl.col(name)) for name in _PRICES),
        pl.when(~gone).then(volume).alias("volume"),
        pl.when(split).then(2.0).otherwise(1.0).alias("split_ratio"),
        pl.when(pays).then(0.5).otherwise(0.0).alias("cash_dividend"),
    )
