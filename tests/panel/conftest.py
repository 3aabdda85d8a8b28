"""Market data with holes to align, and the panel of it."""

import numpy as np
import polars as pl
import pytest

from ploutos.features import FeatureConfig
from ploutos.market import MarketData
from ploutos.panel import Panel, PanelMeta
from ploutos.panel.build import align
from tests.panel.markets import SESSIONS, make_bars, make_macro


@pytest.fixture(scope="package")
def data():
    """A and B with every session, C from row 20 on, B without rows 100 to 102; DXY is missing."""
    holed = make_bars("B", 2).filter(~pl.int_range(pl.len()).is_in([100, 101, 102]))
    bars = pl.concat([make_bars("A", 1), holed, make_bars("C", 3, SESSIONS[20:])])
    return MarketData(
        name="three",
        bars=bars,
        macro=pl.concat([make_macro("TNX", 18), make_macro("VIX", 16)]),
        reference=make_bars("INDEX", 4, SESSIONS[:-1]).with_columns(open=pl.lit(None, pl.Float64)),
        missing_series=("DXY",),
    )


@pytest.fixture(scope="package")
def panel(data):
    return align(data, FeatureConfig())


@pytest.fixture(scope="package")
def small():
    """A panel of a few kilobytes with unmistakable values."""
    meta = PanelMeta(
        name="small",
        symbols=("A", "B"),
        feature_names=("x", "y", "z"),
        macro_names=("m",),
        catalog_digest="c" * 64,
        first_row=1,
    )
    return Panel(
        meta=meta,
        closed_at=np.arange(5) * 10,
        decided_at=np.arange(5) * 10 + 1,
        features=np.arange(30, dtype=np.float32).reshape(5, 2, 3),
        macro=np.ones((5, 1), np.float32),
        prices=np.arange(50.0).reshape(5, 2, 5),
        split_ratio=np.ones((5, 2)),
        cash_dividend=np.zeros((5, 2)),
        reference=np.empty((5, 0)),
        valid=np.ones((5, 2), np.uint8),
        macro_valid=np.ones((5, 1), np.uint8),
    )
