"""No feature has a scale: neither the currency unit nor a split, wherever it falls, moves it."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ploutos.features import CATALOG, FeatureConfig, compute_features

N_BARS = 280
NAMES = [row.name for row in CATALOG]
PRICES = ["open", "high", "low", "close"]
RATIOS = [2.0, 3.0, 0.1, 1.5, 7.0, 20.0]


@pytest.fixture(scope="module")
def bars(bar_maker):
    """Prices of a few ticks, so that many of them tie."""
    return bar_maker(2, N_BARS, seed=21, tick=0.25).with_columns(
        number=pl.int_range(pl.len()).over("symbol")
    )


@pytest.fixture(scope="module")
def expected(bars):
    return compute_features(bars, FeatureConfig()).select(NAMES).to_numpy()


def moved(received, expected):
    """Return the features that differ by more than a relative 1e-8, and the first row of each."""
    usual = np.nanmedian(np.abs(expected), axis=0)
    near = np.abs(received - expected) <= 1e-8 * np.maximum(np.abs(expected), usual) + 1e-10
    wrong = ~(near | (np.isnan(received) & np.isnan(expected)))
    return {NAMES[k]: int(np.argmax(wrong[:, k])) for k in np.flatnonzero(wrong.any(axis=0))}


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(1e-4, 1e4), shares=st.floats(1e-3, 1e3))
def test_other_units_of_price_and_volume_leave_every_feature_unchanged(
    bars, expected, factor, shares
):
    scaled = bars.with_columns(
        *(pl.col(name) * factor for name in PRICES), pl.col("volume") * shares
    )
    received = compute_features(scaled, FeatureConfig()).select(NAMES).to_numpy()
    assert moved(received, expected) == {}


def test_a_split_at_any_bar_leaves_every_feature_unchanged(bars, expected):
    """World k is the market in which S0 splits at bar k; its clock keeps it apart from others."""
    cuts = list(range(N_BARS))
    worlds = bars.join(
        pl.DataFrame({"world": cuts, "ratio": [RATIOS[k % len(RATIOS)] for k in cuts]}),
        how="cross",
    )
    splits = (pl.col("symbol") == "S0") & (pl.col("number") == pl.col("world"))
    after = (pl.col("symbol") == "S0") & (pl.col("number") >= pl.col("world"))
    factor = pl.when(after).then(pl.col("ratio")).otherwise(1.0)
    split = worlds.with_columns(
        *(pl.col(name) / factor for name in PRICES),
        (pl.col("volume") * factor).alias("volume"),
        pl.when(splits).then(pl.col("ratio")).otherwise(1.0).alias("split_ratio"),
        (pl.col("world").cast(pl.String).str.zfill(4) + "/" + pl.col("symbol")).alias("symbol"),
        pl.col("closed_at") + pl.duration(nanoseconds=pl.col("world")),
    ).sort("symbol", "closed_at")
    received = compute_features(split, FeatureConfig()).select(NAMES).to_numpy()
    assert moved(received, np.tile(expected, (N_BARS, 1))) == {}
