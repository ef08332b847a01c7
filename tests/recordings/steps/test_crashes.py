"""Whatever is killed, repeated or reordered, every delivery is in exactly one state and the final result is the same.

A state machine runs real steps on a real store and ledger. Before or after any write the process may "be killed": an exception that
our code does not catch. At the end everything runs undisturbed, and the result must be the same as without any kill.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from recordings.batches import BatchLimits
from recordings.intake.intake import form_batches, scan_folder
from recordings.intake.settling import SettlingCursor, SettlingLimits
from recordings.layout import EXPORTS, Folder
from recordings.ledger.ledger import Ledger
from recordings.states import TERMINAL_STATES, State
from recordings.steps import enriched, normalized, raw, transcript
from recordings.steps.runner import StepFailedError
from recordings.storage.directory import DirectoryStore
from recordings.workspace import Workspace
from speech.asr.engine import Engine
from speech.asr.model_pool import EngineConfig
from speech.models.registry import Weights
from speech.transcript import TranscribeOptions
from tests.recordings.backends import MEMORY_DIR


class Killed(BaseException):
    """The process was killed. Not an Exception, so that no code under test can catch it."""


class KillSwitch:
    """Counts down the writes until the process is killed; None: never."""

    remaining: int | None = None

    def count_write(self) -> None:
        if self.remaining is not None:
            self.remaining -= 1
            if self.remaining < 0:
                self.remaining = None
                raise Killed


class KillableStore(DirectoryStore):
    """A directory store whose process can be killed before and after each write."""

    def __init__(self, root: Path, switch: KillSwitch) -> None:
        super().__init__(root)
        self.switch = switch

    @contextmanager
    def create(self, key: str, *, if_absent: bool = False) -> Iterator[Path]:
        self.switch.count_write()
        with super().create(key, if_absent=if_absent) as path:
            yield path
        self.switch.count_write()


class KillableLedger(Ledger):
    """A ledger whose process can be killed before and after each change."""

    switch = KillSwitch()

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        self.switch.count_write()
        with super()._write() as connection:
            yield connection
        self.switch.count_write()


NO_WEIGHTS = Weights(name="none", path=Path("/nonexistent"), sha256="0" * 64, revision=None, source="model directory")
"""Weights for silent recordings, which never reach the model. Loading these would fail."""

CONTENTS = {"silence": 0.1, "longer silence": 0.2, "stereo": 0.15, "no audio": None, "empty": None}
NAMES = ("a.wav", "b.wav", "sub/a.wav", "ünï \n 100%.wav")


def write(path: Path, content: str, stamp: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seconds = CONTENTS[content]
    if seconds is not None:
        samples = np.zeros((round(16_000 * seconds), 2 if content == "stereo" else 1), np.int16)
        soundfile.write(path, samples, 16_000, format="WAV")
    else:
        path.write_text("this is no audio" if content == "no audio" else "")
    os.utime(path, (stamp, stamp))


class CrashMachine(RuleBasedStateMachine):
    """Deliveries, scans, batches and steps in any order, with kills in between."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir=MEMORY_DIR))
        self.switch = KillSwitch()
        self.store = KillableStore(self.root, self.switch)
        self.store.prepare()
        self.ledger = KillableLedger.open(f"sqlite:///{self.root / 'ledger.db'}")
        self.ledger.switch = self.switch
        self.workspace = Workspace(self.store, self.ledger)
        self.cursor = SettlingCursor()
        self.clock = 1_000_000_000
        self.max_hours, self.embed_minutes = 24.0, 60.0
        self.done: set[str] = set()
        self.stamps: dict[tuple[str, str], int] = {}
        self.expected: dict[str, str] = {}

    def teardown(self) -> None:
        self.switch.remaining = None
        self.finish()
        self.ledger.close()
        shutil.rmtree(self.root)

    @contextmanager
    def killable(self, kill_after: int | None) -> Iterator[None]:
        self.switch.remaining = kill_after
        try:
            yield
        except Killed:
            pass
        except StepFailedError as failed:  # a step run alone, whose input a rule has removed
            if "is gone. Run the whole batch again" not in str(failed):
                raise
        finally:
            self.switch.remaining = None

    @initialize()
    def deliver_first_file(self) -> None:
        self.deliver("a.wav", "silence")

    @rule(name=st.sampled_from(NAMES), content=st.sampled_from(sorted(CONTENTS)), restored=st.booleans())
    def deliver(self, name: str, content: str, restored: bool = False) -> None:
        """Write new bytes, or earlier ones with the modification time they had."""
        self.clock += 1
        stamp = self.stamps.setdefault((name, content), self.clock) if restored else self.clock
        self.stamps[name, content] = stamp
        write(self.root / Folder.RAW / name, content, stamp)
        self.expected[name] = content
        self.done -= {
            m.delivery.id for m in self.ledger.list_newest(10_000) if m.delivery.name == name.replace("\n", "%0A")
        }

    @rule(kill_after=st.none() | st.integers(0, 3))
    def scan(self, kill_after: int | None) -> None:
        with self.killable(kill_after):
            self.cursor = scan_folder(self.workspace, self.cursor, SettlingLimits()).cursor

    @rule(kill_after=st.none() | st.integers(0, 3), size=st.integers(1, 3))
    def batch(self, kill_after: int | None, size: int) -> None:
        with self.killable(kill_after):
            form_batches(self.workspace, BatchLimits(max_recordings=size), "test", max_batches=2)

    @rule(
        which=st.integers(0, 20),
        step=st.sampled_from(["raw", "normalized", "transcript", "enriched", "all"]),
        kill_after=st.none() | st.integers(0, 20),
    )
    def run(self, which: int, step: str, kill_after: int | None) -> None:
        keys = self.batch_keys()
        if keys:
            with self.killable(kill_after):
                self.steps(keys[which % len(keys)], step)

    @rule(kill_after=st.none() | st.integers(0, 40))
    def everything(self, kill_after: int | None) -> None:
        """Do what a running sensor does. Random single rules alone rarely finish a recording."""
        with self.killable(kill_after):
            for _ in range(2):
                self.cursor = scan_folder(self.workspace, self.cursor, SettlingLimits()).cursor
            form_batches(self.workspace, BatchLimits(max_recordings=2), "test", max_batches=10)
            for key in self.ledger.list_open_batches(time.time() + 1, 100):
                self.steps(key)

    @rule(hours=st.sampled_from([12.0, 24.0]), minutes=st.sampled_from([0.0, 60.0]))
    def change_an_option(self, hours: float, minutes: float) -> None:
        self.max_hours, self.embed_minutes = hours, minutes

    @rule(kill_after=st.none() | st.integers(0, 2))
    def retry(self, kill_after: int | None) -> None:
        with self.killable(kill_after):
            self.ledger.reset_for_retry(self.ledger.list_broken())

    @precondition(lambda self: self.outputs())
    @rule(which=st.integers(0, 20))
    def lose_an_output(self, which: int) -> None:
        outputs = self.outputs()
        outputs[which % len(outputs)].unlink()

    def outputs(self) -> list[Path]:
        folders = (Folder.NORMALIZED, Folder.TRANSCRIPTS, Folder.ENRICHED)
        return sorted(p for folder in folders for p in (self.root / folder).rglob("*.*") if p.is_file())

    def steps(self, key: str, step: str = "all") -> None:
        def quiet(line: str) -> None:
            """Ignore the progress."""

        config = EngineConfig()
        factory = transcript.EngineFactory("0" * 64, config, TranscribeOptions(), lambda: Engine(NO_WEIGHTS, config))
        options = enriched.EnrichOptions(embed_minutes=self.embed_minutes)
        if step in ("raw", "all"):
            raw.run(self.workspace, key, quiet)
        if step in ("normalized", "all"):
            normalized.run(self.workspace, key, normalized.NormalizeOptions(max_hours=self.max_hours), quiet)
        if step in ("transcript", "all"):
            transcript.run(self.workspace, key, factory, quiet)
        if step in ("enriched", "all"):
            enriched.run(self.workspace, key, options, quiet)

    def batch_keys(self) -> list[str]:
        with sa.create_engine(f"sqlite:///{self.root / 'ledger.db'}").connect() as connection:
            return list(connection.scalars(sa.text("SELECT key FROM batches ORDER BY key")))

    def finish(self) -> None:
        """Finish everything without kills, and check the result."""
        for _ in range(2):
            self.cursor = scan_folder(self.workspace, self.cursor, SettlingLimits()).cursor
        form_batches(self.workspace, BatchLimits(), "test", max_batches=100)
        for key in self.batch_keys():
            self.steps(key)
        assert self.ledger.list_open_batches(time.time() + 1, 100) == []
        assert self.ledger.list_waiting(100) == []
        newest = {m.delivery.name: m for m in reversed(self.ledger.list_newest(1000))}
        for name, content in self.expected.items():
            member = newest[name.replace("\n", "%0A")]
            expected = State.QUARANTINED if CONTENTS[content] is None else State.DONE
            assert member.state is expected, (name, content, member)
            if expected is State.DONE:
                self.check_outputs(member.delivery.name, content)

    def check_outputs(self, name: str, content: str) -> None:
        output = json.loads((self.root / "transcripts" / f"{name}.json").read_text())
        assert (output["file"], output["meta"]["audio_duration_sec"]) == (name, CONTENTS[content])
        assert set(output["meta"]["flags"]) == {"no_speech"}
        assert soundfile.info(self.root / "input_audio" / f"{name}.wav").duration == CONTENTS[content]
        for suffix in (export.suffix for export in EXPORTS):
            assert (self.root / "transcripts" / f"{name}{suffix}").is_file()

    @invariant()
    def every_delivery_is_in_exactly_one_state(self) -> None:
        counts = self.ledger.count_totals().states
        assert sum(counts.values()) == self.ledger.count_totals().inputs == len(self.ledger.list_newest(10_000))
        for key in self.batch_keys():
            for member in self.ledger.list_members(key):
                assert member.state in State
                assert (member.recording is None) or (member.kind is None)
                if member.state in TERMINAL_STATES - {State.DONE}:
                    assert member.shown_reason
                    assert member.delivery.id not in self.done, "what was done was undone"
                if member.state is State.DONE:
                    self.done.add(member.delivery.id)


TestPipeline = CrashMachine.TestCase
TestPipeline.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
