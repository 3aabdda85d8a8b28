"""Every rule of an account, one at a time, through the ledger: that it bites, and to the unit."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from ploutos.portfolio.config import MarginConfig, WeightActions
from ploutos.trading.events import (
    CorporateAction,
    Decision,
    Fill,
    Financing,
    Intent,
    Lapsed,
    Mark,
    Opened,
)
from ploutos.trading.replay import check_parity, replay
from tests.trading.desks import (
    ENV,
    LAST_20,
    PORTFOLIO,
    SYMBOLS,
    ScriptedActor,
    WeighingActor,
    clock_of,
    desk_on,
    small_market,
)

MARGIN = {"margin": MarginConfig(), "maximum_gross": 2.0, "maximum_weight": 1.0}
WEIGHTS = {"actions": WeightActions()}


def env_with(**changes):
    return ENV.model_copy(update={"portfolio": PORTFOLIO.model_copy(update=changes)})


class Constant:
    """Answers the same at every row."""

    def __init__(self, *answer):
        self.answer = np.array(answer)

    def act(self, market, accounts, e, row, state):
        return self.answer, None


@pytest.fixture
def events(tmp_path):
    """Replay under rules, check the parity, and return the events by kind."""

    def replayed(actor=None, shares=1e6, account="replay-test", **changes):
        desk = desk_on(
            tmp_path / "ledger.sqlite",
            account=account,
            market=small_market(shares=shares),
            actor=actor or ScriptedActor(),
            env=env_with(**changes),
        )
        with desk.ledger:
            replay(desk, clock_of(desk.market), LAST_20)
            check_parity(desk, LAST_20)
            recorded = [item.event for item in desk.ledger.events(desk.account)]
        return lambda kind: [event for event in recorded if isinstance(event, kind)]

    return replayed


def test_order_that_the_volume_does_not_carry_fills_in_part_and_the_rest_lapses(events):
    found = events(shares=300.0)
    ordered = {order.client_order_id: abs(order.quantity_micro) for order in found(Intent)}
    lapsed = {one.client_order_id for one in found(Lapsed) if "volume" in one.reason}
    filled = {fill.client_order_id: abs(fill.quantity_micro) for fill in found(Fill)}
    in_part = [order for order in lapsed if 0 < filled.get(order, 0) < ordered[order]]
    assert len(in_part) >= 5
    assert max(filled.values()) < 0.1 * 3 * 2 * 300 * 1e6  # the cap, with room for the split


def test_cash_earns_interest_for_calendar_days(events):
    found = events(Constant(0, 0, 0), cash_interest=0.0365)
    earned = [one.interest_micro for one in found(Financing)]
    # One US dollar a day on 10,000: one for a night, three for a weekend, compounded.
    assert len(earned) == 20
    assert earned[0] in (10**6, 3 * 10**6)
    assert {round(one / 1e6) for one in earned} == {1, 3}
    assert found(Mark)[-1].equity_micro == 10_000 * 10**6 + sum(earned)


def test_margin_account_is_short_pays_dividends_and_the_loan(events):
    found = events(Constant(-0.9, 1.0, 0.0), **MARGIN, **WEIGHTS)
    assert found(Opened)[0].margin
    assert any(
        position.quantity_micro < 0 for mark in found(Mark) for position in mark.positions.values()
    )
    assert any(one.dividend_micro < 0 for one in found(CorporateAction))
    assert any(one.interest_micro < 0 for one in found(Financing))


def test_margin_account_that_borrows_has_negative_cash(events):
    found = events(Constant(1.0, 1.0, 0.0), **MARGIN, **WEIGHTS)
    assert min(mark.cash_micro for mark in found(Mark)) < -9_000 * 10**6
    assert all(one.interest_micro < 0 for one in found(Financing)[2:])


def test_order_beyond_the_gross_limit_says_so(events):
    found = events(Constant(1.0, 1.0, 0.0), **MARGIN, **WEIGHTS)
    assert "maximum_gross left no room for it" in {one.reason for one in found(Lapsed)}


@pytest.mark.parametrize("rule", [{"stop_loss": 0.02}, {"take_profit": 0.02}])
def test_stop_closes_a_position_that_the_strategy_would_keep(events, rule):
    found = events(Constant(1, 1, 1), **rule)
    closing = [order for order in found(Intent) if order.quantity_micro < 0]
    assert len(closing) >= 2
    without = events(Constant(1, 1, 1), account="without")(Intent)
    assert all(order.quantity_micro > 0 for order in without)


def test_drawdown_stop_is_recorded_and_ends_the_trading_for_good(events):
    found = events(Constant(1, 1, 1), drawdown_stop=0.03)
    stopped = [mark.stopped for mark in found(Mark)]
    assert stopped == sorted(stopped)
    assert stopped[0] is False
    assert stopped[-1] is True
    assert found(Mark)[-1].positions == {}
    first = found(Mark)[stopped.index(True)].session
    assert all(order.quantity_micro < 0 for order in found(Intent) if order.session >= first)


def test_young_position_is_kept(events):
    for mark in young_sales(events(minimum_holding_bars=4)):
        assert mark >= 4
    assert min(young_sales(events(account="without"))) < 4


def young_sales(found):
    """Return the age at the decision of every position that was sold, in bars."""
    marks = {mark.session: mark for mark in found(Mark)}
    return [
        marks[order.session].positions[order.symbol].held_bars
        for order in found(Intent)
        if order.quantity_micro < 0
    ]


def test_decision_sends_at_most_the_orders_that_are_allowed(events):
    per_session = Counter(order.session for order in events(maximum_orders=1)(Intent))
    assert set(per_session.values()) == {1}
    assert max(Counter(o.session for o in events(account="without")(Intent)).values()) > 1


def test_orders_that_add_are_in_whole_lots(events):
    found = events(lot_shares=5)
    added = [order.quantity_micro for order in found(Intent) if order.quantity_micro > 0]
    assert len(added) >= 3
    assert all(quantity % 5_000_000 == 0 for quantity in added)


def test_target_weights_are_recorded_as_they_were_answered(events):
    found = events(WeighingActor(), **WEIGHTS)
    decisions = found(Decision)
    assert all(isinstance(weight, float) for one in decisions for weight in one.action)
    assert {len(one.action) for one in decisions} == {len(SYMBOLS)}
    assert any(before.action != after.action for before, after in pairwise(decisions))
    assert len(found(Fill)) >= 3
