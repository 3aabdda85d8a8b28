"""Seasonal features, from the calendar date of the close. In: `closed_at`. Out: catalog rows.

The date is that of `closed_at` in UTC, which for a session that closes by 24:00 UTC is the
session's own. It is known in advance; nothing here looks at prices. What depends on the date alone
is computed once per date.
"""

from math import pi

import polars as pl

from ploutos.features.bases import ELAPSED_DAYS
from ploutos.features.expression import Expression
from ploutos.features.feature import Feature

_CLOSED_AT = pl.col("closed_at")
_WEEKDAY = (_CLOSED_AT.dt.weekday() - 1).cast(pl.Float64) * (2 * pi / 7)
_MONTH = (_CLOSED_AT.dt.month() - 1).cast(pl.Float64) * (2 * pi / 12)
_DAYS_IN_MONTH = _CLOSED_AT.dt.month_end().dt.day().cast(pl.Float64)


def _row(
    name: str, expression: Expression | pl.Expr, warm_up_bars: int, unit: str, formula: str
) -> Feature:
    source = "Calendar arithmetic"
    return Feature(
        name, "seasonal", expression, warm_up_bars, unit, formula, source, over="instant"
    )


FEATURES: tuple[Feature, ...] = (
    _row("weekday_sin", _WEEKDAY.sin(), 0, "[-1, 1]", "sin(2 pi d / 7), d = 0 on Monday"),
    _row("weekday_cos", _WEEKDAY.cos(), 0, "[-1, 1]", "cos(2 pi d / 7), d = 0 on Monday"),
    _row("month_sin", _MONTH.sin(), 0, "[-1, 1]", "sin(2 pi m / 12), m = 0 in January"),
    _row("month_cos", _MONTH.cos(), 0, "[-1, 1]", "cos(2 pi m / 12), m = 0 in January"),
    _row(
        "month_progress",
        (_CLOSED_AT.dt.day().cast(pl.Float64) - 1.0) / (_DAYS_IN_MONTH - 1.0),
        0,
        "[0, 1]",
        "(day of month - 1) / (days in month - 1)",
    ),
    _row(
        "days_since_bar",
        ELAPSED_DAYS,
        1,
        "days",
        "days from the close of the previous bar to the close of this one",
    ),
)
