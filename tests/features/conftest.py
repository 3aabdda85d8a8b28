"""Bars to compute features on, and the tools that the oracles are written with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
import talib
from numpy.lib.stride_tricks import sliding_window_view

from ploutos.features import CATALOG, FeatureConfig, compute_features

BarMaker = Callable[..., pl.DataFrame]


def make_bars(symbols: int, n_bars: int, seed: int = 0, tick: float = 0.01) -> pl.DataFrame:
    """Return weekday bars rounded to the tick (so that prices tie), without splits or dividends."""
    days = [datetime(2015, 1, 1, 21, tzinfo=UTC) + timedelta(days=day) for day in range(2 * n_bars)]
    closed_at = [day for day in days if day.weekday() < 5][:n_bars]
    frames = []
    for index in range(symbols):
        rng = np.random.default_rng([seed, index])
        close = 40.0 * np.exp(np.cumsum(0.015 * rng.standard_t(4, n_bars)))
        opening = np.concatenate([close[:1], close[:-1]]) * np.exp(rng.normal(0, 0.006, n_bars))
        high = np.maximum(opening, close) * np.exp(np.abs(rng.normal(0, 0.006, n_bars)))
        low = np.minimum(opening, close) * np.exp(-np.abs(rng.normal(0, 0.006, n_bars)))
        frames.append(
            pl.DataFrame(
                {
                    "symbol": [f"S{index}"] * n_bars,
                    "closed_at": pl.Series(closed_at, dtype=pl.Datetime("ns", "UTC")),
                    "open": np.round(opening / tick) * tick,
                    "high": np.ceil(high / tick) * tick,
                    "low": np.floor(low / tick) * tick,
                    "close": np.round(close / tick) * tick,
                    "volume": np.round(rng.lognormal(12, 0.4, n_bars)),
                    "split_ratio": np.ones(n_bars),
                    "cash_dividend": np.zeros(n_bars),
                }
            )
        )
    return pl.concat(frames)


@dataclass
class Market:
    """One symbol's bars as arrays, the computed features, and reference tools in plain numpy."""

    bars: pl.DataFrame
    features: pl.DataFrame
    symbol: str = "S0"
    o: np.ndarray = field(init=False)
    h: np.ndarray = field(init=False)
    l: np.ndarray = field(init=False)  # noqa: E741
    c: np.ndarray = field(init=False)
    v: np.ndarray = field(init=False)

    def __post_init__(self):
        own = self.bars.filter(pl.col("symbol") == self.symbol)
        names = ("open", "high", "low", "close", "volume")
        self.o, self.h, self.l, self.c, self.v = (own[name].to_numpy() for name in names)
        self.dates = own["closed_at"].to_list()

    def cents(self, *names):
        """Return prices as whole cents, whose sums and differences are exact."""
        return [np.round(getattr(self, name) * 100) for name in names]

    @property
    def r(self):
        """Log returns of all closes, the first NaN."""
        return np.concatenate([[np.nan], np.diff(np.log(self.c))])

    @property
    def tp(self):
        return (self.h + self.l + self.c) / 3

    @property
    def tr(self):
        return talib.TRANGE(self.h, self.l, self.c)

    @property
    def atr(self):
        return talib.ATR(self.h, self.l, self.c, 14)

    def universe_return(self):
        """Return the mean log return over all symbols, which here all have every bar."""
        closes = self.bars["close"].to_numpy().reshape(-1, len(self.c))
        return np.concatenate([[np.nan], np.diff(np.log(closes), axis=1).mean(axis=0)])

    @staticmethod
    def lag(x, n):
        return np.concatenate([np.full(n, np.nan), x[:-n]])

    @staticmethod
    def rolling(x, n, function, *others):
        """Apply `function` to each window of n values, the newest one last."""
        windows = [sliding_window_view(np.asarray(y, float), n) for y in (x, *others)]
        values = [function(*window) for window in zip(*windows, strict=True)]
        return np.concatenate([np.full(n - 1, np.nan), np.array(values, float)])

    def check(self, name: str, expected: np.ndarray, start: int | None = None):
        """Assert equality to 1e-6 from the end of the warm-up on, and null before it."""
        warm_up = next(row.warm_up_bars for row in CATALOG if row.name == name)
        column = self.features.filter(pl.col("symbol") == self.symbol)[name]
        received = column.to_numpy()
        assert column[:warm_up].null_count() == warm_up
        first = warm_up if start is None else start
        scale = np.nanmedian(np.abs(expected[first:]))
        assert np.isfinite(expected[first:]).mean() > 0.9
        np.testing.assert_allclose(
            received[first:], expected[first:], rtol=1e-6, atol=1e-6 * scale + 1e-12
        )


@pytest.fixture(scope="session")
def bar_maker() -> BarMaker:
    return make_bars


@pytest.fixture(scope="session")
def market() -> Market:
    bars = make_bars(symbols=3, n_bars=640)
    return Market(bars, compute_features(bars, FeatureConfig()))


@pytest.fixture
def names_of():
    """Return the names of a family's features."""

    def names(family: str) -> set[str]:
        return {row.name for row in CATALOG if row.family == family}

    return names
