"""Of all who want to work on a batch one does, the others wait, and a dead one is waited for by nobody."""

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
        seen = int(count.read_text())
        time.sleep(0.002)
        count.write_text(str(seen + 1))
"""


def test_a_killed_holder_is_named_while_it_lives_and_waited_for_no_longer(ledger: Ledger, url: str) -> None:
    said: list[str] = []
    waiting = Event()

    def say(line: str) -> None:
        said.append(line)
        waiting.set()

    def take() -> bool:
        with ledger.lock_batch("batch-x", say):
            return True

    with (
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder,
        ThreadPoolExecutor(1) as pool,
    ):
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with ledger.lock_batch("batch-y", said.append):
            assert said == [], "another batch is nobody's business"
        taken = pool.submit(take)
        assert waiting.wait(60)
        assert f"{os.uname().nodename}:{holder.pid}" in said[0]
        assert not taken.done()
        holder.send_signal(signal.SIGKILL)
        assert taken.result(timeout=60)


def test_of_many_processes_only_one_is_inside(url: str, tmp_path: Path) -> None:
    """Each reads a number and writes it back one higher: were two inside at once, a step would be lost."""
    count = tmp_path / "count"
    count.write_text("0")
    workers = [subprocess.Popen([sys.executable, "-c", COUNTER, url, str(count)]) for _ in range(4)]
    assert [worker.wait(60) for worker in workers] == [0] * 4
    assert count.read_text() == "40"


def test_threads_of_one_process_exclude_each_other_too(ledger: Ledger) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        with ledger.lock_batch("batch-x", lambda line: None):
            inside.append(number)
            time.sleep(0.005)
            most.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))
    assert most == [1] * 16


def test_the_lock_lies_beside_the_ledger_and_leaves_nothing(sqlite_ledger: Ledger, tmp_path: Path) -> None:
    with sqlite_ledger.lock_batch("../batch\n/x", lambda line: None):
        (held,) = (path for path in tmp_path.rglob("*") if path.suffix == ".lock")
        assert held.parent == tmp_path / "ledger.db.locks"
    assert list((tmp_path / "ledger.db.locks").iterdir()) == []


def test_whoever_waited_on_a_file_that_was_removed_does_not_hold_the_lock(tmp_path: Path) -> None:
    """Between opening the file and locking it, the holder before gives the lock back and another process takes it anew."""
    path = tmp_path / "x.lock"
    first, second, third = FileLock(path), FileLock(path), FileLock(path)
    real = fcntl.flock
    assert first.acquire()

    def too_late(descriptor: int, operation: int) -> None:
        fcntl.flock = real
        first.release()
        assert third.acquire()
        real(descriptor, operation)

    fcntl.flock = too_late
    try:
        assert not second.acquire()
    finally:
        fcntl.flock = real
    third.release()
    assert second.acquire()
    second.release()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused_in_a_sentence(
    sqlite_ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """What such a mount answers stands in for the mount: none can be had without being root."""

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
