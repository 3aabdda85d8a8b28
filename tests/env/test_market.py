"""What is computed of a panel, against NumPy."""

import dataclasses

import numpy as np
import pytest

from ploutos.env.market import (
    BENCHMARK,
    DAYS,
    HAS_EVENT,
    SEC_FEE,
    TAF_MAXIMUM,
    benchmark_log_return,
    carry_forward,
    market_of,
    median_volume,
)
from ploutos.portfolio.fees import sell_fees
from tests.env.markets import last_known
from tests.panels import DAY_NS, random_panel


def holed(rng, shape, share=0.2):
    values = rng.uniform(1, 100, shape)
    values[rng.random(shape) < share] = np.nan
    return values


def random_splits(rng, shape):
    return np.where(rng.random(shape) < 0.1, rng.choice([2.0, 0.1, 1.5], shape), 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_median_volume_is_numpys_over_twenty_rows_in_shares_of_today(seed):
    rng = np.random.default_rng(seed)
    volume, split = holed(rng, (70, 3), [0.0, 0.2, 0.9][seed % 3]), random_splits(rng, (70, 3))
    got = median_volume(volume, split)
    for t in range(70):
        first = max(0, t - 19)
        for n in range(3):
            # A volume counts as many of today's shares as the later splits made of each.
            later = [np.prod(split[back + 1 : t + 1, n]) for back in range(first, t + 1)]
            window = volume[first : t + 1, n] * later
            expected = np.nanmedian(window) if np.isfinite(window).any() else 0.0
            assert got[t, n] == pytest.approx(expected, rel=1e-12), (t, n)


def test_median_volume_looks_at_no_later_row():
    rng = np.random.default_rng(1)
    volume, split = holed(rng, (50, 2)), random_splits(rng, (50, 2))
    whole = median_volume(volume, split)
    volume[30:], split[30:] = 7.0, 3.0
    np.testing.assert_array_equal(median_volume(volume, split)[:30], whole[:30])


@pytest.mark.parametrize("seed", range(3))
def test_last_close_is_carried_forward_and_zero_before_the_first(seed):
    close = holed(np.random.default_rng(seed), (40, 3), 0.5)
    np.testing.assert_array_equal(carry_forward(close), last_known(close))


def test_benchmark_is_the_mean_total_return_of_what_was_valid():
    rng = np.random.default_rng(2)
    shape = (60, 3)
    mark, split = rng.uniform(10, 20, shape), random_splits(rng, shape)
    dividend = np.where(rng.random(shape) < 0.2, 0.5, 0.0)
    valid = (rng.random(shape) < 0.7).astype(np.uint8)
    valid[20] = 0
    mark[:5, 2], valid[:5, 2] = 0.0, 0
    got = benchmark_log_return(mark, valid, split, dividend)
    with np.errstate(divide="ignore", invalid="ignore"):
        gross = split[1:] * (mark[1:] + dividend[1:]) / mark[:-1]
    weights = np.where(valid[:-1] == 1, 1.0, np.nan)
    chosen = np.where(np.isnan(weights), np.nan, gross)
    expected = [np.log(np.nanmean(row)) if np.isfinite(row).any() else 0.0 for row in chosen]
    np.testing.assert_allclose(got, [0.0, *expected], rtol=1e-12, atol=1e-15)
    assert got[21] == 0.0


def test_benchmark_does_not_move_with_a_split_or_a_dividend_that_the_price_follows():
    mark = np.array([[40.0], [20.0], [19.0]])
    got = benchmark_log_return(
        mark,
        np.ones((3, 1), np.uint8),
        np.array([[1.0], [2.0], [1.0]]),
        np.array([[0.0], [0.0], [1.0]]),
    )
    np.testing.assert_allclose(got, 0.0, atol=1e-15)


def test_clock_holds_events_days_fees_and_the_benchmark():
    panel = random_panel(bars=30)
    split, dividend = panel.split_ratio.copy(), panel.cash_dividend.copy()
    split[4, 1], dividend[7, 0] = 2.0, 0.3
    closed_at = panel.closed_at.copy()
    closed_at[10:] += 2 * DAY_NS
    panel = dataclasses.replace(
        panel, split_ratio=split, cash_dividend=dividend, closed_at=closed_at
    )
    clock = market_of(panel).clock
    assert np.flatnonzero(clock[:, HAS_EVENT]).tolist() == [4, 7]
    assert clock[:, DAYS].tolist() == [0.0] + [1.0] * 9 + [3.0] + [1.0] * 19
    np.testing.assert_array_equal(clock[:, SEC_FEE : TAF_MAXIMUM + 1], sell_fees(closed_at))
    assert clock[:, SEC_FEE].all()
    expected = benchmark_log_return(panel.prices[:, :, 3], panel.valid, split, dividend)
    np.testing.assert_array_equal(clock[:, BENCHMARK], expected)


def test_exchange_outside_the_united_states_has_no_sell_fees():
    panel = random_panel(bars=30)
    meta = panel.meta.model_copy(update={"exchange": "XLON"})
    clock = market_of(dataclasses.replace(panel, meta=meta)).clock
    assert not clock[:, SEC_FEE : TAF_MAXIMUM + 1].any()


def test_market_views_the_panel_and_cannot_be_written():
    panel = random_panel()
    market = market_of(panel)
    for name in ("features", "macro", "valid", "macro_valid", "split_ratio", "cash_dividend"):
        assert np.shares_memory(getattr(market, name), getattr(panel, name))
    for array in market:
        assert not array.flags.writeable
        assert array.flags.c_contiguous


def test_panel_whose_arrays_lie_column_by_column_is_bound_row_by_row():
    panel = random_panel()
    names = ("features", "macro", "valid", "macro_valid", "split_ratio", "cash_dividend", "prices")
    columns = {name: np.asfortranarray(getattr(panel, name)) for name in names}
    market = market_of(dataclasses.replace(panel, **columns))
    for got, expected in zip(market, market_of(panel), strict=True):
        assert got.flags.c_contiguous
        np.testing.assert_array_equal(got, expected)


def test_market_of_a_random_panel_has_an_open_a_mark_and_a_volume_everywhere():
    market = market_of(random_panel())
    assert (market.open > 0).all()
    assert (market.mark > 0).all()
    assert (market.volume == 1e6).all()
