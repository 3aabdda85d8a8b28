"""Small random markets for the environment's tests, made by NumPy and by nothing of the engine."""

import numpy as np

from ploutos.env.market import Market
from ploutos.env.scaler import Scaler


def random_market(rng, *, bars=60, symbols=2, features=3, macro=2):
    """Return a calm market: every symbol has every bar, and volumes that fill any order."""
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (bars, symbols)), axis=0))
    opens = close * np.exp(rng.normal(0, 0.005, close.shape))
    return market_from(opens, close, **random_features(rng, bars, symbols, features, macro))


def rough_market(rng, *, bars=40, symbols=3, features=2, macro=1):
    """Return a market with all that can go wrong: gaps, splits, dividends, crashes, no volume."""
    shape = (bars, symbols)
    moves = rng.normal(0, rng.choice([0.01, 0.05, 0.15]), shape)
    close = rng.choice([0.5, 20.0, 700.0], symbols) * np.exp(np.cumsum(moves, axis=0))
    opens = close * np.exp(rng.normal(0, rng.choice([0.001, 0.03]), shape))
    missing = rng.random(shape) < rng.choice([0.0, 0.08])
    if rng.random() < 0.3:
        missing[: int(rng.integers(1, bars // 2)), 0] = True  # listed late
    if rng.random() < 0.3:
        missing[int(rng.integers(bars // 2, bars)) :, -1] = True  # delisted
    split = np.where(rng.random(shape) < 0.04, rng.choice([2.0, 0.1, 1.5, 3.0], shape), 1.0)
    dividend = np.where(rng.random(shape) < 0.06, rng.uniform(0, 0.05, shape) * close, 0.0)
    split[missing], dividend[missing] = 1.0, 0.0
    close[missing], opens[missing] = np.nan, np.nan
    typical = 10 ** rng.uniform(1, 9, symbols)
    volume = np.floor(typical * np.exp(rng.normal(0, 0.3, shape)))
    volume[rng.random(shape) < 0.02] = 0.0
    clock = np.zeros((bars, 6))
    clock[:, 1] = rng.choice([1.0, 3.0, 4.0, 0.9583], bars)
    clock[:, 2:5] = rng.choice([0.0, 1.0]) * rng.uniform(0, [3e-5, 3e-4, 5.0], (bars, 3))
    clock[1:, 5] = rng.normal(0, 0.01, bars - 1)
    known = random_features(rng, bars, symbols, features, macro)
    known["valid"] = (~missing & (rng.random(shape) > 0.03)).astype(np.uint8)
    return market_from(
        opens, close, split=split, dividend=dividend, volume=volume, clock=clock, **known
    )


def random_features(rng, bars, symbols, features, macro):
    values = rng.normal(0, 1, (bars, symbols, features)).astype(np.float32)
    series = rng.normal(0, 1, (bars, macro)).astype(np.float32)
    values[rng.random(values.shape) < 0.05] = np.nan
    series[rng.random(series.shape) < 0.1] = np.nan
    return {"features": values, "macro": series}


def market_from(
    opens,
    closes,
    *,
    split=None,
    dividend=None,
    volume=None,
    clock=None,
    valid=None,
    features=None,
    macro=None,
):
    """Build a `Market` from (T, N) opens and closes; all else has a harmless default."""
    opens, closes = np.array(opens, np.float64), np.array(closes, np.float64)
    bars, symbols = closes.shape
    split = np.ones((bars, symbols)) if split is None else np.array(split, np.float64)
    dividend = np.zeros((bars, symbols)) if dividend is None else np.array(dividend, np.float64)
    volume = np.full((bars, symbols), 1e9) if volume is None else np.array(volume, np.float64)
    valid = np.isfinite(closes) if valid is None else valid
    features = np.zeros((bars, symbols, 1)) if features is None else features
    macro = np.zeros((bars, 0)) if macro is None else macro
    if clock is None:
        clock = np.zeros((bars, 6))
        clock[1:, 1] = 1.0
    clock[:, 0] = ((split != 1) | (dividend != 0)).any(axis=1)
    market = Market(
        features=np.ascontiguousarray(features, np.float32),
        macro=np.ascontiguousarray(macro, np.float32),
        valid=np.ascontiguousarray(valid, np.uint8),
        macro_valid=np.isfinite(macro).astype(np.uint8),
        split_ratio=split,
        cash_dividend=dividend,
        open=opens,
        mark=last_known(closes),
        volume=volume,
        clock=clock,
    )
    for array in market:
        array.flags.writeable = False  # compiled code is made for read-only markets
    return market


def one_symbol_market(opens, closes, split=None, dividend=None, **more):
    def column(values):
        return None if values is None else np.array(values, np.float64).reshape(-1, 1)

    more = {name: column(value) if name == "volume" else value for name, value in more.items()}
    return market_from(
        column(opens), column(closes), split=column(split), dividend=column(dividend), **more
    )


def last_known(closes):
    mark = np.zeros_like(closes)
    for n in range(closes.shape[1]):
        last = 0.0
        for t, close in enumerate(closes[:, n]):
            last = last if np.isnan(close) else close
            mark[t, n] = last
    return mark


def plain_scaler(market, clip=5.0):
    features, macro = market.features.shape[2], market.macro.shape[1]
    return Scaler(
        np.full(features, 0.25, np.float32),
        np.full(features, 0.5, np.float32),
        np.zeros(macro, np.float32),
        np.ones(macro, np.float32),
        np.array([clip], np.float32),
    )
