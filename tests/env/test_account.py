"""What always holds of an account, whatever the rules, the market and the actions."""

import numpy as np
import pytest
from hypothesis import given, settings

from ploutos.env.account import decide, open_accounts, settle
from ploutos.portfolio import BUY, HOLD, PortfolioConfig, rules_of
from ploutos.portfolio.config import MICRO, OrderActions
from ploutos.portfolio.fills import new_trades
from tests.env import reference
from tests.env.configs import FREE, random_actions, random_portfolio
from tests.env.markets import one_symbol_market, rough_market
from tests.env.stories import BARS, Walk, stories, walk

often = settings(max_examples=100, deadline=None)


def whole(values):
    return np.array_equal(values, np.round(values))


@pytest.mark.parametrize("first", range(0, 300, 100))
def test_orders_and_accounts_equal_the_plain_python_reference_bit_for_bit(first):
    for case in range(first, first + 100):
        rng = np.random.default_rng(10**6 + case)
        market = rough_market(rng, symbols=3)
        rules, cash = rules_of(random_portfolio(rng)), int(rng.integers(10**9, 10**12))
        accounts, trades = open_accounts(1, 3, cash), new_trades(3)
        expected = reference.Account(3, cash)
        for row in range(market.mark.shape[0] - 1):
            action = random_actions(rng, 3, bool(rules.by_weight))
            decide(market, accounts, (0, row), action, rules, trades)
            mark, valid = market.mark[row].tolist(), market.valid[row].tolist()
            order = reference.orders(action.tolist(), expected, mark, valid, rules)
            assert trades.order.tolist() == order, (case, row)
            equity = settle(market, accounts, (0, row + 1), rules, trades)
            report = reference.settle(expected, order, reference.Bar(market, row + 1), rules)
            assert equity == expected.equity, (case, row)
            assert trades.fee.tolist() == report.fee, (case, row)
            assert accounts.quantity[0].tolist() == expected.quantity, (case, row)
            assert accounts.entry_price[0].tolist() == expected.entry_price, (case, row)
            if expected.equity <= 0:
                break


@often
@given(stories())
def test_cash_and_positions_are_equity_to_the_micro_unit(story):
    for walker, step in walk(*story):
        after, mark = step.after, walker.market.mark[step.row + 1]
        positions = sum(reference.rounded(q * m) for q, m in zip(after.quantity, mark, strict=True))
        assert after.cash + positions == after.equity
        assert whole(after.cash)
        assert whole(after.quantity)
        assert after.peak >= after.equity
        assert all(np.isfinite(value).all() for value in after)


@often
@given(stories())
def test_every_cash_flow_is_accounted_for(story):
    for walker, step in walk(*story):
        trades, split = step.trades, walker.market.split_ratio[step.row + 1]
        flow = 0
        for fill, price, fee in zip(trades.fill, trades.fill_price, trades.fee, strict=True):
            assert (fill == 0) == np.isnan(price)
            if fill != 0:
                flow -= np.sign(fill) * reference.rounded(abs(fill) * price) + fee
                assert fee >= 0
        assert step.after.cash == step.before.cash + trades.flows[:2].sum() + flow
        held = np.sign(step.before.quantity) * np.floor(abs(step.before.quantity) * split + 0.5)
        assert np.array_equal(step.after.quantity, held + trades.fill)


@often
@given(stories(with_margin=False))
def test_without_margin_cash_never_is_negative_and_no_position_is_short(story):
    for _, step in walk(*story):
        assert step.after.cash >= 0
        assert (step.after.quantity >= 0).all()
        assert step.trades.flows[1] >= 0


@often
@given(stories())
def test_observation_always_lies_in_its_space(story):
    config, market, actions = story
    walker = Walk(config, market)
    space = walker.batch.observation_space
    assert space.contains(walker.batch.observe()[0])
    for action in actions:
        step = walker.step(action)
        assert space.contains(step.observation), step.observation
        if step.after.equity <= 0:
            break


@often
@given(stories())
def test_the_future_changes_neither_orders_nor_observations_before_it(story):
    config, market, actions = story
    walker = Walk(config, market)
    steps = [walker.step(action) for action in actions]
    for row in (2, BARS - 2):
        changed = Walk(config, perturbed_after(walker.market, row))
        for action, step in zip(actions[:row], steps, strict=False):
            again = changed.step(action)
            assert np.array_equal(again.order, step.order)
            assert np.array_equal(again.observation, step.observation)
        assert np.array_equal(changed.orders(actions[row]), steps[row].order)
        assert np.array_equal(changed.batch.masks(), masks_at(walker, steps[row].before, row))


def masks_at(walker, account, row):
    for array, value in zip(walker.batch.accounts, account, strict=True):
        array[0] = value
    walker.batch.episodes.row[0] = row
    return walker.batch.masks()


def perturbed_after(market, row):
    """Return the market with all that comes after the row replaced by something else."""
    changed = []
    for array in market:
        other = np.roll(np.nan_to_num(array, nan=7.0)[::-1] * 3, 1, axis=0).astype(array.dtype)
        other[: row + 1] = array[: row + 1]
        other.flags.writeable = False
        changed.append(other)
    return type(market)(*changed)


def free_walk(opens, closes, *, buy_fraction=0.5, cash=1000.0, **market):
    config = PortfolioConfig(
        initial_cash_usd=cash,
        actions=OrderActions(buy_fraction=buy_fraction),
        maximum_weight=1.0,
        costs=FREE,
    )
    return Walk(config, one_symbol_market(opens, closes, **market))


def test_decision_fills_at_the_next_open_and_never_at_the_close_it_was_taken_at():
    step = free_walk([100, 110, 120], [100, 130, 120]).step(np.array([BUY]))
    # 500 at the close of 100 are 5 shares; they fill at 110 and are marked at 130.
    assert step.after.quantity[0] == 5 * MICRO
    assert step.trades.fill_price[0] == 110.0
    assert step.after.equity == (1000 - 5 * 110 + 5 * 130) * MICRO


def test_average_entry_price_and_age_follow_the_holding_through_a_split():
    walker = free_walk(
        [10, 10, 20, 10, 10], [10, 10, 20, 10, 10], split=[1, 1, 1, 2, 1], buy_fraction=0.25
    )
    walker.step(np.array([BUY]))  # 25 shares at 10
    step = walker.step(np.array([BUY]))  # 25 more at 20: average 15
    assert step.after.entry_price[0] == 15.0
    step = walker.step(np.array([HOLD]))  # 2 for 1: 100 shares, average 7.5
    assert step.after.quantity[0] == 100 * MICRO
    assert step.after.entry_price[0] == 7.5
    assert step.after.held_bars[0] == 3


@pytest.mark.parametrize("ratio", [2.0, 3.0, 1.5, 0.1, 1 / 3])
def test_split_with_the_price_divided_leaves_equity_as_it_is(ratio):
    opens, closes = np.array([31.0, 32.5, 33.1, 34.2]), np.array([31.5, 32.9, 33.3, 34.8])
    plain = free_walk(opens, closes)
    factor = np.array([1, 1, ratio, ratio])
    divided = free_walk(opens / factor, closes / factor, split=[1, 1, ratio, 1])
    for action in (BUY, HOLD, HOLD):
        expected, step = (one.step(np.array([action])) for one in (plain, divided))
        # The new number of shares is rounded to a micro-share, worth at most half its price.
        assert step.after.equity == pytest.approx(expected.after.equity, abs=35 / ratio)


@pytest.mark.parametrize("dividend", [0.25, 1.0, 7.77])
def test_dividend_is_worth_what_the_price_loses_by_it(dividend):
    opens, closes = np.array([31.0, 32.5, 33.1, 34.2]), np.array([31.5, 32.9, 33.3, 34.8])
    plain = free_walk(opens, closes)
    paid = free_walk(
        opens - [0, 0, dividend, dividend],
        closes - [0, 0, dividend, dividend],
        dividend=[0, 0, dividend, 0],
    )
    for action in (BUY, HOLD, HOLD):
        expected, step = (one.step(np.array([action])) for one in (plain, paid))
        assert step.after.equity == pytest.approx(expected.after.equity, abs=2)
