"""No value depends on a later bar: every feature, every row, by truncation and by perturbation.

Many histories go through one engine call: each is a world of its own symbols, whose clock is
shifted by as many nanoseconds as its number, so that no two worlds share a bar.
"""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from ploutos.features import CATALOG, Feature, FeatureConfig, compute_features
from ploutos.features.bases import carry_actions

N_BARS = 276
NAMES = [row.name for row in CATALOG]
PRICES = ["open", "high", "low", "close"]


@pytest.fixture(scope="module")
def bars(bar_maker):
    """Three symbols with a split and dividends, numbered by `number` within each symbol."""
    plain = bar_maker(3, N_BARS, seed=1).with_columns(number=pl.int_range(pl.len()).over("symbol"))
    split = (pl.col("symbol") == "S1") & (pl.col("number") == 262)
    pays = (pl.col("symbol") != "S2") & (pl.col("number") % 60 == 10)
    return plain.with_columns(
        pl.when(split).then(3.0).otherwise(1.0).alias("split_ratio"),
        pl.when(pays).then(0.3).otherwise(0.0).alias("cash_dividend"),
        *(
            pl.when((pl.col("symbol") == "S1") & (pl.col("number") >= 262))
            .then(pl.col(name) / 3)
            .otherwise(pl.col(name))
            .alias(name)
            for name in PRICES
        ),
    )


def in_worlds(bars, worlds):
    """Repeat the bars once per world."""
    return bars.join(pl.DataFrame({"world": worlds}), how="cross")


def compute_worlds(worlds, features=CATALOG):
    """Compute all worlds in one call; sorted by (world, symbol, number)."""
    named = worlds.with_columns(
        (pl.col("world").cast(pl.String).str.zfill(4) + "/" + pl.col("symbol")).alias("symbol"),
        pl.col("closed_at") + pl.duration(nanoseconds=pl.col("world")),
        original=pl.col("symbol"),
    ).sort("symbol", "closed_at")
    named = carry_actions(named)
    computed = compute_features(named, FeatureConfig(), features)
    return named.select("world", pl.col("original").alias("symbol"), "number").hstack(
        computed.drop("symbol", "closed_at")
    )


def differing(bars, worlds, features=CATALOG, *, before=None):
    """Return {feature: first (world, symbol, number)} where a world's past is not bit-identical."""
    names = [row.name for row in features]
    full = compute_worlds(bars.with_columns(world=pl.lit(0)), features).drop("world")
    received = compute_worlds(worlds, features)
    if before is not None:
        received = received.filter(before)
    joined = received.join(full, on=["symbol", "number"], how="left", suffix=" full")
    assert joined.height == received.height
    found = {}
    for name in names:
        wrong = joined.filter(
            pl.col(name)
            .reinterpret(signed=True)
            .ne_missing(pl.col(f"{name} full").reinterpret(signed=True))
        )
        if wrong.height:
            found[name] = wrong.select("world", "symbol", "number").row(0)
    return found


def truncated(bars):
    """Return one world per cut: world k holds the first k bars of each symbol."""
    return in_worlds(bars, list(range(1, N_BARS + 1))).filter(pl.col("number") < pl.col("world"))


def test_truncating_the_future_leaves_every_past_value_bit_identical(bars):
    assert differing(bars, truncated(bars)) == {}


def _doubled(future):
    """Double the prices, split, pay and hide the volume."""
    return [
        *(
            pl.when(future).then(pl.col(name) * factor).otherwise(pl.col(name))
            for name, factor in [*((name, 2.0) for name in PRICES), ("split_ratio", 1.5)]
        ),
        pl.when(future).then(None).otherwise(pl.col("volume")).alias("volume"),
        pl.when(future).then(5.0).otherwise(pl.col("cash_dividend")).alias("cash_dividend"),
    ]


def _reversed(future):
    last = N_BARS - 1 + pl.col("world") - pl.col("number")
    order = pl.when(future).then(last).otherwise(pl.col("number"))
    return [
        pl.col(name).gather(order).over("world", "symbol").alias(name)
        for name in [*PRICES, "volume"]
    ]


def _holed(future):
    """Lose a price of every other bar, which then is no bar."""
    lost = future & (pl.col("number") % 2 == pl.col("world") % 2)
    return [pl.when(lost).then(float("nan")).otherwise(pl.col("low")).alias("low")]


@pytest.mark.parametrize("perturb", [_doubled, _reversed, _holed])
@pytest.mark.parametrize("part", [0, 1])
def test_perturbing_the_future_leaves_every_past_value_bit_identical(bars, perturb, part):
    worlds = in_worlds(bars, [cut for cut in range(1, N_BARS) if cut % 2 == part])
    future = pl.col("number") >= pl.col("world")
    changed = worlds.with_columns(perturb(future))
    assert not changed.equals(worlds)
    assert differing(bars, changed, before=pl.col("number") < pl.col("world")) == {}


@pytest.mark.parametrize(
    ("leak", "expression"),
    [
        ("next_close", pl.col("close").shift(-1) / pl.col("close")),
        ("backfill", pl.col("log_return").fill_null(strategy="backward")),
        ("centred", pl.col("close").rolling_mean(5, center=True) / pl.col("close")),
        ("full_sample", pl.col("log_return") / pl.col("log_return").std()),
    ],
)
def test_a_leaking_feature_is_found(bars, leak, expression):
    row = Feature(leak, "own", expression, 0, "ratio", "a leak", "none")
    assert set(differing(bars, truncated(bars), (row,))) == {leak}


def late_starts(bars):
    return in_worlds(bars, [1, 7, 40, 111]).filter(pl.col("number") >= pl.col("world"))


def worst_memory(bars, features):
    """Return {feature: largest error of a late start, relative to the feature's own scale}."""
    full = compute_worlds(bars.with_columns(world=pl.lit(0)), features).drop("world")
    joined = compute_worlds(late_starts(bars), features).join(
        full, on=["symbol", "number"], suffix=" full"
    )
    worst = {}
    for row in features:
        age = joined["number"] - joined["world"]
        late, expected = (
            joined.filter(age >= row.warm_up_bars)[column].to_numpy()
            for column in (row.name, f"{row.name} full")
        )
        assert np.array_equal(np.isnan(late), np.isnan(expected)), row.name
        scale = np.maximum(np.abs(expected), np.nanmedian(np.abs(expected)) + 1e-9)
        worst[row.name] = np.nanmax(np.abs(late - expected) / scale)
    return worst


def test_after_its_warm_up_no_feature_remembers_where_the_history_starts(bar_maker):
    bars = bar_maker(3, 500, seed=2).with_columns(number=pl.int_range(pl.len()).over("symbol"))
    forgetful = {name: error for name, error in worst_memory(bars, CATALOG).items() if error > 1e-6}
    assert forgetful == {}


def test_a_warm_up_that_is_declared_too_short_is_found(bar_maker):
    bars = bar_maker(3, 500, seed=2).with_columns(number=pl.int_range(pl.len()).over("symbol"))
    rsi = next(row for row in CATALOG if row.name == "rsi_14")
    assert worst_memory(bars, (replace(rsi, warm_up_bars=50),))["rsi_14"] > 1e-4
