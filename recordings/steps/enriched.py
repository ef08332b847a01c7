"""The ``enriched`` step: what people read and other programs take in, made from transcript and audio."""

from __future__ import annotations

import json
import posixpath
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from recordings.layout import (
    ANNOTATED_JSON,
    EXPORTS,
    NORMALIZED_AUDIO,
    PAGE,
    PLAIN_EXPORTS,
    SRT,
    TEXT,
    TRANSCRIPT_JSON,
    VTT,
)
from recordings.ledger.rows import Member
from recordings.states import State, Step, has_reached
from recordings.steps.report import ProgressTracker, StepReport
from recordings.steps.runner import (
    ErrorCollector,
    RecordingGroup,
    group_by_recording,
    open_earlier_output,
    run_parallel,
    warn_kept,
)
from recordings.steps.transcript import read_transcript
from recordings.steps.work_key import make_work_key
from recordings.workspace import Workspace
from speech.enrichment.pauses import PauseReport, analyse_pauses
from speech.export.cues import Cue, make_cues, report_reading_speed
from speech.export.page.page import EmbeddedAudio, LinkedAudio, embed_mp3, relative_href, render_page
from speech.export.plain import to_txt
from speech.export.subtitles import to_srt, to_vtt
from speech.transcript import Transcript

STEP = Step.ENRICHED
VERSION = "1"
"""Part of the work key: raise it when an output can change."""


@dataclass(frozen=True, slots=True)
class EnrichOptions:
    """What the operator decides about the outputs.

    Attributes:
        page: Make the listening page and the annotated JSON; the plain transcript and subtitles are always made.
        prosody: Analyse pauses and speech rate.
        emotion: Emotions were requested. This release has no model for them; the JSON says "unavailable".
        embed_minutes: The page carries the audio of recordings up to this long (20 minutes are 6 MB a channel); of a longer one,
            and of one without speech, it links to the WAV.
    """

    page: bool = True
    prosody: bool = True
    emotion: bool = False
    embed_minutes: float = 20.0


def get_work_key(transcript_key: str, options: EnrichOptions) -> str:
    """The work key of a recording's outputs."""
    return make_work_key(transcript_key, STEP, VERSION, asdict(options))


def run(
    workspace: Workspace, batch_key: str, options: EnrichOptions, progress: Callable[[str], None], *, workers: int = 1
) -> StepReport:
    """Make the outputs of every transcribed recording of a batch under each of its names, ``workers`` at a time.

    Raises:
        LookupError: There is no such batch.
        StepFailedError, OSError, LedgerError: An infrastructure error (disk, network, database); not caused by a recording.
    """
    found = group_by_recording(workspace.ledger.list_members(batch_key))
    tally = ProgressTracker(progress, len(found))
    faults = ErrorCollector(workspace, STEP)

    def work_on_group(group: RecordingGroup) -> None:
        recording = group.recording
        if recording.transcript_key is None or not has_reached(recording.state, State.TRANSCRIBED):
            return
        key = get_work_key(recording.transcript_key, options)
        todo = [m for m in group.members if m.placed.get(STEP) != key or not _has_all_exports(workspace, m, options)]
        if recording.state is State.DONE and not todo and recording.enriched_key == key:
            return
        if recording.state is State.DONE and not _can_redo(workspace, todo):
            warn_kept(recording, "its transcript or its normalized audio")
            return
        if recording.state is State.DONE:
            workspace.ledger.transition(recording.sha256, State.DONE, State.TRANSCRIBED)
        faults.run_recording(
            recording, State.TRANSCRIBED, partial(_enrich_recording, workspace, group, todo, key, options, tally)
        )

    run_parallel(work_on_group, found, workers)
    faults.raise_or_mark_failed()
    return tally.make_report(STEP, batch_key, workspace.ledger)


def _can_redo(workspace: Workspace, todo: list[Member]) -> bool:
    needed = [artifact.key(m.delivery.name) for m in todo for artifact in (NORMALIZED_AUDIO, TRANSCRIPT_JSON)]
    return all(workspace.store.exists(key) for key in needed)


def _has_all_exports(workspace: Workspace, member: Member, options: EnrichOptions) -> bool:
    exports = EXPORTS if options.page else PLAIN_EXPORTS
    return all(workspace.store.exists(export.key(member.delivery.name)) for export in exports)


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
    for member in todo:
        _write_exports(workspace, member.delivery.name, options)
    workspace.ledger.complete_step(
        recording.sha256,
        State.TRANSCRIBED,
        State.DONE,
        step=STEP,
        key=key,
        members=todo,
        enriched_key=key,
        timings={**recording.timings, STEP: round(time.monotonic() - began, 4)},
    )
    tally.add(recording.name, recording.seconds or 0.0)


def _write_exports(workspace: Workspace, name: str, options: EnrichOptions) -> None:
    transcript = read_transcript(workspace, TRANSCRIPT_JSON.key(name))
    lines = make_cues(transcript)
    texts = {TEXT: to_txt(transcript), SRT: to_srt(lines), VTT: to_vtt(lines)}
    if options.page:
        pauses = analyse_pauses(transcript)
        texts[ANNOTATED_JSON] = _annotate(transcript, lines, pauses, options)
        texts[PAGE] = render_page(
            transcript,
            pauses,
            audio=_make_page_audio(workspace, name, transcript, options),
            title=name,
            siblings={
                export.suffix[1:].upper(): relative_href(posixpath.basename(export.key(name)))
                for export in EXPORTS
                if export is not PAGE
            },
        )
    for export, text in texts.items():
        with workspace.store.create(export.key(name)) as path:
            path.write_text(text, encoding="utf-8")


def _annotate(transcript: Transcript, lines: list[Cue], pauses: PauseReport, options: EnrichOptions) -> str:
    """The transcript with its annotations; a requested annotation that is not available is marked as such, never invented."""
    annotations: dict[str, Any] = {"subtitles": asdict(report_reading_speed(lines))}
    if options.prosody:
        annotations["pauses"] = pauses.to_dict()
    if options.emotion:
        annotations["emotion"] = {"status": "unavailable", "reason": "no emotion model is part of this release"}
    return json.dumps({**transcript.model_dump(mode="json"), "annotations": annotations}, ensure_ascii=False, indent=1)


def _make_page_audio(
    workspace: Workspace, name: str, transcript: Transcript, options: EnrichOptions
) -> EmbeddedAudio | LinkedAudio | None:
    # Without speech the page has no words to click on, so the audio is linked: encoding MP3 would be most of the step's work.
    if not transcript.segments or transcript.meta.audio_duration_sec > options.embed_minutes * 60:
        way = posixpath.relpath(NORMALIZED_AUDIO.key(name), posixpath.dirname(PAGE.key(name)))
        return LinkedAudio(relative_href(way))
    with open_earlier_output(workspace, NORMALIZED_AUDIO.key(name), Step.NORMALIZED) as path:
        return embed_mp3(path)
