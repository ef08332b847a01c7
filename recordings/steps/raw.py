"""The ``raw`` step: read each delivered file, identify its recording by sha256, and quarantine files that are not audio."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from recordings.batches import has_same_bytes, split_version
from recordings.layout import Folder, list_output_keys
from recordings.ledger.rows import OPTIONS_KIND, Member
from recordings.options import InvalidOptionsError, RecordingOptions
from recordings.states import TERMINAL_STATES, State, Step
from recordings.steps.report import ProgressTracker, StepReport
from recordings.steps.runner import NAME_KIND, RENAME_REMEDY, BytesChangedError, log, open_delivered
from recordings.steps.sidecar import options_key, read_options
from recordings.storage.base import OPTIONS_SUFFIX
from recordings.workspace import Workspace
from speech.audio.errors import BadAudioError
from speech.audio.normalize import probe

VERSION = "1"
"""The step's version as Dagster shows it: raise it when what is registered can change."""

_STALE_AFTER_S = 24 * 3600  # a temporary file that old belongs to a process that died


def run(workspace: Workspace, batch_key: str, progress: Callable[[str], None]) -> StepReport:
    """Register the bytes of every delivery of a batch.

    Args:
        workspace: Store and ledger.
        batch_key: Which batch.
        progress: Takes a line about progress.

    Raises:
        LookupError: There is no such batch.
        OSError, LedgerError: An infrastructure error (disk, network, database); not caused by a recording.
    """
    workspace.store.sweep(_STALE_AFTER_S)
    members = workspace.ledger.list_members(batch_key)
    tally = ProgressTracker(progress, len(members))
    for member in members:
        if member.state is State.RECEIVED and not member.superseded:
            _register(workspace, member)
            tally.add(member.delivery.name, 0.0)
        elif member.superseded and member.state not in TERMINAL_STATES:
            _reject_superseded(workspace, member)
    return tally.make_report(Step.RAW, batch_key, workspace.ledger)


def _register(workspace: Workspace, member: Member) -> None:
    delivery = member.delivery
    why = _find_unwritable_output(workspace, delivery.name)
    if why is not None:
        # Only the name is the problem; the same bytes may be fine under another name.
        log.warning("%s is quarantined: %s", delivery.name, why)
        workspace.ledger.reject(delivery, NAME_KIND, f"{why} {RENAME_REMEDY}")
        return
    has_options = bool(split_version(delivery.version)[1])
    try:
        with open_delivered(workspace, delivery) as path:
            options = read_options(workspace.store, delivery.name) if has_options else RecordingOptions()
            bytes_sha256 = _sha256(path)
            bad = _find_audio_error(path)
    except BytesChangedError as changed:
        log.warning("%s is quarantined: %s", delivery.name, changed)
        workspace.ledger.reject(delivery, BytesChangedError.KIND, str(changed))
        return
    except InvalidOptionsError as invalid:
        place = workspace.store.locate(options_key(delivery.name))
        reason = f"{place} cannot be used: {invalid}. Correct it; the recording is then taken up again by itself."
        log.warning("%s is quarantined: %s", delivery.name, reason)
        workspace.ledger.reject(delivery, OPTIONS_KIND, reason)
        return
    recording = workspace.ledger.assign_recording(delivery, bytes_sha256, delivery.size, options)
    if recording.state is State.QUARANTINED and recording.kind == BytesChangedError.KIND:
        # It was quarantined because its bytes had gone, and here they are again.
        workspace.ledger.transition(recording.sha256, State.QUARANTINED, State.RECEIVED)
    if bad is not None and recording.state is State.RECEIVED:
        sentence = bad.sentence
        if delivery.name.lower().endswith((OPTIONS_SUFFIX, ".options.yml")):
            sentence += f" Options of a recording are read from NAME{OPTIONS_SUFFIX}, in these letters."
        log.warning("%s is quarantined: %s", delivery.name, sentence)
        workspace.ledger.transition(recording.sha256, State.RECEIVED, State.QUARANTINED, kind=bad.kind, reason=sentence)


def _find_unwritable_output(workspace: Workspace, name: str) -> str | None:
    """A sentence that says why the outputs of a name cannot be written; None if they can.

    One reason is a path that clashes with another file or folder. A folder in the input folder counts as well: its recordings'
    outputs need a folder of the same name, and which of the two came first must not be left to chance.
    """
    store = workspace.store
    for key in list_output_keys(name):
        below = key.split("/", 1)[1]
        why = store.get_unwritable_reason(key) or store.get_unwritable_reason(f"{Folder.RAW}/{below}")
        if why:
            return f"{store.locate(key)} cannot be written for {name}: {why}."
    return None


def _reject_superseded(workspace: Workspace, member: Member) -> None:
    """End a delivery whose bytes were replaced under its name before it was finished, unless they lie under another name."""
    name, recording = member.delivery.name, member.recording
    now = workspace.store.find_input(name)
    if now is not None and has_same_bytes(now, member.delivery):
        reason = f"The options of {name} came or changed before it was finished. Its newer delivery has them."
    else:
        reason = f"{name} was replaced by newer bytes before it was finished. Deliver the older ones again."
    if recording is None:
        workspace.ledger.reject(member.delivery, BytesChangedError.KIND, reason)
    elif not workspace.ledger.list_current(recording.sha256):
        kind = BytesChangedError.KIND
        workspace.ledger.transition(recording.sha256, recording.state, State.QUARANTINED, kind=kind, reason=reason)


def _find_audio_error(path: Path) -> BadAudioError | None:
    try:
        probe(path)
    except BadAudioError as bad:
        return bad
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
