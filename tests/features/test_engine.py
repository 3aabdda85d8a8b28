import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ploutos.errors import FeatureError
from ploutos.features import CATALOG, Feature, FeatureConfig, compute_features

CONFIG = FeatureConfig()
NAMES = [row.name for row in CATALOG]
PRICES = ["open", "high", "low", "close"]


def matrix(bars):
    return compute_features(bars, CONFIG).select(NAMES).to_numpy()


def assert_unchanged(received, expected):
    """Compare to a relative 1e-8, measured at small values by the feature's usual size."""
    assert np.array_equal(np.isnan(received), np.isnan(expected))
    scale = np.nanmedian(np.abs(expected), axis=0)
    np.testing.assert_allclose(received, expected, rtol=1e-8, atol=(1e-8 * scale + 1e-10).max())


def assert_finite_or_null(bars):
    values = compute_features(bars, CONFIG).select(NAMES)
    assert values.select(pl.all().is_nan().any() | pl.all().is_infinite().any()).row(0) == (
        False,
    ) * len(NAMES)
    return values


@pytest.mark.parametrize("factor", [8.0, 3.7, 1e-4])
def test_prices_in_another_currency_unit_leave_every_feature_unchanged(bar_maker, factor):
    bars = bar_maker(2, 330, seed=3)
    scaled = bars.with_columns(pl.col(name) * factor for name in PRICES)
    assert_unchanged(matrix(scaled), matrix(bars))


def test_volumes_in_another_unit_leave_every_feature_unchanged(bar_maker):
    bars = bar_maker(2, 330, seed=3)
    assert_unchanged(matrix(bars.with_columns(pl.col("volume") / 1000)), matrix(bars))


@pytest.mark.parametrize("ratio", [4.0, 3.0, 0.1])
@pytest.mark.parametrize("at", [1, 100, 320])
def test_a_split_anywhere_leaves_every_feature_unchanged(bar_maker, ratio, at):
    bars = bar_maker(2, 330, seed=4)
    number = pl.int_range(pl.len()).over("symbol")
    splits = (pl.col("symbol") == "S0") & (number == at)
    after = (pl.col("symbol") == "S0") & (number >= at)
    split = bars.with_columns(
        pl.when(splits).then(ratio).otherwise(1.0).alias("split_ratio"),
        pl.when(after).then(pl.col("volume") * ratio).otherwise(pl.col("volume")).alias("volume"),
        *(pl.when(after).then(pl.col(n) / ratio).otherwise(pl.col(n)).alias(n) for n in PRICES),
    )
    assert_unchanged(matrix(split), matrix(bars))


def test_a_dividend_that_the_price_falls_by_leaves_every_feature_unchanged(bar_maker):
    bars = bar_maker(2, 330, seed=5)
    number = pl.int_range(pl.len()).over("symbol")
    ex_date, after = number == 290, number >= 290
    paid = bars.with_columns(
        pl.when(ex_date).then(pl.col("close") * 0.02).otherwise(0.0).alias("cash_dividend"),
        *(pl.when(after).then(pl.col(n) * 0.98).otherwise(pl.col(n)).alias(n) for n in PRICES),
    )
    assert_unchanged(matrix(paid), matrix(bars))


def test_a_feature_has_the_same_bits_whatever_is_computed_with_it(bar_maker):
    bars = bar_maker(3, 300, seed=8)
    whole = compute_features(bars, CONFIG)
    for row in CATALOG:
        alone = compute_features(bars, CONFIG, (row,))[row.name]
        assert alone.equals(whole[row.name], null_equal=True), row.name


@pytest.mark.parametrize("over", ["symbol", "closed_at", "instant"])
def test_a_row_that_polars_cannot_compute_is_named(bar_maker, over):
    rows = tuple(
        Feature(name, "own", pl.col(column), 0, "-", "-", "-", over=over)
        for name, column in (("fair", "closed_at"), ("typo", "clse"))
    )
    with pytest.raises(FeatureError, match=r"'typo' cannot be computed: ColumnNotFound.*clse"):
        compute_features(bar_maker(1, 30, seed=1), CONFIG, rows)


def constant_bars(n_bars=300, price=10.1, volume=1000.0):
    return pl.DataFrame({name: [price] * n_bars for name in PRICES}).with_columns(
        symbol=pl.lit("C"),
        closed_at=(pl.int_range(pl.len()) * 86_400_000_000_000).cast(pl.Datetime("ns", "UTC")),
        volume=pl.lit(volume),
        split_ratio=pl.lit(1.0),
        cash_dividend=pl.lit(0.0),
    )


def test_a_constant_price_has_no_score_and_no_movement():
    last = assert_finite_or_null(constant_bars()).row(-1, named=True)
    for name in ("zscore_20", "rsi_14", "volatility_21", "cci_20", "correlation_63", "body"):
        assert last[name] is None, name
    for name in ("momentum_21", "sma_distance_20", "atr_ratio_14", "slope_20", "macd_line"):
        assert last[name] == pytest.approx(0.0, abs=1e-12), name


def test_a_price_that_freezes_after_a_spike_has_no_score_once_the_spike_has_left(bar_maker):
    bars = bar_maker(1, 400, seed=6)
    number = pl.int_range(pl.len())
    spike = number == 300
    frozen = bars.with_columns(
        pl.when(spike)
        .then(pl.col(n) * 1e6)
        .when(number > 300)
        .then(50.3)
        .otherwise(pl.col(n))
        .alias(n)
        for n in PRICES
    )
    last = assert_finite_or_null(frozen).row(-1, named=True)
    for name in ("zscore_20", "zscore_60", "volatility_63", "sharpe_63", "skew_63", "cci_20"):
        assert last[name] is None, name


def test_without_volume_the_volume_features_are_null(bar_maker):
    silent = bar_maker(1, 300, seed=7).with_columns(volume=pl.lit(0.0))
    last = assert_finite_or_null(silent).row(-1, named=True)
    for name in ("relative_volume_20", "obv_20", "mfi_14", "vwap_distance_20"):
        assert last[name] is None, name


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_volume_hides_only_features_that_need_it(bar_maker, missing):
    bars = bar_maker(1, 300, seed=7)
    gap = pl.when(pl.int_range(pl.len()) == 295).then(missing).otherwise(pl.col("volume"))
    whole, holed = (
        compute_features(frame, CONFIG).row(-1, named=True)
        for frame in (bars, bars.with_columns(gap.alias("volume")))
    )
    hidden = {name for name in NAMES if holed[name] is None and whole[name] is not None}
    assert {"obv_20", "relative_volume_20", "volume_rank_63"} <= hidden
    assert hidden <= {row.name for row in CATALOG if "volume" in row.formula}


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    flat=st.floats(0, 1),
    spike=st.sampled_from([1.0, 1e3, 1e9, 1e-9]),
    quiet=st.floats(0, 1),
    tick=st.sampled_from([0.01, 1.0, 10.0]),
)
def test_no_market_however_odd_gives_infinity_or_nan(bar_maker, seed, flat, spike, quiet, tick):
    bars = bar_maker(2, 290, seed=seed).filter(pl.int_range(pl.len()) % 97 != 5)
    rng = np.random.default_rng(seed)
    frozen = pl.Series(rng.random(bars.height) < flat)
    jump = pl.Series(np.where(rng.random(bars.height) < 0.01, spike, 1.0))
    flat_price = pl.max_horizontal((pl.col("close") / tick).round() * tick, tick)
    odd = bars.with_columns(
        pl.when(frozen).then(flat_price).otherwise(pl.col(name)).mul(jump).alias(name)
        for name in PRICES
    ).with_columns(
        pl.when(pl.Series(rng.random(bars.height) < quiet))
        .then(0.0)
        .otherwise(pl.col("volume"))
        .alias("volume")
    )
    values = assert_finite_or_null(odd)
    assert values["momentum_21"].null_count() == 2 * 21


def test_the_same_bars_give_the_same_bits(bar_maker):
    bars = bar_maker(5, 300, seed=8)
    first, second = matrix(bars), matrix(bars.clone())
    assert first.tobytes() == second.tobytes()


def test_one_family_is_computed_without_the_others(bar_maker):
    bars = bar_maker(3, 300, seed=9)
    alone = compute_features(bars, FeatureConfig(families=("cross_section",)))
    names = [row.name for row in CATALOG if row.family == "cross_section"]
    assert alone.columns == ["symbol", "closed_at", *names]
    assert alone.select(names).equals(compute_features(bars, CONFIG).select(names))


def test_a_user_adds_a_feature_with_one_row(bar_maker):
    bars = bar_maker(1, 30)
    mine = Feature(
        "ten_bar_high",
        "own",
        pl.col("high").rolling_max(10) / pl.col("close"),
        9,
        "ratio",
        "highest high of 10 / close",
        "own",
    )
    received = compute_features(bars, CONFIG, (mine,))["ten_bar_high"]
    assert received[:9].null_count() == 9
    assert received[29] == bars["high"][20:30].max() / bars["close"][29]


def _shuffled(bars):
    return bars.sample(fraction=1.0, shuffle=True, seed=1)


def _duplicated(bars):
    return pl.concat([bars, bars.tail(1)])


@pytest.mark.parametrize("spoil", [_shuffled, _duplicated])
def test_bars_out_of_order_are_refused(bar_maker, spoil):
    with pytest.raises(FeatureError, match="sorted by"):
        compute_features(spoil(bar_maker(2, 20)), CONFIG)


@pytest.mark.parametrize("price", [0.0, -1.0, float("nan"), float("inf"), None])
def test_a_price_that_is_no_positive_number_is_refused_with_its_place(bar_maker, price):
    bars = bar_maker(2, 20)
    number = pl.int_range(pl.len())
    spoiled = bars.with_columns(
        pl.when(number == 25).then(price).otherwise(pl.col("low")).alias("low")
    )
    with pytest.raises(FeatureError, match="S1 at 2015-01-08"):
        compute_features(spoiled, CONFIG)


def test_a_missing_column_is_named(bar_maker):
    with pytest.raises(FeatureError, match="split_ratio"):
        compute_features(bar_maker(1, 20).drop("split_ratio"), CONFIG)
