"""Bars on the real sessions of New York, and macro series that are released in the evening."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from ploutos.calendar import closes

SESSIONS = closes("XNYS", date(2015, 1, 2), date(2016, 3, 31))["closed_at"].to_list()
T = len(SESSIONS)
PRICES = ["open", "high", "low", "close"]
ARRAYS = (
    "closed_at",
    "decided_at",
    "features",
    "macro",
    "prices",
    "split_ratio",
    "cash_dividend",
    "reference",
    "valid",
    "macro_valid",
)


def make_bars(symbol, seed, sessions=SESSIONS):
    rng = np.random.default_rng(seed)
    n_bars = len(sessions)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.015, n_bars)))
    opening = close * np.exp(rng.normal(0, 0.005, n_bars))
    return pl.DataFrame(
        {
            "symbol": [symbol] * n_bars,
            "closed_at": pl.Series(sessions, dtype=pl.Datetime("ns", "UTC")),
            "open": opening,
            "high": np.maximum(opening, close) * 1.003,
            "low": np.minimum(opening, close) * 0.997,
            "close": close,
            "volume": np.round(rng.lognormal(12, 0.4, n_bars)),
            "split_ratio": np.ones(n_bars),
            "cash_dividend": np.zeros(n_bars),
        }
    )


def make_macro(series, hour, days=460):
    """Return one value each weekday from before the bars' first day on, at `hour` New York time."""
    start = datetime(2013, 11, 1, hour, tzinfo=ZoneInfo("America/New_York"))
    released_at = [
        (start + timedelta(days=day)).astimezone(UTC)
        for day in range(2 * days)
        if (start + timedelta(days=day)).weekday() < 5
    ]
    rng = np.random.default_rng(len(series) + hour)
    return pl.DataFrame(
        {
            "series": [series] * len(released_at),
            "released_at": pl.Series(released_at, dtype=pl.Datetime("ns", "UTC")),
            "value": 20 * np.exp(np.cumsum(rng.normal(0, 0.03, len(released_at)))),
        }
    )
