import numpy as np
import pytest

from ploutos.env.account import decide, open_accounts, settle
from ploutos.env.market import Market, carry_forward
from ploutos.portfolio import BUY, HOLD, PortfolioConfig, rules_of
from ploutos.portfolio.config import MICRO, CostConfig
from tests.env import reference


def random_market(rng, bars=40, symbols=3):
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.03, (bars, symbols)), axis=0))
    opens = close * np.exp(rng.normal(0, 0.01, close.shape))
    missing = rng.random(close.shape) < 0.05
    missing[0] = False
    split = np.where(rng.random(close.shape) < 0.03, rng.choice([2.0, 0.5, 1.5], close.shape), 1.0)
    dividend = np.where(rng.random(close.shape) < 0.05, rng.uniform(0, 1, close.shape), 0.0)
    split[missing], dividend[missing] = 1.0, 0.0
    close[missing], opens[missing] = np.nan, np.nan
    return Market(
        features=np.zeros((bars, symbols, 1), np.float32),
        macro=np.zeros((bars, 0), np.float32),
        open=opens,
        mark=carry_forward(close),
        split_ratio=split,
        cash_dividend=dividend,
        valid=(~missing).astype(np.uint8),
        macro_valid=np.zeros((bars, 0), np.uint8),
    )


def random_rules(rng):
    return rules_of(
        PortfolioConfig(
            buy_fraction=float(rng.uniform(0.05, 1)),
            maximum_weight=float(rng.uniform(0.1, 1)),
            minimum_order_usd=float(rng.choice([0, 50, 500])),
            costs=CostConfig(
                commission_bps=float(rng.choice([0, 1, 25])),
                half_spread_bps=float(rng.choice([0, 2, 40])),
                minimum_commission_usd=float(rng.choice([0, 1, 20])),
            ),
        )
    )


@pytest.mark.parametrize("seed", range(0, 1000, 50))
def test_kernel_equals_the_plain_python_transition_bit_for_bit(seed):
    for case in range(seed, seed + 50):
        rng = np.random.default_rng(case)
        market, rules = random_market(rng), random_rules(rng)
        start = int(rng.integers(10**8, 10**12))
        accounts = open_accounts(1, 3, start)
        cash, held = start, [0, 0, 0]
        for row in range(market.mark.shape[0] - 1):
            action = rng.integers(0, 3, 3)
            decide(market, accounts, 0, row, action, rules)
            expected = reference.orders(
                action, cash, held, market.mark[row].tolist(), market.valid[row], rules
            )
            assert accounts.order_micro[0].tolist() == expected
            bar = {
                "split": market.split_ratio[row + 1].tolist(),
                "dividend": market.cash_dividend[row + 1].tolist(),
                "open": market.open[row + 1].tolist(),
            }
            cash, held, fills, prices, fees = reference.bar(expected, cash, held, bar, rules)
            equity = settle(market, accounts, 0, row + 1, rules)
            assert accounts.cash_micro[0] == cash
            assert accounts.quantity_micro[0].tolist() == held
            assert accounts.fill_micro[0].tolist() == fills
            assert accounts.fee_micro[0].tolist() == fees
            np.testing.assert_array_equal(accounts.fill_price[0], prices)
            assert equity == reference.equity(cash, held, market.mark[row + 1].tolist())


def one_symbol_market(opens, closes, split=None, dividend=None):
    bars = len(opens)
    column = (bars, 1)
    return Market(
        features=np.zeros((bars, 1, 1), np.float32),
        macro=np.zeros((bars, 0), np.float32),
        open=np.array(opens, np.float64).reshape(column),
        mark=carry_forward(np.array(closes, np.float64).reshape(column)),
        split_ratio=np.array(split or [1.0] * bars).reshape(column),
        cash_dividend=np.array(dividend or [0.0] * bars).reshape(column),
        valid=np.ones(column, np.uint8),
        macro_valid=np.zeros((bars, 0), np.uint8),
    )


def test_decision_fills_at_the_next_open_and_never_at_the_close_it_was_taken_at():
    market = one_symbol_market(opens=[100, 110, 120], closes=[100, 130, 120])
    rules = rules_of(
        PortfolioConfig(
            buy_fraction=0.5,
            maximum_weight=1.0,
            costs=CostConfig(commission_bps=0, half_spread_bps=0),
        )
    )
    accounts = open_accounts(1, 1, 1000 * MICRO)
    decide(market, accounts, 0, 0, np.array([BUY]), rules)
    equity = settle(market, accounts, 0, 1, rules)
    # 500 at the close of 100 are 5 shares; they fill at 110 and are marked at 130.
    assert accounts.quantity_micro[0, 0] == 5 * MICRO
    assert accounts.fill_price[0, 0] == 110.0
    assert equity == (1000 - 5 * 110 + 5 * 130) * MICRO


def test_average_entry_price_and_age_follow_the_holding_through_a_split():
    market = one_symbol_market(
        opens=[10, 10, 20, 10, 10], closes=[10, 10, 20, 10, 10], split=[1, 1, 1, 2, 1]
    )
    rules = rules_of(
        PortfolioConfig(
            buy_fraction=0.25,
            maximum_weight=1.0,
            costs=CostConfig(commission_bps=0, half_spread_bps=0),
        )
    )
    accounts = open_accounts(1, 1, 1000 * MICRO)
    decide(market, accounts, 0, 0, np.array([BUY]), rules)
    settle(market, accounts, 0, 1, rules)  # 25 shares at 10
    decide(market, accounts, 0, 1, np.array([BUY]), rules)
    settle(market, accounts, 0, 2, rules)  # 25 more at 20: average 15
    assert accounts.entry_price[0, 0] == 15.0
    decide(market, accounts, 0, 2, np.array([HOLD]), rules)
    settle(market, accounts, 0, 3, rules)  # 2 for 1: 100 shares, average 7.5
    assert accounts.quantity_micro[0, 0] == 100 * MICRO
    assert accounts.entry_price[0, 0] == 7.5
    assert accounts.held_bars[0, 0] == 3
