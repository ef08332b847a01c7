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

from speech.pinning import pin_this_thread

Kind = TypeVar("Kind", bound=Hashable)
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Kind, Item, Answer]):
    """Worker threads that process requests in batches. Use as a context manager: it owns threads."""

    def __init__(
        self,
        answer: Callable[[Kind, Sequence[Item]], Sequence[Answer]],
        *,
        workers: int,
        size: Callable[[Kind], int],
        cores: Sequence[int] | None = None,
    ) -> None:
        """Start the workers.

        Args:
            answer: Called with a key and the requests that have it; returns a result for each, in order.
            workers: Batches processed at the same time.
            size: Largest batch for a key.
            cores: One core for each worker, which stays on it; None leaves it to the system.
        """
        self._answer = answer
        self._size = size
        self._waiting: list[tuple[Kind, Item, Future[Answer]]] = []
        self._changed = Condition()
        self._closed = False
        self._threads = [
            Thread(target=self._work, args=(cores[i] if cores else None,), name=f"decode_{i}", daemon=True)
            for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, kind: Kind, item: Item) -> Future[Answer]:
        """Queue a request; the future gets its result.

        Raises:
            RuntimeError: The batcher is closed.
        """
        future: Future[Answer] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("The engine is closed; it answers no more.")
            self._waiting.append((kind, item, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Cancel waiting requests and wait for running ones."""
        with self._changed:
            self._closed = True
            waiting, self._waiting = self._waiting, []
            self._changed.notify_all()
        for _, _, future in waiting:
            future.cancel()
        for thread in self._threads:
            thread.join()

    def _take(self) -> tuple[Kind, list[tuple[Item, Future[Answer]]]] | None:
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return None
                self._changed.wait()
            counts = Counter(entry[0] for entry in self._waiting)  # oldest key first
            kind = max(counts, key=lambda kind: min(counts[kind], self._size(kind)) / self._size(kind))
            # Near the end, divide the requests evenly among the workers, so that none is idle while another has a full batch.
            most = min(self._size(kind), math.ceil(len(self._waiting) / len(self._threads)))
            taken: list[tuple[Item, Future[Answer]]] = []
            left = []
            for entry in self._waiting:
                if entry[0] == kind and len(taken) < most:
                    # False if the caller cancelled the request.
                    if entry[2].set_running_or_notify_cancel():
                        taken.append((entry[1], entry[2]))
                else:
                    left.append(entry)
            self._waiting = left
            return kind, taken

    def _work(self, core: int | None) -> None:
        if core is not None:
            pin_this_thread(core)
        while (batch := self._take()) is not None:
            kind, taken = batch
            if not taken:
                continue
            try:
                answers = self._answer(kind, [item for item, _ in taken])
            except BaseException as error:  # noqa: BLE001 - raised in the callers' threads
                for _, future in taken:
                    future.set_exception(error)
            else:
                for (_, future), answer in zip(taken, answers, strict=True):
                    future.set_result(answer)
