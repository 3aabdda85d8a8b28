import shutil
from datetime import UTC, datetime, timedelta

import pytest

from ploutos.errors import LedgerError, TradingError
from ploutos.runs import read_part, record_part
from ploutos.trading import Ledger, PaperConfig, replay_run, trade_session
from ploutos.trading.events import CycleDone, Intent
from ploutos.trading.ledger_schema import url_of
from tests.trading.runs import untrained_run

CONFIG = PaperConfig()
# 2014-07-07 is a Monday; New York is four hours behind UTC, so 23:10 UTC is 19:10 there.
MONDAY = datetime(2014, 7, 7, 23, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A home folder that holds a run, and the run's id."""
    home = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLOUTOS_HOME", str(home))
        return home, untrained_run()


@pytest.fixture
def run_id(home, built):
    shutil.copytree(built[0], home)
    return built[1]


@pytest.fixture
def ledger(home, run_id):
    with Ledger(url_of(home / "ledger.sqlite")) as ledger:
        yield ledger


def events(ledger, kind, account="paper"):
    recorded = (item.event for item in ledger.events(account))
    return [event for event in recorded if isinstance(event, kind)]


def test_replay_of_a_run_equals_the_environment_and_is_recorded(run_id, ledger):
    seen = []
    summary = replay_run(run_id, CONFIG, lambda done, message: seen.append(done))
    assert (summary.sessions, summary.parity) == (20, "equal")
    assert (summary.first_session, summary.last_session) == ("2014-06-12", "2014-07-11")
    assert summary.orders > 0
    assert summary.fills > 0
    assert seen[-1] == 1.0
    assert ledger.state(summary.account).mode == "replay"
    part = read_part(run_id, "paper")
    assert part["equity"] == summary.equity_usd
    assert (part["sessions"], part["orders"], part["fills"]) == (20, summary.orders, summary.fills)


def test_second_replay_of_a_run_reads_the_same_result_back(run_id, ledger):
    first = replay_run(run_id, CONFIG)
    count = ledger.verify().events
    assert replay_run(run_id, CONFIG) == first
    assert ledger.verify().events == count


def test_replay_of_another_length_has_an_account_of_its_own(run_id, ledger):
    long = replay_run(run_id, CONFIG)
    short = replay_run(run_id, CONFIG.model_copy(update={"replay_sessions": 5}))
    assert (long.account == short.account, short.sessions) == (False, 5)


def test_refused_policy_may_be_replayed(run_id, ledger):
    record_part(run_id, "validation", {"verdict": "refused"})
    assert replay_run(run_id, CONFIG).sessions == 20


def test_replay_that_reaches_into_training_rows_is_refused(run_id):
    with pytest.raises(TradingError, match="at most 40 replay_sessions"):
        replay_run(run_id, CONFIG.model_copy(update={"replay_sessions": 41}))


@pytest.mark.parametrize("verdict", ["refused", "insufficient evidence"])
def test_policy_that_was_not_promoted_does_not_trade(run_id, ledger, verdict):
    record_part(run_id, "validation", {"verdict": verdict})
    summary = trade_session(run_id, CONFIG, MONDAY)
    assert summary.outcome == "refused"
    assert "only a promoted policy may trade" in summary.message
    assert ledger.accounts() == ()


def test_promoted_policy_trades_a_session_once(run_id, ledger):
    first = trade_session(run_id, CONFIG, MONDAY)
    assert (first.session, first.outcome) == ("2014-07-07", "decided")
    again = trade_session(run_id, CONFIG, MONDAY + timedelta(hours=2))
    assert again.outcome == "already done"
    assert first.orders == again.orders == len(events(ledger, Intent))
    assert ledger.state("paper").mode == "paper"


def test_orders_of_one_session_fill_in_the_next(run_id, ledger):
    waiting, filled = 0, 0
    for day in (4, 5, 6, 9, 10, 11, 12):
        summary = trade_session(run_id, CONFIG, datetime(2014, 6, day, 23, 10, tzinfo=UTC))
        assert (summary.session, summary.outcome) == (f"2014-06-{day:02}", "decided")
        filled += waiting
        assert ledger.state("paper").n_fills == filled
        waiting = summary.orders
    assert filled > 1
    assert summary.equity_usd != 100_000


def test_late_run_is_recorded_as_skipped_without_orders(run_id, ledger):
    tuesday_after_the_open = datetime(2014, 7, 8, 13, 31, tzinfo=UTC)
    summary = trade_session(run_id, CONFIG, tuesday_after_the_open)
    assert (summary.session, summary.outcome, summary.orders) == ("2014-07-07", "skipped", 0)
    assert [done.outcome for done in events(ledger, CycleDone)] == ["skipped"]


def test_run_just_before_the_next_open_is_in_time(run_id, ledger):
    summary = trade_session(run_id, CONFIG, datetime(2014, 7, 8, 13, 29, tzinfo=UTC))
    assert (summary.session, summary.outcome) == ("2014-07-07", "decided")


@pytest.mark.parametrize(
    "holiday",
    [
        datetime(2014, 7, 4, 23, 10, tzinfo=UTC),
        datetime(2014, 7, 5, 23, 10, tzinfo=UTC),
        datetime(2014, 7, 6, 23, 10, tzinfo=UTC),
    ],
)
def test_holiday_and_weekend_belong_to_the_session_before_them(run_id, ledger, holiday):
    half_day = trade_session(run_id, CONFIG, datetime(2014, 7, 3, 23, 10, tzinfo=UTC))
    assert (half_day.session, half_day.outcome) == ("2014-07-03", "decided")
    summary = trade_session(run_id, CONFIG, holiday)
    assert (summary.session, summary.outcome) == ("2014-07-03", "already done")


def test_session_without_fresh_bars_is_refused(run_id, ledger):
    summary = trade_session(run_id, CONFIG, datetime(2014, 7, 14, 23, 10, tzinfo=UTC))
    assert summary.outcome == "refused"
    assert "newest bars are of 2014-07-11, and 2014-07-14" in summary.message
    assert ledger.accounts() == ()


def test_account_that_another_process_holds_is_left_to_it(run_id, ledger):
    with ledger.exclusive("paper"):
        summary = trade_session(run_id, CONFIG, MONDAY)
    assert (summary.outcome, summary.orders) == ("already claimed", 0)


def test_instant_without_a_time_zone_is_refused(run_id):
    with pytest.raises(TradingError, match="with a time zone"):
        trade_session(run_id, CONFIG, MONDAY.replace(tzinfo=None))


def test_damaged_ledger_is_refused_before_anything_is_traded(run_id, ledger, home):
    (home / "ledger.sqlite").write_bytes(b"x" * 4096)
    (home / "ledger.sqlite-wal").unlink(missing_ok=True)
    with pytest.raises(LedgerError, match="cannot open the ledger"):
        trade_session(run_id, CONFIG, MONDAY)
