"""Outputs of finished recordings that are gone or damaged: which they are, and having them made anew.

A step keeps what the ledger says is finished, so an output that somebody deleted would stay away. Here the ledger forgets what is
gone, from the first step on whose output is missing. The recording then waits for a batch, and the steps make what it lacks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from recordings.layout import (
    NORMALIZED_AUDIO,
    TRANSCRIPT_JSON,
    Artifact,
    make_annotation_artifact,
    make_export_artifact,
)
from recordings.ledger.rows import Member, Recording
from recordings.states import LAST_STEP, State, Step, list_steps_before
from recordings.steps import enriched
from recordings.steps.enriched import EnrichOptions
from recordings.steps.runner import RecordingGroup, find_unchanged_delivery
from recordings.workspace import Workspace
from speech.audio.wav import SAMPLE_RATE

_MAY_BE_EMPTY = (".txt", ".srt")  # where nothing is said
_WAV_HEADER_BYTES = 4096
"""More than any header of our WAV files has."""


@dataclass(frozen=True, slots=True)
class MissingOutputs:
    """What a finished delivery lacks.

    Attributes:
        member: The delivery.
        step: The first step whose output is gone or damaged; it and those below it are to be done again.
        found: A phrase for each output: its place, and what is wrong.
        has_results: Whether everything that people read is there, and only what later steps would need is gone.
        can_be_made: Whether what the step reads is still there.
    """

    member: Member
    step: Step
    found: tuple[str, ...]
    has_results: bool
    can_be_made: bool


@dataclass(frozen=True, slots=True)
class Restoration:
    """What ``restore_outputs`` did.

    Attributes:
        recordings_by_step: Step -> number of deliveries that wait to be done again from that step on.
        impossible: Deliveries whose outputs cannot be made, because what was delivered is gone too.
    """

    recordings_by_step: Mapping[str, int]
    impossible: tuple[MissingOutputs, ...]


def iter_all_missing(workspace: Workspace, options: EnrichOptions) -> Iterator[MissingOutputs]:
    """Look at every output of every finished recording; it takes a request to the store for each."""
    finished = workspace.ledger.iter_finished()
    for _, group in groupby(finished, lambda member: member.recording and member.recording.sha256):
        yield from find_missing(workspace, list(group), options)


def iter_missing_of(
    workspace: Workspace, names: Sequence[str], folders: Sequence[str], options: EnrichOptions
) -> Iterator[MissingOutputs]:
    """Look at the outputs of the finished recordings of these names, and of all names below these folders.

    Args:
        workspace: Store and ledger.
        names: Names of deliveries.
        folders: Names of folders with a slash at the end; an empty one is the input folder.
        options: What the operator wants of the last step.
    """
    for sha256 in workspace.ledger.list_finished_named(names, folders):
        yield from find_missing(workspace, workspace.ledger.list_current(sha256), options)


def find_missing(workspace: Workspace, members: Sequence[Member], options: EnrichOptions) -> list[MissingOutputs]:
    """What the deliveries of one recording lack. Those of an unfinished batch are left out: the batch makes it."""
    recording = members[0].recording if members else None
    if recording is None or recording.state is not State.DONE:
        return []
    finished = [m for m in members if m.placed.get(LAST_STEP) == recording.enriched_key]
    lacking = [(m, found) for m in finished if (found := _look(workspace, m, recording, options))]
    steps = [min(found, key=list(Step).index) for _, found in lacking]
    # One name with good audio is enough, the others get a copy.
    has_audio = any(step is not Step.NORMALIZED for step in steps) or len(lacking) < len(finished)
    group = RecordingGroup(recording, tuple(m for m, _ in lacking))
    has_source = has_audio or not lacking or find_unchanged_delivery(workspace, group) is not None
    return [
        MissingOutputs(
            member,
            step,
            tuple(phrase for phrases in found.values() for phrase in phrases),
            has_results=Step.ENRICHED not in found,
            can_be_made=step is not Step.NORMALIZED or has_source,
        )
        for (member, found), step in zip(lacking, steps, strict=True)
    ]


def restore_outputs(workspace: Workspace, missing: Iterable[MissingOutputs]) -> Restoration:
    """Let deliveries wait for a batch that makes what they lack. Nothing is done where it cannot be made."""
    counts: Counter[str] = Counter()
    impossible = []
    for each in missing:
        if not each.can_be_made:
            impossible.append(each)
            continue
        kept = list_steps_before(each.step)
        counts[each.step] += workspace.ledger.reset_outputs(each.member, kept)
    return Restoration({step: counts[step] for step in Step if counts[step]}, tuple(impossible))


def _look(workspace: Workspace, member: Member, recording: Recording, options: EnrichOptions) -> dict[Step, list[str]]:
    """Step -> what is wrong with its outputs under one name."""
    found: dict[Step, list[str]] = {}
    for step, artifact, name in _list_expected(workspace, member, recording, options):
        key = artifact.key(name)
        stat = workspace.store.stat(key)
        if stat is None:
            wrong = "is gone"
        elif stat.size == 0 and (recording.words or artifact.suffix not in _MAY_BE_EMPTY):
            wrong = "is empty"
        elif artifact == NORMALIZED_AUDIO and not _has_whole_audio(stat.size, recording):
            wrong = f"has another size, {stat.size} bytes"
        else:
            continue
        found.setdefault(step, []).append(f"{workspace.store.locate(key)} {wrong}")
    return found


def _list_expected(
    workspace: Workspace, member: Member, recording: Recording, options: EnrichOptions
) -> Iterator[tuple[Step, Artifact, str]]:
    name = member.delivery.name
    yield Step.NORMALIZED, NORMALIZED_AUDIO, name
    yield Step.TRANSCRIPT, TRANSCRIPT_JSON, name
    # Under other options than now optional formats may never have been made.
    is_current = enriched.get_work_key(recording.transcript_key or "", options) == recording.enriched_key
    for each in options.formats:
        if is_current or not each.optional:
            yield Step.ENRICHED, make_export_artifact(each), name
    for annotator in options.annotators if is_current and name == recording.name else ():
        artifact = make_annotation_artifact(annotator.name)
        if workspace.store.get_unwritable_reason(artifact.key(name)) is None:
            yield Step.ENRICHED, artifact, name


def _has_whole_audio(size: int, recording: Recording) -> bool:
    if recording.seconds is None or recording.channels is None:
        return True
    samples = round(recording.seconds * SAMPLE_RATE) * recording.channels
    return 0 <= size - 2 * samples <= _WAV_HEADER_BYTES
