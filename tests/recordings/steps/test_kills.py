"""A process killed with -9 at random points of a batch: after the reruns the end state is the one of an undisturbed run.

The number of kills comes from STT_TEST_KILLS; the test command makes a few, continuous integration fifty.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from recordings.batches import BatchLimits
from recordings.intake.intake import form_batches, scan_folder
from recordings.intake.settling import SettlingCursor, SettlingLimits
from recordings.ledger.ledger import Ledger
from recordings.states import State
from recordings.steps import enriched, normalized, raw, transcript
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from recordings.storage.directory import DirectoryStore
from recordings.workspace import Workspace
from speech.asr.engine import Engine
from speech.audio.normalize import normalize
from speech.models.registry import Weights
from speech.transcript import Options
from tests import warm
from tests.warm import Running

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
KILLS = int(os.environ.get("STT_TEST_KILLS", "5"))
CHANNELS = 6  # a chunk each: from four on a recording keeps a journal


def work(root: Path, key: str, weights: Weights) -> None:
    """All steps of one batch, as the step processes run them, in a process that can be killed."""

    def quiet(line: str) -> None:
        """Nobody listens."""

    options = Options(language="en", beam_size=1)  # the search is not what is killed
    ledger = Ledger.open(f"sqlite:///{root / 'ledger.db'}")
    workspace = Workspace(DirectoryStore(root), ledger)
    recipe = transcript.EngineFactory(weights.sha256, options, lambda: Engine(weights, options, workers=2))
    os.write(1, b"begins\n")
    with ledger.lock_batch(key, quiet):
        raw.run(workspace, key, quiet)
        normalized.run(workspace, key, NormalizeOptions(), quiet, workers=2)
        report = transcript.run(workspace, key, recipe, quiet)
        enriched.run(workspace, key, EnrichOptions(), quiet, workers=2)
    os.write(1, b"ended %d\n" % report.worked)


@dataclass(frozen=True)
class Prepared:
    """A data folder with a batch that nobody has worked on, and how to work on it."""

    root: Path
    key: str
    weights: Weights

    def copy(self, root: Path) -> Prepared:
        """The same in another place; modification times are part of a delivery, so they go along."""
        shutil.copytree(self.root, root)
        return Prepared(root, self.key, self.weights)

    def start(self) -> Running:
        """A process that begins to work."""
        said = self.root.with_name(f"{self.root.name} said")
        worker = warm.start(work, self.root, self.key, self.weights, output_dir=said, environment=os.environ)
        while not worker.out.read_text().startswith("begins\n"):
            assert worker.returncode is None, worker.err.read_text()
            time.sleep(0.01)
        return worker

    def finish(self) -> tuple[int, float]:
        """Work to the end; returns how many recordings were transcribed, and seconds of work."""
        worker = self.start()
        began = time.monotonic()
        told, err = worker.communicate(timeout=240)
        assert worker.returncode == 0, err
        return int(told.split()[-1]), time.monotonic() - began

    def outputs(self) -> dict[str, bytes]:
        folders = ("input_audio", "whisper_json", "transcripts")
        files = (path for folder in folders for path in (self.root / folder).rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): path.read_bytes() for path in files if ".tmp" not in path.parts}

    def states(self) -> dict[str, tuple[State, str | None, tuple[str, ...]]]:
        ledger = Ledger.open(f"sqlite:///{self.root / 'ledger.db'}")
        try:
            members = ledger.list_members(self.key)
            counted = sum(ledger.counts().values())
        finally:
            ledger.close()
        assert counted == len(members), "nothing lost, nothing twice"
        return {
            m.delivery.name: (
                m.state,
                m.recording and m.recording.kind,
                tuple(m.recording.flags if m.recording else ()),
            )
            for m in members
        }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, base_weights: Weights) -> Prepared:
    """Two short ones, one that keeps a journal for its many channels, silence, a broken one, the same bytes twice."""
    root = tmp_path_factory.mktemp("prepared") / "data"
    made = tmp_path_factory.mktemp("made")
    normalize(SAMPLES / "austen.m4a", made / "austen.wav")
    austen, rate = soundfile.read(made / "austen.wav", dtype="int16")
    store = DirectoryStore(root)
    store.prepare()
    raw = root / "raw_audio"
    soundfile.write(raw / "short.wav", austen[: 4 * rate], rate)
    soundfile.write(raw / "other.wav", austen[7 * rate : 12 * rate], rate)
    meeting = np.zeros((CHANNELS * 4 * rate, CHANNELS), np.int16)
    for speaker in range(CHANNELS):
        turn = slice(speaker * 4 * rate, (speaker + 1) * 4 * rate)
        meeting[turn, speaker] = austen[speaker * 2 * rate :][: 4 * rate]
    soundfile.write(raw / "meeting.wav", meeting, rate)
    shutil.copyfile(raw / "short.wav", raw / "again.wav")
    shutil.copyfile(SAMPLES / "silence.wav", raw / "silence.wav")
    shutil.copyfile(SAMPLES / "broken.mp3", raw / "broken.mp3")
    ledger = Ledger.open(f"sqlite:///{root / 'ledger.db'}")
    workspace = Workspace(store, ledger)
    cursor = SettlingCursor()
    for _ in range(2):
        cursor = scan_folder(workspace, cursor, SettlingLimits()).cursor
    (key,) = form_batches(workspace, BatchLimits(), "test", max_batches=10)
    ledger.close()
    return Prepared(root, key, base_weights)


@pytest.mark.timeout(120 + 60 * KILLS)
def test_a_kill_anywhere_changes_nothing_in_the_end(prepared: Prepared, tmp_path: Path) -> None:
    undisturbed = prepared.copy(tmp_path / "undisturbed")
    worked, whole = undisturbed.finish()
    assert worked == 4
    assert (
        json.loads((undisturbed.root / "whisper_json/meeting.wav.json").read_text())["meta"]["decoding"]["chunks"]
        == CHANNELS
    )
    outputs, states = undisturbed.outputs(), undisturbed.states()
    assert {state for state, _, _ in states.values()} == {State.DONE, State.QUARANTINED}
    assert len([name for name in outputs if name.startswith("whisper_json/")]) == 5
    assert undisturbed.finish()[0] == 0, "a rerun of finished work works on nothing"

    rolls = np.random.default_rng(20)
    rounds, kills = 0, 0
    place = prepared.copy(tmp_path / "0")
    while kills < KILLS:
        worker = place.start()
        worker.process.join(rolls.uniform(0, whole))
        if worker.returncode is None:
            worker.kill()
        assert worker.returncode in {0, -signal.SIGKILL}, worker.err.read_text()
        kills += worker.returncode != 0
        if worker.returncode == 0 or kills == KILLS:
            place.finish()
            assert place.outputs() == outputs, f"after {kills} kills"
            assert place.states() == states, f"after {kills} kills"
            left = list((place.root / "whisper_json" / ".tmp").glob("*.jsonl"))
            assert not left, "a journal outlives its transcript"
            rounds += 1
            shutil.rmtree(place.root)
            place = prepared.copy(tmp_path / str(rounds))
