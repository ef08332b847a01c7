"""Recordings in the ledger: their states and facts, and which delivery holds which bytes.

Every change of state is one compare-and-set statement, so if two processes try the same change, exactly one succeeds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict, Unpack

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from recordings.batches import Delivery, split_version
from recordings.ledger.engine import LedgerEngine, retry_deadlocks, split_variables
from recordings.ledger.rows import OPTIONS_KIND, Member, Recipes, Recording, recording_from_row
from recordings.ledger.schema import IS_DONE, RECIPES, deliveries, recordings
from recordings.ledger.upkeep import hold, update_derived
from recordings.options import RecordingOptions
from recordings.states import PIPELINE, State, Step, check_transition, list_steps_before


class RecordingFacts(TypedDict, total=False):
    """Columns that may be set with a change of state; ``recordings.ledger.rows.Recording`` says what they hold."""

    kind: str
    reason: str
    seconds: float
    channels: int
    tracks: str | None
    peak_dbfs: float | None
    speech_seconds: float
    language: str | None
    words: int
    preview: str
    normalized_key: str
    transcript_key: str
    enriched_key: str
    normalized_recipe: str
    transcript_recipe: str
    enriched_recipe: str
    timings: Mapping[str, float]


class RecordingLedger(LedgerEngine):
    """Changes the states of recordings."""

    @retry_deadlocks
    def assign_recording(
        self, delivery: Delivery, bytes_sha256: str, size: int, options: RecordingOptions | None = None
    ) -> Recording:
        """Assign a delivery to the recording of these bytes and options, and create the recording if it is new.

        The first delivery names the recording; later ones with another name are flagged as duplicates.
        """
        now = time.time()
        options = options or RecordingOptions()
        sha256 = options.identify(bytes_sha256)
        fresh: dict[str, Any] = {"sha256": sha256, "name": delivery.name, "size": size, "state": State.RECEIVED}
        if sha256 != bytes_sha256:
            fresh |= {"bytes_sha256": bytes_sha256, "options": options.dump()}
        with self._write() as connection:
            connection.execute(self._insert_new(recordings).values(**fresh, flags={}, timings={}, changed_at=now))
            # Earlier deliveries of the same bytes under this name may be changed too.
            hold(connection, [sha256], (deliveries.c.sha256 == sha256) | (deliveries.c.name == delivery.name))
            row = connection.execute(sa.select(recordings).where(recordings.c.sha256 == sha256)).one()
            flags = {} if row.name == delivery.name else {"duplicate": f"same bytes as {row.name}"}
            connection.execute(
                sa.update(deliveries)
                .where(deliveries.c.id == delivery.id)
                .values(sha256=sha256, kind=None, reason=None, flags=flags)
            )
            # Earlier deliveries of the same bytes, whose options were wrong, are these now: nobody has to mend them any more.
            same_bytes = deliveries.c.version.startswith(split_version(delivery.version)[0], autoescape=True)
            connection.execute(
                sa.update(deliveries)
                .where(
                    (deliveries.c.name == delivery.name)
                    & (deliveries.c.id != delivery.id)
                    & (deliveries.c.size == delivery.size)
                    & (deliveries.c.kind == OPTIONS_KIND)
                    & same_bytes
                )
                .values(sha256=sha256, kind=None, reason=None)
            )
            update_derived(connection, deliveries.c.sha256 == sha256)
        return recording_from_row(row)

    @retry_deadlocks
    def reject(self, delivery: Delivery, kind: str, reason: str, *, bound_to: str | None = None) -> None:
        """Quarantine one delivery (not its recording), for example because outputs cannot be written under its name.

        Args:
            delivery: Which.
            kind: Short name of what is wrong.
            reason: The same in a sentence.
            bound_to: sha256 of its recording, or None if it was not read yet. If the ledger says something else, nothing is
                changed.
        """
        as_known = (deliveries.c.id == delivery.id) & (deliveries.c.sha256.is_not_distinct_from(bound_to))
        with self._write() as connection:
            hold(connection, [bound_to] if bound_to else [], deliveries.c.id == delivery.id)
            connection.execute(sa.update(deliveries).where(as_known).values(sha256=None, kind=kind, reason=reason))
            update_derived(connection, deliveries.c.id == delivery.id)

    @retry_deadlocks
    def transition(self, sha256: str, source: State, target: State, **facts: Unpack[RecordingFacts]) -> bool:
        """Move a recording from one state to another and note facts about it, in one compare-and-set statement.

        A step back in the pipeline forgets what the steps found that are to be done again.

        Args:
            sha256: Which recording.
            source: The state it must be in.
            target: The new state.
            facts: Columns to set with it; ``kind`` and ``reason`` are cleared unless given.

        Returns:
            False when the recording was not in ``source``: another process changed its state, and nothing was changed here.

        Raises:
            ValueError: This transition is not allowed.
        """
        check_transition(source, target)
        of_recording = deliveries.c.sha256 == sha256
        with self._write() as connection:
            hold(connection, [sha256], of_recording)
            moved = _transition(connection, sha256, source, target, facts)
            if moved and target in PIPELINE and source in PIPELINE and PIPELINE.index(target) < PIPELINE.index(source):
                _replace_flags(connection, sha256, list(Step)[: PIPELINE.index(target) + 1], {})
            if moved:
                update_derived(connection, of_recording)
        return moved

    @retry_deadlocks
    def complete_step(
        self,
        sha256: str,
        source: State,
        target: State,
        *,
        step: Step,
        key: str,
        members: Sequence[Member],
        flags: Mapping[str, str] | None = None,
        **facts: Unpack[RecordingFacts],
    ) -> bool:
        """Change the state of a recording and record the names that now have the step's outputs, in one transaction.

        What earlier steps found stays, and what this step and later ones found before is replaced.

        Args:
            sha256: Which recording.
            source: The state it must be in.
            target: The new state.
            step: The step that made the outputs.
            key: The work key of the outputs.
            members: The deliveries under whose names the outputs are stored.
            flags: What this step found: flag -> reason.
            facts: See ``transition``.

        Returns:
            False when another process changed the recording's state; nothing was changed here.
        """
        check_transition(source, target)
        of_recording = deliveries.c.sha256 == sha256
        with self._write() as connection:
            hold(connection, [sha256], of_recording)
            moved = _transition(connection, sha256, source, target, facts)
            if moved:
                _replace_flags(connection, sha256, list_steps_before(step), {step: dict(flags)} if flags else {})
                _record_outputs(connection, step, key, members)
                update_derived(connection, of_recording)
        return moved

    @retry_deadlocks
    def record_outputs(self, step: str, key: str, members: Sequence[Member]) -> None:
        """Record that these deliveries now have the outputs of a step that were made with this work key."""
        are_members = deliveries.c.id.in_([member.delivery.id for member in members])
        with self._write() as connection:
            hold(connection, [m.recording.sha256 for m in members if m.recording], are_members)
            _record_outputs(connection, step, key, members)
            update_derived(connection, are_members)

    def reset_for_retry(self, members: Sequence[Member]) -> int:
        """Reset quarantined and failed deliveries to ``received`` for a retry in a new batch. Returns how many were reset."""
        broken = [member for member in members if member.state in (State.QUARANTINED, State.FAILED)]
        return sum(self._reset_for_retry(part) for part in split_variables(broken))

    @retry_deadlocks
    def _reset_for_retry(self, members: Sequence[Member]) -> int:
        reset_count = 0
        sha256s = [member.recording.sha256 for member in members if member.recording]
        are_affected = deliveries.c.id.in_([m.delivery.id for m in members]) | deliveries.c.sha256.in_(sha256s)
        with self._write() as connection:
            hold(connection, sha256s, are_affected)
            for member in members:
                if member.recording is not None:
                    connection.execute(
                        sa.update(recordings)
                        .where(
                            recordings.c.sha256 == member.recording.sha256, recordings.c.state == member.recording.state
                        )
                        .values(
                            state=State.RECEIVED,
                            kind=None,
                            reason=None,
                            flags={},
                            step_flags={},
                            changed_at=time.time(),
                        )
                    )
                reset_count += connection.execute(
                    sa.update(deliveries)
                    .where(deliveries.c.id == member.delivery.id)
                    .values(batch_key=None, kind=None, reason=None, attempt=deliveries.c.attempt + 1)
                ).rowcount
            update_derived(connection, are_affected)
        return reset_count

    @retry_deadlocks
    def reset_outputs(self, member: Member, kept_steps: Sequence[Step]) -> int:
        """Forget the outputs of a finished delivery, but for those of some steps, and let it wait for a new batch.

        Returns:
            1; 0 when another process took the delivery first.
        """
        is_unchanged = (deliveries.c.id == member.delivery.id) & (deliveries.c.attempt == member.delivery.attempt)
        placed = {step: key for step, key in member.placed.items() if step in kept_steps}
        values = {"batch_key": None, "attempt": member.delivery.attempt + 1, "placed": placed}
        with self._write() as connection:
            is_it = deliveries.c.id == member.delivery.id
            hold(connection, [member.recording.sha256] if member.recording else [], is_it)
            reset_count = connection.execute(sa.update(deliveries).where(is_unchanged).values(**values)).rowcount
            update_derived(connection, is_it)
        return reset_count

    def note_recipes(self, looked_at: Iterable[Recording], recipes: Recipes) -> None:
        """Note that finished recordings were found up to date, so that nobody looks at them again under these recipes.

        One that was changed since it was read is left alone.
        """
        is_it = (
            (recordings.c.sha256 == sa.bindparam("id")) & (recordings.c.changed_at == sa.bindparam("read_at")) & IS_DONE
        )
        values = {column.name: recipe for column, recipe in zip(RECIPES, recipes, strict=True)}
        rows = [{"id": recording.sha256, "read_at": recording.changed_at} for recording in looked_at]
        if rows:
            with self._write() as connection:
                connection.execute(sa.update(recordings).where(is_it).values(**values), rows)


def _transition(connection: Connection, sha256: str, source: State, target: State, facts: RecordingFacts) -> bool:
    is_in_source = (recordings.c.sha256 == sha256) & (recordings.c.state == source)
    values = {"kind": None, "reason": None, **facts, "state": target, "changed_at": time.time()}
    return connection.execute(sa.update(recordings).where(is_in_source).values(**values)).rowcount == 1


def _replace_flags(
    connection: Connection, sha256: str, kept_steps: Sequence[Step], found: Mapping[Step, Mapping[str, str]]
) -> None:
    """Keep what some steps found, forget the rest, and note what was found now."""
    is_it = recordings.c.sha256 == sha256
    known = recording_from_row(connection.execute(sa.select(recordings).where(is_it)).one()).step_flags
    step_flags = {**{step: known[step] for step in kept_steps if step in known}, **found}
    merged = {flag: why for flags in step_flags.values() for flag, why in flags.items()}
    connection.execute(sa.update(recordings).where(is_it).values(flags=merged, step_flags=step_flags))


def _record_outputs(connection: Connection, step: str, key: str, members: Sequence[Member]) -> None:
    for member in members:
        placed = {**member.placed, step: key}
        connection.execute(sa.update(deliveries).where(deliveries.c.id == member.delivery.id).values(placed=placed))
