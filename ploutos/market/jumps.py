"""Overnight jumps that look like a split nobody declared. In: bars. Out: the jumps, or a DataError.

A split that is missing in the data halves an account that held through it, and one that is listed
over prices which are adjusted for it already doubles the account; a policy would learn from both.
"""

import math

import polars as pl

from ploutos.errors import DataError
from ploutos.market.config import QualityConfig
from ploutos.market.data import MarketData

# Each of them has to be looked at by a human, so more are shown than of other faults.
SHOWN = 30
# The smaller factors of splits happen as news too, so that only what lies close to one counts; from
# nearly four-fold on, whatever its factor, it is a split, a change of unit or a wrong price.
SPLIT_FACTORS = (1.5, 2.0, 2.5, 3.0)
NEAR = 0.05
FOUR_FOLD = math.log(4.0) - NEAR


def find_jumps(bars: pl.DataFrame) -> pl.DataFrame:
    """List the bars that open at a price which looks like an undeclared split.

    With the close c of the symbol's bar before, the factor of a bar is
    split_ratio * (open + cash_dividend) / c: what became overnight of one unit of money. It is a
    jump if |ln factor| is within 0.05 of ln 1.5, ln 2, ln 2.5 or ln 3, or not less than
    ln 4 - 0.05.

    Parameters
    ----------
    bars
        Columns of `ploutos.market.schema.BAR_TYPES`, sorted by (symbol, closed_at), checked.

    Returns
    -------
    pl.DataFrame
        `symbol`, `closed_at`, `before` (the close of the bar before), `open`, `split_ratio`,
        `cash_dividend`, `factor`; in the order of `bars`.
    """
    before = pl.col("close").shift(1).over("symbol")
    held = pl.col("split_ratio") * (pl.col("open") + pl.col("cash_dividend"))
    size = pl.col("factor").log().abs()
    near = [(size - math.log(factor)).abs() <= NEAR for factor in SPLIT_FACTORS]
    events = ("split_ratio", "cash_dividend")
    listed = bars.select(
        "symbol", "closed_at", "open", *events, before=before, factor=held / before
    )
    return listed.filter(pl.any_horizontal(*near, size >= FOUR_FOLD))


def check_jumps(data: MarketData, config: QualityConfig) -> None:
    """Refuse data with more such jumps than the config allows, in bars and references together.

    Raises
    ------
    DataError
        The message names the rows.
    """
    jumps = pl.concat([find_jumps(data.bars), find_jumps(data.reference)])
    if jumps.height <= config.max_jumps:
        return
    rows = "; ".join(_describe(row) for row in jumps.head(SHOWN).iter_rows(named=True))
    more = "; ..." if jumps.height > SHOWN else ""
    raise DataError(
        f"bars of {data.name}: expected at most {config.max_jumps} jumps, received "
        f"{jumps.height}: {rows}{more}. Correct prices, split_ratio or cash_dividend at their "
        "origin, or, if the market did this, allow so many with quality.max_jumps; nothing was "
        "stored."
    )


def _describe(row: dict[str, float]) -> str:
    where = f"{row['symbol']} {row['closed_at']}: open {row['open']} after a close of "
    where += f"{row['before']}"
    if row["split_ratio"] != 1:
        return (
            f"{where}, though a split_ratio of {row['split_ratio']:g} is declared: the prices do "
            "not show it, or are adjusted for it already"
        )
    ratio = row["before"] / (row["open"] + row["cash_dividend"])
    return f"{where} looks like a split_ratio of {ratio:.3g} that is not declared"
