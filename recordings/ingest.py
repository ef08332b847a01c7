"""Taking in: from the input folder to batches to be run. What a sensor, a schedule and a command share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recordings.arrivals import Cursor, Look, LookLimits, delivery_of, look
from recordings.batches import BatchLimits, Delivery, batch_key, group
from recordings.deliver import deliver
from recordings.store import Entry
from recordings.workspace import Workspace

_SETTLE_S = 1.0
"""Between a command's two looks: a file that a program writes to right now grows within a second."""

_EVERYTHING = LookLimits(entries=10**9, pending=10**9)  # a command may take its time

_ORPHANED_AFTER_S = 60.0
"""A batch whose run was not requested within a minute of its making lost its maker; a tick takes seconds."""


def look_and_register(workspace: Workspace, cursor: Cursor, limits: LookLimits) -> Look:
    """Look at the input folder once, from where the cursor left off, and register what has settled since the last look."""
    found = look(workspace.store.inputs(cursor.after), workspace.ledger.known, cursor, limits)
    workspace.ledger.register(found.settled)
    return found


def register_old_enough(workspace: Workspace, age_s: float) -> int:
    """Register every new file that nobody has written to for ``age_s`` seconds: for a caller that looks rarely.

    Returns:
        How many new files are too young and stay for the next look.
    """
    now = time.time()
    old: list[Delivery] = []
    young: list[Delivery] = []
    for entry in workspace.store.inputs():
        if isinstance(entry, Entry):
            delivery = delivery_of(entry)
            (old if now - entry.modified >= age_s else young).append(delivery)
    workspace.ledger.register(old)
    return len(young) - len(workspace.ledger.known([delivery.id for delivery in young]))


def form_batches(workspace: Workspace, limits: BatchLimits, origin: str, most: int) -> list[str]:
    """Make batches of all waiting deliveries, up to ``most`` batches, and return their keys.

    A batch that somebody else took a delivery from in this moment is not made; what is left of it waits for the next call.
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


def orphaned_batches(workspace: Workspace, has_run: Callable[[str], bool], most: int) -> list[str]:
    """Unfinished batches that no run was ever started for, because their maker died in between: to be requested again.

    Args:
        workspace: Store and ledger.
        has_run: Tells whether the orchestrator knows a run for a batch.
        most: How many to return.
    """
    old: Sequence[str] = workspace.ledger.open_batches(time.time() - _ORPHANED_AFTER_S, limit=10 * most)
    orphans = (key for key in old if not has_run(key))
    return [key for key, _ in zip(orphans, range(most), strict=False)]


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What a command left where it was.

    Attributes:
        unsettled: How many files are still being written.
        refused: A sentence for every file of a delivered folder that could not be taken in.
    """

    unsettled: int
    refused: tuple[str, ...]


def take_in(workspace: Workspace, paths: Sequence[Path], limits: BatchLimits, origin: str) -> TakenIn:
    """For a command: deliver the paths, register everything that has settled, and make batches of it.

    Raises:
        CannotDeliver: A path cannot be taken in.
        OSError, LedgerError: The machine's trouble.
    """
    delivered = deliver(workspace.store, paths)
    # What we copied ourselves is whole; nobody has to look twice.
    entries = [workspace.store.look(name) for name in delivered.names]
    workspace.ledger.register(delivery_of(e) for e in entries if e is not None)
    found = look_and_register(workspace, Cursor(), _EVERYTHING)
    if found.unsettled:
        time.sleep(_SETTLE_S)
        found = look_and_register(workspace, found.cursor, _EVERYTHING)
    while form_batches(workspace, limits, origin, most=1000):
        pass
    return TakenIn(found.unsettled, delivered.refused)
