"""A connection to the ledger's database: opening, migrating, transactions, locks on a batch, and errors as sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from recordings.ledger.locks import AdvisoryLock, FileLock, Lock, hold_lock
from recordings.ledger.reconnect import with_reconnect

CLOCKS_DIFFER_S = 300.0
"""By so much the clocks of two machines may differ; a time that is further ahead is wrong."""

_BUSY_SECONDS = 30
_VARIABLES = 500  # well below SQLite's old limit of 999 bound variables a statement
_VERSIONS = ("0001", "0002", "0003", "0004", "0005")
_HEAD = _VERSIONS[-1]


T = TypeVar("T")
P = ParamSpec("P")


class LedgerError(Exception):
    """The ledger cannot be used: unreachable, locked, read-only, or of another version. Never a recording's fault."""


class DeadlockError(LedgerError):
    """PostgreSQL ended a transaction because it and another one waited for each other. Nothing of it was done."""


def retry_deadlocks(method: Callable[P, T]) -> Callable[P, T]:
    """Repeat a method that is one transaction when it ends in a deadlock, three times at most."""
    return retry(retry=retry_if_exception_type(DeadlockError), stop=stop_after_attempt(4), reraise=True)(method)


class LedgerEngine:
    """The database of the ledger, opened. Safe to use from several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the ledger at a SQLAlchemy URL and bring its tables up to this version.

        Raises:
            LedgerError: It cannot be reached or written, or belongs to a newer version.
        """
        try:
            parsed = sa.make_url(url)
            if parsed.get_backend_name() == "sqlite":
                if parsed.database in (None, "", ":memory:"):
                    raise LedgerError("A ledger in memory is seen by no other thread: name a file in STT_LEDGER_URL.")
                Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
            engine = _create_engine(parsed)
        except (sa.exc.SQLAlchemyError, OSError, ImportError) as error:
            scheme = url.partition(":")[0]  # not the whole URL: it may carry a password
            remedy = ". Make that place writable, or set STT_DATA_DIR elsewhere." if isinstance(error, OSError) else ""
            raise LedgerError(
                f"The ledger address {scheme}:... (STT_LEDGER_URL) cannot be used: {error}{remedy}"
            ) from error
        ledger = cls(engine)
        with ledger._write() as connection:
            _migrate(connection)
        # Reconnecting is enabled only after the first connection worked: if the server never answered, the URL is more likely wrong
        # than the server restarting.
        with_reconnect(engine)
        return ledger

    @property
    def address(self) -> str:
        """The ledger's URL without its password."""
        return self._engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def lock_batch(self, batch_key: str, on_wait: Callable[[str], None]) -> Iterator[None]:
        """Hold an exclusive lock on a batch, across all threads, processes and machines that use this ledger.

        A second caller waits. The lock is a file in a folder beside a SQLite ledger, or an advisory lock in PostgreSQL. Both are
        released when the process that holds them dies.

        Args:
            batch_key: Which batch.
            on_wait: Called with a line that names the holder, at once and then every minute while waiting.

        Raises:
            LocksUnavailableError: The ledger lies on a file system without locks.
            LedgerError: The database cannot be reached.
        """
        url = self._engine.url
        lock: Lock
        if url.get_backend_name() == "sqlite":
            lock = FileLock(Path(f"{url.database}.locks") / f"{quote(batch_key, safe='')}.lock")
        else:
            lock = AdvisoryLock(self._engine, f"stt batch {batch_key}")
        with self._translate_errors(), hold_lock(lock, f"Batch {batch_key}", on_wait):
            yield

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._translate_errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._translate_errors(), self._engine.connect().execution_options(ledger_writes=True) as connection:
            yield connection
            connection.commit()

    def _insert_new(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        """An INSERT that leaves rows alone whose key is there already."""
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        insert: postgresql.Insert | sqlite.Insert = dialect.insert(table)
        return insert.on_conflict_do_nothing()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DatabaseError as error:
            cause = str(error.orig)
            remedy = self._find_remedy(error, cause)
            if remedy is None:
                raise
            error_type = DeadlockError if "deadlock" in cause else LedgerError
            raise error_type(
                f"The ledger {self.address} cannot be used: {cause}. {remedy}, then run again: nothing is lost."
            ) from error

    def _find_remedy(self, error: sa.exc.DatabaseError, cause: str) -> str | None:
        """What to do about an error of the database; None if the cause is a programming error, such as a broken constraint."""
        if "not a database" in cause or "malformed" in cause:
            return (
                "The file is damaged: restore it from a backup, or move it away with its -wal and -shm files (a new ledger begins "
                "empty, and every recording in the input folder is then worked on anew)"
            )
        if not isinstance(error, sa.exc.OperationalError):
            return None
        if "locked" in cause:
            return f"Another process held it for over {_busy_seconds(self._engine.url):g} s; find it with `lsof`"
        if "deadlock" in cause:
            return "Two processes changed the same recordings at once"
        if "full" in cause:
            return "Make room there"
        return "Check that it is reachable and that its place can be written"


def _create_engine(url: sa.URL) -> Engine:
    if url.drivername == "postgresql":
        # SQLAlchemy 2.1 reads the plain name as psycopg 3; Dagster's storage speaks psycopg2, and one driver is enough.
        url = url.set(drivername="postgresql+psycopg2")
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url, connect_args={"timeout": _busy_seconds(url)})
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _busy_seconds(url: sa.URL) -> float:
    """How long to wait for another writer: the address may say so (``sqlite:///path?timeout=5``)."""
    return float(str(url.query.get("timeout", _BUSY_SECONDS)))


def _configure_sqlite(connection: Any, _: Any) -> None:
    # Turn off the driver's automatic transactions, which begin only at the first write; _begin_sqlite begins them earlier, so that
    # compare-and-set works.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    # A power cut may lose the last transactions but does not damage the file. Running the batch again makes the same changes.
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that starts reading and then writes fails if another process wrote in between. Writers therefore use BEGIN
    # IMMEDIATE.
    writes = connection.get_execution_options().get("ledger_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(connection: Connection) -> None:
    """Apply the missing revisions. Alembic itself is only loaded when there are any: opening a ledger is a hot path."""
    if sa.inspect(connection).has_table("alembic_version"):
        version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        if version == _HEAD:
            return
        if version is not None and version not in _VERSIONS:
            place = connection.engine.url.render_as_string(hide_password=True)
            raise LedgerError(
                f"The ledger {place} has version {version}, and this release knows none after {_HEAD}: use the release that wrote "
                "it. If no release of ours did, the address (STT_LEDGER_URL) is that of another program's database."
            )
    from alembic import command
    from alembic.config import Config

    if connection.dialect.name == "postgresql":
        # Several pods start at once; the others wait here and then find the work done.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(7368716)"))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def split_variables(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Parts of so many items as one statement may bind."""
    for start in range(0, len(items), _VARIABLES):
        yield items[start : start + _VARIABLES]
