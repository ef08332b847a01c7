"""Reprocessing of finished recordings.

Finds those whose outputs were made with other options than the current ones, and creates batches for them. This module only selects
the recordings. Each step compares work keys and repeats only what is outdated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from recordings.batches import BatchLimits, Delivery, make_batch_key, split_into_batches
from recordings.layout import NORMALIZED_AUDIO
from recordings.ledger.rows import Recipes, Recording
from recordings.states import Step
from recordings.steps import enriched, normalized, transcript
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from recordings.steps.runner import RecordingGroup, find_unchanged_delivery, group_by_recording
from recordings.workspace import Workspace
from speech.transcript import Options

_NOTED_AT_ONCE = 1000  # recordings in one transaction


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

    @property
    def recipes(self) -> Recipes:
        """What the ledger keeps of them beside each finished recording."""
        return Recipes(
            normalized.get_recipe(self.normalize),
            transcript.get_recipe(self.model_sha256, self.transcribe),
            enriched.get_recipe(self.enrich),
        )


@dataclass(frozen=True, slots=True)
class Reprocessing:
    """Finished recordings that are to be done again.

    Attributes:
        batches: The batches made of them.
        recordings_by_step: Step -> number of recordings to be reprocessed from that step on. Includes recordings that another
            process claimed first.
        seconds: Length of their audio.
        kept: Number of recordings that stay as they are, because what they would be made of is gone.
    """

    batches: tuple[str, ...]
    recordings_by_step: Mapping[str, int]
    seconds: float
    kept: int


def plan(
    workspace: Workspace,
    current: CurrentOptions,
    limits: BatchLimits,
    origin: str,
    named: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Reprocessing:
    """Make batches of the finished recordings whose outputs were made under other options than ``current``.

    Without names it looks only at those whose recipes are not today's, so it costs nothing where no option changed. What it finds
    up to date is noted, and so is a recording that cannot be done again because its delivered or normalized bytes were removed.

    Args:
        workspace: Store and ledger.
        current: The current options.
        limits: Limits of a batch.
        origin: Who creates the batches: the name of a sensor, a schedule or a command.
        named: Look at the recordings of these names, and of names below these folders, whatever their recipes are.
    """
    outdated: list[tuple[Step, Sequence[Delivery]]] = []
    settled: list[Recording] = []
    seconds, kept = 0.0, 0
    for group in _iter_groups(workspace, current, named):
        step, can_be_made = _find_first_outdated(workspace, group, current)
        if step is not None and can_be_made:
            outdated.append((step, [member.delivery for member in group.members]))
            seconds += group.recording.seconds or 0.0
            continue
        kept += step is not None
        settled.append(group.recording)
        if len(settled) == _NOTED_AT_ONCE:
            workspace.ledger.note_recipes(settled, current.recipes)
            settled.clear()
    workspace.ledger.note_recipes(settled, current.recipes)
    outdated.sort(key=lambda item: item[1][0].name)
    batches = _make_batches(workspace, [delivery for _, same in outdated for delivery in same], limits, origin)
    return Reprocessing(tuple(batches), Counter(step for step, _ in outdated), seconds, kept)


def _iter_groups(
    workspace: Workspace, current: CurrentOptions, named: tuple[Sequence[str], Sequence[str]] | None
) -> Iterator[RecordingGroup]:
    if named is not None:
        for sha256 in workspace.ledger.list_finished_named(*named):
            yield from group_by_recording(workspace.ledger.list_current(sha256))
        return
    found = workspace.ledger.iter_finished_by_others(current.recipes)
    for _, members in groupby(found, lambda member: member.recording and member.recording.sha256):
        yield from group_by_recording(list(members))


def _make_batches(workspace: Workspace, deliveries: Sequence[Delivery], limits: BatchLimits, origin: str) -> list[str]:
    next_attempts = [replace(delivery, attempt=delivery.attempt + 1) for delivery in deliveries]
    batches = [(make_batch_key(members), members) for members in split_into_batches(next_attempts, limits)]
    return [key for key, members in batches if workspace.ledger.reclaim(key, members, origin)]


def _find_first_outdated(
    workspace: Workspace, group: RecordingGroup, current: CurrentOptions
) -> tuple[Step | None, bool]:
    """The first step whose output was made under other options, None where there is none, and whether it can be made again."""
    recording, store = group.recording, workspace.store
    normalized_key, transcript_key = recording.normalized_key or "", recording.transcript_key or ""
    is_other_audio = normalized.get_work_key(recording.sha256, current.normalize) != normalized_key
    if is_other_audio and find_unchanged_delivery(workspace, group):
        return normalized.STEP, True
    outdated = None
    transcribe_options = transcript.apply_own_options(recording, current.transcribe)
    if transcript.get_work_key(normalized_key, current.model_sha256, transcribe_options) != transcript_key:
        outdated = transcript.STEP
    elif enriched.get_work_key(transcript_key, current.enrich) != recording.enriched_key or (
        enriched.ANNOTATIONS_MISSING in recording.flags and enriched.list_pending(workspace, group, current.enrich)
    ):
        outdated = enriched.STEP
    if outdated and all(store.exists(NORMALIZED_AUDIO.key(member.delivery.name)) for member in group.members):
        return outdated, True
    return normalized.STEP if is_other_audio else outdated, False
