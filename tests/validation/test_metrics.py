import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ploutos.errors import ValidationError
from ploutos.validation import metrics
from tests.validation.accounts import account

# Hand-made: 100 -> 110 -> 99 -> 88 -> 112.2, that is +10 %, -10 %, -11.1 %, +27.5 %.
EQUITY = np.array([100.0, 110.0, 99.0, 88.0, 112.2])
RETURNS = np.array([0.10, -0.10, -1.0 / 9.0, 0.275])


@pytest.fixture
def returns():
    return np.random.default_rng(11).normal(0.0005, 0.012, 700)


def test_total_return_of_a_hand_made_curve():
    assert metrics.total_return(EQUITY) == pytest.approx(0.122)


def test_annual_return_compounds_to_the_total_return_after_one_year():
    assert metrics.annual_return(EQUITY, 4.0) == pytest.approx(0.122)
    assert metrics.annual_return(EQUITY, 8.0) == pytest.approx(1.122**2 - 1.0)


def test_annual_volatility_equals_pandas(returns):
    expected = pd.Series(returns).std() * 252**0.5
    assert metrics.annual_volatility(returns, 252) == pytest.approx(expected, rel=1e-12)


def test_sharpe_equals_pandas(returns):
    excess = pd.Series(returns) - 0.0001
    expected = excess.mean() / excess.std() * 252**0.5
    assert metrics.sharpe(returns, 252, 0.0001) == pytest.approx(expected, rel=1e-12)


def test_sharpe_accepts_one_risk_free_return_for_each_bar(returns):
    rates = np.full(returns.size, 0.0001)
    assert metrics.sharpe(returns, 252, rates) == pytest.approx(
        metrics.sharpe(returns, 252, 0.0001), rel=1e-12
    )


def test_sortino_counts_every_bar_in_the_downside():
    # Mean 0.0075; downside sqrt((0.02 ** 2 + 0.01 ** 2) / 4) = 0.01118...
    returns = np.array([0.03, -0.02, -0.01, 0.03])
    expected = 0.0075 / np.sqrt((0.0004 + 0.0001) / 4.0) * np.sqrt(252.0)
    assert metrics.sortino(returns, 252) == pytest.approx(expected, rel=1e-12)


def test_max_drawdown_of_a_hand_made_curve_is_a_fifth():
    assert metrics.max_drawdown(EQUITY) == pytest.approx(0.2)


def test_max_drawdown_equals_pandas(returns):
    curve = (1.0 + pd.Series(returns)).cumprod()
    expected = (1.0 - curve / curve.cummax()).max()
    assert metrics.max_drawdown(curve.to_numpy()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("equity", "bars"),
    [
        ([100, 110, 99, 88, 112.2], 3),
        ([1, 2, 3, 4], 0),
        ([2, 2, 2], 0),
        ([3, 2, 1], 2),
        ([1, 3, 2, 3, 2, 2, 2], 3),
        ([1, 3, 2, 2, 2, 3, 2], 4),
        ([1], 0),
    ],
)
def test_longest_drawdown_counts_from_the_peak_to_the_recovery(equity, bars):
    assert metrics.max_drawdown_bars(np.array(equity, dtype=float)) == bars


def test_calmar_is_return_over_drawdown():
    assert metrics.calmar(EQUITY, 4.0) == pytest.approx(0.122 / 0.2)


def test_hit_rate_leaves_out_bars_without_a_move():
    assert metrics.hit_rate(np.array([0.1, 0.0, -0.1, 0.2, 0.0])) == pytest.approx(2 / 3)


def test_exposure_leaves_out_the_row_before_the_first_fill():
    weights = np.array([[0.0, 0.0], [0.5, 0.25], [0.25, 0.0]])
    assert metrics.exposure(weights) == pytest.approx(0.5)


def test_selling_and_buying_back_once_a_year_is_a_turnover_of_two():
    turnover = np.zeros(252)
    turnover[[10, 20]] = 1.0
    assert metrics.annual_turnover(turnover, 252) == pytest.approx(2.0)


def test_risk_free_rate_per_bar_compounds_to_the_yearly_one():
    rate = metrics.risk_free_per_bar(0.05, 252)
    assert (1.0 + rate) ** 252 == pytest.approx(1.05)


@pytest.mark.parametrize("ratio", [metrics.sharpe, metrics.sortino])
def test_ratios_are_undefined_without_volatility_or_with_one_return(ratio):
    assert np.isnan(ratio(np.zeros(50), 252))
    assert np.isnan(ratio(np.full(50, 0.0125), 252))
    assert np.isnan(ratio(np.array([0.01]), 252))


def test_rounding_of_a_constant_growth_is_not_volatility():
    equity = 1000.0 * 1.0003 ** np.arange(300)
    returns = equity[1:] / equity[:-1] - 1.0
    assert metrics.annual_volatility(returns, 252) == 0.0
    assert np.isnan(metrics.sharpe(returns, 252))


def test_calmar_and_hit_rate_are_undefined_for_cash():
    assert np.isnan(metrics.calmar(np.full(9, 100.0), 252))
    assert np.isnan(metrics.hit_rate(np.zeros(8)))


def test_a_gap_in_the_returns_is_refused_with_its_position():
    with pytest.raises(ValidationError, match=r"received nan at position \(2,\)"):
        metrics.sharpe(np.array([0.1, 0.2, np.nan]), 252)


def test_inputs_are_not_changed(returns):
    before = returns.copy()
    metrics.sortino(returns, 252)
    metrics.drawdowns(1.0 + returns)
    np.testing.assert_array_equal(returns, before)


@given(
    st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=40),
    st.floats(0.001, 1000.0),
)
def test_the_size_of_the_account_changes_no_figure(values, scale):
    equity = np.cumprod(1.0 + np.array([0.0, *values]))
    assert metrics.max_drawdown(scale * equity) == pytest.approx(
        metrics.max_drawdown(equity), abs=1e-12
    )
    assert metrics.total_return(scale * equity) == pytest.approx(metrics.total_return(equity))
    assert 0.0 <= metrics.max_drawdown(equity) <= 1.0


def test_summary_of_a_hand_made_account():
    found = metrics.summarise(account("hand", RETURNS), 4.0)
    assert found["bars"] == 4
    assert found["final_equity_usd"] == pytest.approx(112_200.0)
    assert found["total_return"] == pytest.approx(0.122)
    assert found["max_drawdown"] == pytest.approx(0.2)
    assert found["hit_rate"] == pytest.approx(0.5)
    assert found["exposure"] == pytest.approx(1.0)
    assert found["annual_turnover"] == pytest.approx(0.08)
    assert found["total_cost_usd"] == pytest.approx(6.0)
    assert found["sharpe"] == pytest.approx(RETURNS.mean() / RETURNS.std(ddof=1) * 2.0)


def test_fold_parts_multiply_to_the_whole():
    fold = np.array([0, 0, 1, 1])
    whole = account("hand", RETURNS, fold=fold)
    parts = [metrics.fold_part(whole, index) for index in (0, 1)]
    assert [part.returns.size for part in parts] == [2, 2]
    growth = [1.0 + metrics.total_return(part.equity_usd) for part in parts]
    assert growth[0] == pytest.approx(0.99)
    assert growth[0] * growth[1] == pytest.approx(1.122)


@pytest.mark.parametrize(("fold", "index"), [([0, 0, 1, 1], 2), ([0, 1, 0, 1], 0)])
def test_a_fold_that_is_missing_or_broken_is_refused(fold, index):
    with pytest.raises(ValidationError, match="one unbroken stretch"):
        metrics.fold_part(account("hand", RETURNS, fold=np.array(fold)), index)
