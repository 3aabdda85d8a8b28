"""Which bars are set aside, and how complete the rest is. In: bars. Out: good bars, a quarantine.

A bar is set aside when it breaks a row rule of `ploutos.market.schema`, when nothing was traded in
it, or when it repeats the bars before it as a frozen feed does; never because of a later bar,
which would let the future into the past. Its split and dividend move to the next bar that stays, so
that no holding is lost. Too many of them, and the data are refused.
"""

from datetime import datetime

import polars as pl

from ploutos.calendar import half_days
from ploutos.errors import DataError
from ploutos.market.actions import carry_actions
from ploutos.market.config import QualityConfig
from ploutos.market.data import QUARANTINE_TYPES, MarketData
from ploutos.market.grid import SESSIONS, Interval, bar_grid, is_intraday, period_start
from ploutos.market.jumps import find_jumps
from ploutos.market.schema import BAR_TYPES, PRICES, SHOWN, bar_rules, describe_rows

NO_TRADE = "no volume: nothing was traded at these prices"
NOT_ON_GRID = "the exchange's schedule has no such bar"
KEYS = ("symbol", "closed_at")
# How the quarantine writes an instant, which is in UTC.
STAMP = "%Y-%m-%d %H:%M:%S%:z"


def set_aside(
    bars: pl.DataFrame,
    interval: Interval,
    config: QualityConfig,
    stored: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Separate the bars that cannot be trusted.

    Parameters
    ----------
    bars
        Columns of `BAR_TYPES`, any order; a row without symbol or instant is left to the check.
    interval
        Length of a bar.
    config
        When a feed is frozen.
    stored
        Bars that were taken before: they are not judged again, or a bar that its source spoiled
        since would vanish from the comparison with what is stored.

    Returns
    -------
    tuple[pl.DataFrame, pl.DataFrame]
        The good bars, sorted by (symbol, closed_at), with the actions of those set aside; and the
        quarantine in the columns of `QUARANTINE_TYPES`.
    """
    ordered = bars.select(list(BAR_TYPES)).sort(KEYS)
    broken = [
        pl.when(~rule.holds.fill_null(value=False)).then(
            pl.lit(f"{rule.column}: expected {rule.expected}")
        )
        for rule in bar_rules()
        if rule.column not in KEYS
    ]
    reasons = pl.concat_list(
        *broken, pl.when(pl.col("volume") == 0).then(pl.lit(NO_TRADE)), _frozen(interval, config)
    )
    reason = ordered.select(reasons.list.drop_nulls().list.join("; ").alias("reason"))["reason"]
    stays = reason == ""
    if stored is not None:
        stays |= _found_in(ordered, stored)
    rejected = ordered.with_columns(reason).filter(~stays)
    return carry_actions(ordered, stays), quarantine_of(rejected, "closed_at")


def _found_in(bars: pl.DataFrame, stored: pl.DataFrame) -> pl.Series:
    """(rows,) Boolean: whether the bar is among the stored ones."""
    keys = stored.select(*KEYS, known=pl.lit(value=True))
    joined = bars.join(keys, on=KEYS, how="left", maintain_order="left")
    return joined["known"].fill_null(value=False)


def quarantine_of(rows: pl.DataFrame, stamp: str) -> pl.DataFrame:
    """Return bars with a `reason` in the columns of the quarantine; `stamp` is what dates them."""
    text = (
        pl.col(stamp).cast(pl.String)
        if rows.schema[stamp] == pl.Date
        else pl.col(stamp).dt.strftime(STAMP)
    )
    return rows.with_columns(stamp=text).select(
        pl.col(name).cast(kind) for name, kind in QUARANTINE_TYPES.items()
    )


def check_share(data: MarketData, config: QualityConfig) -> None:
    """Refuse data of which too many bars of a symbol had to be set aside, over all its history.

    Raises
    ------
    DataError
        If the share of a symbol's quarantined bars is above `config.max_quarantined_share`, or it
        has no other bars: symbols do not vanish.
    """
    # What is set aside are sessions, where the bars are longer than one.
    per_bar = SESSIONS.get(data.interval, 1)
    kept = data.bars.group_by("symbol").agg(kept=pl.len() * per_bar)
    counted = data.quarantine.group_by("symbol").len("aside").join(kept, on="symbol", how="left")
    share = pl.col("aside") / (pl.col("aside") + pl.col("kept").fill_null(0))
    nothing_left = pl.col("kept").is_null()
    worst = counted.filter(nothing_left | (share > config.max_quarantined_share))["symbol"]
    if worst.is_empty():
        return
    bad = data.quarantine.filter(pl.col("symbol").is_in(worst.to_list())).sort("symbol", "stamp")
    rows = [
        f"{row['symbol']} {row['stamp']} {row['reason']}, received "
        + ", ".join(f"{name} {row[name]}" for name in BAR_TYPES if name not in KEYS)
        for row in bad.head(SHOWN).iter_rows(named=True)
    ]
    raise DataError(
        f"bars of {data.name}: {describe_rows(rows, bad.height)}. Correct or remove these rows at "
        "their origin, or allow a larger quality.max_quarantined_share where some bars are left; "
        "nothing was stored."
    )


def check_past(data: MarketData, now: datetime) -> None:
    """Refuse what lies in the future: a bar that is not finished, a value that is not released.

    Raises
    ------
    DataError
        The message names the rows.
    """
    for table, key, stamp in (
        (data.bars, "symbol", "closed_at"),
        (data.reference, "symbol", "closed_at"),
        (data.macro, "series", "released_at"),
    ):
        ahead = table.filter(pl.col(stamp) > now).sort(key, stamp)
        if ahead.height:
            rows = [f"{row[key]} {row[stamp]}" for row in ahead.head(SHOWN).iter_rows(named=True)]
            raise DataError(
                f"{data.name}: expected each {stamp} not after the present ({now}), received "
                f"{describe_rows(rows, ahead.height)}. Leave these rows out until then; nothing "
                "was stored."
            )


def survey(data: MarketData) -> pl.DataFrame:
    """Count, for each symbol, what a reader should know before trusting its bars.

    Returns
    -------
    pl.DataFrame
        `symbol`, `bars`, `first`, `last` (closes), `missing` (bars of the exchange's schedule
        between first and last that are not there), `first_missing` (close, or null), `half_days`
        (sessions that closed early among the bars), `unchanged` (most bars in a row with the same
        close), `behind` (bars of the schedule after the symbol's last, up to the last of all:
        a stale symbol), `jumps` (opens that look like an undeclared split), `quarantined`.
    """
    table = pl.DataFrame(
        [_survey_symbol(data, symbol) for symbol in data.symbols], infer_schema_length=None
    )
    for counted, rows in (("jumps", find_jumps(data.bars)), ("quarantined", data.quarantine)):
        table = table.join(rows.group_by("symbol").len(counted), on="symbol", how="left")
    return table.with_columns(pl.col("jumps", "quarantined").fill_null(0)).sort("symbol")


def _survey_symbol(data: MarketData, symbol: str) -> dict[str, object]:
    own = data.bars.filter(pl.col("symbol") == symbol)
    first, last, end = own["closed_at"][0], own["closed_at"][-1], data.bars["closed_at"].sort()[-1]
    starts = period_start(data.exchange, data.interval, first.date())
    grid = bar_grid(data.exchange, data.interval, starts, end.date())
    grid = grid.filter(pl.col("closed_at").is_between(first, end))
    inside = grid.filter(pl.col("closed_at") <= last)
    missing = inside.join(own, on="closed_at", how="anti")["closed_at"]
    runs = own.select(pl.col("close").rle_id().alias("run")).group_by("run").len()["len"]
    return {
        "symbol": symbol,
        "bars": own.height,
        "first": first,
        "last": last,
        "missing": len(missing),
        "first_missing": missing[0] if len(missing) else None,
        "half_days": len(half_days(data.exchange) & set(own["closed_at"].dt.date())),
        "unchanged": runs.max(),
        "behind": grid.height - inside.height,
    }


def _frozen(interval: Interval, config: QualityConfig) -> pl.Expr:
    nothing = pl.lit(None, pl.String)
    if is_intraday(interval):
        # Within minutes a quiet market repeats itself.
        return nothing
    run = pl.struct(PRICES).rle_id().over("symbol")
    # Counted backwards only: whether a bar stays may not depend on those after it.
    before = pl.int_range(pl.len()).over("symbol", run)
    reason = f"frozen: at least the bar number {config.frozen_after_bars} with the same prices"
    return pl.when(before >= config.frozen_after_bars - 1).then(pl.lit(reason))
