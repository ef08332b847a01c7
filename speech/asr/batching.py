"""Collects requests of many calls into batches of requests with the same key, and decides which batch is next.

Requests of a more urgent priority go first. Among equal ones those of calls that have had little go first, so a short call is not
stuck behind a long recording's chunks. Among these, the earliest part of a recording goes first where somebody waits for it,
and the fullest batch where nobody does. No request waits for a batch to fill.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

from speech.asr.calls import Call, Priority
from speech.asr.runtime.affinity import pin_this_thread

SHORT_CALL_S = 60.0
"""Calls that have had less audio decoded than this, in seconds, go before those that have had more. What is decoded twice counts
twice."""

LONGEST_WAIT_S = 30.0
_AGED_SHARE = 4
"""One batch in four goes to the oldest request of its priority, once that has waited ``LONGEST_WAIT_S`` seconds. So a stream of
short calls delays a long one, but never stops it."""

BatchKey = TypeVar("BatchKey", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True)
class _Pending(Generic[BatchKey, Item, Result]):
    key: BatchKey
    item: Item
    seconds: float
    call: Call
    order: int
    future: Future[Result] = field(default_factory=Future)
    submitted_at: float = field(default_factory=time.monotonic)

    @property
    def rank(self) -> tuple[int, bool]:
        return self.call.priority, self.call.decoded_s >= SHORT_CALL_S

    @property
    def place(self) -> tuple[tuple[int, bool], int]:
        """What is smaller goes first."""
        return self.rank, self.order


class Batcher(Generic[BatchKey, Item, Result]):
    """Worker threads that process requests in batches. Use as a context manager: it owns threads."""

    def __init__(
        self,
        process_batch: Callable[[BatchKey, Sequence[Item]], Sequence[Result | BaseException]],
        *,
        workers: int,
        max_batch_size: Callable[[BatchKey], int],
        cores: Sequence[int] | None = None,
    ) -> None:
        """Start the workers.

        Args:
            process_batch: Called with a key and the requests that have it; returns a result for each, in order, or the error
                of one alone. What it raises is the error of all.
            workers: Batches processed at the same time.
            max_batch_size: Largest batch for a key.
            cores: One core for each worker, which stays on it; None leaves it to the system.
        """
        self._process_batch = process_batch
        self._max_batch_size = max_batch_size
        self._pending: list[_Pending[BatchKey, Item, Result]] = []
        self._condition = Condition()
        self._closed = False
        self._batches_taken = 0
        self._threads = [
            Thread(target=self._run_worker, args=(cores[i] if cores else None,), name=f"decode_{i}", daemon=True)
            for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, key: BatchKey, item: Item, call: Call, seconds: float = 0.0, order: int = 0) -> Future[Result]:
        """Queue a request; the future gets its result.

        Args:
            key: Only requests with equal keys share a batch.
            item: The request.
            call: Whose it is.
            seconds: Its length of audio, which counts for the call.
            order: Of two requests, equal in all else, the one with the lower number goes first.

        Raises:
            RuntimeError: The batcher is closed.
        """
        entry: _Pending[BatchKey, Item, Result] = _Pending(key, item, seconds, call, order)
        with self._condition:
            if self._closed:
                raise RuntimeError("The engine is closed; it answers no more.")
            self._pending.append(entry)
            self._condition.notify()
        return entry.future

    def discard(self, call: Call) -> None:
        """Cancel the waiting requests of a call."""
        with self._condition:
            discarded = [entry for entry in self._pending if entry.call is call]
            self._pending = [entry for entry in self._pending if entry.call is not call]
        for entry in discarded:
            entry.future.cancel()

    def close(self) -> None:
        """Cancel waiting requests and wait for running ones."""
        with self._condition:
            self._closed = True
            waiting, self._pending = self._pending, []
            self._condition.notify_all()
        for entry in waiting:
            entry.future.cancel()
        for thread in self._threads:
            thread.join()

    def _take_batch(self) -> tuple[BatchKey, list[_Pending[BatchKey, Item, Result]]] | None:
        with self._condition:
            while not self._pending:
                if self._closed:
                    return None
                self._condition.wait()
            aged = self._find_aged()
            key = aged.key if aged else self._choose_key()
            # Near the end, divide the requests evenly among the workers, so that none is idle while another has a full batch.
            size = min(self._max_batch_size(key), math.ceil(len(self._pending) / len(self._threads)))
            with_key = sorted(
                (entry for entry in self._pending if entry.key == key),
                key=lambda entry: (entry is not aged, entry.place),
            )
            chosen = {id(entry) for entry in with_key[:size]}
            self._pending = [entry for entry in self._pending if id(entry) not in chosen]
            # False if the caller cancelled the request.
            entries = [entry for entry in with_key[:size] if entry.future.set_running_or_notify_cancel()]
            for entry in entries:
                entry.call.decoded_s += entry.seconds
            return key, entries

    def _find_aged(self) -> _Pending[BatchKey, Item, Result] | None:
        """The request that must be in the next batch because it has waited too long; None most of the time."""
        self._batches_taken += 1
        if self._batches_taken % _AGED_SHARE:
            return None
        priority = min(entry.call.priority for entry in self._pending)
        oldest = next(entry for entry in self._pending if entry.call.priority == priority)
        return oldest if time.monotonic() - oldest.submitted_at > LONGEST_WAIT_S else None

    def _choose_key(self) -> BatchKey:
        """The key of the next batch; see the module."""
        best_rank = min(entry.rank for entry in self._pending)
        if best_rank[0] == Priority.INTERACTIVE:
            return min(self._pending, key=lambda entry: entry.place).key
        counts = Counter(entry.key for entry in self._pending)
        candidate_keys = dict.fromkeys(
            entry.key for entry in self._pending if entry.rank == best_rank
        )  # oldest key first
        return max(
            candidate_keys, key=lambda key: min(counts[key], self._max_batch_size(key)) / self._max_batch_size(key)
        )

    def _run_worker(self, core: int | None) -> None:
        if core is not None:
            pin_this_thread(core)
        while (batch := self._take_batch()) is not None:
            key, entries = batch
            if not entries:
                continue
            try:
                results = self._process_batch(key, [entry.item for entry in entries])
            except BaseException as error:  # noqa: BLE001 - raised in the callers' threads
                for entry in entries:
                    entry.future.set_exception(error)
            else:
                for entry, result in zip(entries, results, strict=True):
                    if isinstance(result, BaseException):
                        entry.future.set_exception(result)
                    else:
                        entry.future.set_result(result)
