"""Intake: register new files of the input folder and group them into batches. Used by the sensor, the schedule and ``stt run``."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from recordings.arrivals import Cursor, Look, LookLimits, delivery_of, look
from recordings.batches import BatchLimits, Delivery, batch_key, group
from recordings.deliver import Delivered, deliver
from recordings.retries import PastRuns, is_due, run_key
from recordings.skimming import SkimCursor, SkimLimits, Skimmed, reconcile, skim
from recordings.store import Entry
from recordings.workspace import Workspace

_SETTLE_S = 1.0
"""Seconds between the two scans of a command. A file that is being written changes its size within that time."""

_EVERYTHING = LookLimits(entries=10**9, pending=10**9)  # a command has no time limit for one scan

_LISTED_S = 20.0
"""Maximum seconds of listing in one sensor tick; the next tick continues. Dagster's daemon allows 60 s for a tick."""

_ALL = 10**6  # batches: no real limit; the oldest may all be waiting for a retry, and must not hide later ones

_ORPHANED_AFTER_S = 60.0
"""If no run was requested for a batch within this time, the process that created the batch has died: a tick takes only seconds."""


def look_and_register(workspace: Workspace, cursor: Cursor, limits: LookLimits) -> Look:
    """Scan the input folder once, from where the cursor stopped, and register what has settled since the last scan."""
    found = look(workspace.store.inputs(cursor.after), workspace.ledger.known, cursor, limits)
    workspace.ledger.register(found.settled)
    return found


def look_in_bucket(
    workspace: Workspace, cursor: SkimCursor, limits: SkimLimits, listed_s: float = _LISTED_S
) -> Skimmed:
    """Scan a bucket's listing once, from where the cursor stopped, and register what is new in it.

    Args:
        workspace: Store and ledger.
        cursor: State after the last scan.
        limits: Limits of this scan.
        listed_s: For how long it lists at most, seconds.
    """
    store, known = workspace.store, workspace.ledger.known
    until = time.monotonic() + listed_s
    found = skim(store.inputs(cursor.after), known, cursor, limits, time.time(), lambda: time.monotonic() > until)
    checked = reconcile(store.inputs(cursor.reconciled_to), known, found.cursor, limits)
    arrived = tuple(dict.fromkeys(found.arrived + checked.arrived))
    workspace.ledger.register(arrived)
    return Skimmed(arrived, checked.cursor, found.ignored, found.more)


def walk_bucket(workspace: Workspace, cursor: SkimCursor, limits: SkimLimits, walked_s: float = _LISTED_S) -> Skimmed:
    """Scan repeatedly, each time from where the last scan stopped. For a schedule, which runs rarely.

    Args:
        workspace: Store and ledger.
        cursor: State after the last call.
        limits: Limits of each scan.
        walked_s: Seconds after which no further scan begins; the caller's next call continues there.

    Returns:
        The result of the last scan. Its ``more`` tells whether the listing goes on.
    """
    until = time.monotonic() + walked_s
    while True:
        found = look_in_bucket(workspace, cursor, limits, max(0.0, until - time.monotonic()))
        if not found.more or time.monotonic() >= until:
            return found
        cursor = found.cursor


def register_old_enough(workspace: Workspace, age_s: float) -> int:
    """Register every new file that nobody has written to for ``age_s`` seconds, in one scan of everything.

    In a store that lists only complete objects (S3) the age is ignored. Used for folders and by commands; a schedule on a bucket
    uses ``walk_bucket``.

    Returns:
        How many new files are too young and stay for the next scan.
    """
    now = time.time()
    age_s = float("-inf") if workspace.store.lists_whole else age_s
    old: list[Delivery] = []
    young: list[Delivery] = []
    for entry in workspace.store.inputs():
        if isinstance(entry, Entry):
            delivery = delivery_of(entry)
            (old if now - entry.modified >= age_s else young).append(delivery)
    known = workspace.ledger.known([delivery.id for delivery in old])
    workspace.ledger.register(delivery for delivery in old if delivery.id not in known)
    return len(young) - len(workspace.ledger.known([delivery.id for delivery in young]))


def form_batches(workspace: Workspace, limits: BatchLimits, origin: str, most: int) -> list[str]:
    """Make batches of all waiting deliveries, up to ``most`` batches, and return their keys.

    If another process claims one of the deliveries first, that batch is not created; its other deliveries wait for the next call.
    """
    waiting = workspace.ledger.waiting(most * limits.recordings)
    made: list[str] = []
    for members in group(waiting, limits):
        if len(made) == most:
            break
        key = batch_key(members)
        if workspace.ledger.claim(key, members, origin):
            made.append(key)
    return made


def unattended_batches(
    workspace: Workspace, live: Container[str], past: Callable[[str], PastRuns], most: int
) -> dict[str, str]:
    """Unfinished batches without an active run: the process that created them died before it requested a run, or their runs failed.

    Args:
        workspace: Store and ledger.
        live: Batches with a run that is queued or at work.
        past: Tells which ended runs of a batch the orchestrator remembers.
        most: How many to return.

    Returns:
        Batch key -> run key of those that are due, oldest first.
    """
    now = time.time()
    idle = (key for key in workspace.ledger.open_batches(now - _ORPHANED_AFTER_S, _ALL) if key not in live)
    due = ((key, runs) for key in idle if is_due(runs := past(key), now))
    return {key: run_key(key, runs) for key, runs in islice(due, max(most, 0))}


@dataclass(frozen=True, slots=True)
class TakenIn:
    """The result of ``take_in``: files that were not registered, and which recordings the command selected.

    Attributes:
        unsettled: How many files are still being written.
        refused: A sentence for every delivered file that could not be taken in.
        meant: Whether a recording of a name is among what the command was given; all are when it was given nothing.
    """

    unsettled: int
    refused: tuple[str, ...]
    meant: Callable[[str], bool] = field(compare=False)


def take_in(workspace: Workspace, paths: Sequence[Path], limits: BatchLimits, origin: str) -> TakenIn:
    """For a command: deliver the paths, register everything that has settled, and make batches of it.

    Raises:
        CannotDeliver: A path cannot be taken in.
        OSError, LedgerError: An infrastructure error (disk, network, database); not caused by a recording.
    """
    delivered = deliver(workspace.store, paths)
    # Files that we copied are complete, so one scan is enough.
    entries = [workspace.store.look(name) for name in delivered.names]
    workspace.ledger.register(delivery_of(e) for e in entries if e is not None)
    unsettled = 0
    if workspace.store.lists_whole:
        register_old_enough(workspace, 0.0)
    else:
        found = look_and_register(workspace, Cursor(), _EVERYTHING)
        if found.unsettled:
            time.sleep(_SETTLE_S)
            found = look_and_register(workspace, found.cursor, _EVERYTHING)
        unsettled = found.unsettled
    while form_batches(workspace, limits, origin, most=1000):
        pass
    return TakenIn(unsettled, delivered.refused, _meant(delivered) if paths else lambda _: True)


def _meant(delivered: Delivered) -> Callable[[str], bool]:
    names = frozenset((*delivered.names, *delivered.inside))
    folders = tuple(f"{name}/" if name else "" for name in delivered.inside)
    return lambda name: name in names or name.startswith(folders)
