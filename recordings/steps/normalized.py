"""The ``normalized`` step: convert every recording to 16 kHz WAV for the engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from recordings.layout import NORMALIZED_AUDIO
from recordings.ledger.rows import Member
from recordings.states import State, Step, has_reached
from recordings.steps.concurrency import Concurrency, MemoryGate, plan_concurrency
from recordings.steps.report import ProgressTracker, StepReport
from recordings.steps.runner import (
    ErrorCollector,
    RecordingGroup,
    find_unchanged_delivery,
    group_by_recording,
    open_delivered,
    run_parallel,
    warn_kept,
)
from recordings.steps.sharing import share_output
from recordings.steps.work_key import make_recipe, make_work_key
from recordings.workspace import Workspace
from speech.audio.errors import BadAudioError
from speech.audio.normalize import estimate_memory_bytes, normalize, probe
from speech.audio.stream import MAX_CHANNELS
from speech.machine.resources import FreeMemory, measure_free_memory

STEP = Step.NORMALIZED
VERSION = "4"
"""Part of the work key: raise it when the samples written can change."""


_USUAL_BYTES = estimate_memory_bytes(2, 48_000)
_LARGEST_BYTES = estimate_memory_bytes(MAX_CHANNELS, 48_000)


class NormalizeOptions(BaseModel):
    """What the operator decides about normalization. The settings take fields and descriptions from here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_hours: float = Field(
        default=24.0, gt=0, description="A number of hours above 0: a longer recording is quarantined."
    )
    accept_partial: bool = Field(
        default=False,
        description="true or false: keep what can be decoded of a truncated recording, flagged, in place of quarantining it.",
    )
    keep_channels: bool = Field(
        default=True, description="true or false: transcribe channels that hold different speakers apart."
    )


def get_work_key(sha256: str, options: NormalizeOptions) -> str:
    """The work key of a recording's normalized audio."""
    return make_work_key(sha256, STEP, VERSION, options.model_dump())


def get_recipe(options: NormalizeOptions) -> str:
    """The part of the work key that all recordings share."""
    return make_recipe(STEP, VERSION, options.model_dump())


def run(
    workspace: Workspace,
    batch_key: str,
    options: NormalizeOptions,
    progress: Callable[[str], None],
    *,
    workers: int = 1,
    free: FreeMemory | None = None,
) -> StepReport:
    """Normalize each recording of a batch that is not normalized under these options, ``workers`` at a time, as memory allows.

    Args:
        workspace: Where the bytes and states are.
        batch_key: Which batch.
        options: How to normalize.
        progress: Takes a line of progress.
        workers: Recordings at a time, where memory allows it.
        free: Memory that may be used; None: what is free now.

    Raises:
        LookupError: There is no such batch.
        StepFailedError, OSError, LedgerError: An infrastructure error (disk, network, database); not caused by a recording.
    """
    found = group_by_recording(workspace.ledger.list_members(batch_key))
    tally = ProgressTracker(progress, len(found))
    concurrency = _plan_concurrency(workers, len(found), free or measure_free_memory())
    tally.note_concurrency(concurrency)
    faults = ErrorCollector(workspace, STEP)

    def work_on_group(group: RecordingGroup) -> None:
        recording = group.recording
        key = get_work_key(recording.sha256, options)
        if recording.state in (State.QUARANTINED, State.FAILED):
            return
        if (
            has_reached(recording.state, State.NORMALIZED)
            and recording.normalized_key == key
            and _share_audio(workspace, group, key)
        ):
            return
        source = find_unchanged_delivery(workspace, group)
        if recording.state is State.DONE and source is None:
            warn_kept(recording, "what was delivered")
            return
        if recording.state is not State.RECEIVED:
            workspace.ledger.transition(recording.sha256, recording.state, State.RECEIVED)
        work = partial(
            _normalize_recording, workspace, group, source or group.members[0], key, options, tally, concurrency.gate
        )
        faults.run_recording(recording, State.RECEIVED, work)

    run_parallel(work_on_group, found, concurrency.workers)
    faults.raise_or_mark_failed()
    return tally.make_report(STEP, batch_key, workspace.ledger)


def _normalize_recording(
    workspace: Workspace,
    group: RecordingGroup,
    source: Member,
    key: str,
    options: NormalizeOptions,
    tally: ProgressTracker,
    gate: MemoryGate,
) -> None:
    began = time.monotonic()
    with (
        open_delivered(workspace, source.delivery) as delivered,
        gate.hold(_estimate_bytes(delivered) if gate.is_limited else 0),
        workspace.store.create(NORMALIZED_AUDIO.key(source.delivery.name)) as target,
    ):
        done = normalize(delivered, target, **options.model_dump())
    workspace.ledger.complete_step(
        group.recording.sha256,
        State.RECEIVED,
        State.NORMALIZED,
        seconds=done.duration_s,
        channels=done.channels,
        tracks=done.tracks,
        peak_dbfs=done.peak_dbfs,
        flags=done.flags,
        step=STEP,
        key=key,
        members=[source],
        normalized_key=key,
        normalized_recipe=get_recipe(options),
        timings={**group.recording.timings, STEP: round(time.monotonic() - began, 4)},
    )
    tally.add(source.delivery.name, done.duration_s)
    if len(group.members) > 1:
        _share_audio(workspace, group, key)


def _plan_concurrency(workers: int, recordings: int, free: FreeMemory) -> Concurrency:
    """How many fit, if all are stereo. What has more channels is known when it is opened, and then waits for its turn."""
    at_once = min(workers, recordings)
    planned = plan_concurrency(workers, [_USUAL_BYTES] * at_once, free.usable_bytes, free, "stereo")
    if planned.gate.is_limited or at_once * _LARGEST_BYTES <= free.usable_bytes:
        return planned
    return Concurrency(workers, MemoryGate(free.usable_bytes))


def _estimate_bytes(delivered: Path) -> int:
    try:
        info = probe(delivered)
    except BadAudioError:
        return 0  # normalizing says what is wrong with it
    return estimate_memory_bytes(max(1, info.channels), info.sample_rate)


def _share_audio(workspace: Workspace, group: RecordingGroup, key: str) -> bool:
    """Copy the normalized audio to every name of the recording that lacks it; False if no name has it."""

    def copy(holder: str, name: str) -> None:
        workspace.store.copy(NORMALIZED_AUDIO.key(holder), NORMALIZED_AUDIO.key(name))

    return bool(share_output(workspace, group, STEP, key, NORMALIZED_AUDIO.key, copy))
