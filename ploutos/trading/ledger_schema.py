"""The ledger's tables, their triggers, and how a connection to them is made.

In: a database URL. Out: an engine whose tables exist. Two append-only tables: `events`, each row
hashed together with the row before it, and `postings`, the double entry of the events that move
money. `ledger` holds the format number.
"""

from pathlib import Path
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    insert,
    make_url,
    select,
)
from sqlalchemy.exc import SQLAlchemyError

from ploutos.errors import LedgerError

FORMAT = 1
GENESIS_HASH = "0" * 64
BUSY_TIMEOUT_MS = 10_000
WRITE = "ploutos_write"

METADATA = MetaData()
# SQLite gives a rowid only to a column declared INTEGER; its integers have 64 bits all the same.
INT64 = BigInteger().with_variant(Integer, "sqlite")

LEDGER = Table("ledger", METADATA, Column("format", Integer, primary_key=True))

EVENTS = Table(
    "events",
    METADATA,
    Column("sequence", INT64, primary_key=True, autoincrement=False),
    Column("account", Text, nullable=False, index=True),
    Column("recorded_at", INT64, nullable=False),
    Column("kind", Text, nullable=False),
    Column("unique_key", Text, unique=True),
    Column("payload", Text, nullable=False),
    Column("previous_hash", Text, nullable=False, unique=True),
    Column("hash", Text, nullable=False, unique=True),
    CheckConstraint("sequence > 0", name="sequence_is_positive"),
)

POSTINGS = Table(
    "postings",
    METADATA,
    Column("sequence", INT64, ForeignKey(EVENTS.c.sequence), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("book", Text, nullable=False),
    Column("amount_micro", INT64, nullable=False),
)

# INSERT OR REPLACE deletes a row without firing a delete trigger: the insert triggers stop it.
_TRIGGERS = (
    """CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table}
    BEGIN SELECT RAISE(ABORT, 'append-only: {table} cannot be updated'); END""",
    """CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table}
    BEGIN SELECT RAISE(ABORT, 'append-only: {table} cannot be deleted'); END""",
)
_EVENT_INSERT = """CREATE TRIGGER events_in_order BEFORE INSERT ON events
    WHEN NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM events)
      OR EXISTS (SELECT 1 FROM events
                 WHERE unique_key = NEW.unique_key OR previous_hash = NEW.previous_hash)
    BEGIN SELECT RAISE(ABORT, 'append-only: an event repeats or is out of order'); END"""
_POSTING_INSERT = """CREATE TRIGGER postings_in_order BEFORE INSERT ON postings
    WHEN NEW.sequence <> (SELECT max(sequence) FROM events)
      OR NEW.line <> (SELECT count(*) FROM postings WHERE sequence = NEW.sequence)
    BEGIN SELECT RAISE(ABORT, 'append-only: a posting is out of order'); END"""

for _table in (EVENTS, POSTINGS):
    for _trigger in _TRIGGERS:
        event.listen(
            _table,
            "after_create",
            DDL(_trigger.format(table=_table.name)).execute_if(dialect="sqlite"),
        )
event.listen(EVENTS, "after_create", DDL(_EVENT_INSERT).execute_if(dialect="sqlite"))
event.listen(POSTINGS, "after_create", DDL(_POSTING_INSERT).execute_if(dialect="sqlite"))


def connect(url: str) -> Engine:
    """Return an engine on an existing or new ledger.

    Parameters
    ----------
    url : str
        A SQLAlchemy URL of an SQLite file, for instance `sqlite:////home/me/ledger.sqlite`.

    Raises
    ------
    LedgerError
        If the URL is not an SQLite file, the file cannot be opened, or it holds another format.
    """
    file_of(url)
    engine = create_engine(url)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    try:
        with engine.connect() as connection:
            formats = _formats(connection)
        if formats is None:
            formats = _create(engine)
    except SQLAlchemyError as error:
        raise LedgerError(f"cannot open the ledger {url}: {reason_of(error)}") from error
    if formats != (FORMAT,):
        raise LedgerError(
            f"expected a ledger of format {FORMAT} at {url}, received {formats}. "
            "Open it with the version of Ploutos that wrote it."
        )
    return engine


def file_of(url: str) -> Path:
    """Return the path of the SQLite file that `url` names.

    Raises
    ------
    LedgerError
        If it names something else: another database, memory only, nothing.
    """
    try:
        parsed = make_url(url)
    except SQLAlchemyError as error:
        raise LedgerError(f"expected a database URL, received {url!r}: {error}") from error
    name = (parsed.database or "").removeprefix("file:").split("?")[0]
    if parsed.get_backend_name() != "sqlite" or name in ("", ":memory:"):
        raise LedgerError(
            f"expected the URL of an SQLite file (sqlite:///path/to/ledger.sqlite), received "
            f"{parsed.render_as_string()}: a ledger must outlive its process."
        )
    return Path(name)


def url_of(path: Path) -> str:
    """Return the URL of the SQLite file at `path`."""
    return make_url("sqlite://").set(database=str(path)).render_as_string()


def reason_of(error: SQLAlchemyError) -> str:
    """Return the database's own words, without the SQL statement and its parameters."""
    return str(getattr(error, "orig", None) or error)


def _formats(connection: Connection) -> tuple[int, ...] | None:
    if not connection.dialect.has_table(connection, LEDGER.name):
        return None
    return tuple(connection.scalars(select(LEDGER.c.format)))


def _create(engine: Engine) -> tuple[int, ...]:
    """Create the tables, unless another process has done so in the meantime."""
    with engine.connect().execution_options(**{WRITE: True}) as connection, connection.begin():
        formats = _formats(connection)
        if formats is None:
            METADATA.create_all(connection)
            connection.execute(insert(LEDGER).values(format=FORMAT))
            formats = (FORMAT,)
    return formats


def _configure(raw: Any, _record: Any) -> None:
    """Prepare a new SQLite connection: durable, patient, and with transactions in our hands."""
    raw.isolation_level = None
    cursor = raw.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    """Begin a transaction; one that writes takes the write lock first, so it never has to retry."""
    writes = connection.get_execution_options().get(WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
