"""Daily bars made into longer ones. In: daily bars as traded. Out: bars of several sessions."""

import polars as pl

from ploutos.market.grid import Interval, bar_sessions
from ploutos.market.schema import BAR_TYPES


def lengthen(bars: pl.DataFrame, exchange: str, interval: Interval) -> pl.DataFrame:
    """Join the daily bars of each five sessions, week, month or quarter.

    Everything in the longer bar is of shares as they are at its end: with s the product of the
    splits after a day inside the bar, the day counts with its prices and dividend divided by s and
    its volume times s. Open of the first day, high and low of all, close of the last, the sums of
    volumes and dividends, the product of the splits: an account that holds through the bar gets the
    same shares and the same cash as from the daily bars.

    Parameters
    ----------
    bars
        Columns of `BAR_TYPES`, sorted by (symbol, closed_at), each `closed_at` the close of a
        session; only sessions of bars that are finished.
    exchange, interval
        Which sessions belong together.

    Returns
    -------
    pl.DataFrame
        The same columns and order; `closed_at` is the close of the bar's last session in the
        exchange's schedule, whether or not there is a daily bar of it.
    """
    belongs = bar_sessions(exchange, interval).select("closed_at", "ends_at")
    inside = ("symbol", "ends_at")
    shares = pl.col("split_ratio").cum_prod().over(inside)
    later = shares.last().over(inside) / shares
    joined = bars.join(belongs, on="closed_at", maintain_order="left").with_columns(later=later)
    price = {name: pl.col(name) / pl.col("later") for name in ("open", "high", "low", "close")}
    longer = joined.group_by(inside, maintain_order=True).agg(
        price["open"].first(),
        price["high"].max(),
        price["low"].min(),
        price["close"].last(),
        (pl.col("volume") * pl.col("later")).sum(),
        pl.col("split_ratio").product(),
        (pl.col("cash_dividend") / pl.col("later")).sum(),
    )
    return longer.rename({"ends_at": "closed_at"}).select(list(BAR_TYPES))
