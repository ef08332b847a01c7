"""The ``normalized`` step: convert every recording to 16 kHz WAV for the engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

from recordings.ledger import Member
from recordings.names import Folder, output_key
from recordings.states import State, reached
from recordings.steps.common import (
    Faults,
    Group,
    delivered_bytes,
    groups,
    kept,
    side_by_side,
    still_delivered,
)
from recordings.steps.report import StepReport, Tally
from recordings.steps.sharing import share
from recordings.work import work_key
from recordings.workspace import Workspace
from speech.audio import normalize

STEP = "normalized"
VERSION = "2"
"""Part of the work key: raise it when the samples written can change."""


@dataclass(frozen=True, slots=True)
class NormalizeOptions:
    """What the operator decides about normalization.

    Attributes:
        max_hours: Longest recording; a longer one is quarantined, so that a small file cannot fill the disk.
        accept_partial: Keep what can be decoded of a truncated recording, flagged, in place of quarantining it.
        keep_channels: Keep channels apart that hold different sound; otherwise always mix to one.
    """

    max_hours: float = 24.0
    accept_partial: bool = False
    keep_channels: bool = True


def wav_key(name: str) -> str:
    """Where the normalized audio of a name lives."""
    return output_key(Folder.NORMALIZED, name, ".wav")


def key_of(sha256: str, options: NormalizeOptions) -> str:
    """The work key of a recording's normalized audio."""
    return work_key(sha256, STEP, VERSION, asdict(options))


def run(
    workspace: Workspace, batch_key: str, options: NormalizeOptions, say: Callable[[str], None], *, workers: int = 1
) -> StepReport:
    """Normalize every recording of a batch that is not normalized under these options, ``workers`` at a time.

    Raises:
        LookupError: There is no such batch.
        StepFailed, OSError, LedgerError: An infrastructure error (disk, network, database); not caused by a recording.
    """
    found = groups(workspace.ledger.members(batch_key))
    tally = Tally(say, len(found))
    faults = Faults(workspace, STEP)

    def one(group: Group) -> None:
        recording = group.recording
        key = key_of(recording.sha256, options)
        if recording.state in (State.QUARANTINED, State.FAILED):
            return
        if (
            reached(recording.state, State.NORMALIZED)
            and recording.normalized_key == key
            and _share(workspace, group, key)
        ):
            return
        source = still_delivered(workspace, group)
        if recording.state is State.DONE and source is None:
            kept(recording, "what was delivered")
            return
        if recording.state is not State.RECEIVED:
            workspace.ledger.move(recording.sha256, recording.state, State.RECEIVED)
        work = partial(_work, workspace, group, source or group.members[0], key, options, tally)
        faults.run(recording, State.RECEIVED, work)

    side_by_side(one, found, workers)
    faults.settle()
    return tally.report(STEP, batch_key, workspace.ledger)


def _work(
    workspace: Workspace, group: Group, source: Member, key: str, options: NormalizeOptions, tally: Tally
) -> None:
    began = time.monotonic()
    with (
        delivered_bytes(workspace, source.delivery) as delivered,
        workspace.store.create(wav_key(source.delivery.name)) as target,
    ):
        done = normalize(delivered, target, **asdict(options))
    workspace.ledger.finish(
        group.recording.sha256,
        State.RECEIVED,
        State.NORMALIZED,
        seconds=done.duration_s,
        channels=done.channels,
        flags=dict(done.flags),
        step=STEP,
        key=key,
        members=[source],
        normalized_key=key,
        timings={**group.recording.timings, STEP: round(time.monotonic() - began, 4)},
    )
    tally.add(source.delivery.name, done.duration_s)
    if len(group.members) > 1:
        _share(workspace, group, key)


def _share(workspace: Workspace, group: Group, key: str) -> bool:
    """Copy the normalized audio to every name of the recording that lacks it; False if no name has it."""

    def copy(holder: str, name: str) -> None:
        workspace.store.copy(wav_key(holder), wav_key(name))

    return bool(share(workspace, group, STEP, key, wav_key, copy))
