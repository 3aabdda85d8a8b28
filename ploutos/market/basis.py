"""On which basis new bars stand. In: stored and new bars. Out: the new bars as the stored ones.

If a source changed what it had delivered, its whole answer may stand on another basis: a split that
is listed but not yet applied to the prices, or applied twice, or dividends taken out of them.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ploutos.market.schema import PRICES

# Rebuilding a price from a split-adjusted one that was rounded to six digits or single precision,
# as long as that hides no tick; but never less than single precision itself.
PRICE_TOLERANCE = 1e-5
HALF_TICK = 0.005
SINGLE_PRECISION = 2.0**-22
KEY = ("symbol", "closed_at")
EVENTS = {"split_ratio": 1.0, "cash_dividend": 0.0}
AS_STORED = "as stored"
Rows = NDArray[np.float64]


def explain_basis(
    old: pl.DataFrame, new: pl.DataFrame, max_volume_revision: float
) -> tuple[str, pl.DataFrame] | None:
    """Return on which basis the new prices stand, and the new bars on the stored basis.

    Parameters
    ----------
    old, new
        Bars of one symbol, ascending, with some in common.
    max_volume_revision
        Fraction by which a volume may have been corrected.

    Returns
    -------
    tuple[str, pl.DataFrame] | None
        None if no listed split or dividend explains every difference of the common bars. A basis
        that makes the price jump more at the listed splits explains nothing.
    """
    if not changed_rows(old, new, PRICES, max_volume_revision).height:
        return AS_STORED, new
    listed = new["split_ratio"].to_numpy()
    splits, untold = _later(listed), _later(np.where(_is_stored(old, new), 1.0, listed))
    one = np.ones(new.height)
    dividends = _later_dividends(old, new, one)
    # Twice is a split that the stored bars do not have: those they have were in order before.
    bases: list[tuple[str, Rows, Rows]] = [
        ("are multiplied by splits that the prices do not show", untold, untold),
        ("are divided by later splits", 1 / untold, 1 / untold),
        ("are divided by later splits", 1 / splits, 1 / splits),
        ("have later dividends taken out", dividends, one),
        (
            "are divided by later splits and have later dividends taken out",
            _later_dividends(old, new, splits) / splits,
            1 / splits,
        ),
    ]
    for explanation, price, share in bases:
        if np.allclose(price, 1.0, rtol=1e-12):
            continue
        rebased = new.with_columns(
            *(pl.col(name) / price for name in PRICES),
            volume=pl.col("volume") * share,
            cash_dividend=pl.col("cash_dividend") / share,
        )
        # Whole shares that were divided by a split, rounded, and multiplied again.
        rounding = max(1.0, float(share.max()))
        agrees = (
            changed_rows(old, rebased, PRICES, 0.0).is_empty()
            and changed_rows(old, rebased, ("volume",), max_volume_revision, rounding).is_empty()
        )
        # Dividends move the prices on both sides of a split alike.
        sound = share is one or jump_at_splits(rebased) <= jump_at_splits(new)
        if agrees and sound:
            return explanation, _as_recorded(old, rebased)
    return None


def _as_recorded(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Return the new bars, those that are stored too with prices and volume as stored."""
    events = new.select("closed_at", *EVENTS)
    common = old.drop(list(EVENTS)).join(events, on="closed_at").select(old.columns)
    return pl.concat([common, new.join(old, on="closed_at", how="anti")])


def _is_stored(old: pl.DataFrame, new: pl.DataFrame) -> NDArray[np.bool_]:
    """(rows,) whether the stored bar has the same split."""
    both = new.join(old, on=KEY, how="left", suffix="_old", maintain_order="left")
    same = pl.col("split_ratio") == pl.col("split_ratio_old")
    return both.select(same.fill_null(value=False)).to_series().to_numpy()


def _later(ratio: Rows) -> Rows:
    """(rows,) product of the ratios after each bar."""
    return np.cumprod(ratio[::-1])[::-1] / ratio


def _later_dividends(old: pl.DataFrame, new: pl.DataFrame, unit: Rows) -> Rows:
    """(rows,) product of 1 - dividend / close of the bar before, over the dividends after each bar.

    Both per share before a split of the dividend's day; `unit` is what puts a new price or dividend
    on the basis of its day. The close as traded is the stored one; where there is none, the new one
    is the product F of its row times it, and with the product G of the next row and
    x = dividend / (F * close) follows F = G / (1 + G * x).

    Source: CRSP and Yahoo Finance, "adjusted close".
    """
    kept = new.join(old, on=KEY, how="left", suffix="_old", maintain_order="left")
    stored = kept["close_old"].fill_null(np.nan).to_numpy()
    adjusted = new["close"].to_numpy() * unit
    paid = (new["cash_dividend"] * new["split_ratio"]).to_numpy() * unit
    product = np.ones(new.height)
    for row in range(new.height - 2, -1, -1):
        after = product[row + 1]
        if np.isnan(stored[row]):
            product[row] = after / (1 + after * paid[row + 1] / adjusted[row])
        else:
            product[row] = after * (1 - paid[row + 1] / stored[row])
    return product


def jump_at_splits(bars: pl.DataFrame) -> float:
    """Sum of |log price change per share held| over the splits: small if the split is applied."""
    change = (pl.col("close") * pl.col("split_ratio") / pl.col("close").shift(1)).log().abs()
    jumps = bars.select(change.filter(pl.col("split_ratio") != 1).sum()).item()
    return float(jumps)


def changed_rows(
    old: pl.DataFrame,
    new: pl.DataFrame,
    columns: tuple[str, ...],
    max_volume_revision: float,
    rounding: float = 1.0,
) -> pl.DataFrame:
    """Rows that both have and that differ in one of the columns, with the new ones as `*_new`."""
    both = old.join(new, on=KEY, suffix="_new", maintain_order="left")
    return both.filter(
        pl.any_horizontal(_differs(name, max_volume_revision, rounding) for name in columns)
    )


def _differs(column: str, max_volume_revision: float, rounding: float) -> pl.Expr:
    if column == "volume":
        # Whole shares: dividing by a split and rounding costs up to one.
        allowed = max_volume_revision * pl.col(column) + rounding
    else:
        size = pl.col(column).abs()
        rounding_only = pl.min_horizontal(PRICE_TOLERANCE * size, HALF_TICK)
        allowed = pl.max_horizontal(rounding_only, SINGLE_PRECISION * size)
    differs = (pl.col(column) - pl.col(f"{column}_new")).abs() > allowed
    # A value that is not there any more is a change too.
    return differs.fill_null(value=True)
