"""How the command line shows things: tables, progress, findings. On a terminal with bars, elsewhere in plain lines."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from recordings.intake.missing import MissingOutputs
from recordings.ledger.ledger import Ledger
from recordings.ledger.rows import Member
from recordings.states import PIPELINE, TERMINAL_STATES, State

_STYLES = {State.DONE: "green", State.QUARANTINED: "yellow", State.FAILED: "red"}
_PLAIN_WIDTH = 150


def format_time(seconds: float) -> str:
    """A moment, seconds since the epoch, to the minute and in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def make_console() -> Console:
    """A console on a copy of standard output: Dagster redirects stdout while a step runs, to capture its log."""
    sys.stdout.flush()
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="backslashreplace")
    return Console(file=stream, width=None if stream.isatty() else _PLAIN_WIDTH, highlight=False, markup=False)


def make_recordings_table(members: Sequence[Member]) -> Table:
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
        told = member.shown_reason or words or "; ".join(flags.values())
        state = ", ".join([member.state.value, *flags])
        table.add_row(
            Text(member.delivery.name),
            seconds,
            (recording.language or "") if recording else "",
            Text(state, style=_STYLES.get(member.state, "")),
            Text(told),
        )
    return table


def describe_impossible(missing: MissingOutputs) -> str:
    """A sentence about outputs that cannot be made anew, with the remedy."""
    return (
        f"{missing.member.delivery.name}: {'; '.join(missing.found)}. It cannot be made anew, because what was delivered is gone "
        "or changed: deliver the same file again."
    )


@contextmanager
def show_batch_progress(screen: Console, ledger: Ledger, batch_key: str) -> Iterator[None]:
    """Show a batch move through its steps, from what the ledger says, until the block ends."""
    stop = threading.Event()
    members = ledger.list_members(batch_key)
    watcher = _watch_bar if screen.is_terminal else _watch_lines
    thread = threading.Thread(target=watcher, args=(screen, ledger, batch_key, len(members), stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def show_progress(screen: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many are done until the block ends; what is yielded is to be told the number done, and of how many."""
    if not screen.is_terminal:
        yield _counting_lines(screen, what)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # Once a second: what is counted may be a measurement, and drawing takes its CPU.
    with Progress(*columns, console=screen, transient=True, refresh_per_second=1) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


def _counting_lines(screen: Console, what: str) -> Callable[[int, int], None]:
    def print_every_tenth(done: int, of: int) -> None:
        tenth = max(1, of // 10)
        if done == of or done % tenth == 0:
            screen.print(f"{what}: {done} of {of}")

    return print_every_tenth


@dataclass(frozen=True, slots=True)
class _BatchProgress:
    """Progress of a batch: the step that the slowest recording waits for, and how many recordings have finished that step."""

    phrase: str
    passed: int
    steps: int  # steps done, over all recordings


_PHRASES = ("reading and normalizing", "transcribing", "writing outputs", "looking at what is finished")


def _progress_of(ledger: Ledger, batch_key: str) -> _BatchProgress:
    last = len(PIPELINE) - 1
    reached = [
        last if member.state in TERMINAL_STATES else PIPELINE.index(member.state)
        for member in ledger.list_members(batch_key)
    ]
    slowest = min(reached, default=last)
    passed = sum(steps > slowest or steps == last for steps in reached)
    return _BatchProgress(_PHRASES[slowest], passed, sum(reached))


def _watch_bar(screen: Console, ledger: Ledger, batch_key: str, size: int, stop: threading.Event) -> None:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[passed]}/{task.fields[size]} recordings"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task(batch_key, total=size * (len(PIPELINE) - 1), passed=0, size=size)
        while not stop.wait(0.3):
            now = _progress_of(ledger, batch_key)
            progress.update(task, completed=now.steps, passed=now.passed, description=now.phrase)


def _watch_lines(screen: Console, ledger: Ledger, batch_key: str, size: int, stop: threading.Event) -> None:
    said = ""
    wait = 1.0
    while not stop.wait(wait):
        now = _progress_of(ledger, batch_key)
        line = f"{batch_key}: {now.phrase}, {now.passed} of {size} recordings"
        if line != said:
            screen.print(line)
            said = line
            wait = min(wait * 1.5, 15.0)
