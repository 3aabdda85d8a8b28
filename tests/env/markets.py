"""Small random markets for the environment's tests."""

import numpy as np

from ploutos.env.market import Market, carry_forward
from ploutos.env.scaler import Scaler


def random_market(rng, *, bars=60, symbols=2, features=3, macro=2):
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (bars, symbols)), axis=0))
    values = rng.normal(0, 1, (bars, symbols, features)).astype(np.float32)
    series = rng.normal(0, 1, (bars, macro)).astype(np.float32)
    values[rng.random(values.shape) < 0.05] = np.nan
    series[rng.random(series.shape) < 0.1] = np.nan
    return Market(
        features=values,
        macro=series,
        open=close * np.exp(rng.normal(0, 0.005, close.shape)),
        mark=carry_forward(close),
        split_ratio=np.ones_like(close),
        cash_dividend=np.zeros_like(close),
        valid=np.ones(close.shape, np.uint8),
        macro_valid=np.isfinite(series).astype(np.uint8),
    )


def plain_scaler(market, clip=5.0):
    features, macro = market.features.shape[2], market.macro.shape[1]
    return Scaler(
        np.full(features, 0.25, np.float32),
        np.full(features, 0.5, np.float32),
        np.zeros(macro, np.float32),
        np.ones(macro, np.float32),
        np.array([clip], np.float32),
    )
