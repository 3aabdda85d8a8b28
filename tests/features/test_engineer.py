import numpy as np
import pandas as pd
import polars as pl
import pytest

from ploutos.errors import FeatureError
from ploutos.features import CATALOG, FeatureConfig, FeatureEngineer, compute_features

NAMES = [row.name for row in CATALOG]
OHLCV = ["open", "high", "low", "close", "volume"]


@pytest.fixture(scope="module")
def bars(bar_maker):
    return bar_maker(2, 300, seed=11)


@pytest.fixture(scope="module")
def expected(bars):
    return compute_features(bars, FeatureConfig())


def test_a_polars_frame_comes_back_with_the_features_appended(bars, expected):
    enriched = FeatureEngineer().compute(bars)
    assert isinstance(enriched, pl.DataFrame)
    assert enriched.columns == [*bars.columns, *NAMES]
    assert enriched.select(bars.columns).equals(bars)
    assert enriched.select(NAMES).equals(expected.select(NAMES))


def test_a_pandas_frame_with_a_datetime_index_comes_back_with_its_index(bars, expected):
    one = bars.filter(symbol="S0")
    alone = compute_features(one, FeatureConfig())
    frame = one.select(OHLCV).to_pandas()
    frame.index = pd.DatetimeIndex(one["closed_at"].to_pandas(), name="Date")
    enriched = FeatureEngineer().compute(frame)
    assert isinstance(enriched, pd.DataFrame)
    assert list(enriched.columns) == [*OHLCV, *NAMES]
    pd.testing.assert_frame_equal(enriched[OHLCV], frame)
    np.testing.assert_array_equal(enriched[NAMES].to_numpy(), alone.select(NAMES).to_numpy())
    assert (enriched.dtypes[NAMES] == "float64").all()


def test_a_long_pandas_frame_in_any_order_keeps_its_order(bars, expected):
    frame = bars.to_pandas().sample(frac=1.0, random_state=3)
    enriched = FeatureEngineer().compute(frame)
    assert enriched.index.equals(frame.index)
    assert not enriched.index.is_monotonic_increasing
    received = enriched.sort_index()[NAMES].to_numpy()
    np.testing.assert_array_equal(received, expected.select(NAMES).to_numpy())


def test_the_input_is_not_changed(bars):
    frame = bars.to_pandas()
    before = frame.copy()
    FeatureEngineer().compute(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_naive_dates_in_a_column_of_another_name_serve_as_the_clock(bars, expected):
    frame = bars.with_columns(pl.col("closed_at").dt.date().alias("date")).drop("closed_at")
    enriched = FeatureEngineer(time_column="date").compute(frame)
    assert enriched.select(NAMES).equals(expected.select(NAMES))


def test_times_in_another_zone_are_the_same_instants(bars, expected):
    frame = bars.with_columns(pl.col("closed_at").dt.convert_time_zone("America/New_York"))
    assert FeatureEngineer().compute(frame).select(NAMES).equals(expected.select(NAMES))


def test_only_the_families_of_the_config_are_added(bars):
    enriched = FeatureEngineer(FeatureConfig(families=("volume",))).compute(bars)
    assert enriched.columns[len(bars.columns) :] == [
        row.name for row in CATALOG if row.family == "volume"
    ]


@pytest.mark.parametrize("column", ["close", "open"])
def test_a_row_without_a_price_is_no_bar(bars, column):
    number = pl.int_range(pl.len())
    holed = bars.with_columns(
        pl.when(number == 50).then(None).otherwise(pl.col(column)).alias(column)
    )
    enriched = FeatureEngineer().compute(holed)
    absent = compute_features(bars.filter(number != 50), FeatureConfig())
    assert enriched.select(NAMES).filter(number != 50).equals(absent.select(NAMES))
    assert enriched.select(NAMES)[50].null_count().row(0) == (1,) * len(NAMES)


def test_future_prices_that_are_missing_leave_the_past_as_it_was(bars, expected):
    frame = bars.to_pandas()
    later = frame.index % 300 >= 280
    frame.loc[later, OHLCV] = np.nan
    received = FeatureEngineer().compute(frame).loc[~later, NAMES].to_numpy()
    np.testing.assert_array_equal(received, expected.select(NAMES).to_numpy()[~later])


def test_splits_and_dividends_are_used_where_they_are_given(bars):
    without = FeatureEngineer().compute(bars.drop("split_ratio", "cash_dividend"))
    assert without.select(NAMES).equals(FeatureEngineer().compute(bars).select(NAMES))
    split = bars.with_columns(
        pl.when(pl.int_range(pl.len()) == 10).then(2.0).otherwise(1.0).alias("split_ratio")
    )
    received = FeatureEngineer().compute(split)["momentum_1"]
    assert received[10] == pytest.approx(without["momentum_1"][10] + np.log(2.0))


def test_upper_case_names_are_not_guessed(bars):
    frame = bars.to_pandas().rename(columns=str.capitalize)
    with pytest.raises(FeatureError, match=r"missing \['open'.*received \['Symbol'.*str\.lower"):
        FeatureEngineer().compute(frame)


def test_a_column_that_occurs_twice_is_refused(bars):
    frame = bars.to_pandas()
    with pytest.raises(FeatureError, match=r"\['close'\] more than once"):
        FeatureEngineer().compute(pd.concat([frame, frame[["close"]]], axis=1))


@pytest.mark.parametrize("kind", [pl.LazyFrame, dict])
def test_what_is_no_frame_is_refused(bars, kind):
    frame = bars.lazy() if kind is pl.LazyFrame else bars.to_dict()
    with pytest.raises(FeatureError, match=f"received an object of type {kind.__name__}"):
        FeatureEngineer().compute(frame)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("close", float("inf"), "a price is infinite"),
        ("high", 0.01, "high is below low"),
        ("volume", -1.0, "the volume is negative"),
        ("volume", float("inf"), "the volume is negative or infinite"),
        ("split_ratio", 0.0, "split_ratio is not positive"),
        ("cash_dividend", -0.5, "cash_dividend is negative"),
        ("open", 0.0, "prices must be positive"),
    ],
)
def test_a_row_that_no_market_can_have_is_refused_with_its_place(bars, column, value, reason):
    changed = pl.when(pl.int_range(pl.len()) == 305).then(value).otherwise(pl.col(column))
    with pytest.raises(FeatureError, match=rf"{reason}.*S1 at 2015-01-08"):
        FeatureEngineer().compute(bars.with_columns(changed.alias(column)))


@pytest.mark.parametrize("column", ["volume", "split_ratio", "cash_dividend"])
def test_a_missing_volume_or_event_is_allowed(bars, column):
    changed = pl.when(pl.int_range(pl.len()) == 5).then(None).otherwise(pl.col(column))
    enriched = FeatureEngineer().compute(bars.with_columns(changed.alias(column)))
    assert enriched["momentum_21"].null_count() == 2 * 21


def test_a_long_frame_indexed_by_time_keeps_its_repeated_index(bars, expected):
    frame = bars.to_pandas().set_index("closed_at")
    enriched = FeatureEngineer().compute(frame)
    assert enriched.index.equals(frame.index)
    np.testing.assert_array_equal(enriched[NAMES].to_numpy(), expected.select(NAMES).to_numpy())


def test_a_polars_frame_without_time_is_refused(bars):
    with pytest.raises(FeatureError, match="time column 'closed_at'"):
        FeatureEngineer().compute(bars.drop("closed_at"))


def test_a_pandas_frame_without_time_is_refused(bars):
    with pytest.raises(FeatureError, match="RangeIndex"):
        FeatureEngineer().compute(bars.drop("closed_at").to_pandas())


def test_a_time_column_of_numbers_is_refused(bars):
    with pytest.raises(FeatureError, match="expected dates"):
        FeatureEngineer().compute(bars.with_columns(closed_at=pl.lit(1.5)))


def test_a_column_of_text_is_refused(bars):
    with pytest.raises(FeatureError, match="'volume': expected numbers"):
        FeatureEngineer().compute(bars.with_columns(volume=pl.lit("many")))


def test_a_frame_that_already_has_a_feature_is_refused(bars):
    with pytest.raises(FeatureError, match="rsi_14"):
        FeatureEngineer().compute(bars.with_columns(rsi_14=pl.lit(0.5)))


def test_two_symbols_without_a_symbol_column_are_refused(bars):
    with pytest.raises(FeatureError, match="without duplicates"):
        FeatureEngineer().compute(bars.drop("symbol"))
