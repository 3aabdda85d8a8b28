import numpy as np
import pytest
import torch

from ploutos.errors import TradingError
from ploutos.portfolio.config import MarginConfig, WeightActions
from ploutos.trading.cycle import decide_cycle, run, settle_cycle
from ploutos.trading.events import CycleDone, Decision, Halted, Intent, Mark, Note, Resumed
from ploutos.trading.policy_state import decode_state
from tests.trading.desks import (
    BARS,
    ENV,
    PORTFOLIO,
    SYMBOLS,
    ScriptedActor,
    changed,
    desk_on,
    small_market,
)

ROW = BARS - 20
NOW = 1_362_000_000_000_000_000


@pytest.fixture
def desk(tmp_path):
    desk = desk_on(tmp_path / "ledger.sqlite")
    with desk.ledger:
        yield desk


def events(desk, kind):
    recorded = (item.event for item in desk.ledger.events(desk.account))
    return [event for event in recorded if isinstance(event, kind)]


class Always:
    """Answers the same, whatever it sees."""

    def __init__(self, answer):
        self.answer = answer

    def act(self, market, accounts, e, row, state):
        return self.answer, None


BUY_ALL = Always(np.ones(3, np.int64))


def test_cycle_goes_through_its_steps_in_order(desk):
    assert list(decide_cycle(desk, desk.sessions[ROW], NOW)) == [
        "opened",
        "claimed",
        "checked",
        "settled",
        "decided",
        "ordered",
        "done",
    ]


def test_finished_session_answers_already_done_and_changes_nothing(desk):
    session = desk.sessions[ROW]
    assert run(decide_cycle(desk, session, NOW)).outcome == "decided"
    head = desk.ledger.head()
    assert run(decide_cycle(desk, session, NOW)).outcome == "already done"
    assert run(settle_cycle(desk, session, NOW)).outcome == "already done"
    assert desk.ledger.head() == head


def test_orders_are_decided_at_one_close_and_filled_at_the_next_open(tmp_path):
    desk = desk_on(tmp_path / "ledger.sqlite", actor=BUY_ALL)
    with desk.ledger:
        run(decide_cycle(desk, desk.sessions[ROW], NOW))
        assert len(desk.state().open_orders) == 3
        assert desk.state().cash_micro == 10_000_000_000
        run(decide_cycle(desk, desk.sessions[ROW + 1], NOW))
        assert desk.state().n_fills == 3
        assert {intent.session for intent in events(desk, Intent)[:3]} == {desk.sessions[ROW]}


def test_policy_memory_is_carried_from_session_to_session(desk):
    for row in range(ROW, ROW + 3):
        run(decide_cycle(desk, desk.sessions[row], NOW))
    total, expected = torch.zeros(1), []
    for row in range(ROW - desk.warm_up_bars, ROW + 3):
        total = total * 0.7 + float(desk.market.features[row].sum()) / 3.0
        expected.append(total.numpy().tobytes())
    received = [decode_state(d.policy_state).numpy().tobytes() for d in events(desk, Decision)]
    assert received == expected[-3:]


def test_missed_sessions_are_settled_one_by_one_without_orders_of_their_own(desk):
    run(decide_cycle(desk, desk.sessions[ROW], NOW))
    assert list(decide_cycle(desk, desk.sessions[ROW + 4], NOW)).count("settled") == 4
    assert [mark.session for mark in events(desk, Mark)] == list(desk.sessions[ROW : ROW + 5])
    ordered = {intent.session for intent in events(desk, Intent)}
    assert ordered <= {desk.sessions[ROW], desk.sessions[ROW + 4]}


def test_past_session_does_not_trade(desk):
    run(decide_cycle(desk, desk.sessions[ROW + 1], NOW))
    with pytest.raises(TradingError, match="is past"):
        run(decide_cycle(desk, desk.sessions[ROW], NOW))


def test_skipped_session_is_recorded_with_its_reason_and_orders_nothing(desk):
    run(settle_cycle(desk, desk.sessions[ROW], NOW, "late"))
    assert [(done.outcome, done.reason) for done in events(desk, CycleDone)] == [
        ("skipped", "late")
    ]
    assert events(desk, Intent) == []


def test_halted_account_settles_but_does_not_order_until_resumed(tmp_path):
    desk = desk_on(tmp_path / "ledger.sqlite", actor=BUY_ALL)
    with desk.ledger:
        run(decide_cycle(desk, desk.sessions[ROW], NOW))
        desk.ledger.append(desk.account, [Halted(reason="stop")], NOW)
        result = run(decide_cycle(desk, desk.sessions[ROW + 1], NOW))
        assert (result.outcome, result.reason) == ("skipped", "halted: stop")
        assert desk.state().n_fills == 3
        assert desk.state().n_intents == 3
        desk.ledger.append(desk.account, [Resumed(reason="go")], NOW)
        assert run(decide_cycle(desk, desk.sessions[ROW + 2], NOW)).outcome == "decided"


def test_kill_switch_between_decision_and_orders_lets_nothing_through(tmp_path):
    desk = desk_on(tmp_path / "ledger.sqlite", actor=BUY_ALL)
    with desk.ledger:
        for step in decide_cycle(desk, desk.sessions[ROW], NOW):
            if step == "decided":
                desk.ledger.append(desk.account, [Halted(reason="stop")], NOW)
        assert events(desk, Intent) == []
        assert events(desk, CycleDone)[0].reason == "no orders, halted: stop"


def test_session_without_bars_is_refused_as_stale(desk):
    with pytest.raises(TradingError, match="the data are stale"):
        run(decide_cycle(desk, "2013-03-28", NOW))
    assert desk.ledger.accounts() == ()


MARKET = small_market()


@pytest.mark.parametrize(
    ("market", "message"),
    [
        (changed(MARKET, ROW, mark=MARKET.mark[ROW] * (1, 100, 1)), "BBB .* within a factor of 4"),
        (changed(MARKET, ROW, mark=MARKET.mark[ROW] * (1, 1, 0.01)), "CCC .* within a factor of 4"),
        (changed(MARKET, ROW, valid=0), "the data are incomplete"),
    ],
)
def test_bars_that_cannot_be_believed_are_refused_and_noted(tmp_path, market, message):
    desk = desk_on(tmp_path / "ledger.sqlite", market=market)
    with desk.ledger:
        with pytest.raises(TradingError, match=message):
            run(decide_cycle(desk, desk.sessions[ROW], NOW))
        assert events(desk, Mark) == []
        assert len(events(desk, Note)) == 1


def test_refused_session_is_finished_once_its_data_are_mended(tmp_path):
    broken = desk_on(tmp_path / "ledger.sqlite", market=changed(MARKET, ROW, valid=0))
    with broken.ledger, pytest.raises(TradingError):
        run(decide_cycle(broken, broken.sessions[ROW], NOW))
    mended = desk_on(tmp_path / "ledger.sqlite")
    with mended.ledger:
        assert run(decide_cycle(mended, mended.sessions[ROW], NOW)).outcome == "decided"


@pytest.mark.parametrize(
    "answer",
    [
        np.array([0, 1, 3]),
        np.array([0, 1, -1]),
        np.array([0, 1]),
        np.array([np.nan, 1.0, 2.0]),
        np.array([[0, 1, 2]]),
    ],
)
def test_answer_that_is_no_action_is_refused_and_orders_nothing(tmp_path, answer):
    desk = desk_on(tmp_path / "ledger.sqlite", actor=Always(answer))
    with desk.ledger:
        with pytest.raises(TradingError, match="expected 3 actions out of 0, 1, 2"):
            run(decide_cycle(desk, desk.sessions[ROW], NOW))
        assert events(desk, Decision) == events(desk, Intent) == []


@pytest.mark.parametrize(
    "answer",
    [
        np.array([0.1, 0.2, np.nan]),
        np.array([0.1, np.inf, 0.2]),
        np.array([0.1, 0.2]),
        np.array([0, 1, 2]),
        np.array([0.1, 0.2, 0.3], np.float32),
    ],
)
def test_answer_that_is_no_target_weights_is_refused_and_orders_nothing(tmp_path, answer):
    portfolio = PORTFOLIO.model_copy(update={"actions": WeightActions()})
    env = ENV.model_copy(update={"portfolio": portfolio})
    desk = desk_on(tmp_path / "ledger.sqlite", actor=Always(answer), env=env)
    with desk.ledger:
        with pytest.raises(TradingError, match="expected 3 finite target weights"):
            run(decide_cycle(desk, desk.sessions[ROW], NOW))
        assert events(desk, Decision) == events(desk, Intent) == []


def test_cash_account_does_not_become_a_margin_account(tmp_path):
    desk = desk_on(tmp_path / "ledger.sqlite")
    with desk.ledger:
        run(decide_cycle(desk, desk.sessions[ROW], NOW))
    portfolio = PORTFOLIO.model_copy(update={"margin": MarginConfig()})
    other = desk_on(tmp_path / "ledger.sqlite", env=ENV.model_copy(update={"portfolio": portfolio}))
    with other.ledger, pytest.raises(TradingError, match="Use another account name"):
        run(decide_cycle(other, other.sessions[ROW + 1], NOW))


def test_account_of_another_mode_is_refused(tmp_path):
    replayed = desk_on(tmp_path / "ledger.sqlite")
    with replayed.ledger:
        run(decide_cycle(replayed, replayed.sessions[ROW], NOW))
    live = desk_on(tmp_path / "ledger.sqlite", mode="paper")
    with live.ledger, pytest.raises(TradingError, match="Use another account name"):
        run(decide_cycle(live, live.sessions[ROW + 1], NOW))


def test_two_accounts_of_one_ledger_do_not_touch_each_other(tmp_path):
    one = desk_on(tmp_path / "ledger.sqlite", account="one")
    two = desk_on(tmp_path / "ledger.sqlite", account="two", actor=BUY_ALL)
    alone = desk_on(tmp_path / "alone.sqlite", account="one")
    with one.ledger, two.ledger, alone.ledger:
        for row in range(ROW, ROW + 5):
            for desk in (one, two, alone):
                run(decide_cycle(desk, desk.sessions[row], NOW))
        assert one.state() == alone.state()
        assert two.state() != one.state()


def test_script_trades_every_symbol_in_both_directions(desk):
    for row in range(ROW, BARS):
        run(decide_cycle(desk, desk.sessions[row], NOW))
    directions = {(i.symbol, i.quantity_micro > 0) for i in events(desk, Intent)}
    assert directions == {(symbol, buy) for symbol in SYMBOLS for buy in (True, False)}
    assert isinstance(desk.actor, ScriptedActor)


def test_process_killed_at_any_step_is_finished_by_the_next_start(drills):
    report = drills["boundaries"]
    assert report["steps"] == 7 + 7 + 9 + 5
    assert report["killed"] == report["steps"]
    assert set(report["heads"]) == {report["undisturbed"]}


def test_process_killed_at_any_instant_is_finished_by_the_next_start(drills):
    report = drills["instants"]
    assert report["killed"] >= 4 * 2
    assert set(report["heads"]) == {report["undisturbed"]}


def test_cycle_that_fires_thrice_at_once_trades_once(drills):
    report = drills["double_fire"]
    assert report["outcomes"].count("decided") == report["sessions"]
    assert set(report["outcomes"]) <= {"decided", "already done", "AccountBusyError"}
    assert report["head"] == report["undisturbed"]
