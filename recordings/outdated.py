"""Reprocessing of finished recordings.

Finds those whose outputs were made with other options than the current ones, and creates batches for them. This module only selects
the recordings. Each step compares work keys and repeats only what is outdated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from recordings.batches import BatchLimits, batch_key, group
from recordings.ledger import Member
from recordings.steps import enriched, normalized, transcript
from recordings.steps.common import Group, still_delivered
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from recordings.workspace import Workspace
from speech.transcript import Options


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of all steps.

    Attributes:
        normalize: Of ``normalized``.
        model_sha256: sha256 of the model weights to use.
        hear: Of ``transcript``.
        enrich: Of ``enriched``.
    """

    normalize: NormalizeOptions
    model_sha256: str
    hear: Options
    enrich: EnrichOptions


@dataclass(frozen=True, slots=True)
class Again:
    """Finished recordings that are to be done again.

    Attributes:
        batches: The batches made of them.
        first: Step -> number of recordings to be reprocessed from that step on. Includes recordings that another process claimed
            first.
        seconds: Their audio.
    """

    batches: tuple[str, ...]
    first: Mapping[str, int]
    seconds: float


def gather(
    workspace: Workspace, wanted: Wanted, meant: Callable[[str], bool], limits: BatchLimits, origin: str
) -> Again:
    """Make batches of the finished recordings whose outputs were made under other options than ``wanted``.

    What cannot be done again, because the delivered or the normalized bytes were removed, is left as it is.

    Args:
        workspace: Store and ledger.
        wanted: The options of now.
        meant: Returns True for a name that is selected. A recording is selected if one of its names is.
        limits: Of a batch.
        origin: Who makes the batches.
    """
    found: list[tuple[str, list[Member]]] = []
    for _, members in groupby(workspace.ledger.finished(), lambda member: member.recording and member.recording.sha256):
        same = list(members)
        recording = same[0].recording
        if recording is None or not any(meant(member.delivery.name) for member in same):
            continue
        step = _first_outdated(workspace, Group(recording, tuple(same)), wanted)
        if step is not None:
            found.append((step, same))
    found.sort(key=lambda each: each[1][0].delivery.name)
    batches = _batches(workspace, [member for _, same in found for member in same], limits, origin)
    recordings = (same[0].recording for _, same in found)
    return Again(tuple(batches), Counter(step for step, _ in found), sum(r.seconds or 0.0 for r in recordings if r))


def _batches(workspace: Workspace, members: Sequence[Member], limits: BatchLimits, origin: str) -> list[str]:
    next_try = [replace(member.delivery, attempt=member.delivery.attempt + 1) for member in members]
    made = [(batch_key(deliveries), deliveries) for deliveries in group(next_try, limits)]
    return [key for key, deliveries in made if workspace.ledger.reclaim(key, deliveries, origin)]


def _first_outdated(workspace: Workspace, found: Group, wanted: Wanted) -> str | None:
    """The first step whose output was made under other options and can be made again; None when there is none."""
    recording, store = found.recording, workspace.store
    above, heard = recording.normalized_key or "", recording.transcript_key or ""
    if normalized.key_of(recording.sha256, wanted.normalize) != above and still_delivered(workspace, found):
        return normalized.STEP
    outdated = None
    if transcript.key_of(above, wanted.model_sha256, wanted.hear) != heard:
        outdated = transcript.STEP
    elif enriched.key_of(heard, wanted.enrich) != recording.enriched_key:
        outdated = enriched.STEP
    there = outdated and all(store.exists(normalized.wav_key(member.delivery.name)) for member in found.members)
    return outdated if there else None
