"""The ``enriched`` step: what people read and other programs take in, made from transcript and audio."""

from __future__ import annotations

import logging
import posixpath
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cache, partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recordings.layout import (
    NORMALIZED_AUDIO,
    PAGE,
    TRANSCRIPT_JSON,
    make_annotation_artifact,
    make_export_artifact,
)
from recordings.ledger.rows import Member, Recording
from recordings.states import State, Step, has_reached
from recordings.steps.concurrency import plan_concurrency
from recordings.steps.report import ProgressTracker, StepReport
from recordings.steps.runner import (
    INFRASTRUCTURE_ERRORS,
    ErrorCollector,
    RecordingGroup,
    group_by_recording,
    open_earlier_output,
    run_parallel,
    warn_kept,
)
from recordings.steps.transcript import read_transcript
from recordings.steps.work_key import make_recipe, make_work_key
from recordings.storage.base import UnwritableKeyError
from recordings.workspace import Workspace
from speech.enrichment.base import Annotation, Annotator
from speech.enrichment.registry import ANNOTATORS
from speech.export.base import ExportFormat, ExportInput
from speech.export.formats import FORMATS, estimate_memory_bytes
from speech.export.page.page import relative_href
from speech.machine.resources import FreeMemory, measure_free_memory

log = logging.getLogger("stt")

STEP = Step.ENRICHED
VERSION = "1"
"""Part of the work key: raise it when an output can change."""

ANNOTATIONS_MISSING = "annotations_missing"
"""Flag of a recording with an annotation that failed or could not be had; its reason says which and why."""


class EnrichOptions(BaseModel):
    """What the operator decides about the outputs. The settings take fields and descriptions from here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    page: bool = Field(
        default=True,
        description="true or false: make the listening page and the annotated JSON beside the plain outputs.",
    )
    prosody: bool = Field(default=True, description="true or false: analyse pauses and speech rate.")
    emotion: bool = Field(
        default=False,
        description="true or false. This release has no emotion model; with true, the annotations say that it is unavailable.",
    )
    embed_minutes: float = Field(
        default=20.0,
        ge=0,
        description="A number of minutes, 0 or more: pages carry the audio of recordings up to this long.",
    )

    @property
    def formats(self) -> tuple[ExportFormat, ...]:
        """What is written."""
        return tuple(each for each in FORMATS if self.page or not each.optional)

    @property
    def annotators(self) -> tuple[Annotator, ...]:
        """What is run: what the page shows, and what was asked for."""
        return tuple(each for each in ANNOTATORS if self._is_on(each.run_if)) if self.page else ()

    @property
    def shown_annotations(self) -> frozenset[str]:
        """What the annotated JSON has."""
        return frozenset(each.name for each in self.annotators if self._is_on(each.shown_if))

    def _is_on(self, option: str | None) -> bool:
        return option is None or bool(getattr(self, option))


def get_work_key(transcript_key: str, options: EnrichOptions) -> str:
    """The work key of a recording's outputs."""
    return make_work_key(transcript_key, STEP, VERSION, options.model_dump())


def get_recipe(options: EnrichOptions) -> str:
    """The part of the work key that all recordings share, and which annotators there are."""
    annotators = [[each.name, each.version, dict(each.options)] for each in options.annotators]
    return make_recipe(STEP, VERSION, [options.model_dump(), annotators])


def list_pending(workspace: Workspace, group: RecordingGroup, options: EnrichOptions) -> list[Annotator]:
    """The annotators whose annotation of a recording is missing, failed, or of another version or transcript."""
    return [each for each in options.annotators if _read_annotation(workspace, each, group.recording) is None]


def run(
    workspace: Workspace,
    batch_key: str,
    options: EnrichOptions,
    progress: Callable[[str], None],
    *,
    workers: int = 1,
    free: FreeMemory | None = None,
) -> StepReport:
    """Make the outputs of each transcribed recording of a batch under all its names, ``workers`` at a time, as memory allows.

    Args:
        workspace: Where the bytes and states are.
        batch_key: Which batch.
        options: Which outputs.
        progress: Takes a line of progress.
        workers: Recordings at a time, where memory allows it.
        free: Memory that may be used; None: what is free now.

    Raises:
        LookupError: There is no such batch.
        StepFailedError, OSError, LedgerError: An infrastructure error (disk, network, database); not caused by a recording.
    """
    found = group_by_recording(workspace.ledger.list_members(batch_key))
    tally = ProgressTracker(progress, len(found))
    free = free or measure_free_memory()
    sizes = [_estimate_bytes(group.recording, options) for group in found]
    concurrency = plan_concurrency(workers, sizes, free.usable_bytes, free)
    tally.note_concurrency(concurrency)
    faults = ErrorCollector(workspace, STEP)

    def work_on_group(group: RecordingGroup) -> None:
        recording = group.recording
        if recording.transcript_key is None or not has_reached(recording.state, State.TRANSCRIBED):
            return
        key = get_work_key(recording.transcript_key, options)
        todo = [m for m in group.members if m.placed.get(STEP) != key or not _has_all_exports(workspace, m, options)]
        if ANNOTATIONS_MISSING in recording.flags and list_pending(workspace, group, options):
            # All its names, also those of other batches: their files say that the annotation failed.
            todo = [
                m
                for m in workspace.ledger.list_current(recording.sha256)
                if m.placed.get(Step.TRANSCRIPT) == recording.transcript_key
            ]
        if recording.state is State.DONE and not todo and recording.enriched_key == key:
            return
        if recording.state is State.DONE and not _can_redo(workspace, todo):
            warn_kept(recording, "its transcript or its normalized audio")
            return
        if recording.state is State.DONE:
            workspace.ledger.transition(recording.sha256, State.DONE, State.TRANSCRIBED)
        with concurrency.gate.hold(_estimate_bytes(recording, options)):
            faults.run_recording(
                recording, State.TRANSCRIBED, partial(_enrich_recording, workspace, group, todo, key, options, tally)
            )

    run_parallel(work_on_group, found, concurrency.workers)
    faults.raise_or_mark_failed()
    return tally.make_report(STEP, batch_key, workspace.ledger)


def _estimate_bytes(recording: Recording, options: EnrichOptions) -> int:
    seconds = recording.seconds or 0.0
    embedded_s = seconds if options.page and seconds <= options.embed_minutes * 60 else 0.0
    return estimate_memory_bytes(recording.words or 0, embedded_s, recording.channels or 1)


def _can_redo(workspace: Workspace, todo: list[Member]) -> bool:
    needed = [artifact.key(m.delivery.name) for m in todo for artifact in (NORMALIZED_AUDIO, TRANSCRIPT_JSON)]
    return all(workspace.store.exists(key) for key in needed)


def _has_all_exports(workspace: Workspace, member: Member, options: EnrichOptions) -> bool:
    return all(workspace.store.exists(make_export_artifact(each).key(member.delivery.name)) for each in options.formats)


def _enrich_recording(
    workspace: Workspace,
    group: RecordingGroup,
    todo: list[Member],
    key: str,
    options: EnrichOptions,
    tally: ProgressTracker,
) -> None:
    began = time.monotonic()
    recording = group.recording
    annotations = _annotate(workspace, group, options)
    for member in todo:
        _write_exports(workspace, member.delivery.name, annotations, options)
    missing = [f"{name}: {each.reason}" for name, each in annotations.items() if each.value is None]
    workspace.ledger.complete_step(
        recording.sha256,
        State.TRANSCRIBED,
        State.DONE,
        step=STEP,
        key=key,
        members=todo,
        flags={ANNOTATIONS_MISSING: "; ".join(missing)} if missing else {},
        enriched_key=key,
        # What may be had at the next attempt is looked for again.
        enriched_recipe=get_recipe(options) if all(each.is_final for each in annotations.values()) else "",
        timings={**recording.timings, STEP: round(time.monotonic() - began, 4)},
    )
    tally.add(recording.name, recording.seconds or 0.0)


def _annotate(workspace: Workspace, group: RecordingGroup, options: EnrichOptions) -> dict[str, Annotation]:
    """Run the annotators that are pending, store what they found, and return all annotations by name.

    Annotations belong to the recording, so they are made once and stored under its own name.
    """
    present = group.members[0].delivery.name
    transcript = cache(partial(read_transcript, workspace, TRANSCRIPT_JSON.key(present)))
    annotations: dict[str, Annotation] = {}
    for annotator in options.annotators:
        annotation = _read_annotation(workspace, annotator, group.recording)
        if annotation is None:
            key = _make_annotation_key(annotator, group.recording)
            open_audio = partial(_open_audio, workspace, present)
            annotation = annotator.run(transcript(), open_audio, key, INFRASTRUCTURE_ERRORS)
            _store_annotation(workspace, annotation, group.recording)
        annotations[annotator.name] = annotation
    return annotations


def _make_annotation_key(annotator: Annotator, recording: Recording) -> str:
    return make_work_key(recording.transcript_key or "", annotator.name, annotator.version, dict(annotator.options))


def _read_annotation(workspace: Workspace, annotator: Annotator, recording: Recording) -> Annotation | None:
    """The stored annotation; None where it is pending: missing, unreadable, failed, or of another version or transcript."""
    try:
        with workspace.store.fetch(make_annotation_artifact(annotator.name).key(recording.name)) as path:
            annotation = Annotation.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    is_current = annotation.key == _make_annotation_key(annotator, recording) and annotation.is_final
    return annotation if is_current else None


def _store_annotation(workspace: Workspace, annotation: Annotation, recording: Recording) -> None:
    try:
        with workspace.store.create(make_annotation_artifact(annotation.annotator).key(recording.name)) as path:
            path.write_text(annotation.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except UnwritableKeyError as error:
        # Not stored, but the outputs have it; next time it is made again.
        log.warning("%s: %s cannot be stored: %s", recording.name, annotation.annotator, error)


def _open_audio(workspace: Workspace, name: str) -> AbstractContextManager[Path]:
    return open_earlier_output(workspace, NORMALIZED_AUDIO.key(name), Step.NORMALIZED)


def _write_exports(
    workspace: Workspace, name: str, annotations: Mapping[str, Annotation], options: EnrichOptions
) -> None:
    page_folder = posixpath.dirname(PAGE.key(name))
    source = ExportInput(
        transcript=read_transcript(workspace, TRANSCRIPT_JSON.key(name)),
        annotations=annotations,
        shown_annotations=options.shown_annotations,
        siblings={
            each.label: relative_href(posixpath.basename(make_export_artifact(each).key(name)))
            for each in options.formats
            if make_export_artifact(each) != PAGE
        },
        audio_href=relative_href(posixpath.relpath(NORMALIZED_AUDIO.key(name), page_folder)),
        open_audio=partial(_open_audio, workspace, name),
        embed_s=options.embed_minutes * 60,
    )
    for each in options.formats:
        with workspace.store.create(make_export_artifact(each).key(name)) as path:
            path.write_text(each.render(source), encoding="utf-8")
