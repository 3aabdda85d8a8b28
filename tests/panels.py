"""Small random panels for tests of the stages after the panel."""

import numpy as np

from ploutos.panel import Panel, PanelMeta

DAY_NS = 86_400 * 10**9


def random_panel(seed=0, *, bars=200, symbols=2, features=3, macro=2, first_row=10):
    rng = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(rng.normal(0.0005, 0.02, (bars, symbols)), axis=0))
    opens = close * np.exp(rng.normal(0, 0.005, close.shape))
    volume = np.full(close.shape, 1e6)
    high, low = np.maximum(opens, close) * 1.01, np.minimum(opens, close) * 0.99
    values = rng.normal(0, 1, (bars, symbols, features)).astype(np.float32)
    values[:first_row] = np.nan
    series = rng.normal(0, 1, (bars, macro)).astype(np.float32)
    closed_at = np.arange(bars, dtype=np.int64) * DAY_NS + 1_400_000_000 * 10**9
    valid = np.ones(close.shape, np.uint8)
    valid[:first_row] = 0
    meta = PanelMeta(
        name="random",
        symbols=tuple(f"S{n}" for n in range(symbols)),
        feature_names=tuple(f"f{f}" for f in range(features)),
        macro_names=tuple(f"m{m}" for m in range(macro)),
        catalog_digest="c" * 64,
        first_row=first_row,
    )
    return Panel(
        meta=meta,
        closed_at=closed_at,
        decided_at=closed_at + 3 * 3600 * 10**9,
        features=values,
        macro=series,
        prices=np.stack([opens, high, low, close, volume], axis=2),
        split_ratio=np.ones_like(close),
        cash_dividend=np.zeros_like(close),
        reference=np.zeros((bars, 0)),
        valid=valid,
        macro_valid=np.ones(series.shape, np.uint8),
    )
