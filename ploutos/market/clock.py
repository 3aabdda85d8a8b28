"""From dates to instants. In: frames by date. Out: bars stamped by their close, macro by release.

Source of the release times: DESIGN.md section 3, in New York time.
"""

from datetime import date, time

import polars as pl

from ploutos.calendar import NEW_YORK, closes, instants
from ploutos.errors import DataError
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
    if dated.is_empty():
        return pl.DataFrame(schema=BAR_TYPES)
    first, last = dated["date"].min(), dated["date"].max()
    if not isinstance(first, date) or not isinstance(last, date):
        raise DataError(f"{name}: expected a date in every row, received none at all")
    table = closes(exchange, first, last)
    stamped = dated.join(table, left_on="date", right_on="session", how="left")
    strange = stamped.filter(pl.col("closed_at").is_null()).sort("symbol", "date")
    if strange.height:
        rows = [f"{row['symbol']} {row['date']}" for row in strange.head(SHOWN).to_dicts()]
        raise DataError(
            f"{name}: expected sessions of {exchange}, received "
            f"{describe_rows(rows, strange.height)}, on which it did not trade. "
            "Remove these rows, or name the exchange that traded then."
        )
    return stamped.select(list(BAR_TYPES))


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
