"""Requests are collected into batches of one kind; each gets its own result, and none waits for others to come."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from threading import Event, Lock

import pytest

from speech.asr.batching import Batcher


class Worker:
    """Squares numbers and records the batches. Works only after ``go`` is set."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.go = Event()
        self.began = Event()
        self._lock = Lock()

    def __call__(self, kind: str, items: Sequence[int]) -> list[int]:
        with self._lock:
            self.batches.append((kind, list(items)))
        self.began.set()
        assert self.go.wait(10)
        if kind == "broken":
            raise OSError("no such device")
        return [item * item for item in items]


def test_waiting_requests_of_one_kind_are_batched_and_each_gets_its_own_result() -> None:
    worker = Worker()
    with Batcher(worker, workers=1, max_batch_size=lambda _: 3) as batcher:
        first = batcher.submit("a", 1)
        assert worker.began.wait(10)
        waiting = [batcher.submit(kind, n) for kind, n in [("a", 2), ("b", 3), ("a", 4), ("a", 5), ("a", 6)]]
        worker.go.set()
        assert [future.result(10) for future in [first, *waiting]] == [1, 4, 9, 16, 25, 36]
    assert worker.batches == [("a", [1]), ("a", [2, 4, 5]), ("b", [3]), ("a", [6])], (
        "of equally full batches the oldest goes first"
    )


def test_the_fullest_batch_goes_first() -> None:
    worker = Worker()
    with Batcher(worker, workers=1, max_batch_size=lambda _: 3) as batcher:
        first = batcher.submit("a", 1)
        assert worker.began.wait(10)
        waiting = [batcher.submit(kind, n) for kind, n in [("b", 3), ("a", 4), ("a", 5)]]
        worker.go.set()
        assert [future.result(10) for future in [first, *waiting]] == [1, 9, 16, 25]
    assert worker.batches[1:] == [("a", [4, 5]), ("b", [3])]


def test_the_last_requests_are_shared_among_the_workers() -> None:
    worker = Worker()
    with Batcher(worker, workers=2, max_batch_size=lambda _: 8) as batcher:
        busy = [batcher.submit("first", n) for n in (1, 2)]
        while len(worker.batches) < 2:
            assert worker.began.wait(10)
        waiting = [batcher.submit("a", n) for n in range(6)]
        worker.go.set()
        for future in [*busy, *waiting]:
            future.result(10)
    sizes = sorted(len(items) for kind, items in worker.batches if kind == "a")
    assert sizes == [1, 2, 3], "each takes half of what waits, so no worker gets all six"


def test_a_kind_can_have_a_batch_size_of_one() -> None:
    worker = Worker()
    worker.go.set()
    with Batcher(worker, workers=2, max_batch_size=lambda kind: 1 if kind == "alone" else 8) as batcher:
        futures = [batcher.submit("alone", n) for n in range(20)]
        assert [future.result(10) for future in futures] == [n * n for n in range(20)]
    assert {len(items) for _, items in worker.batches} == {1}


def test_an_error_reaches_only_the_requests_of_its_batch() -> None:
    worker = Worker()
    worker.go.set()
    with Batcher(worker, workers=1, max_batch_size=lambda _: 4) as batcher:
        broken, fine = batcher.submit("broken", 1), batcher.submit("a", 2)
        with pytest.raises(OSError, match="no such device"):
            broken.result(10)
        assert fine.result(10) == 4


def test_closing_cancels_waiting_requests_and_finishes_running_ones() -> None:
    worker = Worker()
    batcher = Batcher(worker, workers=1, max_batch_size=lambda _: 1)
    running = batcher.submit("a", 3)
    assert worker.began.wait(10)
    waiting = batcher.submit("a", 4)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(batcher.close)
        with pytest.raises(CancelledError):
            waiting.result(10)
        worker.go.set()
        closing.result(10)
    assert running.result(0) == 9
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit("a", 5)
