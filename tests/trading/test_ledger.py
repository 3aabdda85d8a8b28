import json
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest

from ploutos.errors import LedgerError
from ploutos.trading.chain import DuplicateEventError
from ploutos.trading.cycle import decide_cycle, run
from ploutos.trading.events import Claim, Fill, Mark, Note, Opened, decode, encode
from ploutos.trading.ledger import AccountBusyError, Ledger, Verified
from ploutos.trading.ledger_schema import connect, url_of
from ploutos.trading.replay import replay
from tests.trading.desks import LAST_20, clock_of, desk_on

OPENED = Opened(mode="paper", symbols=("AAA",), initial_cash_micro=10**9)
CLAIM = Claim(strategy="s", session="2013-01-02")
NOW = 1_362_000_000_000_000_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture(scope="module")
def traded(tmp_path_factory):
    """A ledger in which an account has traded for 20 sessions, in one file without a journal."""
    path = tmp_path_factory.mktemp("traded") / "ledger.sqlite"
    desk = desk_on(path)
    with desk.ledger:
        replay(desk, clock_of(desk.market), LAST_20)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def tampered(source, folder, statement, *values):
    """Copy a ledger and change it behind its back; all triggers are dropped first."""
    path = Path(tempfile.mkdtemp(dir=folder)) / "tampered.sqlite"
    shutil.copy(source, path)
    with sqlite3.connect(path) as database:
        triggers = database.execute("SELECT name FROM sqlite_master WHERE type='trigger'")
        for (name,) in triggers.fetchall():
            database.execute(f"DROP TRIGGER {name}")
        assert database.execute(statement, values).rowcount > 0
    return path


def refusal_of(path):
    with Ledger(url_of(path)) as ledger, pytest.raises(LedgerError) as refused:
        ledger.verify()
    return str(refused.value)


def test_sound_ledger_is_verified_with_all_its_events(traded):
    with Ledger(url_of(traded)) as ledger, sqlite3.connect(traded) as database:
        verified = ledger.verify()
        assert verified.events == database.execute("SELECT count(*) FROM events").fetchone()[0]
        assert verified.head == ledger.head()
        kinds = {recorded.event.kind for recorded in ledger.events("replay-test")}
    assert {"corporate_action", "fill", "lapsed", "mark", "intent", "cycle_done"} <= kinds


def test_postings_of_every_event_and_of_the_whole_ledger_add_up_to_zero(traded):
    with sqlite3.connect(traded) as database:
        sums = database.execute("SELECT sum(amount_micro) FROM postings GROUP BY sequence")
        assert {total for (total,) in sums} == {0}


def test_state_is_the_same_folded_at_once_or_event_by_event(traded):
    with Ledger(url_of(traded)) as ledger:
        state = ledger.state("replay-test")
        marks = [
            recorded.event
            for recorded in ledger.events("replay-test")
            if isinstance(recorded.event, Mark)
        ]
    assert state.equity == tuple((mark.session, mark.equity_micro) for mark in marks)
    assert state.cash_micro == marks[-1].cash_micro


def test_one_flipped_byte_in_a_payload_names_its_event(traded, tmp_path):
    with sqlite3.connect(traded) as database:
        payloads = database.execute("SELECT sequence, payload FROM events").fetchall()
    for sequence, payload in payloads[::7]:
        flipped = bytearray(payload.encode())
        flipped[len(flipped) // 2] ^= 1
        update = "UPDATE events SET payload = ? WHERE sequence = ?"
        path = tampered(traded, tmp_path, update, flipped.decode(), sequence)
        assert f"event {sequence} is the first bad event" in refusal_of(path)


@pytest.mark.parametrize(
    ("statement", "sequence"),
    [
        ("UPDATE events SET recorded_at = recorded_at + 1 WHERE sequence = 9", 9),
        ("UPDATE events SET kind = 'note' WHERE sequence = 9", 9),
        ("UPDATE events SET account = 'other' WHERE sequence = 9", 9),
        ("UPDATE events SET hash = replace(hash, 'a', 'b') WHERE sequence = 9", 9),
        ("UPDATE events SET payload = CAST(x'ff00ff' AS TEXT) WHERE sequence = 9", 9),
        ("DELETE FROM events WHERE sequence = 9", 9),
        ("UPDATE postings SET amount_micro = amount_micro + 1 WHERE sequence = 1", 1),
        ("DELETE FROM postings WHERE sequence = 1 AND line = 1", 1),
        ("INSERT INTO postings VALUES (9, 5, 'cash', 5)", 9),
        ("INSERT INTO postings VALUES (99999, 0, 'cash', 5)", 99999),
    ],
)
def test_tampering_names_the_first_bad_event(traded, tmp_path, statement, sequence):
    refusal = refusal_of(tampered(traded, tmp_path, statement))
    assert f"event {sequence} is the first bad event" in refusal


def test_byte_flipped_in_the_file_itself_is_found(traded, tmp_path):
    path = tmp_path / "flipped.sqlite"
    data = bytearray(traded.read_bytes())
    at = data.index(b'"kind":"claim"')
    data[at + 9] ^= 1
    path.write_bytes(data)
    assert "is the first bad event" in refusal_of(path)


def test_cut_off_tail_is_seen_by_who_kept_the_head(traded, tmp_path):
    with Ledger(url_of(traded)) as ledger:
        whole = ledger.verify()
    newest = f"sequence = {whole.events}"
    path = tampered(traded, tmp_path, f"DELETE FROM events WHERE {newest}")
    with Ledger(url_of(path)) as ledger:
        assert ledger.verify().head != whole.head


@pytest.mark.parametrize("table", ["events", "postings"])
def test_update_and_delete_and_replace_are_refused_by_the_database(path, table):
    with Ledger(url_of(path)) as ledger:
        ledger.append("a", [OPENED], NOW)
    with sqlite3.connect(path) as database:
        for statement in (
            f"UPDATE {table} SET sequence = sequence",
            f"DELETE FROM {table}",
            f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                database.execute(statement)


def test_connections_are_durable_and_check_foreign_keys(path):
    engine = connect(url_of(path))
    with engine.connect() as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 10_000,
    }


def test_second_claim_of_a_session_is_refused_naming_the_first(path):
    with Ledger(url_of(path)) as ledger:
        ledger.append("a", [OPENED, CLAIM], NOW)
        with pytest.raises(DuplicateEventError, match=r"claim/a/s/2013-01-02 .* event 2"):
            ledger.append("a", [CLAIM], NOW)
        ledger.append("b", [OPENED, CLAIM], NOW)
        assert ledger.accounts() == ("a", "b")


def test_append_records_all_of_its_events_or_none(path):
    with Ledger(url_of(path)) as ledger:
        ledger.append("a", [OPENED], NOW)
        head = ledger.head()
        with pytest.raises(DuplicateEventError):
            ledger.append("a", [Note(text="first"), CLAIM, CLAIM], NOW)
        assert ledger.head() == head
        assert ledger.state("a").stages == {}
        ledger.append("a", [CLAIM], NOW)
        assert ledger.verify().events == 2


def test_order_and_fill_are_known_once_in_the_whole_ledger(traded, tmp_path):
    path = tmp_path / "copy.sqlite"
    shutil.copy(traded, path)
    with Ledger(url_of(path)) as ledger:
        events = [recorded.event for recorded in ledger.events("replay-test")]
        again = next(event for event in events if isinstance(event, Fill))
        with pytest.raises(DuplicateEventError, match="fill/"):
            ledger.append("replay-test", [again], NOW)


def test_two_ledgers_on_one_file_see_each_other(path):
    with Ledger(url_of(path)) as one, Ledger(url_of(path)) as other:
        one.append("a", [OPENED], NOW)
        assert other.state("a").cash_micro == 10**9
        other.append("a", [CLAIM], NOW)
        assert one.state("a").stages == {("s", "2013-01-02"): "claimed"}
        with pytest.raises(DuplicateEventError):
            one.append("a", [CLAIM], NOW)


def test_account_is_held_by_one_cycle_at_a_time(path):
    with Ledger(url_of(path)) as one, Ledger(url_of(path)) as other:
        with one.exclusive("a"):
            with other.exclusive("b"):
                pass
            with (
                pytest.raises(AccountBusyError, match="account a is claimed"),
                other.exclusive("a"),
            ):
                pass
        with other.exclusive("a"):
            pass


def test_read_only_ledger_can_be_read_and_verified_but_not_written(traded):
    with Ledger(f"sqlite:///file:{traded}?mode=ro&uri=true") as ledger:
        assert ledger.verify().events > 0
        with pytest.raises(LedgerError, match="readonly"):
            ledger.append("replay-test", [Note(text="x")], NOW)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://localhost/x", "no url"]
)
def test_url_that_names_no_sqlite_file_is_refused(url):
    with pytest.raises(LedgerError, match="URL"):
        Ledger(url)


def test_folder_that_is_missing_is_refused(tmp_path):
    with pytest.raises(LedgerError, match="cannot open the ledger"):
        Ledger(url_of(tmp_path / "nowhere" / "ledger.sqlite"))


def test_file_that_is_no_database_is_refused_and_left_alone(path):
    path.write_bytes(b"not a database, whatever its name says" * 100)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="not a database"):
        Ledger(url_of(path))
    assert path.read_bytes() == before


def test_ledger_of_a_later_format_is_refused(path):
    Ledger(url_of(path)).close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE ledger SET format = 99")
    with pytest.raises(LedgerError, match=r"format 1 .* received \(99,\)"):
        Ledger(url_of(path))


def test_same_replay_gives_the_same_hash_in_another_file(traded, path):
    desk = desk_on(path)
    with desk.ledger, Ledger(url_of(traded)) as first:
        replay(desk, clock_of(desk.market), LAST_20)
        assert desk.ledger.head() == first.head()


# Written by the code of before interest, margin and stops were recorded, row for row.
OLD_EVENTS = Path(__file__).with_name("ledger_before_margin.jsonl")
OLD_HEAD = "7be370bf11267caa37e061bf1915a3d436d64ca67c411e1a53d5ca6e93d93bc5"


def old_rows():
    return [json.loads(line) for line in OLD_EVENTS.read_text().splitlines()]


def test_ledger_of_before_there_was_margin_still_verifies(path):
    with Ledger(url_of(path)) as ledger:
        with sqlite3.connect(path) as database:
            for row in old_rows():
                postings = row.pop("postings")
                names = ", ".join(row)
                marks = ", ".join("?" * len(row))
                database.execute(
                    f"INSERT INTO events ({names}) VALUES ({marks})", tuple(row.values())
                )
                for line, (book, amount) in enumerate(postings):
                    posting = (row["sequence"], line, book, amount)
                    database.execute("INSERT INTO postings VALUES (?, ?, ?, ?)", posting)
        assert ledger.verify() == Verified(events=28, head=OLD_HEAD)
        state = ledger.state("replay-test")
        assert (state.margin, state.stopped) == (False, False)
        ledger.append("replay-test", [Note(text="and it goes on")], NOW)
        assert ledger.verify().events == 29


def test_event_of_before_there_was_margin_is_written_as_it_was():
    for row in old_rows():
        assert encode(decode(row["payload"])) == row["payload"]


def test_damaged_ledger_stops_a_cycle_before_it_trades(traded, tmp_path):
    flip = "UPDATE events SET payload = replace(payload, 'claim', 'clair') WHERE kind = 'claim'"
    desk = desk_on(tampered(traded, tmp_path, flip))
    with desk.ledger, pytest.raises(LedgerError, match="expected an event"):
        run(decide_cycle(desk, desk.sessions[-1], NOW))


def test_of_two_processes_that_race_for_a_claim_exactly_one_wins(drills):
    report = drills["race"]
    assert len(report["winners"]) == 30
    assert {len(winners) for winners in report["winners"]} == {1}
    assert report["events"] == 31


def test_full_disk_refuses_and_leaves_a_sound_ledger(drills):
    report = drills["full_disk"]
    assert "refuses" in report["refusal"]
    assert 1 < report["recorded"] < 1000
    with Ledger(url_of(Path(report["path"]))) as ledger:
        assert ledger.verify().events == report["recorded"]
        ledger.append("a", [Note(text="there is room again")], NOW)
