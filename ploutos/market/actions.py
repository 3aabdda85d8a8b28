"""Splits and dividends of bars that are left out. In: bars, which stay. Out: bars, none lost."""

import polars as pl


def carry_actions(bars: pl.DataFrame, stays: pl.Series) -> pl.DataFrame:
    """Leave bars out and move their splits and dividends to the symbol's next bar that stays.

    Splits multiply. A dividend d per share of its own date becomes d / s at the later bar, s being
    the splits after it: the same cash for the same holding. What follows a symbol's last bar has no
    bar to go to.

    Parameters
    ----------
    bars
        Bars sorted by (symbol, closed_at), with whatever columns.
    stays
        (rows,) Boolean.

    Returns
    -------
    pl.DataFrame
        The bars that stay, in their order.
    """
    if stays.all():
        return bars
    split, dividend = pl.col("split_ratio"), pl.col("cash_dividend")
    ratio = pl.when(split.is_finite() & (split > 0)).then(split).otherwise(1.0)
    cash = pl.when(dividend.is_finite() & (dividend > 0)).then(dividend).otherwise(0.0)
    arriving = pl.col("stays").cast(pl.Int64).cum_sum(reverse=True).over("symbol")
    prepared = bars.with_columns(
        ratio.alias("split_ratio"), cash.alias("cash_dividend"), stays.alias("stays")
    ).with_columns(arriving=arriving, shares=pl.col("split_ratio").cum_prod().over("symbol"))
    moved = (
        prepared.filter(pl.col("arriving") > 0)
        .group_by("symbol", "arriving", maintain_order=True)
        .agg(
            pl.exclude("split_ratio", "cash_dividend", "shares", "stays").last(),
            pl.col("split_ratio").product(),
            (pl.col("cash_dividend") * pl.col("shares")).sum() / pl.col("shares").last(),
        )
    )
    return moved.select(bars.columns)
