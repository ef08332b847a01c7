"""Collects requests from many threads into batches of requests with the same key.

``ask`` returns a future. An idle worker takes the fullest batch, the oldest of equally full ones. No request waits for a batch to
fill; single requests are served last.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from threading import Condition, Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

from speech.asr.runtime.affinity import pin_this_thread

BatchKey = TypeVar("BatchKey", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[BatchKey, Item, Result]):
    """Worker threads that process requests in batches. Use as a context manager: it owns threads."""

    def __init__(
        self,
        process_batch: Callable[[BatchKey, Sequence[Item]], Sequence[Result]],
        *,
        workers: int,
        max_batch_size: Callable[[BatchKey], int],
        cores: Sequence[int] | None = None,
    ) -> None:
        """Start the workers.

        Args:
            process_batch: Called with a key and the requests that have it; returns a result for each, in order.
            workers: Batches processed at the same time.
            max_batch_size: Largest batch for a key.
            cores: One core for each worker, which stays on it; None leaves it to the system.
        """
        self._process_batch = process_batch
        self._max_batch_size = max_batch_size
        self._pending: list[tuple[BatchKey, Item, Future[Result]]] = []
        self._condition = Condition()
        self._closed = False
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

    def submit(self, key: BatchKey, item: Item) -> Future[Result]:
        """Queue a request; the future gets its result.

        Raises:
            RuntimeError: The batcher is closed.
        """
        future: Future[Result] = Future()
        with self._condition:
            if self._closed:
                raise RuntimeError("The engine is closed; it answers no more.")
            self._pending.append((key, item, future))
            self._condition.notify()
        return future

    def close(self) -> None:
        """Cancel waiting requests and wait for running ones."""
        with self._condition:
            self._closed = True
            waiting, self._pending = self._pending, []
            self._condition.notify_all()
        for _, _, future in waiting:
            future.cancel()
        for thread in self._threads:
            thread.join()

    def _take_batch(self) -> tuple[BatchKey, list[tuple[Item, Future[Result]]]] | None:
        with self._condition:
            while not self._pending:
                if self._closed:
                    return None
                self._condition.wait()
            counts = Counter(entry[0] for entry in self._pending)  # oldest key first
            kind = max(
                counts, key=lambda kind: min(counts[kind], self._max_batch_size(kind)) / self._max_batch_size(kind)
            )
            # Near the end, divide the requests evenly among the workers, so that none is idle while another has a full batch.
            most = min(self._max_batch_size(kind), math.ceil(len(self._pending) / len(self._threads)))
            taken: list[tuple[Item, Future[Result]]] = []
            left = []
            for entry in self._pending:
                if entry[0] == kind and len(taken) < most:
                    # False if the caller cancelled the request.
                    if entry[2].set_running_or_notify_cancel():
                        taken.append((entry[1], entry[2]))
                else:
                    left.append(entry)
            self._pending = left
            return kind, taken

    def _run_worker(self, core: int | None) -> None:
        if core is not None:
            pin_this_thread(core)
        while (batch := self._take_batch()) is not None:
            kind, taken = batch
            if not taken:
                continue
            try:
                answers = self._process_batch(kind, [item for item, _ in taken])
            except BaseException as error:  # noqa: BLE001 - raised in the callers' threads
                for _, future in taken:
                    future.set_exception(error)
            else:
                for (_, future), answer in zip(taken, answers, strict=True):
                    future.set_result(answer)
