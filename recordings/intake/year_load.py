"""A load of months in compressed time: what arrives, what Dagster would remember, what the steps would do to the ledger.

Nothing is decoded and no model runs. Dagster's runs are a table in memory. What a day brings has three parts:

* Names that are listed: the sensor's planner finds them and makes batches. Everything that is not ordinary goes through the
  ledger's calls, one recording at a time, in the order in which the steps make them. So do some of the ordinary ones.
* The other ordinary ones of these batches. What the steps would do is written by three statements for a batch.
* The rest of the day, written into the tables as finished, with its batches. It only makes the ledger as large as it should be.
"""

from __future__ import annotations

import hashlib
import random
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from recordings.batches import BatchLimits, Delivery
from recordings.intake.backoff import PastRuns
from recordings.intake.bucket_scan import BucketScanCursor, BucketScanLimits
from recordings.intake.history_timing import copy_to_postgres
from recordings.intake.intake import RUNS_PER_TICK, find_unattended_batches, form_batches, scan_bucket
from recordings.intake.reprocess import CurrentOptions, Reprocessing, plan
from recordings.intake.settling import to_delivery
from recordings.layout import NORMALIZED_AUDIO
from recordings.ledger.ledger import Ledger
from recordings.ledger.rows import CHANGED_KIND, OPTIONS_KIND, Member, Recording
from recordings.ledger.schema import INPUTS
from recordings.states import PIPELINE, TERMINAL_STATES, State, Step, has_reached
from recordings.steps import enriched, normalized, transcript
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from recordings.storage.base import IgnoredEntry, InputEntry
from recordings.storage.directory import DirectoryStore
from recordings.workspace import Workspace
from speech.transcript import Options

DAY_S = 86_400.0

_FIRST_DAY = 1_767_225_600.0  # 2026-01-01, seconds since the epoch
_ORIGIN = "year"
_SIZE = 480_000  # bytes of a recording
_AUDIO_KEPT_OF = 50  # the operator keeps the normalized audio of one recording in so many
_MOST_RETRIED = 100  # deliveries that the operator resets in a day
_SAID = {"language": "en", "words": 60, "preview": "What was said at the beginning of this call, as tables show it ..."}

# Of 10,000 new names so many are also ...
_REDELIVERED = 20  # replaced by other bytes later
_TOUCHED = 10  # written again with the same bytes
_PUT_BACK = 5  # replaced, and then replaced by what was there first
_COPIED = 20  # delivered under a second name
# ... and of 10,000 deliveries so many ...
_UNREADABLE = 10  # cannot be decoded, however often they are tried
_BAD_OPTIONS = 5  # have options that cannot be used at first
_FAILING = 10  # fail at first

# Of 100 runs so many ...
_STUCK = 0.2  # die, and so do the next ones of their batch for a long time
_LOST = 1  # are never started: the process died before it asked for them
_SLOW = 2  # last until the next tick
_DYING = 3  # die in the middle


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What is simulated.

    Attributes:
        days: Days on which recordings arrive.
        per_day: New names a day.
        listed_per_day: How many of them are listed. The others are written into the tables as finished.
        own_calls: Ordinary recordings of each batch whose steps go through the ledger's calls.
        ticks_per_day: How often the sensor looks.
        listed_days: Days after which a file is removed from the input folder.
        remembered_days: Days after which Dagster forgets a run.
        stuck_days: Days for which the runs of a stuck batch die.
        trouble: So many times as often as usual something is not ordinary; at most 15.
        seed: Of all chance.
    """

    days: int
    per_day: int
    listed_per_day: int
    own_calls: int = 1
    ticks_per_day: int = 4
    listed_days: int = 7
    remembered_days: int = 30
    stuck_days: int = 40
    trouble: int = 1
    seed: int = 1

    @property
    def settings_change_on(self) -> frozenset[int]:
        """Days on which the operator changes a setting, counted from 0."""
        return frozenset({self.days // 20, self.days // 5})


class Clock:
    """The time of the simulation, in place of ``time.time``. It goes on a little at each look."""

    def __init__(self) -> None:
        self.now = _FIRST_DAY

    def read(self) -> float:
        """Seconds since the epoch."""
        self.now += 1e-5
        return self.now


class Listing(DirectoryStore):
    """A bucket whose listing is made up; it holds no bytes."""

    has_atomic_writes = True

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._entries: dict[str, InputEntry] = {}
        self._names: list[str] = []

    def put(self, entries: Iterable[InputEntry]) -> None:
        """Add entries, or replace those of the same names."""
        for entry in entries:
            if entry.name not in self._entries:
                self._names.append(entry.name)
            self._entries[entry.name] = entry
        self._names.sort()

    def expire(self, before: float) -> None:
        """Remove what was modified before a time, seconds since the epoch."""
        self._entries = {name: entry for name, entry in self._entries.items() if entry.modified >= before}
        self._names = [name for name in self._names if name in self._entries]

    def list_inputs(self, after: str = "") -> Iterator[InputEntry | IgnoredEntry]:
        """See ``Store.list_inputs``."""
        return map(self._entries.__getitem__, self._names[bisect_right(self._names, after) :])

    def find_input(self, name: str) -> InputEntry | None:
        """See ``Store.find_input``."""
        return self._entries.get(name)

    def exists(self, key: str) -> bool:
        """Whether there is normalized audio: that of some recordings is kept while their files are listed."""
        name = key.partition("/")[2].removesuffix(NORMALIZED_AUDIO.suffix)
        return name in self._entries and _draw(name, "kept", _AUDIO_KEPT_OF) == 0


class RunMemory:
    """The ended runs that Dagster would remember."""

    def __init__(self, clock: Clock, remembered_s: float) -> None:
        self._clock = clock
        self._remembered_s = remembered_s
        self._ended: dict[str, list[float]] = {}
        self._last: dict[str, int] = {}
        self.count = 0

    def note(self, batch_key: str) -> None:
        """A run of a batch ended."""
        self.count += 1
        self._ended.setdefault(batch_key, []).append(self._clock.now)
        self._last[batch_key] = self.count

    def get_past_runs(self, batch_keys: Sequence[str]) -> dict[str, PastRuns]:
        """What Dagster would remember of some batches."""
        return {key: past for key in batch_keys if (past := self._get_past_runs(key)).count}

    def _get_past_runs(self, batch_key: str) -> PastRuns:
        ended = [when for when in self._ended.get(batch_key, ()) if when >= self._clock.now - self._remembered_s]
        return PastRuns(len(ended), f"run-{self._last[batch_key]}", ended[-1]) if ended else PastRuns()

    def forget_old(self) -> None:
        """What the sensor ``retention`` does."""
        oldest = self._clock.now - self._remembered_s
        self._ended = {key: ended for key, ended in self._ended.items() if ended[-1] >= oldest}
        self._last = {key: self._last[key] for key in self._ended}


class Load:
    """The simulation. ``time.time`` must be that of the clock before it is made.

    Attributes:
        workspace: The made-up listing, and the ledger.
        events: What happened -> how often.
        listed: How many deliveries have ever been in the listing.
        names: How many names.
        own_calls_s: Seconds of each recording that was received and went through the ledger's calls.
    """

    def __init__(self, load: LoadPlan, clock: Clock, ledger: Ledger, folder: Path) -> None:
        self._plan = load
        self._clock = clock
        self._random = random.Random(load.seed)  # noqa: S311
        self._store = Listing(folder)
        self.workspace = Workspace(self._store, ledger)
        self._cursor = BucketScanCursor()
        self._runs = RunMemory(clock, load.remembered_days * DAY_S)
        self._slow: list[str] = []
        self._stuck: dict[str, float] = {}
        self._recent: list[InputEntry] = []
        self._not_ordinary: set[str] = set()
        self._put_back: list[InputEntry] = []
        self.current = CurrentOptions(NormalizeOptions(), "0" * 64, Options(language="en"), EnrichOptions())
        self.events: Counter[str] = Counter()
        self.listed = 0
        self.names = 0
        self.own_calls_s: list[float] = []
        self._last_batch = ""
        self._is_draining = False
        # Connections of its own, so that the larger cache serves nobody whose time is taken.
        self._bulk_engine = sa.create_engine(ledger._engine.url)  # noqa: SLF001
        if self._bulk_engine.dialect.name == "sqlite":
            sa.event.listen(self._bulk_engine, "connect", _enlarge_cache)

    def close(self) -> None:
        """Close the connections that are not the ledger's."""
        self._bulk_engine.dispose()

    def pass_day(self) -> list[float]:
        """A day of arrivals, ticks and runs, and what the operator does. Returns the seconds of each tick."""
        ticks = [
            self.tick(self._plan.listed_per_day // self._plan.ticks_per_day) for _ in range(self._plan.ticks_per_day)
        ]
        self._write_rest(self._plan.per_day - self._plan.listed_per_day)
        self._operate()
        self._store.expire(self._clock.now - self._plan.listed_days * DAY_S)
        self._runs.forget_old()
        return ticks

    def drain(self, most_days: int = 30) -> bool:
        """Let ticks pass without arrivals until nothing waits and no batch is open. Returns whether that came."""
        self._stuck.clear()
        self._is_draining = True
        ledger = self.workspace.ledger
        for _ in range(most_days * self._plan.ticks_per_day):
            self.tick(0)
            if not (self._slow or ledger.count_waiting() or ledger.count_open_batches()):
                return True
        return False

    def tick(self, arrivals: int) -> float:
        """Files arrive, the sensor looks, and runs do their work. Returns the seconds of the look."""
        interval_s = DAY_S / self._plan.ticks_per_day
        self._finish_slow()
        began_at = self._clock.now
        self._clock.now += interval_s
        self._arrive(arrivals, began_at, interval_s)
        began = time.perf_counter()
        keys = self.look()
        seconds = time.perf_counter() - began
        for key in keys:
            self._run(key)
        return seconds

    def look(self) -> list[str]:
        """The sensor's tick. Returns the batches for which it asks for a run."""
        self.scan()
        return self.choose_batches()

    def scan(self) -> None:
        """The part of the tick that reads the listing."""
        found = scan_bucket(self.workspace, self._cursor, BucketScanLimits())
        self._cursor = found.cursor
        self.events["registered"] += len(found.arrived)

    def choose_batches(self) -> list[str]:
        """The part of the tick that makes batches and finds unattended ones; as ``stt_orchestration.sensors`` does."""
        keys = form_batches(self.workspace, BatchLimits(), _ORIGIN, RUNS_PER_TICK)
        self.events["batches"] += len(keys)
        at_work = {*self._slow, *keys}
        again = find_unattended_batches(self.workspace, at_work, self._runs.get_past_runs, RUNS_PER_TICK - len(keys))
        self.events["batches asked for again"] += len(again)
        return keys + list(again)

    def change_setting(self) -> Reprocessing:
        """The operator changes how long pages carry their audio, and lets all be done again that can be."""
        embedded = self.current.enrich.embed_minutes + 1
        self.current = replace(self.current, enrich=EnrichOptions(embed_minutes=embedded))
        found = plan(self.workspace, self.current, BatchLimits(), _ORIGIN)
        self.events["settings changed"] += 1
        self.events["done again after a change"] += sum(found.recordings_by_step.values())
        self.events["kept after a change"] += found.kept
        return found

    def _arrive(self, count: int, began_at: float, interval_s: float) -> None:
        """New names, and what happens to names of earlier ticks."""
        new = [self._make_entry(began_at + interval_s * i / count) for i in range(count)]
        others = self._put_back
        used = {entry.name for entry in others}
        self._put_back = []
        for old in self._random.sample(self._recent, min(len(self._recent), count)):
            lot = self._random.randrange(10_000) // self._plan.trouble
            if old.name in used or lot >= _REDELIVERED + _TOUCHED + _PUT_BACK + _COPIED:
                continue
            used.add(old.name)
            content, _, touched = old.version.partition("-")
            version, name = f"{self._random.getrandbits(128):032x}-0", old.name
            if lot < _TOUCHED:
                event, version = "written again", f"{content}-{int(touched) + 1}"
            elif lot < _TOUCHED + _COPIED:
                event, version, name = "under a second name", old.version, f"{name[:-4]}-copy.mp3"
                if self._store.find_input(name):
                    continue
                self.names += 1
            elif lot < _TOUCHED + _COPIED + _PUT_BACK:
                event = "replaced and put back"
                self._put_back.append(replace(old, modified=self._clock.now + interval_s / 2))
            else:
                event = "replaced"
            self.events[event] += 1
            others.append(InputEntry(name, _SIZE, version, self._clock.now - 1))
            self.listed += 1
            self._not_ordinary |= {old.name, name}
        self.names += count
        self.listed += count
        self._store.put([*new, *others])
        current = (self._store.find_input(entry.name) for entry in self._recent[-2 * self._plan.listed_per_day :])
        self._recent = [*(entry for entry in current if entry), *new]

    def _make_entry(self, modified: float) -> InputEntry:
        number = self.events["new"]
        self.events["new"] += 1
        day = time.strftime("%Y/%m/%d", time.gmtime(modified))
        name = f"{day}/call-{number * 7919 % 10**8:08}.mp3"
        return InputEntry(name, _SIZE, f"{self._random.getrandbits(128):032x}-0", modified)

    def _run(self, key: str) -> None:
        """A run of a batch, as Dagster would have it."""
        lot = self._random.random() * 100 / self._plan.trouble
        if lot < _STUCK and not self._is_draining:
            self._stuck[key] = self._clock.now + self._plan.stuck_days * DAY_S
        if self._clock.now < self._stuck.get(key, 0.0):
            self.events["runs that died"] += 1
            self._runs.note(key)
        elif lot < _LOST:
            self.events["runs never started"] += 1
        elif lot < _LOST + _SLOW:
            self._slow.append(key)
        elif lot < _LOST + _SLOW + _DYING:
            self.events["runs that died"] += 1
            self._work_on(key, self._random.randrange(BatchLimits().max_recordings))
            self._runs.note(key)
        else:
            self._work_on(key, None)
            self._runs.note(key)

    def _finish_slow(self) -> None:
        self.events["slow runs"] += len(self._slow)
        for key in self._slow:
            self._work_on(key, None)
            self._runs.note(key)
        self._slow.clear()

    def _work_on(self, key: str, most: int | None) -> None:
        """The steps of a batch, for its first members or for all."""
        self.events["runs"] += 1
        members = self.workspace.ledger.list_members(key)[:most]
        ordinary = [member for member in members if self._is_ordinary(member)]
        in_bulk = {member.delivery.id for member in ordinary[self._plan.own_calls :]}
        self._write_done([member for member in members if member.delivery.id in in_bulk])
        for member in members:
            if member.delivery.id not in in_bulk and not self._is_finished(member):
                self.events["by the ledger's calls"] += 1
                began = time.perf_counter()
                self._work_on_member(member)
                if member.state is State.RECEIVED:
                    self.own_calls_s.append(time.perf_counter() - began)

    def _is_ordinary(self, member: Member) -> bool:
        return (
            member.state is State.RECEIVED
            and member.recording is None
            and not member.superseded
            and member.delivery.attempt == 0
            and member.delivery.name not in self._not_ordinary
            and self._is_unchanged(member.delivery)
            and self._draw_fault(member.delivery) is None
        )

    def _is_finished(self, member: Member) -> bool:
        """Whether the steps leave a member alone: they read it, and compare keys."""
        recording = member.recording
        if recording is None or recording.state is not State.DONE:
            return member.state in TERMINAL_STATES
        key = self._make_keys(recording.sha256)[Step.ENRICHED]
        return recording.enriched_key == key == member.placed.get(Step.ENRICHED)

    def _is_unchanged(self, delivery: Delivery) -> bool:
        entry = self._store.find_input(delivery.name)
        return entry is not None and to_delivery(entry).id == delivery.id

    def _work_on_member(self, member: Member) -> None:
        """What the steps do to one delivery."""
        if member.superseded:
            if member.state not in TERMINAL_STATES:
                self._end_superseded(member)
            return
        recording = member.recording
        if member.state is State.RECEIVED:
            recording = self._read_bytes(member.delivery)
        if recording is not None:
            self._take_through_steps(member.delivery, recording.sha256)

    def _end_superseded(self, member: Member) -> None:
        """As the step ``raw`` does."""
        ledger, recording = self.workspace.ledger, member.recording
        reason = f"{member.delivery.name} was replaced by newer bytes before it was finished."
        self.events["replaced before they were done"] += 1
        if recording is None:
            ledger.reject(member.delivery, CHANGED_KIND, reason)
        elif not ledger.list_current(recording.sha256):
            ledger.transition(recording.sha256, recording.state, State.QUARANTINED, kind=CHANGED_KIND, reason=reason)

    def _read_bytes(self, delivery: Delivery) -> Recording | None:
        """As the step ``raw`` does; None where the delivery was rejected."""
        ledger, fault = self.workspace.ledger, self._draw_fault(delivery)
        if not self._is_unchanged(delivery):
            ledger.reject(delivery, CHANGED_KIND, f"{delivery.name} was removed before it could be read.")
            return None
        if fault == OPTIONS_KIND and delivery.attempt == 0:
            ledger.reject(delivery, OPTIONS_KIND, "Its options cannot be used.")
            return None
        recording = ledger.assign_recording(delivery, _get_sha256(delivery), delivery.size)
        if recording.state is State.QUARANTINED and recording.kind == CHANGED_KIND:
            ledger.transition(recording.sha256, State.QUARANTINED, State.RECEIVED)
        elif fault == "damaged" and recording.state is State.RECEIVED:
            why = "It cannot be decoded."
            ledger.transition(recording.sha256, State.RECEIVED, State.QUARANTINED, kind="damaged", reason=why)
        return recording

    def _take_through_steps(self, delivery: Delivery, sha256: str) -> None:
        """As the other steps do: what is up to date stays or is shared, the rest is made."""
        ledger = self.workspace.ledger
        members = ledger.list_current(sha256)
        mine = next((member for member in members if member.delivery.id == delivery.id), None)
        if mine is None or mine.recording is None or mine.recording.state in (State.QUARANTINED, State.FAILED):
            return
        state: State = mine.recording.state
        keys = self._make_keys(sha256)
        has_audio = self._has_audio(mine)
        known = [mine.recording.normalized_key, mine.recording.transcript_key, mine.recording.enriched_key]
        for (step, key), had, source, target in zip(keys.items(), known, PIPELINE, PIPELINE[1:], strict=False):
            is_made = has_reached(state, target) and had == key
            if is_made and any(
                member.placed.get(step) == key
                and (step is not Step.NORMALIZED or member is mine or self._has_audio(member))
                for member in members
            ):
                if mine.placed.get(step) != key:
                    ledger.record_outputs(step, key, [mine])
                    mine = replace(mine, placed={**mine.placed, step: key})
                    has_audio = has_audio or step is Step.NORMALIZED
                continue
            has_source = step is Step.NORMALIZED and self._is_unchanged(delivery)
            if state is State.DONE and not has_source and not has_audio:
                return  # it stays as it is
            if state is not source:
                ledger.transition(sha256, state, source)
            if step is Step.TRANSCRIPT and self._draw_fault(delivery) == "error" and delivery.attempt == 0:
                ledger.transition(sha256, source, State.FAILED, kind="error", reason="The step failed on it.")
                return
            facts: Any = {f"{step}_key": key, f"{step}_recipe": getattr(self.current.recipes, step), **_FACTS[step]}
            ledger.complete_step(sha256, source, target, step=step, key=key, members=[mine], **facts)
            mine = replace(mine, placed={**mine.placed, step: key})
            state = target

    def _has_audio(self, member: Member) -> bool:
        return self._store.exists(NORMALIZED_AUDIO.key(member.delivery.name))

    def _draw_fault(self, delivery: Delivery) -> str | None:
        """The kind of what is wrong with a delivery's bytes or options."""
        lot = _draw(delivery.version.partition("-")[0], "fault", 10_000) // self._plan.trouble
        if lot < _UNREADABLE:
            return "damaged"
        if lot < _UNREADABLE + _BAD_OPTIONS:
            return OPTIONS_KIND
        return "error" if lot < _UNREADABLE + _BAD_OPTIONS + _FAILING else None

    def _make_keys(self, sha256: str) -> dict[Step, str]:
        of_audio = normalized.get_work_key(sha256, self.current.normalize)
        of_text = transcript.get_work_key(of_audio, self.current.model_sha256, self.current.transcribe)
        of_outputs = enriched.get_work_key(of_text, self.current.enrich)
        return {Step.NORMALIZED: of_audio, Step.TRANSCRIPT: of_text, Step.ENRICHED: of_outputs}

    def _write_done(self, members: Sequence[Member]) -> None:
        """Write ordinary recordings past the ledger's calls, as they leave them."""
        if not members:
            return
        self.events["in bulk"] += len(members)
        recipes = self.current.recipes
        rows, places = [], []
        for member in members:
            delivery, sha256 = member.delivery, _get_sha256(member.delivery)
            keys = self._make_keys(sha256)
            quoted = ", ".join(f'"{step}": "{key}"' for step, key in keys.items())
            facts = (sha256, delivery.name, delivery.size, str(State.DONE), "{}", "{}", *_BULK_FACTS)
            rows.append((*facts, *keys.values(), *recipes, _TIMINGS, self._clock.now))
            places.append((sha256, f"{{{quoted}}}", delivery.id))
        with self._bulk_engine.begin() as connection:
            _insert(connection, "recordings", _BULK_COLUMNS, rows)
            done = "UPDATE deliveries SET sha256 = ?, placed = ?, state = 'done', open = FALSE WHERE id = ?"
            _write_many(connection, done, places)
            count = "UPDATE counts SET deliveries = deliveries + ? WHERE name = ?"
            _write_many(connection, count, [(len(members), State.DONE), (-len(members), State.RECEIVED)])

    def _write_rest(self, count: int) -> None:
        """Write finished recordings and their batches into the tables; their keys fit no options, and their audio is gone."""
        first, now = self.events["rest of the day"], self._clock.read()
        self.events["rest of the day"] += count
        self.names += count
        self.listed += count
        day, recipes, size = (
            time.strftime("%Y/%m/%d", time.gmtime(now)),
            self.current.recipes,
            BatchLimits().max_recordings,
        )
        recordings, deliveries, batches, members = [], [], [], []
        for number in range(first, first + count):
            name, version = f"rest/{day}/call-{number * 7919 % 10**8:08}.mp3", f"{number:032x}"
            sha256 = hashlib.sha256(version.encode()).hexdigest()
            keys = (sha256[::-1], sha256[8:] + sha256[:8], sha256[16:] + sha256[:16])
            facts = (sha256, name, _SIZE, str(State.DONE), "{}", "{}", *_BULK_FACTS)
            recordings.append((*facts, *keys, *recipes, _TIMINGS, now))
            placed = ", ".join(f'"{step}": "{key}"' for step, key in zip(list(Step)[1:], keys, strict=True))
            identity, batch = sha256[32:], f"rest-{number // size:012}"
            facts = (identity, name, _SIZE, version, sha256, batch, 0, "{}", f"{{{placed}}}", now - number * 1e-6)
            deliveries.append((*facts, str(State.DONE), False))
            if number % size == 0 or number == first:
                batches.append((batch, _ORIGIN, now))
            members.append((batch, number % size, identity))
        new = [row for row in batches if row[0] != self._last_batch]
        self._last_batch = batches[-1][0] if batches else self._last_batch
        with self._bulk_engine.begin() as connection:
            _insert(connection, "recordings", _BULK_COLUMNS, recordings)
            _insert(connection, "deliveries", _DELIVERY_COLUMNS, deliveries)
            _insert(connection, "batches", ("key", "origin", "made_at"), new)
            _insert(connection, "batch_members", ("batch_key", "position", "delivery_id"), members)
            count_done = "UPDATE counts SET deliveries = deliveries + ? WHERE name = ?"
            _write_many(connection, count_done, [(count, State.DONE), (count, INPUTS)])

    def _operate(self) -> None:
        """What the operator does once a day: retries what broke, and has outputs made anew that were deleted."""
        ledger = self.workspace.ledger
        broken = [member for member in ledger.list_broken(_MOST_RETRIED) if member.delivery.attempt == 0]
        self.events["retried"] += ledger.reset_for_retry(broken)
        with_audio = [e.name for e in self._recent if self._store.exists(NORMALIZED_AUDIO.key(e.name))]
        for name in self._random.sample(with_audio, min(2, len(with_audio))):
            member = ledger.find(name, 1)[0]
            if member.state is State.DONE and self._is_unchanged(member.delivery):
                kept = (Step.RAW, Step.NORMALIZED, Step.TRANSCRIPT)
                self.events["outputs deleted"] += ledger.reset_outputs(member, kept)
        self._not_ordinary = {name for name in self._not_ordinary if self._store.find_input(name)}


_FACTS: dict[Step, dict[str, Any]] = {
    Step.NORMALIZED: {"seconds": 30.0, "channels": 1, "tracks": None, "peak_dbfs": -3.0},
    Step.TRANSCRIPT: {**_SAID, "speech_seconds": 25.0},
    Step.ENRICHED: {"timings": {"normalized": 0.2, "transcript": 1.5, "enriched": 0.1}},
}

_BULK_COLUMNS = (
    *("sha256", "name", "size", "state", "flags", "step_flags", "seconds", "channels", "peak_dbfs"),
    *("language", "words", "preview", "speech_seconds", "normalized_key", "transcript_key", "enriched_key"),
    *("normalized_recipe", "transcript_recipe", "enriched_recipe", "timings", "changed_at"),
)
_BULK_FACTS = (30.0, 1, -3.0, *_SAID.values(), 25.0)
_TIMINGS = '{"normalized": 0.2, "transcript": 1.5, "enriched": 0.1}'


_DELIVERY_COLUMNS = (
    *("id", "name", "size", "version", "sha256", "batch_key", "attempt", "flags", "placed", "received_at"),
    *("state", "open"),
)


def _enlarge_cache(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA cache_size = -500000")  # KiB: the indexes of a million rows
    connection.execute("PRAGMA synchronous = OFF")


def _insert(connection: sa.Connection, table: str, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
    if connection.dialect.name == "postgresql":
        copy_to_postgres(connection, table, columns, iter(rows))
    else:
        marks = ", ".join("?" * len(columns))
        _write_many(connection, f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)  # noqa: S608


def _write_many(connection: sa.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    mark = "%s" if connection.dialect.name == "postgresql" else "?"
    # By way of SQLAlchemy, which then knows that there is something to commit.
    connection.exec_driver_sql(statement.replace("?", mark), list(rows))


def _get_sha256(delivery: Delivery) -> str:
    """Of the bytes, which the version tells without its part behind the dash."""
    return hashlib.sha256(delivery.version.partition("-")[0].encode()).hexdigest()


def _draw(text: str, what: str, below: int) -> int:
    """A number that is always the same for a text."""
    return int.from_bytes(hashlib.sha256(f"{what} {text}".encode()).digest()[:8]) % below
