"""Reprocessing of finished recordings.

Finds those whose outputs were made with other options than the current ones, and creates batches for them. This module only selects
the recordings. Each step compares work keys and repeats only what is outdated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from recordings.batches import BatchLimits, make_batch_key, split_into_batches
from recordings.layout import NORMALIZED_AUDIO
from recordings.ledger.rows import Member
from recordings.steps import enriched, normalized, transcript
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from recordings.steps.runner import RecordingGroup, find_unchanged_delivery
from recordings.workspace import Workspace
from speech.transcript import Options


@dataclass(frozen=True, slots=True)
class CurrentOptions:
    """The options of all steps.

    Attributes:
        normalize: Options of ``normalized``.
        model_sha256: sha256 of the model weights to use.
        transcribe: Options of ``transcript``.
        enrich: Options of ``enriched``.
    """

    normalize: NormalizeOptions
    model_sha256: str
    transcribe: Options
    enrich: EnrichOptions


@dataclass(frozen=True, slots=True)
class Reprocessing:
    """Finished recordings that are to be done again.

    Attributes:
        batches: The batches made of them.
        recordings_by_step: Step -> number of recordings to be reprocessed from that step on. Includes recordings that another
            process claimed first.
        seconds: Length of their audio.
    """

    batches: tuple[str, ...]
    recordings_by_step: Mapping[str, int]
    seconds: float


def plan(
    workspace: Workspace, current: CurrentOptions, is_selected: Callable[[str], bool], limits: BatchLimits, origin: str
) -> Reprocessing:
    """Make batches of the finished recordings whose outputs were made under other options than ``current``.

    A recording whose delivered or normalized bytes were removed cannot be done again and is left as it is.

    Args:
        workspace: Store and ledger.
        current: The current options.
        is_selected: Returns True for a name that is selected. A recording is selected if one of its names is.
        limits: Limits of a batch.
        origin: Who creates the batches: the name of a sensor, a schedule or a command.
    """
    outdated: list[tuple[str, list[Member]]] = []
    for _, group in groupby(
        workspace.ledger.iter_finished(), lambda member: member.recording and member.recording.sha256
    ):
        members = list(group)
        recording = members[0].recording
        if recording is None or not any(is_selected(member.delivery.name) for member in members):
            continue
        step = _find_first_outdated(workspace, RecordingGroup(recording, tuple(members)), current)
        if step is not None:
            outdated.append((step, members))
    outdated.sort(key=lambda item: item[1][0].delivery.name)
    batches = _make_batches(workspace, [member for _, members in outdated for member in members], limits, origin)
    recordings = (members[0].recording for _, members in outdated)
    return Reprocessing(
        tuple(batches), Counter(step for step, _ in outdated), sum(r.seconds or 0.0 for r in recordings if r)
    )


def _make_batches(workspace: Workspace, members: Sequence[Member], limits: BatchLimits, origin: str) -> list[str]:
    next_attempts = [replace(member.delivery, attempt=member.delivery.attempt + 1) for member in members]
    batches = [(make_batch_key(deliveries), deliveries) for deliveries in split_into_batches(next_attempts, limits)]
    return [key for key, deliveries in batches if workspace.ledger.reclaim(key, deliveries, origin)]


def _find_first_outdated(workspace: Workspace, group: RecordingGroup, current: CurrentOptions) -> str | None:
    """The first step whose output was made under other options and can be made again; None when there is none."""
    recording, store = group.recording, workspace.store
    normalized_key, transcript_key = recording.normalized_key or "", recording.transcript_key or ""
    if normalized.get_work_key(recording.sha256, current.normalize) != normalized_key and find_unchanged_delivery(
        workspace, group
    ):
        return normalized.STEP
    outdated = None
    transcribe_options = transcript.apply_own_options(recording, current.transcribe)
    if transcript.get_work_key(normalized_key, current.model_sha256, transcribe_options) != transcript_key:
        outdated = transcript.STEP
    elif enriched.get_work_key(transcript_key, current.enrich) != recording.enriched_key or (
        enriched.ANNOTATIONS_MISSING in recording.flags and enriched.list_pending(workspace, group, current.enrich)
    ):
        outdated = enriched.STEP
    has_audio = outdated and all(store.exists(NORMALIZED_AUDIO.key(member.delivery.name)) for member in group.members)
    return outdated if has_audio else None
