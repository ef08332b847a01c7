"""A call of the engine as its scheduler sees it: how urgent it is, until when it is wanted, and whether it was cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from enum import IntEnum
from threading import Lock


class Priority(IntEnum):
    """Requests of a lower number are always decoded first."""

    INTERACTIVE = 0
    """Somebody waits for the result."""
    BATCH = 1
    """Nobody waits for the result."""


class CallCancelledError(CancelledError):
    """The caller has cancelled the transcription."""


class DeadlineExceededError(TimeoutError):
    """The transcription was not finished in the time that the caller gave it."""


class Call:
    """One call of ``Engine.transcribe``. Make one to set its priority or deadline, or to cancel it from another thread.

    Attributes:
        priority: See ``Priority``.
        decoded_s: Seconds of audio that the model was given for it until now. Kept by the batcher, under its lock.
    """

    def __init__(self, priority: Priority = Priority.BATCH, timeout_s: float | None = None) -> None:
        """Prepare a call.

        Args:
            priority: Whose requests go first.
            timeout_s: Seconds from now until the deadline; None: it has none.
        """
        self.priority = priority
        self.decoded_s = 0.0
        self._timeout_s = timeout_s
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._cancelled = False
        self._on_cancel: list[Callable[[], None]] = []
        self._lock = Lock()

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the deadline, 0 or more; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def cancel(self) -> None:
        """End the transcription: ``transcribe`` raises ``CallCancelledError``, and requests that wait are given up."""
        with self._lock:
            self._cancelled = True
            callbacks, self._on_cancel = self._on_cancel, []
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Have a callback called once when the call is cancelled, at once if it already is."""
        with self._lock:
            if not self._cancelled:
                self._on_cancel.append(callback)
                return
        callback()

    def check(self) -> None:
        """Raise if nobody wants the result any more.

        Raises:
            CallCancelledError: It was cancelled.
            DeadlineExceededError: Its deadline has passed.
        """
        if self._cancelled:
            raise CallCancelledError("The transcription was cancelled by its caller.")
        if self.remaining_s == 0.0:
            raise DeadlineExceededError(f"The transcription was not finished within {self._timeout_s:g} s.")
