"""Rows of the catalog in pandas' own words. In: OHLCV columns. Out: a frame of the same features.

Only what `rolling`, `ewm`, `shift` and arithmetic say: nothing that would need `rolling.apply`,
which is slower by another two orders of magnitude. With keys, every operation that looks back is a
groupby over them; without, the frame is one symbol's.
"""

from collections.abc import Callable
from math import log

import numpy as np
import pandas as pd

Series = pd.Series


class Bars:
    """The columns of a frame, and the operations that look back.

    Parameters
    ----------
    frame
        open, high, low, close, volume.
    keys
        The symbol of every row, or none where there is one symbol only.
    """

    def __init__(self, frame: pd.DataFrame, keys: list[Series]) -> None:
        self.keys = keys
        self.open, self.high, self.low = frame["open"], frame["high"], frame["low"]
        self.close, self.volume = frame["close"], frame["volume"]
        self.previous = self.shift(self.close, 1)
        self.returns = np.log(self.close / self.previous)
        self.range = self.high - self.low
        self.true_range = np.fmax(self.high, self.previous) - np.fmin(self.low, self.previous)
        self.atr = self.wilder(self.true_range, 14)

    def _grouped(self, x: Series):
        return x.groupby(self.keys, sort=False) if self.keys else x

    def _flat(self, x: Series) -> Series:
        return x.droplevel(0) if self.keys else x

    def shift(self, x: Series, n: int) -> Series:
        return self._grouped(x).shift(n)

    def roll(self, x: Series, n: int, what: str, **options: object) -> Series:
        return self._flat(getattr(self._grouped(x).rolling(n), what)(**options))

    def mean(self, x: Series, n: int) -> Series:
        return self.roll(x, n, "mean")

    def sum(self, x: Series, n: int) -> Series:
        return self.roll(x, n, "sum")

    def std(self, x: Series, n: int) -> Series:
        return self.roll(x, n, "std")

    def exponential(self, x: Series, alpha: float) -> Series:
        return self._flat(self._grouped(x).ewm(alpha=alpha, adjust=False).mean())

    def ema(self, x: Series, span: int) -> Series:
        return self.exponential(x, 2 / (span + 1))

    def wilder(self, x: Series, n: int) -> Series:
        return self.exponential(x, 1 / n)

    def position(self, x: Series, n: int) -> Series:
        lowest, highest = self.roll(self.low, n, "min"), self.roll(self.high, n, "max")
        return (x - lowest) / (highest - lowest)

    def strength(self, n: int) -> Series:
        change = self.close - self.previous
        gain, loss = self.wilder(change.clip(lower=0), n), self.wilder((-change).clip(lower=0), n)
        return gain / (gain + loss)

    def rank(self, x: Series, n: int) -> Series:
        return (self.roll(x, n, "rank") - 0.5) / n

    def skew(self, n: int) -> Series:
        return self.roll(self.returns, n, "skew") * (n - 2) / (n * (n - 1)) ** 0.5

    def kurtosis(self, n: int) -> Series:
        own = self.roll(self.returns, n, "kurt")
        return (own * (n - 2) * (n - 3) / (n - 1) - 6) / (n + 1)


def _on(n_bars: tuple[int, ...], name: str, function: Callable[[Bars, int], Series]) -> dict:
    return {name.format(n): lambda b, n=n: function(b, n) for n in n_bars}


FEATURES: dict[str, Callable[[Bars], Series]] = {
    **_on((10, 20, 50, 100, 200), "sma_distance_{}", lambda b, n: b.close / b.mean(b.close, n) - 1),
    "sma_cross_20_50": lambda b: b.mean(b.close, 20) / b.mean(b.close, 50) - 1,
    "sma_cross_50_200": lambda b: b.mean(b.close, 50) / b.mean(b.close, 200) - 1,
    "macd_line": lambda b: (b.ema(b.close, 12) - b.ema(b.close, 26)) / b.close,
    "efficiency_ratio_20": lambda b: b.sum(b.returns, 20).abs() / b.sum(b.returns.abs(), 20),
    "choppiness_14": lambda b: (
        np.log(b.sum(b.true_range, 14) / (b.roll(b.high, 14, "max") - b.roll(b.low, 14, "min")))
        / log(14)
    ),
    **_on(
        (1, 5, 10, 21, 63, 126),
        "momentum_{}",
        lambda b, n: np.log(b.close / b.shift(b.close, n)),
    ),
    "momentum_252_21": lambda b: np.log(b.shift(b.close, 21) / b.shift(b.close, 252)),
    "rsi_14": lambda b: b.strength(14),
    "rsi_2": lambda b: b.strength(2),
    "stochastic_k_14": lambda b: b.position(b.close, 14),
    "stochastic_d_14_3": lambda b: b.mean(b.position(b.close, 14), 3),
    "williams_r_14": lambda b: b.position(b.close, 14) - 1,
    "gain_share_21": lambda b: b.sum(b.returns.clip(lower=0), 21) / b.sum(b.returns.abs(), 21),
    **_on(
        (20, 60),
        "zscore_{}",
        lambda b, n: (b.close - b.mean(b.close, n)) / b.std(b.close, n),
    ),
    "bollinger_width_20": lambda b: 4 * b.roll(b.close, 20, "std", ddof=0) / b.mean(b.close, 20),
    "median_distance_20": lambda b: (b.close - b.roll(b.close, 20, "median")) / b.atr,
    "return_zscore_21": lambda b: (b.returns - b.mean(b.returns, 21)) / b.std(b.returns, 21),
    **_on((10, 21, 63), "volatility_{}", lambda b, n: b.std(b.returns, n)),
    "volatility_ratio_10_63": lambda b: np.log(b.std(b.returns, 10) / b.std(b.returns, 63)),
    "volatility_rank_126": lambda b: b.rank(b.std(b.returns, 21), 126),
    "volatility_of_volatility_63": lambda b: (
        b.std(b.std(b.returns, 10), 63) / b.mean(b.std(b.returns, 10), 63)
    ),
    "atr_ratio_14": lambda b: b.atr / b.close,
    "range_surprise_14": lambda b: b.true_range / b.shift(b.atr, 1),
    "parkinson_21": lambda b: np.sqrt(b.mean(np.log(b.high / b.low) ** 2, 21) / (4 * log(2))),
    "downside_share_21": lambda b: (
        b.sum(b.returns.clip(upper=0) ** 2, 21) / b.sum(b.returns**2, 21)
    ),
    "squeeze_20": lambda b: 2 * b.roll(b.close, 20, "std", ddof=0) / (1.5 * b.atr),
    "relative_volume_20": lambda b: b.volume / b.mean(b.volume, 20),
    "volume_zscore_20": lambda b: (b.volume - b.mean(b.volume, 20)) / b.std(b.volume, 20),
    "volume_trend_10_60": lambda b: b.mean(b.volume, 10) / b.mean(b.volume, 60) - 1,
    "volume_rank_63": lambda b: b.rank(b.volume, 63),
    "volume_variation_20": lambda b: b.std(b.volume, 20) / b.mean(b.volume, 20),
    "obv_20": lambda b: b.sum(np.sign(b.returns) * b.volume, 20) / b.sum(b.volume, 20),
    "force_index_13": lambda b: b.sum(b.returns * b.volume, 13) / b.sum(b.volume, 13),
    "gap": lambda b: np.log(b.open / b.previous),
    "intraday_return": lambda b: np.log(b.close / b.open),
    "range_atr_14": lambda b: b.range / b.atr,
    "body": lambda b: (b.close - b.open) / b.range,
    "upper_shadow": lambda b: (b.high - np.maximum(b.open, b.close)) / b.range,
    "lower_shadow": lambda b: (np.minimum(b.open, b.close) - b.low) / b.range,
    **_on(
        (20, 60, 252),
        "high_distance_{}",
        lambda b, n: np.log(b.close / b.roll(b.high, n, "max")),
    ),
    **_on(
        (20, 60, 252),
        "low_distance_{}",
        lambda b, n: np.log(b.close / b.roll(b.low, n, "min")),
    ),
    "donchian_position_55": lambda b: b.position(b.close, 55),
    "keltner_position_20": lambda b: (b.close - b.ema(b.close, 20)) / (2 * b.atr),
    "skew_63": lambda b: b.skew(63),
    "kurtosis_63": lambda b: b.kurtosis(63),
    "sharpe_63": lambda b: b.mean(b.returns, 63) / b.std(b.returns, 63),
    "largest_move_63": lambda b: b.roll(b.returns.abs(), 63, "max") / b.std(b.returns, 63),
}


def grouped(frame: pd.DataFrame, symbols: Series) -> pd.DataFrame:
    """Compute every feature of a long frame at once, with a groupby for each operation."""
    bars = Bars(frame, [symbols])
    return pd.DataFrame({name: function(bars) for name, function in FEATURES.items()})


def one_by_one(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Take one symbol's frame after the other, add a column per feature, and join the frames."""
    parts = []
    for frame in frames:
        own = frame.copy()
        bars = Bars(own, [])
        for name, function in FEATURES.items():
            own[name] = function(bars)
        parts.append(own)
    return pd.concat(parts, ignore_index=True)
