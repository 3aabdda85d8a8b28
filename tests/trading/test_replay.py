import math

import numpy as np
import pytest

from ploutos.errors import TradingError
from ploutos.folds import Rows
from ploutos.portfolio.config import initial_cash_micro, rules_of
from ploutos.trading.events import CorporateAction, Decision, Fill, Lapsed, Mark
from ploutos.trading.replay import check_parity, replay
from tests.env import reference
from tests.trading.desks import BARS, ENV, LAST_20, SYMBOLS, clock_of, desk_on, small_market


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


def test_replay_equals_a_plain_python_reference_of_the_same_actions(desk):
    market, rules = desk.market, rules_of(ENV.portfolio)
    cash, held = initial_cash_micro(ENV.portfolio), [0, 0, 0]
    marks, decisions = events(desk, Mark), events(desk, Decision)
    assert marks[0].equity_micro == cash
    for at, decision in enumerate(decisions):
        row = LAST_20.start - 1 + at
        mark, valid = market.mark[row].tolist(), market.valid[row].tolist()
        order = reference.orders(decision.action, cash, held, mark, valid, rules)
        bar = {
            "split": market.split_ratio[row + 1].tolist(),
            "dividend": market.cash_dividend[row + 1].tolist(),
            "open": market.open[row + 1].tolist(),
        }
        cash, held, *_ = reference.bar(order, cash, held, bar, rules)
        recorded = marks[at + 1]
        assert recorded.cash_micro == cash
        quantities = {s: p.quantity_micro for s, p in recorded.positions.items()}
        assert quantities == {s: q for s, q in zip(SYMBOLS, held, strict=True) if q}
        assert recorded.equity_micro == reference.equity(cash, held, market.mark[row + 1].tolist())


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


def test_fill_pays_the_open_plus_half_the_spread_and_the_commission(desk):
    open_price = desk.market.open
    for fill in events(desk, Fill):
        row, n = desk.row_of(fill.session), SYMBOLS.index(fill.symbol)
        sign = 1 if fill.quantity_micro > 0 else -1
        assert math.isclose(fill.price_usd, open_price[row, n] * (1 + sign * 7e-4), rel_tol=1e-12)
        assert abs(fill.value_micro - abs(fill.quantity_micro) * fill.price_usd) <= 0.5
        commission = max(fill.value_micro * 3e-4, 500_000)
        assert abs(fill.fee_micro - commission) <= 0.5


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
    market.open[BARS - 10] *= 1.0001
    other = desk_on(tmp_path / "ledger.sqlite", market=market)
    with other.ledger, pytest.raises(TradingError, match="paper trading and environment differ"):
        check_parity(other, LAST_20)


@pytest.mark.parametrize("seed", range(3))
def test_parity_holds_on_any_stretch(tmp_path, seed):
    market = small_market(seed=100 + seed)
    start = int(np.random.default_rng(seed).integers(6, 25))
    bars = Rows(start=start, stop=BARS)
    desk = desk_on(tmp_path / "ledger.sqlite", market=market)
    with desk.ledger:
        replay(desk, clock_of(market), bars)
        check_parity(desk, bars)
