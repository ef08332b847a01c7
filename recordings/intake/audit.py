"""Looks at a part of the outputs of finished recordings, and has made anew what is gone. The next look goes on where one stopped.

Two looks, each bounded in time. The sample takes some recordings in the order of their sha256, and begins again after the last.
Where the store is a directory, a second look takes the recordings whose folders changed, in the order of their names. A deleted
file changes the time of its folder; so does a new one, and then the recordings of that folder are looked at for nothing.
A folder that grows all the time is therefore gone through no faster than by the sample.

What only later steps read, such as normalized audio, may have been removed to make room. It alone is never made anew here.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from recordings.intake.missing import (
    MissingOutputs,
    Restoration,
    find_missing,
    iter_all_missing,
    restore_outputs,
)
from recordings.layout import Folder, output_key
from recordings.ledger.audits import Audit
from recordings.ledger.engine import CLOCKS_DIFFER_S
from recordings.ledger.ledger import Ledger
from recordings.states import State, Step
from recordings.steps.enriched import EnrichOptions
from recordings.workspace import Workspace

WHOLE_AUDIT = "outputs"
"""Name of the look at every output of every finished recording."""
SAMPLE_AUDIT = "sampled outputs"
FOLDER_AUDIT = "changed folders"

_OUTPUT_FOLDERS = (Folder.NORMALIZED, Folder.TRANSCRIPTS, Folder.ANNOTATIONS, Folder.ENRICHED)
_NAMES_READ_AT_ONCE = 1000
_NAMES_LOOKED_AT_ONCE = 10  # between two looks at the time


@dataclass(frozen=True, slots=True)
class AuditLimits:
    """How much one look may cost.

    Attributes:
        recordings: The most that the sample takes.
        seconds: After so long no other recording is begun, but all names of one are looked at. The sample and the changed folders
            have so long each.
    """

    recordings: int = 200
    seconds: float = 0.5


@dataclass
class _Look:
    """What one look has found so far.

    Attributes:
        workspace: Store and ledger.
        options: What the operator wants of the last step.
        ends_at: When to stop, of the monotonic clock.
        seen: sha256 -> what looks of this call found: how many deliveries, and what they lack.
        looked_at: Deliveries.
        missing: What they lack.
        unseen: What no earlier look of this call had found.
    """

    workspace: Workspace
    options: EnrichOptions
    ends_at: float
    seen: dict[str, tuple[int, list[MissingOutputs]]]
    looked_at: int = 0
    missing: list[MissingOutputs] = field(default_factory=list)
    unseen: list[MissingOutputs] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.ends_at

    def look_at(self, sha256: str) -> None:
        if sha256 not in self.seen:
            members = self.workspace.ledger.list_current(sha256)
            found = find_missing(self.workspace, members, self.options)
            self.seen[sha256] = len(members), found
            self.unseen += found
        members_count, missing = self.seen[sha256]
        self.looked_at += members_count
        self.missing += missing

    def finish(self, name: str, whose: str, cursor: str) -> Restoration:
        """Have made anew what people read, as far as it can be, and keep the result."""
        restored = restore_outputs(self.workspace, [each for each in self.unseen if not each.has_results])
        sentence = "there was nothing to look at"
        if self.looked_at:
            sentence = _describe(whose, Counter(map(_get_kind, self.missing)), "lacked outputs that are made anew")
        self.workspace.ledger.record_audit(
            Audit(name, time.time(), self.looked_at, len(self.missing), sentence, cursor)
        )
        return restored


def audit_outputs(workspace: Workspace, options: EnrichOptions, limits: AuditLimits | None = None) -> Restoration:
    """Look at a part of all outputs, let wait for a batch what lacks some that people read, and keep the results in the ledger.

    Args:
        workspace: Store and ledger.
        options: What the operator wants of the last step.
        limits: How much it may cost.

    Returns:
        What waits to be made anew, and what lacks outputs that cannot be made.

    Raises:
        OSError: The store cannot be read.
        LedgerError: The ledger cannot be used.
    """
    limits = limits or AuditLimits()
    seen: dict[str, tuple[int, list[MissingOutputs]]] = {}
    last = {audit.name: audit for audit in workspace.ledger.list_audits()}
    results = []
    if workspace.store.folder is not None:  # nothing in a bucket has the time of a folder
        look = _Look(workspace, options, time.monotonic() + limits.seconds, seen)
        results.append(_audit_folders(look, workspace.store.folder, last.get(FOLDER_AUDIT)))
    look = _Look(workspace, options, time.monotonic() + limits.seconds, seen)
    results.append(_audit_sample(look, last.get(SAMPLE_AUDIT), limits.recordings))
    counts = Counter[str]()
    for restored in results:
        counts.update(restored.recordings_by_step)
    steps: dict[str, int] = {step: counts[step] for step in Step if counts[step]}
    return Restoration(steps, tuple(missing for restored in results for missing in restored.impossible))


def audit_all_outputs(workspace: Workspace, options: EnrichOptions) -> Iterator[MissingOutputs]:
    """Look at every output of every finished recording, and keep the result in the ledger. It changes nothing else.

    It takes long: a request to the store for each output.
    """
    kinds: Counter[str] = Counter()
    for missing in iter_all_missing(workspace, options):
        kinds[_get_kind(missing)] += 1
        yield missing
    done = workspace.ledger.count_totals().states[State.DONE]
    sentence = _describe(f"{done:,} finished recordings", kinds, "lacked outputs that `stt retry NAME` has made anew")
    workspace.ledger.record_audit(Audit(WHOLE_AUDIT, time.time(), done, kinds.total(), sentence))


def _audit_sample(look: _Look, last: Audit | None, most: int) -> Restoration:
    ledger = look.workspace.ledger
    done = ledger.count_totals().states[State.DONE]
    if not done:
        return Restoration({}, ())
    after = last.cursor if last else ""
    for sha256, state in _iter_sample(ledger, after, most):
        after = sha256
        if state is State.DONE:
            look.look_at(sha256)
        if look.is_over:
            break
    return look.finish(SAMPLE_AUDIT, f"{look.looked_at:,} of {done:,} finished recordings", after)


def _iter_sample(ledger: Ledger, after: str, limit: int) -> Iterator[tuple[str, State]]:
    """The next recordings in the order of their sha256, and behind the last one the first ones; none twice."""
    rows = ledger.list_recordings_after(after, limit)
    yield from rows
    if after and len(rows) < limit:
        taken = {sha256 for sha256, _ in rows}
        yield from (row for row in ledger.list_recordings_after("", limit - len(rows)) if row[0] not in taken)


@dataclass(frozen=True, slots=True)
class _FolderCursor:
    """Where the look at changed folders goes on.

    Attributes:
        since: Folders that changed after this are taken, seconds since the epoch: when the round before this one began.
        began: When this round began.
        after: Behind which name this round goes on.
    """

    since: float
    began: float
    after: str = ""

    @classmethod
    def load(cls, audit: Audit | None) -> _FolderCursor:
        """The one of the last look; without one nothing counts as changed but what is recent."""
        now = time.time()
        if audit is None:
            return cls(now, now)
        cursor = cls(**json.loads(audit.cursor))
        return cursor if cursor.after else cls(cursor.since, now)

    def dump(self) -> str:
        return json.dumps({"since": self.since, "began": self.began, "after": self.after})


def _audit_folders(look: _Look, root: Path, last: Audit | None) -> Restoration:
    cursor = _FolderCursor.load(last)
    changes = _FolderChanges(root, cursor.since - CLOCKS_DIFFER_S)
    # After this round the next one takes what changed since this one began.
    position, more = _FolderCursor(cursor.began, cursor.began), ""
    for name in _look_at_changed(look, changes, cursor.after):
        if look.is_over:
            position, more = _FolderCursor(cursor.since, cursor.began, name), f", as far as {name}"
            break
    whose = f"{look.looked_at:,} finished recordings in folders that changed{more}"
    return look.finish(FOLDER_AUDIT, whose, position.dump())


def _look_at_changed(look: _Look, changes: _FolderChanges, after: str) -> Iterator[str]:
    """Look at the recordings in changed folders. Yields the name up to which all were looked at, often."""
    ledger = look.workspace.ledger
    while names := ledger.list_names_after(after, _NAMES_READ_AT_ONCE):
        changed = iter([name for name in names if changes.is_changed(name)])
        while part := list(islice(changed, _NAMES_LOOKED_AT_ONCE)):
            for sha256 in ledger.list_finished_named(part, ()):
                look.look_at(sha256)
            yield part[-1]
        after = names[-1]
        yield after


class _FolderChanges:
    """Which names have outputs in a folder that changed. It looks at each folder once.

    Args:
        root: Of the store.
        since: Seconds since the epoch, by the clock of the file system.
    """

    def __init__(self, root: Path, since: float) -> None:
        self._root = root
        self._since = since
        self._known: dict[str, bool] = {}

    def is_changed(self, name: str) -> bool:
        parent = name.rpartition("/")[0]
        if parent not in self._known:
            self._known[parent] = any(self._get_time(folder, parent) >= self._since for folder in _OUTPUT_FOLDERS)
        return self._known[parent]

    def _get_time(self, folder: Folder, parent: str) -> float:
        """When the folder changed, seconds since the epoch; where it is gone, the next one above it that is there."""
        place = self._root / output_key(folder, f"{parent}/name" if parent else "name", "")
        for above in place.parents:
            try:
                return above.stat().st_mtime
            except (FileNotFoundError, NotADirectoryError):
                continue
        return 0.0


def _get_kind(missing: MissingOutputs) -> str:
    if missing.has_results:
        return "tidied"
    return "lacking" if missing.can_be_made else "impossible"


def _describe(whose: str, kinds: Counter[str], remedy: str) -> str:
    """The result of a look, for a person.

    Args:
        whose: Which recordings were looked at.
        kinds: Kind of what was found -> how many.
        remedy: What happens to outputs that can be made anew.
    """
    phrases = {
        "lacking": remedy,
        "impossible": "lacked outputs that cannot be made anew, because what was delivered is gone or changed",
        "tidied": "lacked only what later steps read, which stays away",
    }
    found = [f"{kinds[kind]:,} {phrase}" for kind, phrase in phrases.items() if kinds[kind]]
    return f"among {whose}, {'; '.join(found)}" if found else f"all outputs of {whose} are there"
