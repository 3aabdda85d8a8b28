"""The ledger: an append-only, hash-chained record of what the accounts did.

In: events. Out: the same events, and the state they add up to. An append is one transaction: all
of its events are recorded or none. The hash of an event covers its row, its postings and the hash
of the event before it, so that nothing can be changed, dropped or inserted unseen. Cutting off the
newest events leaves a sound, shorter chain: whoever needs to notice that keeps the last `head`.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from ploutos.errors import LedgerError
from ploutos.store import digest_bytes
from ploutos.trading.account_state import AccountState, apply_event
from ploutos.trading.books import Postings, postings_of
from ploutos.trading.chain import (
    check_chain,
    insert_event,
    read_postings,
    read_rows,
    read_tail,
    refuse_duplicate,
)
from ploutos.trading.events import Event, decode
from ploutos.trading.ledger_schema import EVENTS, WRITE, connect, file_of, reason_of


class AccountBusyError(LedgerError):
    """Another process is running a cycle of this account."""


@dataclass(frozen=True)
class Recorded:
    """An event as it stands in the ledger. `recorded_at` is int64 ns UTC."""

    sequence: int
    account: str
    recorded_at: int
    event: Event
    postings: Postings
    hash: str


@dataclass(frozen=True)
class Verified:
    """A sound ledger: how many events it holds, and the hash of the last one."""

    events: int
    head: str


class Ledger:
    """An open ledger. Use it as a context manager, or `close` it.

    Parameters
    ----------
    url : str
        SQLAlchemy URL of an SQLite file; the tables are created in a new one.

    Raises
    ------
    LedgerError
        If it cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self._engine = connect(url)
        self._path = file_of(url)
        self._folded: dict[str, tuple[int, AccountState]] = {}

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self._path

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def append(self, account: str, events: Sequence[Event], now: int) -> AccountState:
        """Record `events` of one account in one transaction; return the state after them.

        Parameters
        ----------
        account : str
            The account's name.
        events : sequence of Event
            In order.
        now : int
            Instant of recording, int64 ns UTC (simulated in a replay).

        Raises
        ------
        DuplicateEventError
            If one of them is in the ledger already. Nothing is recorded.
        LedgerError
            If an event breaks a rule of the books, or the database refuses. Nothing is recorded.
        """
        with self._connection(write=True) as connection:
            state = self._fold(connection, account)
            tail = read_tail(connection)
            for event in events:
                refuse_duplicate(connection, account, event)
                postings = postings_of(state.books if state is not None else {}, event)
                state = apply_event(state, account, event)
                tail = insert_event(connection, tail, (account, now, event), postings)
        if state is None:
            raise LedgerError(f"expected at least one event for the unknown account {account}")
        self._folded[account] = (tail.sequence, state)
        return state

    def state(self, account: str) -> AccountState | None:
        """Return the account after all its events, None if it was never opened."""
        with self._connection() as connection:
            return self._fold(connection, account)

    def accounts(self) -> tuple[str, ...]:
        """Return the names of the accounts, sorted."""
        with self._connection() as connection:
            names = connection.scalars(select(EVENTS.c.account).distinct())
            return tuple(sorted(names))

    def events(self, account: str, after: int = 0) -> tuple[Recorded, ...]:
        """Return the account's events whose sequence is greater than `after`, in order."""
        with self._connection() as connection:
            return tuple(
                Recorded(
                    sequence=row["sequence"],
                    account=row["account"],
                    recorded_at=row["recorded_at"],
                    event=decode(row["payload"]),
                    postings=read_postings(connection, row["sequence"]),
                    hash=row["hash"],
                )
                for row in read_rows(connection, account, after)
            )

    def head(self) -> str:
        """Return the hash of the newest event (64 zeros in an empty ledger)."""
        with self._connection() as connection:
            return read_tail(connection).hash

    def verify(self) -> Verified:
        """Check the whole ledger: chain, postings, and the rules of the books.

        Raises
        ------
        LedgerError
            Naming the first bad event and what is wrong with it.
        """
        with self._connection() as connection:
            try:
                tail = check_chain(connection)
            except LedgerError as error:
                raise LedgerError(
                    f"{self._path}: {error}. Restore a backup, or start a new ledger."
                ) from error
        return Verified(tail.sequence, tail.hash)

    @contextmanager
    def exclusive(self, account: str) -> Iterator[None]:
        """Hold the account for this process; a process that dies lets go of it.

        Raises
        ------
        AccountBusyError
            At once, if another process holds it.
        LedgerError
            If the lock file beside the ledger cannot be written.
        """
        name = f"{self._path.name}.{digest_bytes(account.encode())[:16]}.lock"
        path = self._path.with_name(name)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise LedgerError(f"cannot open the lock file {path}: {error}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise AccountBusyError(
                f"account {account} is claimed: another process is running a cycle of it "
                f"(it holds {path})"
            ) from error
        try:
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _connection(self, *, write: bool = False) -> Iterator[Connection]:
        try:
            options = {WRITE: write}
            with (
                self._engine.connect().execution_options(**options) as connection,
                connection.begin(),
            ):
                yield connection
        except SQLAlchemyError as error:
            raise LedgerError(f"the ledger {self._path} refuses: {reason_of(error)}") from error

    def _fold(self, connection: Connection, account: str) -> AccountState | None:
        """Return the account's state, folding only the events that are new to this object."""
        sequence, state = self._folded.get(account, (0, None))
        for row in read_rows(connection, account, sequence):
            state = apply_event(state, account, decode(row["payload"]))
            sequence = row["sequence"]
        if state is not None:
            self._folded[account] = (sequence, state)
        return state
