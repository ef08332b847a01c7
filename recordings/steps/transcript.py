"""The ``transcript`` step: transcribe every normalized recording of a batch with one engine; the model is loaded at most once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from threading import Event
from typing import TypeVar

from recordings.layout import NORMALIZED_AUDIO, TRANSCRIPT_JSON, Folder
from recordings.ledger.rows import Recording
from recordings.ledger.runs import StepRun
from recordings.options import RecordingOptions
from recordings.states import State, Step, has_reached
from recordings.steps.concurrency import Concurrency, plan_concurrency
from recordings.steps.report import ProgressTracker, StepReport, shorten_text
from recordings.steps.runner import (
    ErrorCollector,
    RecordingGroup,
    group_by_recording,
    open_earlier_output,
    run_parallel,
    warn_kept,
)
from recordings.steps.sharing import share_output
from recordings.steps.work_key import make_recipe, make_work_key
from recordings.workspace import Workspace
from speech.asr.checkpoint import Checkpoint
from speech.asr.engine import ENGINE_VERSION, Engine, RecordingIdentity, join_options
from speech.asr.memory import FittedEngine, estimate_recording_bytes
from speech.asr.model_pool import EngineConfig, get_batch_size
from speech.asr.scripts import split_words
from speech.machine.cgroups import read_cpu_counters
from speech.machine.host import Host
from speech.transcript import Options, TranscribeOptions, Transcript

STEP = Step.TRANSCRIPT
_Options = TypeVar("_Options", bound=TranscribeOptions)


@dataclass(frozen=True, slots=True)
class EngineFactory:
    """Creates the engine when it is needed, and gives the values (model checksum, options) that work keys need before that.

    Attributes:
        model_sha256: Checksum of the weights it will use.
        config: Where and how the model runs.
        options: How recordings are transcribed.
        create: Makes it; called at most once a step, and not at all when there is nothing to transcribe.
        fitted: How it was made to fit into memory, and what that leaves; None: memory is not looked at.
    """

    model_sha256: str
    config: EngineConfig
    options: TranscribeOptions
    create: Callable[[], AbstractContextManager[Engine]]
    fitted: FittedEngine | None = None

    @property
    def key_options(self) -> Options:
        """Everything that can change a text."""
        return join_options(self.options, self.config)


def apply_own_options(recording: Recording, options: _Options) -> _Options:
    """The options by which a recording is transcribed: those of everybody, with its own in their place."""
    return RecordingOptions(**recording.options).apply_to(options)


def get_work_key(normalized_key: str, model_sha256: str, options: Options) -> str:
    """The work key of a recording's transcript."""
    return make_work_key(normalized_key, STEP, ENGINE_VERSION, {"model": model_sha256, **options.model_dump()})


def get_recipe(model_sha256: str, options: Options) -> str:
    """The part of the work key that all recordings without options of their own share."""
    return make_recipe(STEP, ENGINE_VERSION, {"model": model_sha256, **options.model_dump()})


def run(
    workspace: Workspace, batch_key: str, engine_factory: EngineFactory, progress: Callable[[str], None]
) -> StepReport:
    """Transcribe every recording of a batch that has no transcript by these weights, options and engine.

    Raises:
        LookupError: There is no such batch.
        DeviceUnavailableError, WeightsError: The engine cannot run here.
        StepFailedError, OSError, LedgerError: An infrastructure error (disk, network, database); not caused by a recording.
    """
    host = Host.here()
    counters = read_cpu_counters(host)
    found = group_by_recording(workspace.ledger.list_members(batch_key))
    todo = [
        (group, key)
        for group in found
        if (key := _find_work_key(group, engine_factory)) and not _reopen_unless_finished(workspace, group, key)
    ]
    tally = ProgressTracker(progress, len(todo), sum(group.recording.seconds or 0.0 for group, _ in todo))
    faults = ErrorCollector(workspace, STEP)
    recipe = get_recipe(engine_factory.model_sha256, engine_factory.key_options)
    if todo:
        # Longest first: at the end only short recordings remain, so no worker waits long, and recordings of similar length are
        # processed together, whose chunks can share a batch.
        todo.sort(key=lambda item: -(item[0].recording.seconds or 0.0))
        with engine_factory.create() as engine:
            stopping = Event()
            concurrency = _plan_concurrency(
                engine.max_in_flight, [group.recording for group, _ in todo], engine_factory
            )
            tally.note_concurrency(concurrency)
            tally.add_figures(
                {"workers": engine_factory.config.workers, "batch_size": get_batch_size(engine_factory.config)}
            )

            def transcribe_group(item: tuple[RecordingGroup, str]) -> None:
                group, key = item
                options = apply_own_options(group.recording, engine_factory.options)
                work = partial(_transcribe_recording, workspace, group, key, recipe, engine, options, stopping, tally)
                with concurrency.gate.hold(_estimate_bytes(group.recording)):
                    faults.run_recording(group.recording, State.NORMALIZED, work)
                tally.add(group.recording.name, group.recording.seconds or 0.0)

            run_parallel(transcribe_group, todo, concurrency.workers, stopping)
    faults.raise_or_mark_failed()
    report = tally.make_report(STEP, batch_key, workspace.ledger)
    if counters and (now := read_cpu_counters(host)):
        report = replace(report, throttling=now.since(counters))
    if report.worked:
        workspace.ledger.record_run(
            StepRun(
                step=STEP,
                batch_key=batch_key,
                ended_at=time.time(),
                recordings=report.worked,
                audio_seconds=report.audio_seconds,
                wall_seconds=report.wall_seconds,
                cores=engine_factory.config.workers,
                model_sha256=engine_factory.model_sha256,
                options=engine_factory.key_options.model_dump(),
            )
        )
    return report


def _plan_concurrency(wanted: int, recordings: Sequence[Recording], engine_factory: EngineFactory) -> Concurrency:
    fitted = engine_factory.fitted
    if fitted is None:
        return Concurrency(wanted)
    sizes = [_estimate_bytes(recording) for recording in recordings]
    planned = plan_concurrency(wanted, sizes, fitted.usable_bytes, fitted.free)
    # Of several sentences the engine's comes first: it decides how much the recordings have.
    return replace(
        planned,
        decided=" ".join(each for each in (fitted.decided, planned.decided) if each) or None,
        warning=fitted.warning or planned.warning,
    )


def _estimate_bytes(recording: Recording) -> int:
    return estimate_recording_bytes(recording.seconds or 0.0, recording.channels or 1)


def _find_work_key(group: RecordingGroup, engine_factory: EngineFactory) -> str | None:
    """The work key of a recording's transcript; None when it has no audio to listen to."""
    recording = group.recording
    if recording.normalized_key is None or not has_reached(recording.state, State.NORMALIZED):
        return None
    options = apply_own_options(recording, engine_factory.key_options)
    return get_work_key(recording.normalized_key, engine_factory.model_sha256, options)


def _reopen_unless_finished(workspace: Workspace, group: RecordingGroup, key: str) -> bool:
    recording = group.recording
    if has_reached(recording.state, State.TRANSCRIBED):
        if recording.transcript_key == key and share_output(
            workspace, group, STEP, key, TRANSCRIPT_JSON.key, _make_copier(workspace)
        ):
            return True
        if recording.state is State.DONE and not workspace.store.exists(
            NORMALIZED_AUDIO.key(group.members[0].delivery.name)
        ):
            warn_kept(recording, "its normalized audio")
            return True
        workspace.ledger.transition(recording.sha256, recording.state, State.NORMALIZED)
    return False


def _transcribe_recording(
    workspace: Workspace,
    group: RecordingGroup,
    key: str,
    recipe: str,
    engine: Engine,
    options: TranscribeOptions,
    stopping: Event,
    tally: ProgressTracker,
) -> None:
    began = time.monotonic()
    first, recording = group.members[0], group.recording
    journal = workspace.store.temp_path(Folder.TRANSCRIPTS, f"{key}.jsonl")

    def go_on(share_done: float) -> None:
        """Called after every chunk (a recording may have hours of them): reports progress; ends the work if the step is stopped."""
        if stopping.is_set():
            raise CancelledError(f"{first.delivery.name}: the step is being stopped")
        tally.add_partial(recording.name, recording.seconds or 0.0, share_done)

    with open_earlier_output(workspace, NORMALIZED_AUDIO.key(first.delivery.name), Step.NORMALIZED) as path:
        earlier_flags = recording.find_flags_before(STEP)
        subject = RecordingIdentity(first.delivery.name, recording.bytes_sha256, earlier_flags)
        transcript = engine.transcribe(
            path, subject, options, on_progress=go_on, open_checkpoint=partial(Checkpoint, journal, key)
        )
    if transcript.meta.decoding is not None:
        counts = transcript.meta.decoding.model_dump(exclude={"path", "why"})
        tally.add_figures({**counts, f"{transcript.meta.decoding.path}_recordings": 1})
    with workspace.store.create(TRANSCRIPT_JSON.key(first.delivery.name)) as target:
        target.write_text(transcript.to_json(), encoding="utf-8")
    workspace.ledger.complete_step(
        recording.sha256,
        State.NORMALIZED,
        State.TRANSCRIBED,
        language=transcript.language,
        speech_seconds=transcript.meta.speech_seconds,
        words=sum(len(segment.words) or len(split_words(segment.text)) for segment in transcript.segments),
        preview=shorten_text(transcript.text),
        flags={flag: why for flag, why in transcript.meta.flags.items() if flag not in earlier_flags},
        step=STEP,
        key=key,
        members=[first],
        transcript_key=key,
        transcript_recipe=recipe,
        timings={**recording.timings, STEP: round(time.monotonic() - began, 4)},
    )
    journal.unlink(missing_ok=True)
    if len(group.members) > 1:
        share_output(workspace, group, STEP, key, TRANSCRIPT_JSON.key, _make_copier(workspace))


def _make_copier(workspace: Workspace) -> Callable[[str, str], None]:
    """Copies a transcript to another name; inside, it must bear that name."""

    def copy(holder: str, name: str) -> None:
        transcript = read_transcript(workspace, TRANSCRIPT_JSON.key(holder))
        renamed = transcript.model_copy(
            update={"file": name, "meta": transcript.meta.model_copy(update={"audio_file": name})}
        )
        with workspace.store.create(TRANSCRIPT_JSON.key(name)) as path:
            path.write_text(renamed.to_json(), encoding="utf-8")

    return copy


def read_transcript(workspace: Workspace, key: str) -> Transcript:
    """Read a transcript from the store.

    Raises:
        StepFailedError: It is gone.
        pydantic.ValidationError: Somebody else wrote it.
    """
    with open_earlier_output(workspace, key, STEP) as path:
        return Transcript.model_validate_json(path.read_bytes())
