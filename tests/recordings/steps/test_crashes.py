"""Whatever is killed, repeated or reordered, every delivery is in exactly one state and the end result is the same.

A state machine drives real steps on a real store and ledger. Before or after any write to either, the process may
"die": an error that no code of ours catches. At the end everything is run without dying, and must have come out as if nothing
had happened.
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
from speech.models.registry import Weights
from speech.transcript import Options
from tests.recordings.backends import IN_MEMORY


class Killed(BaseException):
    """The process is gone. Not an Exception, so that nothing between here and the test can catch it."""


class Fuse:
    """Counts down the writes until the process dies; None never dies."""

    left: int | None = None

    def burn(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Killed


class MortalStore(DirectoryStore):
    """A directory store in a process that may die before or after each write."""

    def __init__(self, root: Path, fuse: Fuse) -> None:
        super().__init__(root)
        self.fuse = fuse

    @contextmanager
    def create(self, key: str, *, if_absent: bool = False) -> Iterator[Path]:
        self.fuse.burn()
        with super().create(key, if_absent=if_absent) as path:
            yield path
        self.fuse.burn()


class MortalLedger(Ledger):
    """A ledger in a process that may die before or after each change."""

    fuse = Fuse()

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        self.fuse.burn()
        with super()._write() as connection:
            yield connection
        self.fuse.burn()


NO_WEIGHTS = Weights(name="none", path=Path("/nonexistent"), sha256="0" * 64, revision=None, source="model directory")
"""Silence never reaches the model; were it asked for, loading these would fail."""

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


class Pipeline(RuleBasedStateMachine):
    """Deliveries, looks, batches and steps in any order, with deaths in between."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir=IN_MEMORY))
        self.fuse = Fuse()
        self.store = MortalStore(self.root, self.fuse)
        self.store.prepare()
        self.ledger = MortalLedger.open(f"sqlite:///{self.root / 'ledger.db'}")
        self.ledger.fuse = self.fuse
        self.workspace = Workspace(self.store, self.ledger)
        self.cursor = SettlingCursor()
        self.clock = 1_000_000_000
        self.max_hours, self.embed_minutes = 24.0, 60.0
        self.done: set[str] = set()
        self.stamps: dict[tuple[str, str], int] = {}
        self.expected: dict[str, str] = {}

    def teardown(self) -> None:
        self.fuse.left = None
        self.finish()
        self.ledger.close()
        shutil.rmtree(self.root)

    @contextmanager
    def mortal(self, fuse: int | None) -> Iterator[None]:
        self.fuse.left = fuse
        try:
            yield
        except Killed:
            pass
        except StepFailedError as failed:  # a step run alone, whose input a rule has removed
            if "is gone. Run the whole batch again" not in str(failed):
                raise
        finally:
            self.fuse.left = None

    @initialize()
    def one_file(self) -> None:
        self.deliver("a.wav", "silence")

    @rule(name=st.sampled_from(NAMES), content=st.sampled_from(sorted(CONTENTS)), restored=st.booleans())
    def deliver(self, name: str, content: str, restored: bool = False) -> None:
        """New bytes, or older ones put back with the modification time they had."""
        self.clock += 1
        stamp = self.stamps.setdefault((name, content), self.clock) if restored else self.clock
        self.stamps[name, content] = stamp
        write(self.root / Folder.RAW / name, content, stamp)
        self.expected[name] = content
        self.done -= {
            m.delivery.id for m in self.ledger.list_newest(10_000) if m.delivery.name == name.replace("\n", "%0A")
        }

    @rule(fuse=st.none() | st.integers(0, 3))
    def look(self, fuse: int | None) -> None:
        with self.mortal(fuse):
            self.cursor = scan_folder(self.workspace, self.cursor, SettlingLimits()).cursor

    @rule(fuse=st.none() | st.integers(0, 3), size=st.integers(1, 3))
    def batch(self, fuse: int | None, size: int) -> None:
        with self.mortal(fuse):
            form_batches(self.workspace, BatchLimits(max_recordings=size), "test", max_batches=2)

    @rule(
        which=st.integers(0, 20),
        step=st.sampled_from(["raw", "normalized", "transcript", "enriched", "all"]),
        fuse=st.none() | st.integers(0, 20),
    )
    def run(self, which: int, step: str, fuse: int | None) -> None:
        keys = self.batch_keys()
        if keys:
            with self.mortal(fuse):
                self.steps(keys[which % len(keys)], step)

    @rule(fuse=st.none() | st.integers(0, 40))
    def everything(self, fuse: int | None) -> None:
        """What a running sensor would do; random single moves alone rarely bring a recording to its end."""
        with self.mortal(fuse):
            for _ in range(2):
                self.cursor = scan_folder(self.workspace, self.cursor, SettlingLimits()).cursor
            form_batches(self.workspace, BatchLimits(max_recordings=2), "test", max_batches=10)
            for key in self.ledger.list_open_batches(time.time() + 1, 100):
                self.steps(key)

    @rule(hours=st.sampled_from([12.0, 24.0]), minutes=st.sampled_from([0.0, 60.0]))
    def change_an_option(self, hours: float, minutes: float) -> None:
        self.max_hours, self.embed_minutes = hours, minutes

    @rule(fuse=st.none() | st.integers(0, 2))
    def retry(self, fuse: int | None) -> None:
        with self.mortal(fuse):
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
            """Nobody listens."""

        recipe = transcript.EngineFactory("0" * 64, Options(), lambda: Engine(NO_WEIGHTS, Options()))
        options = enriched.EnrichOptions(embed_minutes=self.embed_minutes)
        if step in ("raw", "all"):
            raw.run(self.workspace, key, quiet)
        if step in ("normalized", "all"):
            normalized.run(self.workspace, key, normalized.NormalizeOptions(max_hours=self.max_hours), quiet)
        if step in ("transcript", "all"):
            transcript.run(self.workspace, key, recipe, quiet)
        if step in ("enriched", "all"):
            enriched.run(self.workspace, key, options, quiet)

    def batch_keys(self) -> list[str]:
        with sa.create_engine(f"sqlite:///{self.root / 'ledger.db'}").connect() as connection:
            return list(connection.scalars(sa.text("SELECT key FROM batches ORDER BY key")))

    def finish(self) -> None:
        """Do what is left, undisturbed, and see that all came out as it must."""
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
            wanted = State.QUARANTINED if CONTENTS[content] is None else State.DONE
            assert member.state is wanted, (name, content, member)
            if wanted is State.DONE:
                self.check_outputs(member.delivery.name, content)

    def check_outputs(self, name: str, content: str) -> None:
        told = json.loads((self.root / "transcripts" / f"{name}.json").read_text())
        assert (told["file"], told["meta"]["audio_duration_sec"]) == (name, CONTENTS[content])
        assert set(told["meta"]["flags"]) == {"no_speech"}
        assert soundfile.info(self.root / "input_audio" / f"{name}.wav").duration == CONTENTS[content]
        for suffix in (export.suffix for export in EXPORTS):
            assert (self.root / "transcripts" / f"{name}{suffix}").is_file()

    @invariant()
    def every_delivery_is_in_exactly_one_state(self) -> None:
        counts = self.ledger.counts()
        assert sum(counts.values()) == self.ledger.size() == len(self.ledger.list_newest(10_000))
        for key in self.batch_keys():
            for member in self.ledger.list_members(key):
                assert member.state in State
                assert (member.recording is None) or (member.kind is None)
                if member.state in TERMINAL_STATES - {State.DONE}:
                    assert member.shown_reason
                    assert member.delivery.id not in self.done, "what was done was undone"
                if member.state is State.DONE:
                    self.done.add(member.delivery.id)


TestPipeline = Pipeline.TestCase
TestPipeline.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
