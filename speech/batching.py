"""Gathering requests of many threads into batches of like ones.

Whoever asks gets a future; an idle worker takes the fullest batch that is waiting, of equal ones the oldest. Nobody waits for
company, but who has none comes last.
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
    """Worker threads that answer requests in batches. Use as a context manager: it owns threads."""

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
            answer: Takes a kind and requests of that kind; returns an answer to each, in order.
            workers: Batches answered at the same time.
            size: Requests of a kind that are answered together at most.
            cores: One for each worker to stay on; None leaves it to the system.
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
        """Ask for an answer.

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
        """Cancel what is waiting, and wait for what is at work."""
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
            counts = Counter(entry[0] for entry in self._waiting)  # in the order of age
            kind = max(counts, key=lambda kind: min(counts[kind], self._size(kind)) / self._size(kind))
            # The last ones are shared out, so that no worker idles beside another's full batch.
            most = min(self._size(kind), math.ceil(len(self._waiting) / len(self._threads)))
            taken: list[tuple[Item, Future[Answer]]] = []
            left = []
            for entry in self._waiting:
                if entry[0] == kind and len(taken) < most:
                    # False when whoever asked has given up.
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
            except BaseException as error:  # noqa: BLE001 - it belongs to those who asked
                for _, future in taken:
                    future.set_exception(error)
            else:
                for (_, future), answer in zip(taken, answers, strict=True):
                    future.set_result(answer)
