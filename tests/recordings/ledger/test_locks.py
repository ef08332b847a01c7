"""The lock of a batch: one process holds it, others wait, and the lock of a killed process is free."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from recordings.ledger.engine import LedgerError
from recordings.ledger.ledger import Ledger
from recordings.ledger.locks import FileLock, LocksUnavailableError

HOLDER = """
import sys
from recordings.ledger.ledger import Ledger
with Ledger.open(sys.argv[1]).lock_batch("batch-x", print):
    print("held", flush=True)
    input()
"""

COUNTER = """
import sys, time
from pathlib import Path
from recordings.ledger.ledger import Ledger
ledger, count = Ledger.open(sys.argv[1]), Path(sys.argv[2])
for _ in range(10):
    with ledger.lock_batch("batch-x", lambda line: None):
        value = int(count.read_text())
        time.sleep(0.002)
        count.write_text(str(value + 1))
"""


def test_the_holder_of_a_lock_is_named_and_the_lock_is_free_after_it_was_killed(ledger: Ledger, url: str) -> None:
    messages: list[str] = []
    waiting = Event()

    def report(line: str) -> None:
        messages.append(line)
        waiting.set()

    def take_lock() -> bool:
        with ledger.lock_batch("batch-x", report):
            return True

    with (
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder,
        ThreadPoolExecutor(1) as pool,
    ):
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with ledger.lock_batch("batch-y", messages.append):
            assert messages == [], "the lock of another batch is independent"
        taken = pool.submit(take_lock)
        assert waiting.wait(60)
        assert f"{os.uname().nodename}:{holder.pid}" in messages[0]
        assert not taken.done()
        holder.send_signal(signal.SIGKILL)
        assert taken.result(timeout=60)


def test_processes_exclude_each_other(url: str, tmp_path: Path) -> None:
    """Each process reads a number and writes it back increased by one. If two held the lock at once, a count would be lost."""
    count = tmp_path / "count"
    count.write_text("0")
    workers = [subprocess.Popen([sys.executable, "-c", COUNTER, url, str(count)]) for _ in range(4)]
    assert [worker.wait(60) for worker in workers] == [0] * 4
    assert count.read_text() == "40"


def test_threads_of_one_process_exclude_each_other(ledger: Ledger) -> None:
    inside: list[int] = []
    counts: list[int] = []

    def work(number: int) -> None:
        with ledger.lock_batch("batch-x", lambda line: None):
            inside.append(number)
            time.sleep(0.005)
            counts.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))
    assert counts == [1] * 16


def test_the_lock_file_lies_beside_the_ledger_and_is_removed(sqlite_ledger: Ledger, tmp_path: Path) -> None:
    with sqlite_ledger.lock_batch("../batch\n/x", lambda line: None):
        (held,) = (path for path in tmp_path.rglob("*") if path.suffix == ".lock")
        assert held.parent == tmp_path / "ledger.db.locks"
    assert list((tmp_path / "ledger.db.locks").iterdir()) == []


def test_a_lock_on_a_removed_file_is_not_held(tmp_path: Path) -> None:
    """After the file is opened and before it is locked, the holder releases the lock, and a third process takes it."""
    path = tmp_path / "x.lock"
    first, second, third = FileLock(path), FileLock(path), FileLock(path)
    original_flock = fcntl.flock
    assert first.acquire()

    def flock_too_late(descriptor: int, operation: int) -> None:
        fcntl.flock = original_flock
        first.release()
        assert third.acquire()
        original_flock(descriptor, operation)

    fcntl.flock = flock_too_late
    try:
        assert not second.acquire()
    finally:
        fcntl.flock = original_flock
    third.release()
    assert second.acquire()
    second.release()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused_in_a_sentence(
    sqlite_ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """``flock`` fails as on such a mount, because only root can mount one."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(LocksUnavailableError, match="STT_LEDGER_URL") as refused,
        sqlite_ledger.lock_batch("batch-x", print),
    ):
        pass
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_ledger_in_memory_is_refused(url: str) -> None:
    with pytest.raises(LedgerError, match="STT_LEDGER_URL"):
        Ledger.open(url)
