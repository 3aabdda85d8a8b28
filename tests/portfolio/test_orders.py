import math

import pytest

from ploutos.portfolio import BUY, HOLD, SELL, MarginConfig, PortfolioConfig, WeightActions
from ploutos.portfolio.config import OrderActions
from tests.env.configs import FREE
from tests.portfolio.accounts import account_of, planned

MICRO_SHARE = 1.1e-6


def orders(buy_fraction=0.25, **rules):
    rules = {"maximum_weight": 1.0, "minimum_order_usd": 0, "costs": FREE} | rules
    return PortfolioConfig(actions=OrderActions(buy_fraction=buy_fraction), **rules)


def weights(**rules):
    rules = {"maximum_weight": 1.0, "minimum_order_usd": 0, "costs": FREE} | rules
    return PortfolioConfig(actions=WeightActions(), **rules)


def test_buy_adds_the_configured_fraction_of_equity():
    # Equity 600 + 4 * 100 = 1,000; a quarter of it buys 2.5 shares at 100.
    assert planned([BUY], account_of(600, [4], [100]), [100], orders()) == [2.5]


def test_buy_stops_at_the_limit_of_one_symbol():
    # Equity 1,000, position 400, limit 500: room for 100 = 1 share.
    config = orders(maximum_weight=0.5)
    assert planned([BUY], account_of(600, [4], [100]), [100], config) == [1.0]


def test_buy_stops_at_the_limit_of_all_positions():
    # Equity 1,000, positions 700, limit 800: room for 100, wanted 250.
    account = account_of(300, [4, 3], [100, 100])
    assert planned([BUY, HOLD], account, [100, 100], orders(maximum_gross=0.8)) == [1.0, 0.0]


def test_sell_gives_up_the_whole_position_and_hold_orders_nothing():
    account = account_of(0, [7, 2], [30, 5])
    assert planned([SELL, HOLD], account, [30, 5], orders()) == [-7.0, 0.0]


def test_selling_what_is_not_held_orders_nothing_without_margin_and_sells_short_with_it():
    account = account_of(1000, [0], [100])
    assert planned([SELL], account, [100], orders()) == [0.0]
    assert planned([SELL], account, [100], orders(margin=MarginConfig())) == [-2.5]


def test_buy_covers_a_short_position_and_a_second_sell_adds_to_it():
    account, config = account_of(1400, [-4], [100]), orders(margin=MarginConfig())
    assert planned([BUY], account, [100], config) == [4.0]
    assert planned([SELL], account, [100], config) == [-2.5]


def test_order_that_would_turn_a_position_round_closes_it():
    account, config = account_of(600, [4], [100]), weights(margin=MarginConfig())
    assert planned([-0.5], account, [100], config) == [-4.0]


def test_symbol_that_is_not_valid_is_not_traded():
    account = account_of(1000, [0, 5], [10, 10])
    assert planned([BUY, SELL], account, [10, 10], orders(), valid=[0, 0]) == [0.0, 0.0]


def test_buys_beyond_the_cash_shrink_by_one_factor():
    # Equity 1,000, all of it in cash; three buys of 500 share it: 333.33 each.
    account = account_of(1000, [0, 0, 0], [10, 20, 40])
    got = planned([BUY] * 3, account, [10, 20, 40], orders(buy_fraction=0.5))
    assert got == pytest.approx([33.333333, 16.666666, 8.333333], abs=1e-6)


def test_expected_proceeds_of_sells_pay_for_buys():
    account = account_of(0, [10, 0], [100, 50])
    assert planned([SELL, BUY], account, [100, 50], orders(buy_fraction=0.5)) == [-10.0, 10.0]


def test_order_below_the_minimum_is_dropped_but_a_close_never_is():
    config = orders(buy_fraction=0.1, minimum_order_usd=200)
    account = account_of(900, [0, 10], [10, 10])
    assert planned([BUY, SELL], account, [10, 10], config) == [0.0, -10.0]
    small = weights(minimum_order_usd=200)
    assert planned([0.19, 0.0], account, [10, 10], small) == [0.0, -10.0]


def test_additions_are_rounded_down_to_lots_and_a_close_sells_the_odd_rest():
    account = account_of(1000, [0, 3.7], [30, 10])
    config = orders(lot_shares=5)
    # A quarter of 1,037 buys 8.6 shares: one lot of five.
    assert planned([BUY, SELL], account, [30, 10], config) == [5.0, -3.7]


def test_weights_are_reached_from_below_and_from_above():
    # Equity 1,000: 400 in the first, 100 in the second.
    account = account_of(500, [4, 10], [100, 10])
    got = planned([0.1, 0.3], account, [100, 10], weights())
    assert got == pytest.approx([-3.0, 20.0], abs=MICRO_SHARE)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ([1.0, 0.5], [0.3, 0.3]),  # clipped to a half each, then scaled to 0.6 together
        ([0.4, 0.1], [0.4, 0.1]),
        ([-1.0, 0.5], [0.0, 0.5]),  # without margin a negative weight is none
        ([9.0, 0.0], [0.5, 0.0]),
    ],
)
def test_weights_are_clipped_one_by_one_and_then_scaled_together(action, expected):
    config = weights(maximum_weight=0.5, maximum_gross=0.6)
    got = planned(action, account_of(1000, [0, 0], [1, 1]), [1, 1], config)
    assert [one / 1000 for one in got] == pytest.approx(expected, abs=1e-8)


def test_position_above_its_share_of_the_gross_limit_is_reduced_by_weights():
    # Half of the equity in the first; both targets together may be 0.6: 0.3 each.
    account = account_of(500, [500, 0], [1, 1])
    got = planned([1.0, 0.5], account, [1, 1], weights(maximum_weight=0.5, maximum_gross=0.6))
    assert got == pytest.approx([-200, 300], abs=1e-4)


def test_position_younger_than_the_minimum_is_kept_but_a_stop_closes_it():
    config = orders(minimum_holding_bars=3, stop_loss=0.1)
    calm = account_of(0, [7], [30], held=[2])
    assert planned([SELL], calm, [30], config) == [0.0]
    assert planned([SELL], calm._replace(held_bars=calm.held_bars + 1), [30], config) == [-7.0]
    lost = account_of(0, [7], [30], held=[1], entry=[34])
    assert planned([HOLD], lost, [30], config) == [-7.0]


@pytest.mark.parametrize(
    ("shares", "entry", "closes"),
    [
        (5, 111.2, True),  # long: lost 10.07 %
        (5, 111.0, False),  # lost 9.9 %
        (5, 83.0, True),  # gained 20.5 %
        (5, 84.0, False),  # gained 19 %
        (-5, 90.5, True),  # short: lost 10.5 %
        (-5, 91.5, False),  # lost 9.3 %
        (-5, 125.5, True),  # gained 20.3 %
        (-5, 124.0, False),  # gained 19.4 %
    ],
)
def test_stop_loss_and_take_profit_close_at_their_returns(shares, entry, closes):
    config = orders(stop_loss=0.1, take_profit=0.2, margin=MarginConfig())
    account = account_of(5000, [shares], [100], entry=[entry])
    assert planned([HOLD], account, [100], config) == [-shares if closes else 0.0]


def test_stopped_account_closes_everything_and_opens_nothing():
    account = account_of(1000, [3, 0], [10, 10], stopped=True)
    assert planned([BUY, BUY], account, [10, 10], orders()) == [-3.0, 0.0]
    assert planned([0.9, 0.9], account, [10, 10], weights()) == [-3.0, 0.0]


def test_margin_call_closes_everything_when_equity_is_below_maintenance():
    # 100 shares short at 100 and cash 12,900: equity 2,900, gross 10,000.
    account = account_of(12_900, [-100], [100])
    margin = MarginConfig(maintenance=0.3)
    assert planned([HOLD], account, [100], orders(margin=margin)) == [100.0]
    fine = MarginConfig(maintenance=0.28)
    assert planned([HOLD], account, [100], orders(margin=fine)) == [0.0]


def test_orders_beyond_the_maximum_are_dropped_stops_first_then_sells_then_buys():
    mark = [10.0] * 4
    account = account_of(1000, [0, 5, 5, 0], mark, entry=[10, 10, 20, 10])
    action = [BUY, SELL, HOLD, BUY]
    kept = {
        limit: [bool(one) for one in planned(action, account, mark, config)]
        for limit in (1, 2, 3, 4)
        for config in [orders(maximum_orders=limit, stop_loss=0.4)]
    }
    assert kept == {
        1: [False, False, True, False],
        2: [False, True, True, False],
        3: [True, True, True, False],
        4: [True, True, True, True],
    }


def test_buying_power_of_margin_is_the_gross_limit():
    # Equity 1,000, gross limit 2,000, 1,500 long already on a loan of 500.
    account = account_of(-500, [15, 0], [100, 10])
    config = orders(buy_fraction=1.0, maximum_gross=2.0, margin=MarginConfig())
    assert planned([HOLD, BUY], account, [100, 10], config) == [0.0, 50.0]


def test_costs_of_the_sells_and_of_the_buys_are_set_aside():
    costs = FREE.model_copy(update={"commission_bps": 100.0, "half_spread_bps": 100.0})
    account = account_of(0, [10, 0], [100, 50])
    config = orders(buy_fraction=1.0, costs=costs)
    (_, bought) = planned([SELL, BUY], account, [100, 50], config)
    assert bought == pytest.approx(1000 * 0.98 / 1.02 / 50, abs=MICRO_SHARE)
    assert math.isclose(bought, 19.215686, abs_tol=1e-6)
