"""From dates to instants. In: frames by date. Out: bars stamped by their close, macro by release.

Source of the release times: DESIGN.md section 3, in New York time.
"""

from datetime import date, time

import polars as pl

from ploutos.calendar import NEW_YORK, instants
from ploutos.errors import DataError
from ploutos.market.grid import Interval, bar_grid
from ploutos.market.schema import BAR_TYPES, MACRO_TYPES, SHOWN, describe_rows

VIX_RELEASED = time(16, 15)
DXY_RELEASED = time(17, 0)
TREASURY_RELEASED = time(18, 0)
ECB_FIXING_RELEASED = time(10, 0)


def stamp_bars(dated: pl.DataFrame, exchange: str, name: str) -> pl.DataFrame:
    """Replace each bar's date by the instant of that session's close.

    Parameters
    ----------
    dated
        The columns of bars with `date` (Date) in place of `closed_at`.
    exchange
        Whose sessions the dates are.
    name
        What to call the data in a message.

    Raises
    ------
    DataError
        If a date is not a session; nothing is dropped silently.
    """
    stamped, strange = split_by_grid(dated.rename({"date": "start"}), exchange, "1d")
    if strange.height:
        strange = strange.sort("symbol", "start")
        rows = [f"{row['symbol']} {row['start']}" for row in strange.head(SHOWN).to_dicts()]
        raise DataError(
            f"{name}: expected sessions of {exchange}, received "
            f"{describe_rows(rows, strange.height)}, on which it did not trade. "
            "Remove these rows, or name the exchange that traded then."
        )
    return stamped


def split_by_grid(
    started: pl.DataFrame, exchange: str, interval: Interval
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Stamp bars by their close, and tell apart those that the exchange's schedule does not have.

    Parameters
    ----------
    started
        The columns of bars with `start` in place of `closed_at`: a Date for daily and longer bars,
        else Datetime("ns", "UTC").
    exchange, interval
        Which bars there are.

    Returns
    -------
    tuple[pl.DataFrame, pl.DataFrame]
        Bars, and the rows of `started` that are none.
    """
    if started.is_empty():
        return pl.DataFrame(schema=BAR_TYPES), started
    days = started["start"].cast(pl.Date)
    first, last = days.min(), days.max()
    if not isinstance(first, date) or not isinstance(last, date):
        raise DataError("expected a start in every bar, received none at all")
    grid = bar_grid(exchange, interval, first, last)
    stamped = started.join(grid, on="start", how="left", maintain_order="left")
    known = pl.col("closed_at").is_not_null()
    return stamped.filter(known).select(list(BAR_TYPES)), started.join(grid, on="start", how="anti")


def release_series(dated: pl.DataFrame, series: str, released: time) -> pl.DataFrame:
    """Stamp one macro series by its release.

    Parameters
    ----------
    dated
        `date` Date, `value` Float64, null where nothing was published.
    series
        Name of the series.
    released
        New York time, on the date itself, at which the value is public.

    Returns
    -------
    pl.DataFrame
        Rows of a macro frame; a null is left out: missing is missing.
    """
    present = dated.drop_nulls("value")
    return present.select(
        series=pl.lit(series),
        released_at=instants(present["date"], released, NEW_YORK),
        value=pl.col("value").cast(pl.Float64),
    ).select(list(MACRO_TYPES))
