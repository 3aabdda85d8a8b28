"""The limits and the stops of an account do what the form says of them."""

import itertools

import numpy as np
from hypothesis import given, settings

from ploutos.portfolio.config import MICRO
from tests.env.stories import Walk, order_actions, stories, walk

often = settings(max_examples=100, deadline=None)
A_LITTLE = 10.0  # micro-dollars of rounding


def position_return(account, mark):
    with np.errstate(divide="ignore", invalid="ignore"):
        change = mark / account.entry_price - 1.0
    return np.where(account.quantity > 0, change, -change)


def gross_of(quantity, mark):
    return np.abs(quantity * mark).sum()


def stopped_symbols(walker, row, account):
    """Return what a stop closes at this close, (N,) bool, from the form's own words."""
    rules, mark = walker.rules, walker.market.mark[row]
    change = position_return(account, mark)
    stops = (change <= -rules.stop_loss) | (change >= rules.take_profit)
    called = rules.margin and account.equity < rules.maintenance * gross_of(account.quantity, mark)
    everything = bool(account.stopped) or bool(called)
    return (account.quantity != 0) & (walker.market.valid[row] != 0) & (stops | everything)


@often
@given(stories())
def test_stops_close_the_whole_position_whatever_the_action_says(story):
    for walker, step in walk(*story):
        stops = stopped_symbols(walker, step.row, step.before)
        assert np.array_equal(step.order[stops], -step.before.quantity[stops])


@often
@given(stories(with_margin=True))
def test_margin_call_orders_nothing_but_closes(story):
    for walker, step in walk(*story):
        before, mark = step.before, walker.market.mark[step.row]
        gross = gross_of(before.quantity, mark)
        if before.equity < walker.rules.maintenance * gross - A_LITTLE:
            valid = walker.market.valid[step.row] != 0
            assert np.array_equal(step.order, np.where(valid, -before.quantity, 0.0))


@often
@given(stories())
def test_drawdown_stop_is_for_good(story):
    config, market, actions = story
    limit = config.drawdown_stop
    peak, reached = config.initial_cash_usd * MICRO, False
    for _, step in walk(config, market, actions):
        if reached:
            assert (step.order * step.before.quantity <= 0).all()
            assert (step.order[step.before.quantity == 0] == 0).all()
        after = step.after
        reached = reached or (limit is not None and after.equity <= (1 - limit) * peak)
        peak = max(peak, after.equity)
        assert bool(after.stopped) == reached
        assert after.peak == peak


@often
@given(stories())
def test_no_order_is_for_a_symbol_that_is_not_valid_and_none_turns_a_position_round(story):
    for walker, step in walk(*story):
        assert (step.order[walker.market.valid[step.row] == 0] == 0).all()
        against = step.order * step.before.quantity < 0
        assert (np.abs(step.order)[against] <= np.abs(step.before.quantity)[against]).all()


@often
@given(stories())
def test_no_more_orders_than_allowed_unless_stops_need_them(story):
    for walker, step in walk(*story):
        stops = stopped_symbols(walker, step.row, step.before)
        assert np.count_nonzero(step.order) <= max(walker.rules.maximum_orders, stops.sum())


@often
@given(stories())
def test_young_positions_are_kept_unless_a_stop_closes_them(story):
    for walker, step in walk(*story):
        stops = stopped_symbols(walker, step.row, step.before)
        young = step.before.held_bars < walker.rules.minimum_holding_bars
        kept = young & ~stops & (step.before.quantity != 0)
        assert (step.order[kept] * step.before.quantity[kept] >= 0).all()


@often
@given(stories())
def test_additions_are_whole_lots_when_ordered_and_when_filled(story):
    for walker, step in walk(*story):
        split = walker.market.split_ratio[step.row + 1]
        lot = walker.rules.lot_micro
        adds = step.order * step.before.quantity >= 0
        assert (np.fmod(step.order[adds], lot) == 0).all()
        assert (np.fmod(step.trades.fill[adds], lot) == 0).all()
        rest = step.before.quantity + step.order
        partial = ~adds & (rest != 0)
        assert (np.fmod(step.order[partial], lot) == 0).all()
        assert (
            (step.trades.fill == 0) | (np.abs(step.trades.fill) <= filled_most(step, split))
        ).all()


def filled_most(step, split):
    return np.floor(np.abs(step.order) * split + 0.5)


@often
@given(stories())
def test_orders_below_the_minimum_are_not_sent_unless_they_close(story):
    for walker, step in walk(*story):
        mark, rules = walker.market.mark[step.row], walker.rules
        closes = step.order == -step.before.quantity
        sent = (step.order != 0) & ~closes
        # The minimum applies to the value before it is rounded down to a lot.
        value = (np.abs(step.order) + rules.lot_micro) * mark
        assert (value[sent] >= rules.minimum_order_micro).all()


@often
@given(stories())
def test_no_fill_is_larger_than_the_cap_or_on_a_bar_without_an_open(story):
    for walker, step in walk(*story):
        market, row, rules = walker.market, step.row + 1, walker.rules
        fill = np.abs(step.trades.fill)
        assert (fill[~(market.open[row] > 0)] == 0).all()
        if np.isfinite(rules.maximum_participation):
            volume = market.volume[row - 1] * market.split_ratio[row]
            assert (fill <= rules.maximum_participation * volume * MICRO).all()


@often
@given(stories())
def test_additions_keep_the_limits_at_the_prices_of_the_decision(story):
    for walker, step in walk(*story):
        rules, mark, before = walker.rules, walker.market.mark[step.row], step.before
        ordered = before.quantity + step.order
        adds = (step.order != 0) & (step.order * before.quantity >= 0)
        most = rules.maximum_weight * before.equity + A_LITTLE
        assert (np.abs(ordered * mark)[adds] <= most).all()
        if adds.any():
            most = rules.maximum_gross * before.equity + A_LITTLE
            assert gross_of(ordered, mark) <= most
        # The fill is at most the order, in shares as they count after the split.
        split = walker.market.split_ratio[step.row + 1]
        filled = (step.after.quantity / split)[adds]
        held = np.abs(before.quantity[adds] + step.order[adds])
        assert (np.abs(filled) <= held + 1 / split[adds]).all()


@often
@given(stories())
def test_additions_keep_the_gross_limit_at_the_opens_of_the_fill(story):
    for walker, step in walk(*story):
        market, row, rules = walker.market, step.row + 1, walker.rules
        price = np.where(market.open[row] > 0, market.open[row], market.mark[row - 1])
        split, fill = market.split_ratio[row], step.trades.fill
        held = np.sign(step.before.quantity) * filled_most(
            step._replace(order=step.before.quantity), split
        )
        adds = (fill != 0) & (fill * held >= 0)
        if not adds.any():
            continue
        reduced = held + np.where(adds, 0.0, fill)
        flow = np.nansum(np.where(adds, 0.0, -fill * step.trades.fill_price - step.trades.fee))
        cash = step.before.cash + step.trades.flows[:2].sum() + flow
        equity = cash + (reduced * price).sum()
        added = np.nansum(np.abs(fill * step.trades.fill_price)[adds])
        most = rules.maximum_gross * equity + A_LITTLE
        assert gross_of(reduced, price) + added <= most


def combinations_of(actions, n, action):
    """Yield every combination of actions in which symbol n does `action`."""
    others = [range(3)] * (len(actions) - 1)
    for chosen in itertools.product(*others):
        yield np.array([*chosen[:n], action, *chosen[n:]])


@settings(max_examples=80, deadline=None)
@given(stories(kinds=order_actions))
def test_masked_out_action_never_does_anything_and_an_allowed_one_can(story):
    config, market, actions = story
    walker = Walk(config, market)
    for action in actions:
        masks = walker.batch.masks()[0]
        assert masks[:, 0].all()
        for n, what in itertools.product(range(len(action)), (1, 2)):
            does_something = False
            for chosen in combinations_of(action, n, what):
                waits = chosen.copy()
                waits[n] = 0
                order, idle = walker.orders(chosen)[n], walker.orders(waits)[n]
                does_something |= order != idle
            assert does_something == masks[n, what], (n, what, walker.row)
        if walker.step(action).after.equity <= 0:
            break
