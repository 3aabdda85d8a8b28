from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from ploutos.errors import PanelError
from ploutos.features import CATALOG, MACRO_CATALOG, FeatureConfig, compute_features
from ploutos.panel import build_panel, load_panel
from ploutos.panel.build import align
from tests.panel.markets import ARRAYS, PRICES, SESSIONS, T

CONFIG = FeatureConfig()
pytestmark = pytest.mark.usefixtures("home")


def nanoseconds(instants):
    return [int(instant.timestamp()) * 10**9 for instant in instants]


def test_rows_are_the_sessions_of_all_symbols_together(panel):
    assert panel.closed_at.tolist() == nanoseconds(SESSIONS)
    assert (panel.n_rows, panel.n_symbols) == (T, 3)
    assert (panel.n_features, panel.n_macro) == (len(CATALOG), len(MACRO_CATALOG))


def test_exchange_that_opens_before_the_decision_is_refused(data):
    with pytest.raises(PanelError, match="received XTKS"):
        align(replace(data, exchange="XTKS"), CONFIG)


def test_symbol_that_ended_is_refused_by_name(data):
    last = sorted(data.bars["closed_at"].unique())[-12]
    kept = (pl.col("symbol") != "B") | (pl.col("closed_at") < last)
    with pytest.raises(PanelError, match=r"\['B'\].*Delistings"):
        align(replace(data, bars=data.bars.filter(kept)), CONFIG)


def test_every_price_stands_on_its_own_date(data, panel):
    row_of = {session: row for row, session in enumerate(SESSIONS)}
    expected = np.full((T, 3, 5), np.nan)
    for bar in data.bars.iter_rows(named=True):
        cell = row_of[bar["closed_at"]], "ABC".index(bar["symbol"])
        expected[cell] = [bar[name] for name in (*PRICES, "volume")]
    np.testing.assert_array_equal(panel.prices, expected)
    assert np.isnan(panel.prices[100:103, 1]).all()
    assert np.isnan(panel.prices[:20, 2]).all()


def test_every_feature_stands_on_its_own_date(data, panel):
    computed = compute_features(data.bars, CONFIG)
    for index, symbol in enumerate("ABC"):
        own = computed.filter(symbol=symbol)
        rows = [SESSIONS.index(instant) for instant in own["closed_at"].to_list()]
        expected = own.drop("symbol", "closed_at").to_numpy().astype(np.float32)
        np.testing.assert_array_equal(panel.features[rows, index], expected)
        others = np.setdiff1d(np.arange(T), rows)
        assert np.isnan(panel.features[others, index]).all()


def test_valid_needs_a_bar_and_the_symbols_own_warm_up(panel):
    assert panel.meta.first_row == 252
    assert panel.valid.sum(axis=0).tolist() == [T - 252, T - 3 - 252, T - 20 - 252]
    first = [int(np.argmax(panel.valid[:, column])) for column in range(3)]
    assert first == [252, 255, 272]
    assert np.isfinite(panel.prices[panel.valid == 1]).all()


def test_past_its_warm_up_a_symbol_of_a_moving_market_has_every_feature(panel):
    assert np.isfinite(panel.features[panel.valid == 1]).all()


def test_decisions_are_taken_at_five_past_seven_in_new_york(panel):
    zone = ZoneInfo("America/New_York")
    decided = [datetime.fromtimestamp(ns / 1e9, UTC).astimezone(zone) for ns in panel.decided_at]
    assert {(instant.hour, instant.minute) for instant in decided} == {(19, 5)}
    assert [instant.date() for instant in decided] == [session.date() for session in SESSIONS]


@pytest.mark.parametrize(("delay_ns", "visible"), [(0, True), (1, False)])
def test_a_macro_value_released_after_the_decision_is_not_visible(data, panel, delay_ns, visible):
    row = 300
    decided = int(panel.decided_at[row])
    released = pl.col("released_at").cast(pl.Int64)
    late = data.macro.filter(
        (released <= decided - 2 * 86_400 * 10**9) & (pl.col("series") == "VIX")
    )
    shock = late.tail(1).with_columns(
        pl.lit(decided + delay_ns).cast(pl.Datetime("ns", "UTC")).alias("released_at"),
        value=pl.lit(1000.0),
    )
    shocked = align(replace(data, macro=pl.concat([late, shock])), CONFIG)
    change = shocked.macro[row, shocked.meta.macro_names.index("vix_change_1")]
    expected = np.log(1000.0 / late["value"][-1])
    assert bool(change == pytest.approx(expected)) is visible


def test_a_missing_series_is_masked_and_named(panel):
    dxy = [name.startswith("dxy_") for name in panel.meta.macro_names]
    assert panel.meta.missing_series == ("DXY",)
    assert np.isnan(panel.macro[:, dxy]).all()
    assert not panel.macro_valid[:, dxy].any()
    others = ~np.array(dxy)
    np.testing.assert_array_equal(panel.macro_valid, np.isfinite(panel.macro))
    assert panel.macro_valid[252:, others].all()


def test_reference_closes_are_aligned_and_need_no_open(data, panel):
    assert panel.meta.reference_names == ("INDEX",)
    expected = [*data.reference["close"].to_list(), np.nan]
    np.testing.assert_array_equal(panel.reference[:, 0], expected)


def test_a_panel_without_reference_has_an_empty_one(data):
    panel = load_panel(build_panel(replace(data, reference=data.reference.clear()), CONFIG))
    assert panel.reference.shape == (T, 0)
    assert panel.meta.reference_names == ()


def test_actions_stand_on_their_date_and_those_of_a_missing_bar_on_the_next(data):
    number = pl.int_range(pl.len()).over("symbol")
    on = {
        "split_ratio": (pl.col("symbol") == "A") & (number == 260),
        "cash_dividend": (pl.col("symbol") == "A") & (number == 270),
    }
    bars = data.bars.with_columns(
        pl.when(on["split_ratio"]).then(2.0).otherwise(1.0).alias("split_ratio"),
        pl.when(on["cash_dividend"]).then(0.5).otherwise(0.0).alias("cash_dividend"),
    )
    absent = pl.DataFrame(
        {"symbol": ["B"], "closed_at": [SESSIONS[101]], "split_ratio": [4.0]},
        schema_overrides={"closed_at": pl.Datetime("ns", "UTC")},
    )
    bars = pl.concat([bars, absent], how="diagonal").sort("symbol", "closed_at")
    panel = align(replace(data, bars=bars), CONFIG)
    splits, dividends = np.ones((T, 3)), np.zeros((T, 3))
    splits[260, 0], splits[103, 1], dividends[270, 0] = 2.0, 4.0, 0.5
    np.testing.assert_array_equal(panel.split_ratio, splits)
    np.testing.assert_array_equal(panel.cash_dividend, dividends)


def test_a_shorter_history_gives_the_same_rows_bit_for_bit(data, panel):
    """At every row past the warm-up, with the macro values released by its decision."""
    bars, released = data.bars, pl.col("released_at").cast(pl.Int64)
    for row in range(253, T):
        past = replace(
            data,
            bars=bars.filter(pl.col("closed_at") <= SESSIONS[row]),
            macro=data.macro.filter(released <= int(panel.decided_at[row])),
            reference=data.reference.filter(pl.col("closed_at") <= SESSIONS[row]),
        )
        shorter = align(past, CONFIG)
        assert shorter.n_rows == row + 1
        for name in ARRAYS:
            received, full = getattr(shorter, name), getattr(panel, name)[: row + 1]
            assert received.tobytes() == full.tobytes(), (row, name)


def test_a_history_within_the_warm_up_is_refused(data):
    short = replace(data, bars=data.bars.filter(pl.col("closed_at") <= SESSIONS[251]))
    with pytest.raises(PanelError, match="252 bars, but the longest warm-up is 252"):
        build_panel(short, CONFIG)


def test_fewer_families_need_less_history(data):
    short = replace(data, bars=data.bars.filter(pl.col("closed_at") <= SESSIONS[40]))
    panel = align(short, FeatureConfig(families=("seasonal",)))
    assert panel.meta.first_row == 1


def test_data_without_a_bar_are_refused(data, home):
    with pytest.raises(PanelError, match="no bar"):
        build_panel(replace(data, bars=data.bars.clear()), CONFIG)
    assert not home.exists()


def test_two_closes_on_one_day_are_refused_with_their_date(data):
    moved = pl.when((pl.col("symbol") == "C") & (pl.col("closed_at") == SESSIONS[200])).then(
        pl.col("closed_at") - pl.duration(hours=1)
    )
    bars = data.bars.with_columns(moved.otherwise(pl.col("closed_at")).alias("closed_at"))
    with pytest.raises(PanelError, match=f"{SESSIONS[200].date()}.*one session"):
        build_panel(replace(data, bars=bars), CONFIG)


@pytest.mark.parametrize("interval", ["60m", "1wk"])
def test_bars_that_are_not_daily_are_refused(data, interval):
    with pytest.raises(PanelError, match=f"expected daily bars, received bars of {interval}"):
        build_panel(replace(data, interval=interval), CONFIG)
