"""The ledger: a SQL database of deliveries, of the recording each one contains (by sha256), and of each recording's state.

SQL through SQLAlchemy Core: SQLite by default, PostgreSQL where several machines work. Every change of state is one compare-and-set
statement, so if two processes try the same change, exactly one succeeds. Progress is stored nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine, Row

from recordings.batches import Delivery
from recordings.ledger.locks import AdvisoryLock, FileLock, Lock, hold_lock
from recordings.ledger.reconnect import with_reconnect
from recordings.ledger.schema import batch_members, batches, deliveries, recordings, runs
from recordings.states import TERMINAL_STATES, State, check_transition

_BUSY_SECONDS = 30
_VARIABLES = 500  # well below SQLite's old limit of 999 bound variables a statement
_VERSIONS = ("0001", "0002")
_HEAD = _VERSIONS[-1]
T = TypeVar("T")

CHANGED_KIND = "changed"
"""Value of ``kind`` for a quarantine because the file was missing or changed when it was to be read."""


class LedgerError(Exception):
    """The ledger cannot be used: unreachable, locked, read-only, or of another version. Never a recording's fault."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One audio content, identified by its sha256, and its state.

    Attributes:
        sha256: Of the delivered bytes.
        name: The first name under which it was delivered.
        size: Bytes.
        state: The state it is in.
        kind: Short name of what is wrong; None in a good state.
        reason: What is wrong, as a sentence; None in a good state.
        flags: Flag -> reason: ``no_speech``, ``partial``.
        seconds: Length of the normalized audio, seconds.
        channels: Channels of the normalized audio.
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
    name: str
    size: int
    state: State
    kind: str | None
    reason: str | None
    flags: Mapping[str, str]
    seconds: float | None
    channels: int | None
    speech_seconds: float | None
    language: str | None
    words: int | None
    preview: str | None
    normalized_key: str | None
    transcript_key: str | None
    enriched_key: str | None
    timings: Mapping[str, float]
    changed_at: float


@dataclass(frozen=True, slots=True)
class StepRun:
    """The cost of one run of a step.

    Attributes:
        step: Name of the step.
        batch_key: Which batch.
        ended_at: When it ended, seconds since the epoch.
        recordings: Number of recordings processed in this run.
        audio_seconds: Length of their audio.
        wall_seconds: Duration of the step, including loading the model.
        cores: Decoding threads, one per core.
        model_sha256: sha256 of the model weights.
        options: Options of the engine: all that can change a transcript.
    """

    step: str
    batch_key: str
    ended_at: float
    recordings: int
    audio_seconds: float
    wall_seconds: float
    cores: int
    model_sha256: str
    options: Mapping[str, Any]


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


@dataclass(frozen=True, slots=True)
class Totals:
    """The total number of deliveries, and the number in each state. The sum over the states must equal the total."""

    inputs: int
    states: Mapping[State, int]

    @property
    def is_consistent(self) -> bool:
        """Whether every delivery is in exactly one state."""
        return sum(self.states.values()) == self.inputs


class Ledger:
    """The tables, opened. Safe to use from several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Ledger:
        """Open the ledger at a SQLAlchemy URL and bring its tables up to this version.

        Raises:
            LedgerError: It cannot be reached or written, or belongs to a newer version.
        """
        try:
            parsed = sa.make_url(url)
            if parsed.get_backend_name() == "sqlite":
                if parsed.database in (None, "", ":memory:"):
                    raise LedgerError("A ledger in memory is seen by no other thread: name a file in STT_LEDGER_URL.")
                Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
            engine = _create_engine(parsed)
        except (sa.exc.SQLAlchemyError, OSError, ImportError) as error:
            scheme = url.partition(":")[0]  # not the whole URL: it may carry a password
            raise LedgerError(f"The ledger address {scheme}:... (STT_LEDGER_URL) cannot be used: {error}") from error
        ledger = cls(engine)
        with ledger._write() as connection:
            _migrate(connection)
        # Reconnecting is enabled only after the first connection worked: if the server never answered, the URL is more likely wrong
        # than the server restarting.
        with_reconnect(engine)
        return ledger

    @property
    def address(self) -> str:
        """The ledger's URL without its password."""
        return self._engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def lock_batch(self, batch_key: str, on_wait: Callable[[str], None]) -> Iterator[None]:
        """Hold an exclusive lock on a batch, across all threads, processes and machines that use this ledger.

        A second caller waits. The lock is a file in a folder beside a SQLite ledger, or an advisory lock in PostgreSQL. Both are
        released when the process that holds them dies.

        Args:
            batch_key: Which batch.
            on_wait: Called with a line that names the holder, at once and then every minute while waiting.

        Raises:
            LocksUnavailable: The ledger lies on a file system without locks.
            LedgerError: The database cannot be reached.
        """
        url = self._engine.url
        lock: Lock
        if url.get_backend_name() == "sqlite":
            lock = FileLock(Path(f"{url.database}.locks") / f"{quote(batch_key, safe='')}.lock")
        else:
            lock = AdvisoryLock(self._engine, f"stt batch {batch_key}")
        with self._translate_errors(), hold_lock(lock, f"Batch {batch_key}", on_wait):
            yield

    # Arrivals and batches

    def register(self, arrived: Iterable[Delivery]) -> int:
        """Note deliveries; those already known stay as they are. Returns how many are new.

        A known delivery that was superseded or missing and is now present again counts as new: it keeps its row and waits for a
        batch again.
        """
        rows = [
            {
                "id": d.id,
                "name": d.name,
                "size": d.size,
                "version": d.version,
                "attempt": 0,
                "flags": {},
                "placed": {},
                "received_at": time.time(),
            }
            for d in arrived
        ]
        if not rows:
            return 0
        # ``received_at`` has the given order. The rows are written in the order of their ids, so two processes that register the
        # same deliveries cannot deadlock.
        rows.sort(key=itemgetter("id"))
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        with self._write() as connection:
            back = 0
            for ids in _split([str(row["id"]) for row in rows], _VARIABLES):
                gone = deliveries.c.id.in_(ids) & ~_is_present()
                back += connection.execute(
                    sa.update(deliveries)
                    .where(gone)
                    .values(
                        sha256=None,
                        batch_key=None,
                        attempt=deliveries.c.attempt + 1,
                        kind=None,
                        reason=None,
                        flags={},
                        placed={},  # the outputs under this name were made from other bytes
                        received_at=time.time(),
                    )
                ).rowcount
            missing = dialect.insert(deliveries).on_conflict_do_nothing().returning(deliveries.c.id)
            new = len(connection.execute(missing, rows).all())
        return back + new

    def find_known(self, ids: Sequence[str]) -> set[str]:
        """The ids of those deliveries that the ledger knows as the current file under their name.

        ``register`` would add the others, or re-activate them.
        """
        found: set[str] = set()
        with self._read() as connection:
            for part in _split(ids, _VARIABLES):
                here = deliveries.c.id.in_(part) & _is_present()
                found.update(connection.scalars(sa.select(deliveries.c.id).where(here)))
        return found

    def list_waiting(self, limit: int) -> list[Delivery]:
        """The oldest deliveries that are in no batch, including those reset for a retry."""
        query = (
            sa.select(deliveries)
            .where(deliveries.c.batch_key.is_(None))
            .order_by(deliveries.c.received_at, deliveries.c.name)
            .limit(limit)
        )
        with self._read() as connection:
            return [_delivery_from_row(row) for row in connection.execute(query)]

    def claim(self, key: str, members: Sequence[Delivery], origin: str) -> bool:
        """Make a batch of waiting deliveries: all of them, or nothing when somebody else took one first."""
        with self._write() as connection:
            taken = 0
            for part in _split(sorted(d.id for d in members), _VARIABLES):
                free = deliveries.c.id.in_(part) & deliveries.c.batch_key.is_(None)
                # PostgreSQL locks the rows in this order, so two claims of the same deliveries cannot deadlock.
                connection.execute(sa.select(deliveries.c.id).where(free).order_by(deliveries.c.id).with_for_update())
                taken += connection.execute(sa.update(deliveries).where(free).values(batch_key=key)).rowcount
            if taken != len(members):
                connection.rollback()
                return False
            _insert_batch(connection, key, members, origin)
        return True

    def reclaim(self, key: str, members: Sequence[Delivery], origin: str) -> bool:
        """Make a batch of deliveries that other batches hold, or nothing when somebody was quicker with one of them.

        Args:
            key: The new batch.
            members: The deliveries, each with its next attempt.
            origin: Who creates the batch: the name of a sensor, a schedule or a command.
        """
        with self._write() as connection:
            for member in sorted(members, key=lambda member: member.id):  # ordered, so that two calls cannot deadlock
                here = (deliveries.c.id == member.id) & (deliveries.c.attempt == member.attempt - 1)
                new = {"batch_key": key, "attempt": member.attempt}
                if not connection.execute(sa.update(deliveries).where(here).values(**new)).rowcount:
                    connection.rollback()
                    return False
            _insert_batch(connection, key, members, origin)
        return True

    def list_members(self, batch_key: str) -> list[Member]:
        """The deliveries of a batch in its order, each with its recording.

        Raises:
            LookupError: There is no such batch.
        """
        query = (
            _select_members(_is_superseded().label("superseded"))
            .join(batch_members, batch_members.c.delivery_id == deliveries.c.id)
            .where(batch_members.c.batch_key == batch_key)
            .order_by(batch_members.c.position)
        )
        with self._read() as connection:
            found = [_member_from_row(row) for row in connection.execute(query)]
        if not found:
            raise LookupError(f"There is no batch {batch_key!r} in the ledger {self.address}.")
        return found

    def count_members(self, batch_key: str) -> int:
        """How many deliveries a batch was made of, counted without regard to what became of them."""
        query = sa.select(sa.func.count()).select_from(batch_members).where(batch_members.c.batch_key == batch_key)
        with self._read() as connection:
            return connection.scalar(query) or 0

    def list_open_batches(self, made_before: float, limit: int) -> list[str]:
        """Batches made before a time (seconds since the epoch) with a member that has not ended, oldest first."""
        # A recording can be done while one of its names (a duplicate) still has no outputs.
        lacking = sa.func.coalesce(deliveries.c.placed["enriched"].as_string(), "") != recordings.c.enriched_key
        unplaced = (recordings.c.state == State.DONE) & lacking & ~_is_superseded()
        open_member = _visible_state().not_in([str(state) for state in TERMINAL_STATES]) | unplaced
        query = (
            sa.select(batches.c.key)
            .where(
                batches.c.made_at < made_before,
                sa.exists(
                    sa.select(sa.literal(1))
                    .select_from(_join_recordings())
                    .where(deliveries.c.batch_key == batches.c.key, open_member)
                ).correlate(batches),
            )
            .order_by(batches.c.made_at)
            .limit(limit)
        )
        with self._read() as connection:
            return list(connection.scalars(query))

    # What became of a delivery's bytes

    def assign_recording(self, delivery: Delivery, sha256: str, size: int) -> Recording:
        """Assign a delivery to the recording with this sha256, and create the recording if it is new.

        The first delivery names the recording; later ones with another name are flagged as duplicates.
        """
        now = time.time()
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        fresh = {"sha256": sha256, "name": delivery.name, "size": size, "state": State.RECEIVED}
        with self._write() as connection:
            connection.execute(
                dialect.insert(recordings)
                .values(**fresh, flags={}, timings={}, changed_at=now)
                .on_conflict_do_nothing()
            )
            row = connection.execute(sa.select(recordings).where(recordings.c.sha256 == sha256)).one()
            flags = {} if row.name == delivery.name else {"duplicate": f"same bytes as {row.name}"}
            connection.execute(
                sa.update(deliveries)
                .where(deliveries.c.id == delivery.id)
                .values(sha256=sha256, kind=None, reason=None, flags=flags)
            )
        return _recording_from_row(row)

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
            connection.execute(sa.update(deliveries).where(as_known).values(sha256=None, kind=kind, reason=reason))

    def transition(self, sha256: str, source: State, target: State, **facts: Any) -> bool:
        """Move a recording from one state to another and note facts about it, in one compare-and-set statement.

        Args:
            sha256: Which recording.
            source: The state it must be in.
            target: The state it is to be in.
            facts: Columns to set with it; ``kind`` and ``reason`` are cleared unless given.

        Returns:
            False when the recording was not in ``source``: somebody else moved it, and nothing was changed.

        Raises:
            ValueError: This transition is not allowed.
        """
        check_transition(source, target)
        with self._write() as connection:
            return _transition(connection, sha256, source, target, facts)

    def complete_step(
        self, sha256: str, source: State, target: State, *, step: str, key: str, members: Sequence[Member], **facts: Any
    ) -> bool:
        """Change the state of a recording and record the names that now have the step's outputs, in one transaction.

        Args:
            sha256: Which recording.
            source: The state it must be in.
            target: The state it is to be in.
            step: Whose outputs.
            key: The work key they were made under.
            members: The deliveries under whose names they stand.
            facts: See ``transition``.

        Returns:
            False when somebody else moved the recording, and nothing was changed.
        """
        check_transition(source, target)
        with self._write() as connection:
            moved = _transition(connection, sha256, source, target, facts)
            if moved:
                _record_outputs(connection, step, key, members)
        return moved

    def record_outputs(self, step: str, key: str, members: Sequence[Member]) -> None:
        """Record that these deliveries now have the outputs of a step that were made with this work key."""
        with self._write() as connection:
            _record_outputs(connection, step, key, members)

    def list_current(self, sha256: str) -> list[Member]:
        """The deliveries of a recording whose names no newer delivery has taken over."""
        query = _select_members().where(deliveries.c.sha256 == sha256, ~_is_superseded())
        with self._read() as connection:
            return [_member_from_row(row) for row in connection.execute(query)]

    def iter_finished(self) -> Iterator[Member]:
        """Every delivery that is done and whose name no newer one has taken over, in the order of their recordings."""
        query = (
            _select_members()
            .where(recordings.c.state == State.DONE, ~_is_superseded())
            .order_by(recordings.c.sha256, deliveries.c.name)
        )
        with self._read() as connection:
            for row in connection.execute(query.execution_options(yield_per=1000)):
                yield _member_from_row(row)

    # What people ask

    def counts(self) -> Mapping[State, int]:
        """Deliveries by the state they show. Every state is there; the sum is the number of deliveries."""
        return self.count_totals().states

    def size(self) -> int:
        """How many deliveries there are."""
        return self.count_totals().inputs

    def count_totals(self) -> Totals:
        """The number of deliveries, in total and by state, read in one statement."""
        state = _visible_state()
        # One statement: between two, new deliveries could arrive, and the two counts would differ.
        inputs = sa.select(sa.func.count()).select_from(deliveries.alias("all_of_them")).scalar_subquery()
        query = sa.select(state, sa.func.count(), inputs).select_from(_join_recordings()).group_by(state)
        with self._read() as connection:
            rows = connection.execute(query).all()
        found = {State(row[0]): row[1] for row in rows}
        return Totals(rows[0][2] if rows else 0, {each: found.get(each, 0) for each in State})

    def find(self, text: str, limit: int = 20) -> list[Member]:
        """Deliveries by name, part of a name, delivery id or beginning of a sha256; the newest first."""
        escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        matches = sa.or_(
            deliveries.c.name.like(f"%{escaped}%", escape="\\"),
            deliveries.c.id == text,
            deliveries.c.sha256.like(f"{escaped}%", escape="\\"),
        )
        exact_first = sa.case((deliveries.c.name == text, 0), else_=1)
        query = _select_members().where(matches).order_by(exact_first, deliveries.c.received_at.desc()).limit(limit)
        with self._read() as connection:
            return [_member_from_row(row) for row in connection.execute(query)]

    def list_newest(self, limit: int) -> list[Member]:
        """The newest deliveries, by name within one moment."""
        query = _select_members().order_by(deliveries.c.received_at.desc(), deliveries.c.name).limit(limit)
        with self._read() as connection:
            return [_member_from_row(row) for row in connection.execute(query)]

    def list_broken(self) -> list[Member]:
        """Every delivery that shows quarantined or failed."""
        query = (
            _select_members().where(_visible_state().in_([State.QUARANTINED, State.FAILED])).order_by(deliveries.c.name)
        )
        with self._read() as connection:
            return [_member_from_row(row) for row in connection.execute(query)]

    def reset_for_retry(self, members: Sequence[Member]) -> int:
        """Reset quarantined and failed deliveries to ``received`` for a retry in a new batch. Returns how many were reset."""
        rearmed = 0
        with self._write() as connection:
            for member in members:
                if member.state not in (State.QUARANTINED, State.FAILED):
                    continue
                if member.recording is not None:
                    connection.execute(
                        sa.update(recordings)
                        .where(
                            recordings.c.sha256 == member.recording.sha256, recordings.c.state == member.recording.state
                        )
                        .values(state=State.RECEIVED, kind=None, reason=None, flags={}, changed_at=time.time())
                    )
                rearmed += connection.execute(
                    sa.update(deliveries)
                    .where(deliveries.c.id == member.delivery.id)
                    .values(batch_key=None, kind=None, reason=None, attempt=deliveries.c.attempt + 1)
                ).rowcount
        return rearmed

    def record_run(self, run: StepRun) -> None:
        """Append what a run of a step cost."""
        with self._write() as connection:
            connection.execute(sa.insert(runs).values({name: getattr(run, name) for name in StepRun.__slots__}))

    def list_runs(self, step: str, limit: int) -> list[StepRun]:
        """The newest runs of a step, the newest first."""
        columns = [runs.c[name] for name in StepRun.__slots__]
        query = sa.select(*columns).where(runs.c.step == step).order_by(runs.c.id.desc()).limit(limit)
        with self._read() as connection:
            return [StepRun(*row) for row in connection.execute(query)]

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._translate_errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._translate_errors(), self._engine.connect().execution_options(ledger_writes=True) as connection:
            yield connection
            connection.commit()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DatabaseError as error:
            cause = str(error.orig)
            remedy = self._find_remedy(error, cause)
            if remedy is None:
                raise
            raise LedgerError(
                f"The ledger {self.address} cannot be used: {cause}. {remedy}, then run again: nothing is lost."
            ) from error

    def _find_remedy(self, error: sa.exc.DatabaseError, cause: str) -> str | None:
        """What to do about an error of the database; None if the cause is a programming error, such as a broken constraint."""
        if "not a database" in cause or "malformed" in cause:
            return (
                "The file is damaged: restore it from a backup, or move it away with its -wal and -shm files (a new ledger begins "
                "empty, and every recording in the input folder is then worked on anew)"
            )
        if not isinstance(error, sa.exc.OperationalError):
            return None
        if "locked" in cause:
            return f"Another process held it for over {_busy_seconds(self._engine.url):g} s; find it with `lsof`"
        if "full" in cause:
            return "Make room there"
        return "Check that it is reachable and that its place can be written"


def _create_engine(url: sa.URL) -> Engine:
    if url.drivername == "postgresql":
        # SQLAlchemy 2.1 reads the plain name as psycopg 3; Dagster's storage speaks psycopg2, and one driver is enough.
        url = url.set(drivername="postgresql+psycopg2")
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url, connect_args={"timeout": _busy_seconds(url)})
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _busy_seconds(url: sa.URL) -> float:
    """How long to wait for another writer: the address may say so (``sqlite:///path?timeout=5``)."""
    return float(str(url.query.get("timeout", _BUSY_SECONDS)))


def _configure_sqlite(connection: Any, _: Any) -> None:
    # Turn off the driver's automatic transactions, which begin only at the first write; _begin_sqlite begins them earlier, so that
    # compare-and-set works.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    # A power cut may lose the last transactions but does not damage the file. Running the batch again makes the same changes.
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that starts reading and then writes fails if another process wrote in between. Writers therefore use BEGIN
    # IMMEDIATE.
    writes = connection.get_execution_options().get("ledger_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(connection: Connection) -> None:
    """Apply the missing revisions. Alembic itself is only loaded when there are any: opening a ledger is a hot path."""
    if sa.inspect(connection).has_table("alembic_version"):
        version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        if version == _HEAD:
            return
        if version is not None and version not in _VERSIONS:
            place = connection.engine.url.render_as_string(hide_password=True)
            raise LedgerError(
                f"The ledger {place} has version {version}, and this release knows none after {_HEAD}: use the release that wrote "
                "it. If no release of ours did, the address (STT_LEDGER_URL) is that of another program's database."
            )
    from alembic import command
    from alembic.config import Config

    if connection.dialect.name == "postgresql":
        # Several pods start at once; the others wait here and then find the work done.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(7368716)"))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _insert_batch(connection: Connection, key: str, members: Sequence[Delivery], origin: str) -> None:
    connection.execute(sa.insert(batches).values(key=key, origin=origin, made_at=time.time()))
    connection.execute(
        sa.insert(batch_members),
        [{"batch_key": key, "position": i, "delivery_id": d.id} for i, d in enumerate(members)],
    )


def _transition(connection: Connection, sha256: str, source: State, target: State, facts: Mapping[str, Any]) -> bool:
    here = (recordings.c.sha256 == sha256) & (recordings.c.state == source)
    values = {"kind": None, "reason": None, **facts, "state": target, "changed_at": time.time()}
    return connection.execute(sa.update(recordings).where(here).values(**values)).rowcount == 1


def _record_outputs(connection: Connection, step: str, key: str, members: Sequence[Member]) -> None:
    for member in members:
        placed = {**member.placed, step: key}
        connection.execute(sa.update(deliveries).where(deliveries.c.id == member.delivery.id).values(placed=placed))


def _join_recordings() -> sa.FromClause:
    return deliveries.outerjoin(recordings, recordings.c.sha256 == deliveries.c.sha256)


def _visible_state() -> sa.ColumnElement[str]:
    """The state a delivery shows: its recording's, or quarantined when nobody could read it, or received."""
    unread = sa.case((deliveries.c.kind.is_not(None), str(State.QUARANTINED)), else_=str(State.RECEIVED))
    return sa.func.coalesce(recordings.c.state, unread)


def _is_superseded() -> sa.ColumnElement[bool]:
    """Whether a newer delivery has come under the same name."""
    newer = deliveries.alias("newer")
    return sa.exists().where(
        newer.c.name == deliveries.c.name,
        newer.c.id != deliveries.c.id,
        newer.c.received_at > deliveries.c.received_at,
    )


def _is_present() -> sa.ColumnElement[bool]:
    """Whether, as far as the ledger knows, the delivery's file is still unchanged under its name (not superseded, not missing)."""
    missed = sa.exists().where(recordings.c.sha256 == deliveries.c.sha256, recordings.c.kind == CHANGED_KIND)
    return ~_is_superseded() & (sa.func.coalesce(deliveries.c.kind, "") != CHANGED_KIND) & ~missed


_DELIVERY_COLUMNS = [column.label(f"delivery_{column.name}") for column in deliveries.c]


def _select_members(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    return sa.select(*_DELIVERY_COLUMNS, recordings, *columns).select_from(_join_recordings())


def _delivery_from_row(row: Row[Any]) -> Delivery:
    return Delivery(name=row.name, size=row.size, version=row.version, attempt=row.attempt)


def _recording_from_row(row: Row[Any]) -> Recording:
    facts = {column.name: getattr(row, column.name) for column in recordings.c}
    return Recording(**{**facts, "state": State(row.state)})


def _member_from_row(row: Row[Any]) -> Member:
    return Member(
        delivery=Delivery(row.delivery_name, row.delivery_size, row.delivery_version, row.delivery_attempt),
        recording=_recording_from_row(row) if row.sha256 else None,
        kind=row.delivery_kind,
        reason=row.delivery_reason,
        flags=row.delivery_flags,
        placed=row.delivery_placed,
        superseded=bool(getattr(row, "superseded", False)),
    )


def _split(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
