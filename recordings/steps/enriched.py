"""The ``enriched`` step: what people read and other programs take in, made from transcript and audio."""

from __future__ import annotations

import json
import posixpath
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from recordings.ledger import Member
from recordings.names import Folder, output_key
from recordings.states import State, reached
from recordings.steps import transcript as transcript_step
from recordings.steps.common import Faults, Group, groups, kept, made_before, side_by_side
from recordings.steps.normalized import wav_key
from recordings.steps.report import StepReport, Tally
from recordings.work import work_key
from recordings.workspace import Workspace
from speech.page import EmbeddedAudio, LinkedAudio, embed_mp3, relative_href, render
from speech.pauses import PauseReport, analyse
from speech.subtitles import Cue, cues, reading_report, to_srt, to_txt, to_vtt
from speech.transcript import Transcript

STEP = "enriched"
VERSION = "1"
"""Part of the work key: raise it when an output can change."""

SUFFIXES = (".txt", ".srt", ".vtt", ".json", ".html")


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


def output(name: str, suffix: str) -> str:
    """Where an output of a name lives."""
    return output_key(Folder.ENRICHED, name, suffix)


def key_of(transcript_key: str, options: EnrichOptions) -> str:
    """The work key of a recording's outputs."""
    return work_key(transcript_key, STEP, VERSION, asdict(options))


def run(
    workspace: Workspace, batch_key: str, options: EnrichOptions, say: Callable[[str], None], *, workers: int = 1
) -> StepReport:
    """Make the outputs of every transcribed recording of a batch under each of its names, ``workers`` at a time.

    Raises:
        LookupError: There is no such batch.
        StepFailed, OSError, LedgerError: An infrastructure error (disk, network, database); not caused by a recording.
    """
    found = groups(workspace.ledger.members(batch_key))
    tally = Tally(say, len(found))
    faults = Faults(workspace, STEP)

    def one(group: Group) -> None:
        recording = group.recording
        if recording.transcript_key is None or not reached(recording.state, State.TRANSCRIBED):
            return
        key = key_of(recording.transcript_key, options)
        todo = [m for m in group.members if m.placed.get(STEP) != key or not _complete(workspace, m, options)]
        if recording.state is State.DONE and not todo and recording.enriched_key == key:
            return
        if recording.state is State.DONE and not _can_redo(workspace, todo):
            kept(recording, "its transcript or its normalized audio")
            return
        if recording.state is State.DONE:
            workspace.ledger.move(recording.sha256, State.DONE, State.TRANSCRIBED)
        faults.run(recording, State.TRANSCRIBED, partial(_work, workspace, group, todo, key, options, tally))

    side_by_side(one, found, workers)
    faults.settle()
    return tally.report(STEP, batch_key, workspace.ledger)


def _can_redo(workspace: Workspace, todo: list[Member]) -> bool:
    needed = [key(m.delivery.name) for m in todo for key in (wav_key, transcript_step.json_key)]
    return all(workspace.store.exists(key) for key in needed)


def _complete(workspace: Workspace, member: Member, options: EnrichOptions) -> bool:
    suffixes = SUFFIXES if options.page else SUFFIXES[:3]
    return all(workspace.store.exists(output(member.delivery.name, suffix)) for suffix in suffixes)


def _work(
    workspace: Workspace, group: Group, todo: list[Member], key: str, options: EnrichOptions, tally: Tally
) -> None:
    began = time.monotonic()
    recording = group.recording
    for member in todo:
        _write(workspace, member.delivery.name, options)
    workspace.ledger.finish(
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


def _write(workspace: Workspace, name: str, options: EnrichOptions) -> None:
    transcript = transcript_step.read(workspace, transcript_step.json_key(name))
    lines = cues(transcript)
    texts = {".txt": to_txt(transcript), ".srt": to_srt(lines), ".vtt": to_vtt(lines)}
    if options.page:
        pauses = analyse(transcript)
        texts[".json"] = _annotated(transcript, lines, pauses, options)
        base = posixpath.basename(output(name, ""))
        texts[".html"] = render(
            transcript,
            pauses,
            audio=_audio(workspace, name, transcript, options),
            title=name,
            siblings={suffix[1:].upper(): relative_href(base + suffix) for suffix in SUFFIXES[:4]},
        )
    for suffix, text in texts.items():
        with workspace.store.create(output(name, suffix)) as path:
            path.write_text(text, encoding="utf-8")


def _annotated(transcript: Transcript, lines: list[Cue], pauses: PauseReport, options: EnrichOptions) -> str:
    """The transcript with its annotations; a requested annotation that is not available is marked as such, never invented."""
    annotations: dict[str, Any] = {"subtitles": asdict(reading_report(lines))}
    if options.prosody:
        annotations["pauses"] = pauses.to_dict()
    if options.emotion:
        annotations["emotion"] = {"status": "unavailable", "reason": "no emotion model is part of this release"}
    return json.dumps({**transcript.model_dump(mode="json"), "annotations": annotations}, ensure_ascii=False, indent=1)


def _audio(
    workspace: Workspace, name: str, transcript: Transcript, options: EnrichOptions
) -> EmbeddedAudio | LinkedAudio | None:
    # Without speech the page has no words to click on, so the audio is linked: encoding MP3 would be most of the step's work.
    if not transcript.segments or transcript.meta.audio_duration_sec > options.embed_minutes * 60:
        way = posixpath.relpath(wav_key(name), posixpath.dirname(output(name, ".html")))
        return LinkedAudio(relative_href(way))
    with made_before(workspace, wav_key(name), "normalized") as path:
        return embed_mp3(path)
