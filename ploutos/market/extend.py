"""What was fetched last, made longer. In: stored data and newer ones. Out: both as one data set."""

from dataclasses import replace

import polars as pl

from ploutos.errors import RevisionError, SourceError
from ploutos.market.data import MarketData
from ploutos.market.grid import bar_grid, is_longer
from ploutos.market.quality import STAMP
from ploutos.market.revisions import merge_bars, merge_macro


def extend_market(
    earlier: MarketData, fetched: MarketData, max_volume_revision: float
) -> MarketData:
    """Append what was fetched to what is stored, after comparing what both have.

    A symbol that was not asked for any more is left out; one that failed keeps its stored bars.

    Parameters
    ----------
    earlier
        Checked data of the same config.
    fetched
        Newer data, overlapping the stored ones.
    max_volume_revision
        Fraction by which a stored volume may have been corrected.

    Raises
    ------
    RevisionError
        If a stored bar or macro value changed and no split or dividend explains it, or a macro
        series would come from another source than before.
    SourceError
        If the new bars do not reach back to the stored ones.
    """
    _check_origins(earlier, fetched)
    failed = fetched.provenance.get("failed_symbols", {})
    wanted = [*fetched.symbols, *failed]
    stored = earlier.bars.filter(pl.col("symbol").is_in(wanted))
    _check_no_gap(stored, fetched)
    bars, notes = merge_bars(stored, fetched.bars, max_volume_revision)
    series = fetched.macro["series"].unique().to_list()
    kept = earlier.macro.filter(pl.col("series").is_in(series))
    macro, late = merge_macro(kept, fetched.macro)
    aside = earlier.quarantine.filter(pl.col("symbol").is_in(wanted))
    aside = pl.concat([aside, fetched.quarantine]).unique(
        ["symbol", "stamp"], keep="last", maintain_order=True
    )
    # What was corrected since is a bar now; a longer bar only shares the stamp of its last session.
    corrected = bars.clear() if is_longer(fetched.interval) else bars
    stamps = corrected.select("symbol", stamp=pl.col("closed_at").dt.strftime(STAMP))
    return replace(
        fetched,
        bars=bars,
        macro=macro,
        quarantine=aside.join(stamps, on=["symbol", "stamp"], how="anti"),
        provenance=fetched.provenance
        | {"revisions": _told_once([*earlier.provenance.get("revisions", []), *notes, *late])},
    )


def _told_once(notes: list[str]) -> list[str]:
    return list(dict.fromkeys(notes))


def _check_origins(earlier: MarketData, fetched: MarketData) -> None:
    before = earlier.provenance.get("macro_sources", {})
    after = fetched.provenance.get("macro_sources", {})
    changed = [
        f"{series} from {before[series]} to {after[series]}"
        for series in sorted(before.keys() & after.keys())
        if before[series] != after[series]
    ]
    if changed:
        raise RevisionError(
            f"the source of a macro series changed: {'; '.join(changed)}. Sources differ in level "
            "and are never mixed inside one series."
        )


def _check_no_gap(stored: pl.DataFrame, fetched: MarketData) -> None:
    """Refuse new bars that begin more than one bar after the stored ones end."""
    last = stored.group_by("symbol").agg(last=pl.col("closed_at").max())
    first = fetched.bars.group_by("symbol").agg(first=pl.col("closed_at").min())
    apart = first.join(last, on="symbol").filter(pl.col("first") > pl.col("last")).sort("symbol")
    for row in apart.iter_rows(named=True):
        grid = bar_grid(fetched.exchange, fetched.interval, row["last"].date(), row["first"].date())
        between = grid.filter(pl.col("closed_at").is_between(row["last"], row["first"], "none"))
        if between.height:
            raise SourceError(
                f"{row['symbol']}: {between.height} bars are missing between the last stored one "
                f"({row['last']}) and the first new one ({row['first']}). Fetch more often."
            )
