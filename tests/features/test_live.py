import numpy as np
import polars as pl
import pytest

from ploutos.errors import FeatureError
from ploutos.features import CATALOG, Feature, LiveFeatures, compute_matrix
from ploutos.features.bases import VOLUME
from ploutos.features.primitives import ema

N_BARS = 330
FIRST = 300


@pytest.fixture(scope="module")
def bars(bar_maker):
    """Three symbols; one splits and pays in the sessions to come, one misses some of them."""
    number = pl.int_range(pl.len()).over("symbol")
    splits = (pl.col("symbol") == "S1") & (number == FIRST + 5)
    pays = (pl.col("symbol") == "S0") & (number == FIRST + 9)
    return (
        bar_maker(3, N_BARS, seed=12)
        .with_columns(
            number=number,
            split_ratio=pl.when(splits).then(2.0).otherwise(1.0),
            cash_dividend=pl.when(pays).then(0.4).otherwise(0.0),
        )
        .filter((pl.col("symbol") != "S2") | (pl.col("number") % 7 != 3))
    )


def test_sessions_one_by_one_equal_the_whole_history(bars):
    live = LiveFeatures(bars.filter(pl.col("number") < FIRST), CATALOG)
    whole = compute_matrix(bars, CATALOG)
    rows = bars.with_row_index("row").filter(pl.col("number") >= FIRST)
    for _, session in rows.sort("closed_at", "symbol").group_by("closed_at", maintain_order=True):
        received = live.advance(session)
        expected = whole[session["row"].to_numpy()]
        scale = np.nanmedian(np.abs(whole), axis=0)
        np.testing.assert_array_equal(np.isnan(received), np.isnan(expected))
        error = np.abs(received - expected) / np.maximum(np.abs(expected), scale + 1e-9)
        assert np.nanmax(error) < 1e-6


def test_a_missing_volume_stops_no_exponential_mean_of_it(bars):
    row = Feature("own", "own", ema(VOLUME, 10), 40, "shares", "-", "-")
    holed = bars.with_columns(
        pl.when(pl.col("number").is_in([290, FIRST + 2]))
        .then(None)
        .otherwise("volume")
        .alias("volume")
    )
    live = LiveFeatures(holed.filter(pl.col("number") < FIRST), (row,))
    whole = compute_matrix(holed, (row,))
    rows = holed.with_row_index("row").filter(pl.col("number") >= FIRST)
    for _, session in rows.sort("closed_at", "symbol").group_by("closed_at", maintain_order=True):
        expected = whole[session["row"].to_numpy()]
        np.testing.assert_allclose(live.advance(session), expected, rtol=1e-6)


def test_more_symbols_than_a_block_holds_keep_their_own_values(bar_maker):
    names = {"sma_distance_10", "rsi_2", "momentum_5", "momentum_21_rank"}
    rows = tuple(row for row in CATALOG if row.name in names)
    many = bar_maker(2, 80, seed=3)
    many = pl.concat(
        many.with_columns(
            (pl.lit(f"{copy:03d}") + pl.col("symbol")).alias("symbol"),
            *(pl.col(name) * (1.0 + copy / 7.0) for name in ("open", "high", "low")),
            close=pl.col("close") * (1.0 + copy / 7.0),
        ).filter(pl.int_range(pl.len()).over("symbol") >= copy % 11)
        for copy in range(150)
    )
    last = pl.col("closed_at") == many["closed_at"].max()
    received = LiveFeatures(many.filter(~last), rows).advance(many.filter(last))
    expected = compute_matrix(many, rows)[many.select(last).to_series().to_numpy()]
    assert received.shape == (300, 4)
    np.testing.assert_allclose(received, expected, rtol=1e-6, atol=1e-9)


def test_a_short_history_is_still_inside_its_warm_up(bars):
    live = LiveFeatures(bars.filter(pl.col("number") < 3), CATALOG)
    session = bars.filter(pl.col("number") == 4)
    received = live.advance(session)
    shown = {row.name for k, row in enumerate(CATALOG) if np.isfinite(received[:, k]).any()}
    assert shown <= {row.name for row in CATALOG if row.warm_up_bars <= 3}


def test_an_unknown_symbol_is_refused(bars):
    live = LiveFeatures(bars.filter(pl.col("number") < 30), CATALOG[:3])
    with pytest.raises(FeatureError, match="S9"):
        live.advance(bars.filter(pl.col("number") == 30).with_columns(symbol=pl.lit("S9")))


def test_a_session_that_was_seen_is_refused(bars):
    live = LiveFeatures(bars.filter(pl.col("number") < 30), CATALOG[:3])
    with pytest.raises(FeatureError, match="not later"):
        live.advance(bars.filter(pl.col("number") == 29))


def test_a_row_without_state_is_refused(bars):
    row = Feature("own", "own", pl.col("close").rolling_mean(3), 2, "price", "-", "-")
    with pytest.raises(FeatureError, match="'own'"):
        LiveFeatures(bars, (row,))
