"""What a source changed since the last fetch. In: stored and new bars. Out: one history.

A stored bar stays as it was recorded. New bars that overlap it must say the same. If they differ,
the whole answer may stand on another basis: a split that is listed but not yet applied to the
prices, or applied twice, or dividends taken out of them. Where a known split or dividend explains
every difference, the new bars are put on the stored basis. Anything else is refused, row by row.
"""

import polars as pl

from ploutos.errors import RevisionError
from ploutos.market.basis import (
    AS_STORED,
    EVENTS,
    KEY,
    PRICE_TOLERANCE,
    changed_rows,
    explain_basis,
    jump_at_splits,
)
from ploutos.market.schema import PRICES

SHOWN = 20


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
        basis = explain_basis(old, new, max_volume_revision)
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
            f"{'; '.join(refused[:SHOWN])}{more}. {_advice(refused)}Nothing was stored."
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


def _advice(refused: list[str]) -> str:
    if all(" volume: " in one for one in refused):
        return "Corrections of a volume alone can be allowed with max_volume_revision. "
    return ""


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


def _adopt_events(old: pl.DataFrame, new: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Take over splits and dividends that the source lists for stored bars only now."""
    notes: list[str] = []
    for column, none in EVENTS.items():
        listed = new.select("closed_at", pl.col(column).alias("listed"))
        both = old.join(listed, on="closed_at", how="left", maintain_order="left")
        late = (pl.col(column) == none) & (pl.col("listed") != none)
        with_late = both.with_columns(pl.when(late).then("listed").otherwise(column).alias(column))
        candidate = with_late.drop("listed")
        if column == "split_ratio" and jump_at_splits(candidate) > _change_there(old, candidate):
            # The stored prices do not show this split: it stays a difference.
            continue
        notes += [
            f"{row['symbol']} {row['closed_at']} {column}: {row['listed']} was listed later"
            for row in both.filter(late).iter_rows(named=True)
        ]
        old = candidate
    return old, notes


def _change_there(old: pl.DataFrame, candidate: pl.DataFrame) -> float:
    """`jump_at_splits` over the same bars, with the ratios as they are stored."""
    change = (pl.col("close") * pl.col("split_ratio") / pl.col("close").shift(1)).log().abs()
    return float(old.select(change.filter(candidate["split_ratio"] != 1).sum()).item())


def _differences(old: pl.DataFrame, new: pl.DataFrame, max_volume_revision: float) -> list[str]:
    columns = (*PRICES, "volume", *EVENTS)
    return [
        f"{row['symbol']} {row['closed_at']} {column}: old {row[column]}, "
        f"new {row[f'{column}_new']}"
        for column in columns
        for row in changed_rows(old, new, (column,), max_volume_revision).iter_rows(named=True)
    ]
