"""What a source changed since the last fetch. In: stored and new bars. Out: one history.

A stored bar stays as it was recorded. New bars that overlap it must say the same. If they differ,
the whole answer may stand on another basis: a split that is listed but not yet applied to the
prices, or applied twice, or dividends taken out of them. Where a known split or dividend explains
every difference, the new bars are put on the stored basis. Anything else is refused, row by row.
"""

import numpy as np
import polars as pl

from ploutos.errors import RevisionError
from ploutos.market.schema import PRICES

# Rebuilding a price from a split-adjusted one that was rounded to six digits or single precision,
# as long as that hides no tick; but never less than single precision itself.
PRICE_TOLERANCE = 1e-5
HALF_TICK = 0.005
SINGLE_PRECISION = 2.0**-22
KEY = ("symbol", "closed_at")
SHOWN = 20
EVENTS = {"split_ratio": 1.0, "cash_dividend": 0.0}
AS_STORED = "as stored"


def merge_bars(
    stored: pl.DataFrame, fresh: pl.DataFrame, max_volume_revision: float
) -> tuple[pl.DataFrame, list[str]]:
    """Append new bars to the stored ones after comparing those that both have.

    Parameters
    ----------
    stored, fresh
        Columns of `ploutos.market.schema.BAR_TYPES`; prices as traded.
    max_volume_revision
        Fraction by which a volume may have been corrected; the stored one is kept.

    Returns
    -------
    tuple[pl.DataFrame, list[str]]
        Every stored bar with its prices and volume as they were, the new ones, and a sentence for
        each explained difference; sorted by (symbol, closed_at).

    Raises
    ------
    RevisionError
        If a difference is not explained; the message names symbol, close, column, old and new.
    """
    notes: list[str] = []
    refused: list[str] = []
    merged: list[pl.DataFrame] = []
    symbols = sorted(set(stored["symbol"]) | set(fresh["symbol"]))
    for symbol in symbols:
        old = stored.filter(pl.col("symbol") == symbol).sort("closed_at")
        new = fresh.filter(pl.col("symbol") == symbol).sort("closed_at")
        basis = _explain(old, new, max_volume_revision)
        if basis is None:
            refused += _differences(old, new, max_volume_revision)
            continue
        explanation, new = basis
        if explanation != AS_STORED:
            notes.append(f"{symbol}: new bars {explanation}; put on the stored basis")
        old, adopted = _adopt_events(old, new)
        notes += adopted
        refused += _differences(old, new, max_volume_revision)
        notes += _gone_or_late(symbol, old, new)
        merged.append(pl.concat([old, new.join(old, on="closed_at", how="anti")]))
    if refused:
        more = f" ({len(refused)} in all)" if len(refused) > SHOWN else ""
        raise RevisionError(
            "the source changed what it had delivered, and no known split or dividend explains it: "
            f"{'; '.join(refused[:SHOWN])}{more}. Nothing was stored."
        )
    return pl.concat(merged).sort(KEY), notes


def merge_macro(stored: pl.DataFrame, fresh: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Append new macro values to the stored ones after comparing those that both have.

    Returns
    -------
    tuple[pl.DataFrame, list[str]]
        Stored and new values, sorted by (series, released_at), and a sentence for each series of
        which a value arrived after its successors had been stored.

    Raises
    ------
    RevisionError
        If a value differs: it was decided on as it was stored.
    """
    key = ("series", "released_at")
    both = stored.join(fresh, on=key, suffix="_new")
    close = (pl.col("value") - pl.col("value_new")).abs() <= PRICE_TOLERANCE * pl.col("value").abs()
    changed = both.filter(~close)
    if changed.height:
        rows = [
            f"{row['series']} {row['released_at']} value: old {row['value']}, "
            f"new {row['value_new']}"
            for row in changed.head(SHOWN).iter_rows(named=True)
        ]
        raise RevisionError(
            f"the source changed released macro values: {'; '.join(rows)} ({changed.height} in "
            "all). Nothing was stored."
        )
    added = fresh.join(stored, on=key, how="anti")
    newest = stored.group_by("series").agg(newest=pl.col("released_at").max())
    late = added.join(newest, on="series").filter(pl.col("released_at") < pl.col("newest"))
    notes = [
        f"{series}: {rows.height} values arrived late, the first of {rows['released_at'].min()}"
        for (series,), rows in late.sort(key).group_by("series", maintain_order=True)
    ]
    return pl.concat([stored, added]).sort(key), notes


def _explain(
    old: pl.DataFrame, new: pl.DataFrame, max_volume_revision: float
) -> tuple[str, pl.DataFrame] | None:
    """Return on which basis the new prices stand, and the new bars on the stored basis."""
    if not _changed(old, new, PRICES, max_volume_revision).height:
        return AS_STORED, new
    splits = _later_splits(new)
    dividends = _later_dividends(old, new)
    bases = {
        "are multiplied by splits that the prices do not show": (splits, splits),
        "are divided by later splits": (1 / splits, 1 / splits),
        "have later dividends taken out": (dividends, np.ones_like(splits)),
        "are divided by later splits and have later dividends taken out": (
            dividends / splits,
            1 / splits,
        ),
    }
    for explanation, (price, share) in bases.items():
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
            _changed(old, rebased, PRICES, 0.0).is_empty()
            and _changed(old, rebased, ("volume",), max_volume_revision, rounding).is_empty()
        )
        if agrees and (_jump_at_splits(rebased) <= _jump_at_splits(new)):
            return explanation, _as_recorded(old, rebased)
    return None


def _gone_or_late(symbol: str, old: pl.DataFrame, new: pl.DataFrame) -> list[str]:
    """Name stored bars that the source lacks now, and bars between the stored ones that are new."""
    if old.is_empty() or new.is_empty():
        return []
    asked = old.filter(pl.col("closed_at") >= new["closed_at"].min())
    gone = asked.join(new, on="closed_at", how="anti")["closed_at"]
    inside = new.filter(pl.col("closed_at") < old["closed_at"][-1])
    late = inside.join(old, on="closed_at", how="anti")["closed_at"]
    return [
        f"{symbol}: {len(which)} bars {what}, the first of {which.min()}"
        for which, what in (
            (gone, "are not delivered any more and stay as stored"),
            (late, "arrived after their successors"),
        )
        if len(which)
    ]


def _as_recorded(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Return the new bars, those that are stored too with prices and volume as stored."""
    events = new.select("closed_at", *EVENTS)
    common = old.drop(list(EVENTS)).join(events, on="closed_at").select(old.columns)
    return pl.concat([common, new.join(old, on="closed_at", how="anti")])


def _later_splits(bars: pl.DataFrame) -> np.ndarray:
    """(rows,) product of the splits after each bar."""
    ratio = bars["split_ratio"].to_numpy()
    return np.cumprod(ratio[::-1])[::-1] / ratio


def _later_dividends(old: pl.DataFrame, new: pl.DataFrame) -> np.ndarray:
    """(rows,) product of 1 - dividend / close of the bar before, over the dividends after each bar.

    Source: CRSP and Yahoo Finance, "adjusted close".
    """
    kept = new.join(old, on="closed_at", how="left", suffix="_old", maintain_order="left")
    close = kept.select(pl.coalesce("close_old", "close")).to_series().to_numpy()
    cash = new["cash_dividend"].to_numpy()
    share = np.ones(len(close))
    share[:-1] = 1 - cash[1:] / close[:-1] / new["split_ratio"].to_numpy()[1:]
    return np.cumprod(share[::-1])[::-1]


def _jump_at_splits(bars: pl.DataFrame) -> float:
    """Sum of |log price change per share held| over the splits: small if the split is applied."""
    change = (pl.col("close") * pl.col("split_ratio") / pl.col("close").shift(1)).log().abs()
    jumps = bars.select(change.filter(pl.col("split_ratio") != 1).sum()).item()
    return float(jumps)


def _adopt_events(old: pl.DataFrame, new: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Take over splits and dividends that the source lists for stored bars only now."""
    notes: list[str] = []
    for column, none in EVENTS.items():
        listed = new.select("closed_at", pl.col(column).alias("listed"))
        both = old.join(listed, on="closed_at", how="left", maintain_order="left")
        late = (pl.col(column) == none) & (pl.col("listed") != none)
        with_late = both.with_columns(pl.when(late).then("listed").otherwise(column).alias(column))
        candidate = with_late.drop("listed")
        if column == "split_ratio" and _jump_at_splits(candidate) > _change_there(old, candidate):
            # The stored prices do not show this split: it stays a difference.
            continue
        notes += [
            f"{row['symbol']} {row['closed_at']} {column}: {row['listed']} was listed later"
            for row in both.filter(late).iter_rows(named=True)
        ]
        old = candidate
    return old, notes


def _change_there(old: pl.DataFrame, candidate: pl.DataFrame) -> float:
    """`_jump_at_splits` over the same bars, with the ratios as they are stored."""
    change = (pl.col("close") * pl.col("split_ratio") / pl.col("close").shift(1)).log().abs()
    return float(old.select(change.filter(candidate["split_ratio"] != 1).sum()).item())


def _changed(
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


def _differences(old: pl.DataFrame, new: pl.DataFrame, max_volume_revision: float) -> list[str]:
    columns = (*PRICES, "volume", *EVENTS)
    return [
        f"{row['symbol']} {row['closed_at']} {column}: old {row[column]}, "
        f"new {row[f'{column}_new']}"
        for column in columns
        for row in _changed(old, new, (column,), max_volume_revision).iter_rows(named=True)
    ]
