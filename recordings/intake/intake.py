"""Intake: register new files of the input folder and group them into batches. Used by the sensor, the schedule and ``stt run``."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from recordings.batches import BatchLimits, Delivery, make_batch_key, split_into_batches
from recordings.intake.backoff import PastRuns, is_due, make_run_key
from recordings.intake.bucket_scan import (
    BucketScanCursor,
    BucketScanLimits,
    BucketScanResult,
    reconcile,
    scan_recent,
)
from recordings.intake.settling import (
    SettlingCursor,
    SettlingLimits,
    SettlingResult,
    find_settled,
    to_delivery,
)
from recordings.intake.upload import upload_files
from recordings.storage.base import InputEntry
from recordings.workspace import Workspace

RUNS_PER_TICK = 20
"""Requesting a run takes the daemon about 0.2 s (measured with SQLite storage): 20 keep a tick far below its 60 s limit."""

_SETTLE_S = 1.0
"""Seconds between the two scans of a command. A file that is being written changes its size within that time."""

_UNSURE_FOR_S = 3600.0
"""The clock of a file server may be behind ours: a file that seems younger than that may be younger still."""

_NO_LIMITS = SettlingLimits(max_entries=10**9, max_pending=10**9)  # a command has no time limit for one scan

_MAX_LISTING_S = 20.0
"""Maximum seconds of listing in one sensor tick; the next tick continues. Dagster's daemon allows 60 s for a tick."""

_MAX_OPEN_BATCHES = (
    10**6
)  # batches: no real limit; the oldest may all be waiting for a retry, and must not hide later ones

_BATCHES_AT_ONCE = 500
"""Batches whose past runs are asked for together."""

_ORPHANED_AFTER_S = 60.0
"""If no run was requested for a batch within this time, the process that created the batch has died: a tick takes only seconds."""


def scan_folder(workspace: Workspace, cursor: SettlingCursor, limits: SettlingLimits) -> SettlingResult:
    """Scan the input folder once, from where the cursor stopped, and register what has settled since the last scan."""
    result = find_settled(workspace.store.list_inputs(cursor.after), workspace.ledger.find_known, cursor, limits)
    workspace.ledger.register(result.settled)
    return result


def scan_bucket(
    workspace: Workspace, cursor: BucketScanCursor, limits: BucketScanLimits, max_listing_s: float = _MAX_LISTING_S
) -> BucketScanResult:
    """Scan a bucket's listing once, from where the cursor stopped, and register what is new in it.

    Args:
        workspace: Store and ledger.
        cursor: State after the last scan.
        limits: Limits of this scan.
        max_listing_s: Longest time for listing, seconds.
    """
    store, find_known = workspace.store, workspace.ledger.find_known
    deadline = time.monotonic() + max_listing_s
    recent = scan_recent(
        store.list_inputs(cursor.after), find_known, cursor, limits, time.time(), lambda: time.monotonic() > deadline
    )
    reconciled = reconcile(store.list_inputs(cursor.reconciled_to), find_known, recent.cursor, limits)
    arrived = tuple(dict.fromkeys(recent.arrived + reconciled.arrived))
    workspace.ledger.register(arrived)
    return BucketScanResult(arrived, reconciled.cursor, recent.ignored, recent.has_more)


def scan_bucket_repeatedly(
    workspace: Workspace, cursor: BucketScanCursor, limits: BucketScanLimits, max_scan_s: float = _MAX_LISTING_S
) -> BucketScanResult:
    """Scan repeatedly, each time from where the last scan stopped. For a schedule, which runs rarely.

    Args:
        workspace: Store and ledger.
        cursor: State after the last call.
        limits: Limits of each scan.
        max_scan_s: Seconds after which no further scan begins; the caller's next call continues there.

    Returns:
        The result of the last scan. Its ``has_more`` tells whether the listing continues.
    """
    deadline = time.monotonic() + max_scan_s
    while True:
        result = scan_bucket(workspace, cursor, limits, max(0.0, deadline - time.monotonic()))
        if not result.has_more or time.monotonic() >= deadline:
            return result
        cursor = result.cursor


def register_old_enough(workspace: Workspace, age_s: float) -> int:
    """Register every new file that nobody has written to for ``age_s`` seconds, in one scan of everything.

    Age is what our clock and the file's date say. The date may be wrong: it came with a copy, or the clock of a file server differs
    from ours. So a new file that is dated in the future, or less than an hour ago, must also be the same in two looks.

    In a store that lists only complete objects (S3) the age is ignored. Used for folders and by commands; a schedule on a bucket
    uses ``scan_bucket_repeatedly``.

    Returns:
        How many new files are too young and stay for the next scan.
    """
    now = time.time()
    age_s = float("-inf") if workspace.store.has_atomic_writes else age_s
    old: list[Delivery] = []
    unsure: list[Delivery] = []
    young: list[Delivery] = []
    for entry in workspace.store.list_inputs():
        if isinstance(entry, InputEntry):
            age = now - entry.modified
            is_unsure = age < 0 or age_s <= age < _UNSURE_FOR_S
            group = unsure if is_unsure and not workspace.store.has_atomic_writes else old if age >= age_s else young
            group.append(to_delivery(entry))
    settled = _list_unknown(workspace, old)
    unsure = _list_unknown(workspace, unsure)
    if unsure:
        time.sleep(_SETTLE_S)
    seen_again = ((d, workspace.store.find_input(d.name)) for d in unsure)
    unchanged = [d for d, entry in seen_again if entry is not None and to_delivery(entry).id == d.id]
    workspace.ledger.register(settled + unchanged)
    return len(_list_unknown(workspace, young)) + len(unsure) - len(unchanged)


def _list_unknown(workspace: Workspace, deliveries: Sequence[Delivery]) -> list[Delivery]:
    known = workspace.ledger.find_known([delivery.id for delivery in deliveries])
    return [delivery for delivery in deliveries if delivery.id not in known]


def form_batches(workspace: Workspace, limits: BatchLimits, origin: str, max_batches: int) -> list[str]:
    """Make batches of all waiting deliveries, up to ``max_batches`` batches, and return their keys.

    If another process claims one of the deliveries first, that batch is not created; its other deliveries wait for the next call.
    """
    waiting = workspace.ledger.list_waiting(max_batches * limits.max_recordings)
    keys: list[str] = []
    for members in split_into_batches(waiting, limits):
        if len(keys) == max_batches:
            break
        key = make_batch_key(members)
        if workspace.ledger.claim(key, members, origin):
            keys.append(key)
    return keys


def find_unattended_batches(
    workspace: Workspace,
    active_batches: Container[str],
    get_past_runs: Callable[[Sequence[str]], Mapping[str, PastRuns]],
    max_batches: int,
) -> dict[str, str]:
    """Unfinished batches without an active run: the process that created them died before it requested a run, or their runs failed.

    Args:
        workspace: Store and ledger.
        active_batches: Batches with a run that is queued or at work.
        get_past_runs: Tells which ended runs of batches the orchestrator remembers, asked for hundreds of batches at a time.
        max_batches: How many to return.

    Returns:
        Batch key -> run key of those that are due, oldest first.
    """
    now = time.time()
    unfinished = workspace.ledger.list_open_batches(now - _ORPHANED_AFTER_S, _MAX_OPEN_BATCHES)
    idle = [key for key in unfinished if key not in active_batches]
    due: dict[str, str] = {}
    for start in range(0, len(idle), _BATCHES_AT_ONCE):
        if len(due) >= max_batches:
            break
        keys = idle[start : start + _BATCHES_AT_ONCE]
        past = get_past_runs(keys)
        runs = {key: past.get(key, PastRuns()) for key in keys}
        due |= {key: make_run_key(key, runs[key]) for key in keys if is_due(runs[key], now)}
    return dict(islice(due.items(), max(max_batches, 0)))


@dataclass(frozen=True, slots=True)
class IntakeResult:
    """The result of ``run_intake``: files that were not registered, and which recordings the command selected.

    Attributes:
        unsettled: How many files are still being written.
        refused: A sentence for every delivered file that could not be taken in.
        names: Names of the files that the command was given.
        folders: Folders of the input folder that it was given, as the beginnings of names.
    """

    unsettled: int
    refused: tuple[str, ...]
    names: tuple[str, ...]
    folders: tuple[str, ...]


def run_intake(workspace: Workspace, paths: Sequence[Path], limits: BatchLimits, origin: str) -> IntakeResult:
    """For a command: deliver the paths, register everything that has settled, and make batches of it.

    Raises:
        UploadError: A path cannot be taken in.
        OSError, LedgerError: An infrastructure error (disk, network, database); not caused by a recording.
    """
    delivered = upload_files(workspace.store, paths)
    # Files that we copied are complete, so one scan is enough.
    entries = [workspace.store.find_input(name) for name in delivered.names]
    workspace.ledger.register(to_delivery(e) for e in entries if e is not None)
    unsettled = 0
    if workspace.store.has_atomic_writes:
        register_old_enough(workspace, 0.0)
    else:
        scan = scan_folder(workspace, SettlingCursor(), _NO_LIMITS)
        if scan.unsettled:
            time.sleep(_SETTLE_S)
            scan = scan_folder(workspace, scan.cursor, _NO_LIMITS)
        unsettled = scan.unsettled
    while form_batches(workspace, limits, origin, max_batches=1000):
        pass
    names = (*delivered.names, *delivered.already_inside)
    folders = tuple(f"{name}/" if name else "" for name in delivered.already_inside)
    return IntakeResult(unsettled, delivered.refused, names, folders)
