"""The ``transcript`` step: transcribe every normalized recording of a batch with one engine; the model is loaded at most once."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from threading import Event

from recordings.ledger import Run
from recordings.names import Folder, output_key
from recordings.states import State, reached
from recordings.steps.common import Faults, Group, groups, kept, made_before, side_by_side
from recordings.steps.normalized import wav_key
from recordings.steps.report import StepReport, Tally, words_of
from recordings.steps.sharing import share
from recordings.work import work_key
from recordings.workspace import Workspace
from speech.engine import ENGINE_VERSION, Engine, Subject
from speech.guard import words_of as words_in
from speech.journal import Journal
from speech.transcript import Options, Transcript

STEP = "transcript"
_KEPT_FLAGS = ("partial",)  # flags about the audio file; they survive a new transcription


@dataclass(frozen=True, slots=True)
class EngineRecipe:
    """Creates the engine when it is needed, and gives the values (model checksum, options) that work keys need before that.

    Attributes:
        model_sha256: Checksum of the weights it will use.
        options: Everything that can change a text.
        make: Makes it; called at most once a step, and not at all when there is nothing to hear.
        workers: Cores it decodes on.
    """

    model_sha256: str
    options: Options
    make: Callable[[], AbstractContextManager[Engine]]
    workers: int = 1


def json_key(name: str) -> str:
    """Where the transcript of a name lives."""
    return output_key(Folder.TRANSCRIPTS, name, ".json")


def key_of(normalized_key: str, model_sha256: str, options: Options) -> str:
    """The work key of a recording's transcript."""
    return work_key(normalized_key, STEP, ENGINE_VERSION, {"model": model_sha256, **options.model_dump()})


def run(workspace: Workspace, batch_key: str, recipe: EngineRecipe, say: Callable[[str], None]) -> StepReport:
    """Transcribe every recording of a batch that has no transcript by these weights, options and engine.

    Raises:
        LookupError: There is no such batch.
        DeviceUnavailable, WeightsError: The engine cannot run here.
        StepFailed, OSError, LedgerError: An infrastructure error (disk, network, database); not caused by a recording.
    """
    found = groups(workspace.ledger.members(batch_key))
    todo = [(group, key) for group in found if (key := _key(group, recipe)) and not _finished(workspace, group, key)]
    tally = Tally(say, len(todo), sum(group.recording.seconds or 0.0 for group, _ in todo))
    faults = Faults(workspace, STEP)
    if todo:
        # Longest first: at the end only short recordings remain, so no worker waits long, and recordings of similar length are
        # processed together, whose chunks can share a batch.
        todo.sort(key=lambda item: -(item[0].recording.seconds or 0.0))
        with recipe.make() as engine:
            stopping = Event()

            def one(item: tuple[Group, str]) -> None:
                group, key = item
                work = partial(_work, workspace, group, key, engine, stopping, tally)
                faults.run(group.recording, State.NORMALIZED, work)
                tally.add(group.recording.name, group.recording.seconds or 0.0)

            side_by_side(one, todo, engine.ahead, stopping)
    faults.settle()
    report = tally.report(STEP, batch_key, workspace.ledger)
    if report.worked:
        workspace.ledger.note_run(
            Run(
                step=STEP,
                batch_key=batch_key,
                ended_at=time.time(),
                recordings=report.worked,
                audio_seconds=report.audio_seconds,
                wall_seconds=report.wall_seconds,
                cores=recipe.workers,
                model_sha256=recipe.model_sha256,
                options=recipe.options.model_dump(),
            )
        )
    return report


def _key(group: Group, recipe: EngineRecipe) -> str | None:
    """The work key of a recording's transcript; None when it has no audio to listen to."""
    recording = group.recording
    if recording.normalized_key is None or not reached(recording.state, State.NORMALIZED):
        return None
    return key_of(recording.normalized_key, recipe.model_sha256, recipe.options)


def _finished(workspace: Workspace, group: Group, key: str) -> bool:
    recording = group.recording
    if reached(recording.state, State.TRANSCRIBED):
        if recording.transcript_key == key and share(workspace, group, STEP, key, json_key, _copy(workspace)):
            return True
        if recording.state is State.DONE and not workspace.store.exists(wav_key(group.members[0].delivery.name)):
            kept(recording, "its normalized audio")
            return True
        workspace.ledger.move(recording.sha256, recording.state, State.NORMALIZED, flags=_audio_flags(group))
    return False


def _audio_flags(group: Group) -> dict[str, str]:
    return {flag: why for flag, why in group.recording.flags.items() if flag in _KEPT_FLAGS}


def _work(workspace: Workspace, group: Group, key: str, engine: Engine, stopping: Event, tally: Tally) -> None:
    began = time.monotonic()
    first, recording = group.members[0], group.recording
    journal = workspace.store.scratch(Folder.TRANSCRIPTS, f"{key}.jsonl")

    def go_on(share_done: float) -> None:
        """Called after every chunk (a recording may have hours of them): reports progress; ends the work if the step is stopped."""
        if stopping.is_set():
            raise CancelledError(f"{first.delivery.name}: the step is being stopped")
        tally.part(recording.name, recording.seconds or 0.0, share_done)

    with made_before(workspace, wav_key(first.delivery.name), "normalized") as path:
        subject = Subject(first.delivery.name, recording.sha256)
        transcript = engine.transcribe(path, subject, go_on, partial(Journal, journal, key))
    if transcript.meta.decoding is not None:
        counts = transcript.meta.decoding.model_dump(exclude={"path", "why"})
        tally.count({**counts, f"{transcript.meta.decoding.path}_recordings": 1})
    with workspace.store.create(json_key(first.delivery.name)) as target:
        target.write_text(transcript.to_json(), encoding="utf-8")
    workspace.ledger.finish(
        recording.sha256,
        State.NORMALIZED,
        State.TRANSCRIBED,
        language=transcript.language,
        speech_seconds=transcript.meta.speech_seconds,
        words=sum(len(segment.words) or len(words_in(segment.text)) for segment in transcript.segments),
        preview=words_of(transcript.text),
        flags={**_audio_flags(group), **transcript.meta.flags},
        step=STEP,
        key=key,
        members=[first],
        transcript_key=key,
        timings={**recording.timings, STEP: round(time.monotonic() - began, 4)},
    )
    journal.unlink(missing_ok=True)
    if len(group.members) > 1:
        share(workspace, group, STEP, key, json_key, _copy(workspace))


def _copy(workspace: Workspace) -> Callable[[str, str], None]:
    """Copies a transcript to another name; inside, it must bear that name."""

    def copy(holder: str, name: str) -> None:
        transcript = read(workspace, json_key(holder))
        renamed = transcript.model_copy(
            update={"file": name, "meta": transcript.meta.model_copy(update={"audio_file": name})}
        )
        with workspace.store.create(json_key(name)) as path:
            path.write_text(renamed.to_json(), encoding="utf-8")

    return copy


def read(workspace: Workspace, key: str) -> Transcript:
    """Read a transcript from the store.

    Raises:
        StepFailed: It is gone.
        pydantic.ValidationError: Somebody else wrote it.
    """
    with made_before(workspace, key, STEP) as path:
        return Transcript.model_validate_json(path.read_bytes())
