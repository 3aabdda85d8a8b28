import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ploutos.agent.play import Segment, play
from ploutos.errors import TradingError
from ploutos.folds import Rows
from ploutos.portfolio.config import OrderActions
from ploutos.trading.events import CorporateAction, Fill, Financing, Intent, Lapsed
from ploutos.trading.replay import check_parity, replay
from tests.trading.desks import (
    BARS,
    ENV,
    LAST_20,
    SYMBOLS,
    ScriptedActor,
    WeighingActor,
    changed,
    clock_of,
    desk_on,
    small_market,
)
from tests.trading.rules import portfolios


@pytest.fixture
def desk(tmp_path):
    desk = desk_on(tmp_path / "ledger.sqlite")
    with desk.ledger:
        replay(desk, clock_of(desk.market), LAST_20)
        yield desk


def events(desk, kind):
    recorded = (item.event for item in desk.ledger.events(desk.account))
    return [event for event in recorded if isinstance(event, kind)]


def test_replay_equals_the_environment_to_the_micro_unit(desk):
    check_parity(desk, LAST_20)
    assert len(desk.state().equity) == 21


@settings(max_examples=12, deadline=None)
@given(
    portfolio=portfolios(),
    seed=st.integers(0, 999),
    shares=st.sampled_from((30.0, 1000.0, 1e6)),
    start=st.integers(6, 25),
)
def test_replay_equals_the_environment_under_any_rules(portfolio, seed, shares, start):
    orders = isinstance(portfolio.actions, OrderActions)
    market, bars = small_market(seed, shares=shares), Rows(start=start, stop=BARS)
    with tempfile.TemporaryDirectory() as folder:
        desk = desk_on(
            Path(folder) / "ledger.sqlite",
            market=market,
            actor=ScriptedActor() if orders else WeighingActor(),
            env=ENV.model_copy(update={"portfolio": portfolio}),
        )
        with desk.ledger:
            replay(desk, clock_of(market), bars)
            check_parity(desk, bars)
            desk.ledger.verify()
            check_flows(desk, bars)


def check_flows(desk, bars):
    """Compare every fill, fee, dividend and interest with the environment's, bar by bar."""
    played = play(desk.market, [Segment(desk.actor, bars)], desk.env, desk.warm_up_bars)
    fill, fee = np.zeros_like(played.fill_micro), np.zeros_like(played.fee_micro)
    price = np.full_like(played.fill_price, np.nan)
    dividend = np.zeros_like(played.dividend_micro)
    interest = np.zeros_like(played.interest_micro)
    for event in (item.event for item in desk.ledger.events(desk.account)):
        match event:
            case Fill():
                at = desk.row_of(event.session) - bars.start, SYMBOLS.index(event.symbol)
                fill[at], fee[at], price[at] = (
                    event.quantity_micro,
                    event.fee_micro,
                    event.price_usd,
                )
            case CorporateAction():
                dividend[desk.row_of(event.session) - bars.start] += event.dividend_micro
            case Financing():
                interest[desk.row_of(event.session) - bars.start] += event.interest_micro
    np.testing.assert_array_equal(fill, played.fill_micro)
    np.testing.assert_array_equal(fee, played.fee_micro)
    np.testing.assert_array_equal(price, played.fill_price)
    np.testing.assert_array_equal(dividend, played.dividend_micro)
    np.testing.assert_array_equal(interest, played.interest_micro)


def test_stretch_holds_a_split_a_dividend_a_lapsed_order_and_shrunk_buys(desk):
    actions = events(desk, CorporateAction)
    assert any(a.split_ratio == 3.0 and a.quantity_before_micro > 0 for a in actions)
    assert any(a.dividend_micro > 0 for a in actions)
    assert {lapsed.reason for lapsed in events(desk, Lapsed)} == {
        "no open to fill at",
        "cash did not cover it",
    }
    sold = [fill for fill in events(desk, Fill) if fill.quantity_micro < 0]
    bought = [fill for fill in events(desk, Fill) if fill.quantity_micro > 0]
    assert len(sold) >= 3
    assert len(bought) >= 3


def test_fill_pays_spread_and_impact_and_commission_and_the_sell_fees_of_its_day(desk):
    market = desk.market
    ordered = {order.client_order_id: order.quantity_micro for order in events(desk, Intent)}
    for fill in events(desk, Fill):
        row, n = desk.row_of(fill.session), SYMBOLS.index(fill.symbol)
        sign = 1 if fill.quantity_micro > 0 else -1
        part = abs(ordered[fill.client_order_id]) / 1e6 / market.volume[row - 1, n]
        price = market.open[row, n] * (1 + sign * (7e-4 + 0.01 * math.sqrt(part)))
        assert math.isclose(fill.price_usd, price, rel_tol=1e-12)
        assert abs(fill.value_micro - abs(fill.quantity_micro) * fill.price_usd) <= 0.5
        fee = max(fill.value_micro * 3e-4, 500_000)
        if sign < 0:
            # Section 31: 22.40 USD per million from April 2012 to May 2013; TAF 0.000119 a share.
            fee += fill.value_micro * 22.4e-6 + abs(fill.quantity_micro) * 0.000119
        assert abs(fill.fee_micro - fee) <= 1.5


def test_second_replay_finds_everything_done(desk):
    head, seen = desk.ledger.head(), []
    replay(desk, clock_of(desk.market), LAST_20, lambda done, message: seen.append((done, message)))
    assert desk.ledger.head() == head
    assert len(seen) == 21
    assert seen[-1] == (1.0, f"{desk.sessions[-1]}: already done")


def test_account_that_strayed_from_the_environment_is_an_error(tmp_path):
    desk = desk_on(tmp_path / "ledger.sqlite")
    with desk.ledger:
        replay(desk, clock_of(desk.market), LAST_20)
    market = small_market()
    market = changed(market, BARS - 10, open=market.open[BARS - 10] * 1.0001)
    other = desk_on(tmp_path / "ledger.sqlite", market=market)
    with other.ledger, pytest.raises(TradingError, match="paper trading and environment differ"):
        check_parity(other, LAST_20)
