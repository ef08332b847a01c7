"""Exclusive locks. The operating system or the database releases them when the process that holds them ends, even if it is killed.

This module acquires locks and waits for them. The callers decide what is locked and where the lock file is.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from tenacity import Retrying, retry_if_result, wait_exponential

from recordings.ledger.processes import host_and_pid
from recordings.waiting import log_every

_LOG_INTERVAL_S = 60.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 1.0


class LocksUnavailableError(OSError):
    """The file system has no locks, so two processes could work on the same batch."""


class Lock(Protocol):
    """Something that one thread of one process can hold."""

    def acquire(self) -> bool:
        """Take the lock without waiting; False when somebody else holds it."""

    def holder(self) -> str:
        """Who holds the lock, for a person: host and process id, or ``another process`` if that is unknown."""

    def release(self) -> None:
        """Release the lock. Does nothing if it is not held."""


@contextmanager
def hold_lock(lock: Lock, subject: str, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Wait for a lock and hold it.

    Args:
        lock: The lock.
        subject: What is locked; the sentence about waiting begins with it.
        on_wait: Called with a sentence that names the holder, at once and then every minute.
    """
    until_acquired = Retrying(
        retry=retry_if_result(lambda acquired: not acquired),
        wait=wait_exponential(multiplier=_FIRST_WAIT_S, exp_base=1.5, max=_LONGEST_WAIT_S),
        before_sleep=log_every(
            _LOG_INTERVAL_S,
            lambda _: on_wait(f"{subject} is being worked on by {lock.holder()}. Waiting until that ends."),
        ),
    )
    try:
        until_acquired(lock.acquire)
        yield
    finally:
        lock.release()


class FileLock:
    """A lock on a file of its own. Threads exclude each other too: the lock belongs to the opened file, not to the process.

    The file is removed when the lock is released. If a holder is killed, its file stays, but the lock is free. On NFS the lock
    holds for all clients, unless the mount has the option ``local_lock`` or ``nolock``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """See ``Lock.acquire``.

        Raises:
            LocksUnavailableError: The file system cannot lock.
            OSError: The file cannot be made.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not self._try_flock(descriptor):
                return False
            with suppress(OSError):  # a full disk must not prevent a run that would free space
                os.truncate(descriptor, 0)
                os.write(descriptor, host_and_pid().encode())
            self._descriptor, descriptor = descriptor, -1
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return True

    def _try_flock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise LocksUnavailableError(
                error.errno,
                f"{self._path} cannot be locked ({error.strerror}): its file system has no locks, so two processes could not be "
                "kept apart. Put the folder on a local disk or turn locking on for its mount; where several machines work, "
                "keep the ledger in PostgreSQL (STT_LEDGER_URL).",
            ) from error
        # The previous holder deletes the file when it releases the lock. If that happened after we opened it, our lock is on a
        # deleted file and does not count.
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def holder(self) -> str:
        """See ``Lock.holder``."""
        try:
            return self._path.read_text(errors="replace") or "another process"
        except OSError:
            return "another process"

    def release(self) -> None:
        """See ``Lock.release``."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


class AdvisoryLock:
    """A lock in PostgreSQL, held by its own connection; the server releases it when the connection ends.

    The lock belongs to a session, so a connection pooler in front of the server must not run in transaction mode.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._lock_id = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
        self._connection: Connection | None = None

    def acquire(self) -> bool:
        """See ``Lock.acquire``."""
        if self._connection is None:
            # Autocommit: a transaction that stays open for hours would prevent VACUUM.
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._connection.detach()  # never returned to the pool: the lock must end when this connection closes
            statement = sa.text("SELECT set_config('application_name', :name, false)")
            self._connection.execute(statement, {"name": f"stt {host_and_pid()}"[:63]})
        query = sa.text("SELECT pg_try_advisory_lock(:number)")
        return bool(self._connection.scalar(query, {"number": self._lock_id}))

    def holder(self) -> str:
        """See ``Lock.holder``."""
        query = sa.text(
            "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' "
            "AND granted AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = :number"
        )
        name = self._connection.scalar(query, {"number": self._lock_id}) if self._connection else None
        return str(name or "another process").removeprefix("stt ")

    def release(self) -> None:
        """See ``Lock.release``."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
