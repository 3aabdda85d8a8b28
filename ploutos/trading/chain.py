"""The hash chain under the ledger: how an event becomes rows, and how rows are checked.

In: a connection inside a transaction. Out: rows of `events` and `postings`. The hash of an event
covers every column of its row, its postings and the hash of the event before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select
from sqlalchemy.exc import SQLAlchemyError

from ploutos.errors import LedgerError
from ploutos.store import canonical_json, digest_bytes
from ploutos.trading.account_state import AccountState, apply_event
from ploutos.trading.books import Postings, postings_of
from ploutos.trading.events import Event, decode, encode, unique_key
from ploutos.trading.ledger_schema import EVENTS, GENESIS_HASH, POSTINGS, reason_of


class DuplicateEventError(LedgerError):
    """The fact is in the ledger already: a claim that is taken, an order that is known."""


@dataclass(frozen=True)
class Tail:
    """The newest event: its number (from 1; 0 in an empty ledger) and its hash."""

    sequence: int = 0
    hash: str = GENESIS_HASH


def read_tail(connection: Connection) -> Tail:
    """Return the newest event of the ledger."""
    newest = select(EVENTS.c.sequence, EVENTS.c.hash).order_by(EVENTS.c.sequence.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    return Tail() if row is None else Tail(row.sequence, row.hash)


def read_rows(connection: Connection, account: str, after: int) -> Iterator[RowMapping]:
    """Yield the account's rows with a sequence above `after`, in order."""
    wanted = select(EVENTS).where(EVENTS.c.account == account, EVENTS.c.sequence > after)
    yield from connection.execute(wanted.order_by(EVENTS.c.sequence)).mappings().all()


def read_postings(connection: Connection, sequence: int) -> Postings:
    """Return the postings of one event, in the order they were made."""
    columns = select(POSTINGS.c.book, POSTINGS.c.amount_micro)
    wanted = columns.where(POSTINGS.c.sequence == sequence).order_by(POSTINGS.c.line)
    return tuple((row.book, row.amount_micro) for row in connection.execute(wanted))


def refuse_duplicate(connection: Connection, account: str, event: Event) -> None:
    """Refuse a fact that is recorded already.

    Raises
    ------
    DuplicateEventError
        Naming the event that holds it.
    """
    key = unique_key(account, event)
    if key is None:
        return
    known = select(EVENTS.c.sequence).where(EVENTS.c.unique_key == key)
    sequence = connection.scalar(known)
    if sequence is not None:
        raise DuplicateEventError(f"{key} is in the ledger already, as event {sequence}")


def insert_event(
    connection: Connection, tail: Tail, fact: tuple[str, int, Event], postings: Postings
) -> Tail:
    """Write `fact` (account, instant, event) behind `tail`; return the new tail."""
    account, now, event = fact
    columns: dict[str, Any] = {
        "sequence": tail.sequence + 1,
        "account": account,
        "recorded_at": now,
        "kind": event.kind,
        "unique_key": unique_key(account, event),
        "payload": encode(event),
        "previous_hash": tail.hash,
    }
    row = {**columns, "hash": _hash_of(columns, postings)}
    connection.execute(insert(EVENTS).values(row))
    for line, (book, amount) in enumerate(postings):
        posting = {"line": line, "book": book, "amount_micro": amount}
        connection.execute(insert(POSTINGS).values(sequence=row["sequence"], **posting))
    return Tail(row["sequence"], row["hash"])


def check_chain(connection: Connection) -> Tail:
    """Check every row, posting and rule from the first event on; return the tail.

    Raises
    ------
    LedgerError
        Naming the first bad event and what is wrong with it.
    """
    states: dict[str, AccountState] = {}
    tail = Tail()
    try:
        rows = connection.execute(select(EVENTS).order_by(EVENTS.c.sequence)).mappings()
        while (row := rows.fetchone()) is not None:
            tail = _check(connection, row, tail, states)
    except (LedgerError, SQLAlchemyError) as error:
        reason = reason_of(error) if isinstance(error, SQLAlchemyError) else error
        raise LedgerError(f"event {tail.sequence + 1} is the first bad event: {reason}") from error
    _refuse_orphans(connection)
    _refuse_damage(connection)
    return tail


def _hash_of(columns: dict[str, Any], postings: Postings) -> str:
    """Return the hash of an event's row (all columns but `hash`) and its postings."""
    return digest_bytes(canonical_json([columns, postings]))


def _check(
    connection: Connection, row: RowMapping, tail: Tail, states: dict[str, AccountState]
) -> Tail:
    """Check one row against the one before it and fold it into `states`."""
    columns = dict(row)
    found = columns.pop("hash")
    account, sequence = columns["account"], columns["sequence"]
    if sequence != tail.sequence + 1:
        raise LedgerError(f"it is missing; the next one is event {sequence}")
    if columns["previous_hash"] != tail.hash:
        raise LedgerError(f"it does not follow the event before it, whose hash is {tail.hash}")
    postings = read_postings(connection, sequence)
    expected = _hash_of(columns, postings)
    if found != expected:
        raise LedgerError(
            f"its hash is {found}, but its content ({columns['kind']}, account {account}) has "
            f"{expected}: it was changed after it was recorded"
        )
    event = decode(columns["payload"])
    state = states.get(account)
    due = postings_of(state.books if state is not None else {}, event)
    if postings != due or sum(amount for _, amount in postings) != 0:
        raise LedgerError(f"its postings {postings} are not those of {event!r}")
    states[account] = apply_event(state, account, event)
    return Tail(sequence, found)


def _refuse_orphans(connection: Connection) -> None:
    """Refuse postings without an event (foreign keys bind only who switches them on)."""
    events = select(EVENTS.c.sequence)
    orphan = connection.scalar(
        select(POSTINGS.c.sequence).where(POSTINGS.c.sequence.not_in(events)).limit(1)
    )
    if orphan is not None:
        raise LedgerError(
            f"event {orphan} is the first bad event: it is missing, but money was posted for it"
        )


def _refuse_damage(connection: Connection) -> None:
    """Refuse a file whose indexes do not agree with its tables: they guard what is unique."""
    damage = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
    if damage != "ok":
        raise LedgerError(f"every event is sound, but the file around them is not: {damage}")
