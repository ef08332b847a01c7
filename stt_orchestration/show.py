"""How the command line shows things: tables, progress, findings. On a terminal with bars, elsewhere in plain lines."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from recordings.ledger import Ledger, Member
from recordings.states import ENDED, PIPELINE, State

_STYLES = {State.DONE: "green", State.QUARANTINED: "yellow", State.FAILED: "red"}
_PLAIN_WIDTH = 150


def console() -> Console:
    """A console on a copy of standard output: Dagster takes the original away while a step runs, to keep its log."""
    sys.stdout.flush()
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="backslashreplace")
    return Console(file=stream, width=None if stream.isatty() else _PLAIN_WIDTH, highlight=False, markup=False)


def recordings_table(members: Sequence[Member]) -> Table:
    """Recording, seconds, language, state, first words or what is wrong."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("recording", overflow="fold", ratio=3)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("language", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("first words, or what is wrong", overflow="fold", ratio=7)
    for member in members:
        recording = member.recording
        seconds = f"{recording.seconds:.1f}" if recording and recording.seconds is not None else ""
        flags = {**member.flags, **(recording.flags if recording else {})}
        words = (recording.preview if recording else None) or ""
        told = member.why or words or "; ".join(flags.values())
        table.add_row(
            Text(member.delivery.name),
            seconds,
            (recording.language or "") if recording else "",
            Text(member.state.value, style=_STYLES.get(member.state, "")),
            Text(told),
        )
    return table


@contextmanager
def batch_progress(screen: Console, ledger: Ledger, batch_key: str) -> Iterator[None]:
    """Show a batch move through its steps, from what the ledger says, until the block ends."""
    stop = threading.Event()
    members = ledger.members(batch_key)
    watcher = _watch_bar if screen.is_terminal else _watch_lines
    thread = threading.Thread(target=watcher, args=(screen, ledger, batch_key, len(members), stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _progress_of(ledger: Ledger, batch_key: str) -> tuple[int, int, str]:
    """Steps done over all members, members ended, and a phrase for the step most are waiting for."""
    states = [member.state for member in ledger.members(batch_key)]
    last = len(PIPELINE) - 1
    steps = sum(last if state in ENDED else PIPELINE.index(state) for state in states)
    ended = sum(state in ENDED for state in states)
    waiting = min((PIPELINE.index(state) for state in states if state not in ENDED), default=last)
    return steps, ended, ("reading and normalizing", "transcribing", "writing outputs", "done")[waiting]


def _watch_bar(screen: Console, ledger: Ledger, batch_key: str, size: int, stop: threading.Event) -> None:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[ended]}/{task.fields[size]} recordings"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen, transient=True) as progress:
        total = size * (len(PIPELINE) - 1)
        task = progress.add_task(batch_key, total=total, ended=0, size=size)
        while not stop.wait(0.3):
            steps, ended, phrase = _progress_of(ledger, batch_key)
            progress.update(task, completed=steps, ended=ended, description=phrase)


def _watch_lines(screen: Console, ledger: Ledger, batch_key: str, size: int, stop: threading.Event) -> None:
    said = ""
    wait = 1.0
    while not stop.wait(wait):
        _, ended, phrase = _progress_of(ledger, batch_key)
        line = f"{batch_key}: {phrase}, {ended} of {size} recordings ended"
        if line != said:
            screen.print(line)
            said = line
            wait = min(wait * 1.5, 15.0)
