"""Rows of the ledger as Python objects, and the SQL expressions that several queries share.

The expressions never change, so each is built once: building one takes longer than the database takes to evaluate it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Row

from recordings.batches import Delivery
from recordings.ledger.schema import deliveries, recordings
from recordings.states import LAST_STEP, TERMINAL_STATES, State, Step, list_steps_before

CHANGED_KIND = "changed"
"""Value of ``kind`` for a quarantine because the file was missing or changed when it was to be read."""


OPTIONS_KIND = "options"
"""Value of ``kind`` for a quarantine because the options that came with the recording cannot be used."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One audio content, with the options that came with it, and its state.

    Attributes:
        sha256: Its identity: the sha256 of the delivered bytes, or of them and its own options.
        bytes_sha256: Of the delivered bytes.
        options: Options of its own, as ``recordings.options.RecordingOptions.dump`` gives them; empty when it has none.
        name: The first name under which it was delivered.
        size: Bytes.
        state: The state it is in.
        kind: Short name of what is wrong; None in a good state.
        reason: What is wrong, as a sentence; None in a good state.
        flags: Flag -> reason, of all steps: ``no_speech``, ``partial``.
        step_flags: Step -> its flags -> reason: what each step found.
        seconds: Length of the normalized audio, seconds.
        channels: Channels of the normalized audio.
        tracks: What was taken of which audio tracks, in a line; None where the file has one.
        peak_dbfs: Level of the loudest sample of the normalized audio, in decibels relative to full scale; None for digital
            silence, and for what was normalized by 0.1.0.
        speech_seconds: Length of the speech in it, seconds.
        language: Language of the transcript.
        words: Number of words in the transcript.
        preview: The first words, for tables.
        normalized_key: Work key of the normalized audio; see ``recordings.steps.work_key``.
        transcript_key: Work key of the transcript.
        enriched_key: Work key of the other outputs.
        timings: Step -> seconds of wall time spent on this recording.
        changed_at: Time of the last change of state, seconds since the epoch.
    """

    sha256: str
    bytes_sha256: str
    options: Mapping[str, Any]
    name: str
    size: int
    state: State
    kind: str | None
    reason: str | None
    flags: Mapping[str, str]
    step_flags: Mapping[str, Mapping[str, str]]
    seconds: float | None
    channels: int | None
    tracks: str | None
    peak_dbfs: float | None
    speech_seconds: float | None
    language: str | None
    words: int | None
    preview: str | None
    normalized_key: str | None
    transcript_key: str | None
    enriched_key: str | None
    timings: Mapping[str, float]
    changed_at: float

    def find_flags_before(self, step: Step) -> dict[str, str]:
        """What the steps before this one found: flag -> reason."""
        return {flag: why for each in list_steps_before(step) for flag, why in self.step_flags.get(each, {}).items()}


class Recipes(NamedTuple):
    """The recipe of each step; see ``recordings.steps.work_key.make_recipe``."""

    normalized: str
    transcript: str
    enriched: str


@dataclass(frozen=True, slots=True)
class Member:
    """A delivery of a batch with its recording, once that is known."""

    delivery: Delivery
    recording: Recording | None
    kind: str | None = None
    reason: str | None = None
    flags: Mapping[str, str] = field(default_factory=dict)
    placed: Mapping[str, str] = field(default_factory=dict)
    superseded: bool = False
    """True if a newer delivery has the same name; the file and the outputs under that name then belong to the newer one."""

    @property
    def state(self) -> State:
        """The state a person sees for this delivery."""
        if self.recording is not None:
            return self.recording.state
        return State.QUARANTINED if self.kind else State.RECEIVED

    @property
    def shown_reason(self) -> str | None:
        """Why it is quarantined or failed, in a sentence."""
        return self.recording.reason if self.recording is not None else self.reason


@cache
def join_recordings() -> sa.FromClause:
    """Every delivery with its recording, or without one where the bytes were not read yet."""
    return deliveries.outerjoin(recordings, recordings.c.sha256 == deliveries.c.sha256)


@cache
def visible_state() -> sa.ColumnElement[str]:
    """The state a delivery shows: its recording's, or quarantined when nobody could read it, or received.

    It is stored as ``deliveries.state``; see ``recordings.ledger.upkeep``.
    """
    unread = sa.case((deliveries.c.kind.is_not(None), str(State.QUARANTINED)), else_=str(State.RECEIVED))
    return sa.func.coalesce(recordings.c.state, unread)


@cache
def has_work_left() -> sa.ColumnElement[bool]:
    """Whether a delivery has not ended: its state is no last one, or its outputs do not stand under its name.

    A recording can be done while one of its names (a duplicate) still has no outputs. It is stored as ``deliveries.open``.
    """
    lacking = sa.func.coalesce(deliveries.c.placed[LAST_STEP].as_string(), "") != sa.func.coalesce(
        recordings.c.enriched_key, ""
    )
    is_unplaced = (visible_state() == State.DONE) & lacking & ~is_superseded()
    return visible_state().not_in([str(state) for state in TERMINAL_STATES]) | is_unplaced


@cache
def is_superseded() -> sa.ColumnElement[bool]:
    """Whether a newer delivery has come under the same name."""
    newer = deliveries.alias("newer")
    return sa.exists().where(
        newer.c.name == deliveries.c.name,
        newer.c.id != deliveries.c.id,
        newer.c.received_at > deliveries.c.received_at,
    )


@cache
def is_present() -> sa.ColumnElement[bool]:
    """Whether, as far as the ledger knows, the delivery's file is still unchanged under its name (not superseded, not missing)."""
    missed = sa.exists().where(recordings.c.sha256 == deliveries.c.sha256, recordings.c.kind == CHANGED_KIND)
    return ~is_superseded() & (sa.func.coalesce(deliveries.c.kind, "") != CHANGED_KIND) & ~missed


_DELIVERY_COLUMNS = [column.label(f"delivery_{column.name}") for column in deliveries.c]


def select_members(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """A query whose rows ``member_from_row`` reads.

    Args:
        columns: Selected too.
    """
    return sa.select(*_DELIVERY_COLUMNS, recordings, *columns).select_from(join_recordings())


def delivery_from_row(row: Row[Any]) -> Delivery:
    """Read a row of ``deliveries``."""
    return Delivery(name=row.name, size=row.size, version=row.version, attempt=row.attempt)


def recording_from_row(row: Row[Any]) -> Recording:
    """Read a row that has all columns of ``recordings``."""
    facts = {name: getattr(row, name) for name in Recording.__slots__}
    derived = {
        "state": State(row.state),
        "bytes_sha256": row.bytes_sha256 or row.sha256,
        "options": row.options or {},
        "step_flags": row.step_flags if row.step_flags is not None else _sort_old_flags(row.flags),
    }
    return Recording(**{**facts, **derived})


def _sort_old_flags(flags: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The flags of a row of 0.1.0 by the step that found them."""
    of_steps = {"partial": Step.NORMALIZED, "gaps": Step.NORMALIZED, "annotations_missing": Step.ENRICHED}
    found: dict[str, dict[str, str]] = {}
    for flag, reason in flags.items():
        found.setdefault(of_steps.get(flag, Step.TRANSCRIPT), {})[flag] = reason
    return found


def member_from_row(row: Row[Any]) -> Member:
    """Read a row of ``select_members``."""
    return Member(
        delivery=Delivery(row.delivery_name, row.delivery_size, row.delivery_version, row.delivery_attempt),
        recording=recording_from_row(row) if row.sha256 else None,
        kind=row.delivery_kind,
        reason=row.delivery_reason,
        flags=row.delivery_flags,
        placed=row.delivery_placed,
        superseded=bool(getattr(row, "superseded", False)),
    )
