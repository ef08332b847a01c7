"""Detects Ctrl-C even when Dagster handles the signal, and ends the process within seconds."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

INTERRUPTED_EXIT_CODE = 130
"""Exit code of a command that was interrupted, as shells count it: 128 + SIGINT."""

RESUME_HINT = "Nothing is lost: `stt run` goes on where this stopped."

_GRACE_S = 15.0
"""Seconds to finish the current chunk. After that the process is ended; no finished work is lost, because it is stored already."""


@contextmanager
def watch_interrupts(screen: Console) -> Iterator[threading.Event]:
    """Watch for interrupts until the block ends; the event is set by the first one.

    Python and Dagster raise KeyboardInterrupt at once or later. This is not changed; but the process ends at a second interrupt, or
    when it has not ended after ``_GRACE_S`` seconds. To be used in the main thread.
    """
    came = threading.Event()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    # The system's own handler writes the signal's number here, before and beside any handler in Python.
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, came, screen), name="interrupts", daemon=True).start()
    try:
        yield came
    finally:
        signal.set_wakeup_fd(before)
        writer.close()


def _watch(reader: socket.socket, interrupted: threading.Event, screen: Console) -> None:
    with reader:
        if not _wait_for_interrupt(reader):
            return
        interrupted.set()
        screen.print(f"Stopping; what is at work may end within {_GRACE_S:.0f} s. Once more to stop at once.")
        reader.settimeout(_GRACE_S)
        try:
            if not _wait_for_interrupt(reader):
                return
        except TimeoutError:
            pass
    screen.print(f"Stopped. {RESUME_HINT}")
    screen.show_cursor()  # a progress bar hides it
    os._exit(INTERRUPTED_EXIT_CODE)


def _wait_for_interrupt(reader: socket.socket) -> bool:
    """Wait for an interrupt; False when the watch is over."""
    while number := reader.recv(1):
        if number[0] in (signal.SIGINT, signal.SIGTERM):
            return True
    return False
