"""Requests are collected into batches of one kind; each gets its own result, and none waits for others to come."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from threading import Event, Lock

import pytest

from speech.asr import batching
from speech.asr.batching import SHORT_CALL_S, Batcher
from speech.asr.calls import Call, Priority


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
        first = batcher.submit("a", 1, Call())
        assert worker.began.wait(10)
        waiting = [batcher.submit(kind, n, Call()) for kind, n in [("a", 2), ("b", 3), ("a", 4), ("a", 5), ("a", 6)]]
        worker.go.set()
        assert [future.result(10) for future in [first, *waiting]] == [1, 4, 9, 16, 25, 36]
    assert worker.batches == [("a", [1]), ("a", [2, 4, 5]), ("b", [3]), ("a", [6])], (
        "of equally full batches the oldest goes first"
    )


def test_the_fullest_batch_goes_first() -> None:
    worker = Worker()
    with Batcher(worker, workers=1, max_batch_size=lambda _: 3) as batcher:
        first = batcher.submit("a", 1, Call())
        assert worker.began.wait(10)
        waiting = [batcher.submit(kind, n, Call()) for kind, n in [("b", 3), ("a", 4), ("a", 5)]]
        worker.go.set()
        assert [future.result(10) for future in [first, *waiting]] == [1, 9, 16, 25]
    assert worker.batches[1:] == [("a", [4, 5]), ("b", [3])]


def test_the_last_requests_are_shared_among_the_workers() -> None:
    worker = Worker()
    with Batcher(worker, workers=2, max_batch_size=lambda _: 8) as batcher:
        busy = [batcher.submit("first", n, Call()) for n in (1, 2)]
        while len(worker.batches) < 2:
            assert worker.began.wait(10)
        waiting = [batcher.submit("a", n, Call()) for n in range(6)]
        worker.go.set()
        for future in [*busy, *waiting]:
            future.result(10)
    sizes = sorted(len(items) for kind, items in worker.batches if kind == "a")
    assert sizes == [1, 2, 3], "each takes half of what waits, so no worker gets all six"


def test_a_kind_can_have_a_batch_size_of_one() -> None:
    worker = Worker()
    worker.go.set()
    with Batcher(worker, workers=2, max_batch_size=lambda kind: 1 if kind == "alone" else 8) as batcher:
        futures = [batcher.submit("alone", n, Call()) for n in range(20)]
        assert [future.result(10) for future in futures] == [n * n for n in range(20)]
    assert {len(items) for _, items in worker.batches} == {1}


def test_an_error_reaches_only_the_requests_of_its_batch() -> None:
    worker = Worker()
    worker.go.set()
    with Batcher(worker, workers=1, max_batch_size=lambda _: 4) as batcher:
        broken, fine = batcher.submit("broken", 1, Call()), batcher.submit("a", 2, Call())
        with pytest.raises(OSError, match="no such device"):
            broken.result(10)
        assert fine.result(10) == 4


def test_closing_cancels_waiting_requests_and_finishes_running_ones() -> None:
    worker = Worker()
    batcher = Batcher(worker, workers=1, max_batch_size=lambda _: 1)
    running = batcher.submit("a", 3, Call())
    assert worker.began.wait(10)
    waiting = batcher.submit("a", 4, Call())
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(batcher.close)
        with pytest.raises(CancelledError):
            waiting.result(10)
        worker.go.set()
        closing.result(10)
    assert running.result(0) == 9
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit("a", 5, Call())


def start_busy(worker: Worker, batcher: Batcher[str, int, int]) -> Future[int]:
    """Keep the one worker busy, so that later requests wait."""
    first = batcher.submit("busy", 0, Call())
    assert worker.began.wait(10)
    return first


def list_order(worker: Worker) -> list[int]:
    return [item for kind, items in worker.batches if kind != "busy" for item in items]


def test_requests_of_a_more_urgent_priority_go_first() -> None:
    worker = Worker()
    bulk, urgent = Call(Priority.BATCH), Call(Priority.INTERACTIVE)
    with Batcher(worker, workers=1, max_batch_size=lambda _: 2) as batcher:
        start_busy(worker, batcher)
        waiting = [batcher.submit("a", n, bulk) for n in (1, 2, 3)] + [batcher.submit("b", 4, urgent)]
        worker.go.set()
        for future in waiting:
            future.result(10)
    assert list_order(worker) == [4, 1, 2, 3]


def test_a_batch_begins_with_the_most_urgent_requests_of_its_key() -> None:
    worker = Worker()
    with Batcher(worker, workers=1, max_batch_size=lambda _: 2) as batcher:
        start_busy(worker, batcher)
        waiting = [batcher.submit("a", n, Call()) for n in (1, 2)] + [
            batcher.submit("a", 3, Call(Priority.INTERACTIVE))
        ]
        worker.go.set()
        for future in waiting:
            future.result(10)
    assert worker.batches[1:] == [("a", [3, 1]), ("a", [2])]


def test_calls_that_had_little_go_before_those_that_had_much() -> None:
    worker = Worker()
    long, short = Call(), Call()
    long.decoded_s = SHORT_CALL_S
    with Batcher(worker, workers=1, max_batch_size=lambda _: 2) as batcher:
        start_busy(worker, batcher)
        waiting = [batcher.submit("a", n, long, 20.0) for n in (1, 2, 3)] + [batcher.submit("b", 4, short, 5.0)]
        worker.go.set()
        for future in waiting:
            future.result(10)
    assert list_order(worker) == [4, 1, 2, 3]
    assert (long.decoded_s, short.decoded_s) == (SHORT_CALL_S + 60.0, 5.0)


@pytest.mark.parametrize("key", ["long", "short"])
def test_a_stream_of_short_calls_delays_a_long_one_and_never_stops_it(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One batch in four has the request that has waited longest, once that is too long, whatever else has its key."""
    monkeypatch.setattr(batching, "LONGEST_WAIT_S", 0.0)
    worker = Worker()
    long = Call()
    long.decoded_s = SHORT_CALL_S
    with Batcher(worker, workers=1, max_batch_size=lambda _: 1) as batcher:
        start_busy(worker, batcher)
        waiting = [batcher.submit(key, 100, long)] + [batcher.submit("short", n, Call()) for n in range(20)]
        worker.go.set()
        for future in waiting:
            future.result(10)
    assert list_order(worker).index(100) == 2, "the fourth batch, with the one that kept the worker busy"


def test_discarding_a_call_cancels_its_waiting_requests_and_no_others() -> None:
    worker = Worker()
    ended, other = Call(), Call()
    with Batcher(worker, workers=1, max_batch_size=lambda _: 4) as batcher:
        start_busy(worker, batcher)
        discarded, kept = batcher.submit("a", 1, ended), batcher.submit("a", 2, other)
        batcher.discard(ended)
        worker.go.set()
        assert kept.result(10) == 4
    assert discarded.cancelled()
    assert list_order(worker) == [2]


def test_of_urgent_requests_the_earliest_part_goes_first_even_where_its_batch_is_not_full() -> None:
    """Somebody reads partial results, and they come in order."""
    worker = Worker()
    with Batcher(worker, workers=1, max_batch_size=lambda _: 2) as batcher:
        start_busy(worker, batcher)
        call = Call(Priority.INTERACTIVE)
        parts = [("a", 2), ("a", 3), ("rare", 1)]  # the first part asks again, after the others have been queued
        waiting = [batcher.submit(kind, n, call, order=n) for kind, n in parts]
        worker.go.set()
        for future in waiting:
            future.result(10)
    assert list_order(worker) == [1, 2, 3]


def test_an_error_of_one_item_reaches_its_caller_alone() -> None:
    error = FileNotFoundError("gone")
    with Batcher(
        lambda _, items: [error if n == 1 else n for n in items], workers=1, max_batch_size=lambda _: 4
    ) as batcher:
        failing, fine = batcher.submit("a", 1, Call()), batcher.submit("a", 2, Call())
        assert fine.result(10) == 2
        assert failing.exception(10) is error
