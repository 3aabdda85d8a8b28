"""Small hand-made frames for the tests of this folder."""

from datetime import UTC, datetime
from typing import Any

import polars as pl

from ploutos.market.schema import BAR_TYPES, MACRO_TYPES

# Thursday, Friday, Monday, in standard time.
CLOSES = (
    datetime(2013, 2, 28, 21, tzinfo=UTC),
    datetime(2013, 3, 1, 21, tzinfo=UTC),
    datetime(2013, 3, 4, 21, tzinfo=UTC),
)


def bars(symbols: tuple[str, ...] = ("AAA", "BBB"), **columns: Any) -> pl.DataFrame:
    """Make three bars per symbol; a keyword replaces a whole column."""
    count = len(symbols) * len(CLOSES)
    values: dict[str, Any] = {
        "symbol": [symbol for symbol in symbols for _ in CLOSES],
        "closed_at": list(CLOSES) * len(symbols),
        "open": [10.0] * count,
        "high": [12.0] * count,
        "low": [9.0] * count,
        "close": [11.0] * count,
        "volume": [1000.0] * count,
        "split_ratio": [1.0] * count,
        "cash_dividend": [0.0] * count,
    }
    return pl.DataFrame(values | columns, schema=BAR_TYPES)


def macro(**columns: Any) -> pl.DataFrame:
    """Make three values of VIX; a keyword replaces a whole column."""
    values: dict[str, Any] = {
        "series": ["VIX"] * 3,
        "released_at": list(CLOSES),
        "value": [15.5, 15.4, 14.0],
    }
    return pl.DataFrame(values | columns, schema=MACRO_TYPES)
