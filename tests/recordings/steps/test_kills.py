"""A process killed with -9 at random points of a batch: after the reruns the result is that of an undisturbed run.

The number of kills comes from STT_TEST_KILLS: a few by default, fifty in continuous integration.
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
from speech.asr.model_pool import EngineConfig
from speech.audio.normalize import normalize
from speech.models.registry import Weights
from speech.transcript import TranscribeOptions
from tests import warm
from tests.warm import Running

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
KILLS = int(os.environ.get("STT_TEST_KILLS", "5"))
CHANNELS = 6  # one chunk each; a recording of four chunks or more keeps a checkpoint


def work(root: Path, key: str, weights: Weights) -> None:
    """Run all steps of a batch, as step processes do. The test kills this process."""

    def quiet(line: str) -> None:
        """Ignore the progress."""

    options = TranscribeOptions(language="en", beam_size=1)  # faster; the search is not under test
    ledger = Ledger.open(f"sqlite:///{root / 'ledger.db'}")
    workspace = Workspace(DirectoryStore(root), ledger)
    config = EngineConfig(workers=2)
    factory = transcript.EngineFactory(weights.sha256, config, options, lambda: Engine(weights, config))
    os.write(1, b"begins\n")
    with ledger.lock_batch(key, quiet):
        raw.run(workspace, key, quiet)
        normalized.run(workspace, key, NormalizeOptions(), quiet, workers=2)
        report = transcript.run(workspace, key, factory, quiet)
        enriched.run(workspace, key, EnrichOptions(), quiet, workers=2)
    os.write(1, b"ended %d\n" % report.worked)


@dataclass(frozen=True)
class Prepared:
    """A data folder with a batch that is not worked on yet."""

    root: Path
    key: str
    weights: Weights

    def copy(self, root: Path) -> Prepared:
        """Copy it to another folder, with modification times, because they are part of a delivery."""
        shutil.copytree(self.root, root)
        return Prepared(root, self.key, self.weights)

    def start(self) -> Running:
        """Start a process that works on the batch, and wait until it begins."""
        output_dir = self.root.with_name(f"{self.root.name} output")
        worker = warm.start(work, self.root, self.key, self.weights, output_dir=output_dir, environment=os.environ)
        while not worker.out.read_text().startswith("begins\n"):
            assert worker.returncode is None, worker.err.read_text()
            time.sleep(0.01)
        return worker

    def finish(self) -> tuple[int, float]:
        """Work to the end. Returns how many recordings were transcribed, and the seconds it took."""
        worker = self.start()
        began = time.monotonic()
        output, err = worker.communicate(timeout=240)
        assert worker.returncode == 0, err
        return int(output.split()[-1]), time.monotonic() - began

    def outputs(self) -> dict[str, bytes]:
        folders = ("input_audio", "whisper_json", "transcripts")
        files = (path for folder in folders for path in (self.root / folder).rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): path.read_bytes() for path in files if ".tmp" not in path.parts}

    def states(self) -> dict[str, tuple[State, str | None, tuple[str, ...]]]:
        ledger = Ledger.open(f"sqlite:///{self.root / 'ledger.db'}")
        try:
            members = ledger.list_members(self.key)
            counted = sum(ledger.count_totals().states.values())
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
    """Two short recordings, one with many channels that keeps a checkpoint, silence, a broken file, and a duplicate."""
    root = tmp_path_factory.mktemp("prepared") / "data"
    scratch = tmp_path_factory.mktemp("scratch")
    normalize(SAMPLES / "austen.m4a", scratch / "austen.wav")
    austen, rate = soundfile.read(scratch / "austen.wav", dtype="int16")
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
def test_kills_at_random_points_do_not_change_the_final_result(prepared: Prepared, tmp_path: Path) -> None:
    undisturbed = prepared.copy(tmp_path / "undisturbed")
    worked, whole_s = undisturbed.finish()
    assert worked == 4
    assert (
        json.loads((undisturbed.root / "whisper_json/meeting.wav.json").read_text())["meta"]["decoding"]["chunks"]
        == CHANNELS
    )
    outputs, states = undisturbed.outputs(), undisturbed.states()
    assert {state for state, _, _ in states.values()} == {State.DONE, State.QUARANTINED}
    assert len([name for name in outputs if name.startswith("whisper_json/")]) == 5
    assert undisturbed.finish()[0] == 0, "a rerun of finished work works on nothing"

    random = np.random.default_rng(20)
    rounds, kills = 0, 0
    attempt = prepared.copy(tmp_path / "0")
    while kills < KILLS:
        worker = attempt.start()
        worker.process.join(random.uniform(0, whole_s))
        if worker.returncode is None:
            worker.kill()
        assert worker.returncode in {0, -signal.SIGKILL}, worker.err.read_text()
        kills += worker.returncode != 0
        if worker.returncode == 0 or kills == KILLS:
            attempt.finish()
            assert attempt.outputs() == outputs, f"after {kills} kills"
            assert attempt.states() == states, f"after {kills} kills"
            leftovers = list((attempt.root / "whisper_json" / ".tmp").glob("*.jsonl"))
            assert not leftovers, "a checkpoint outlived its transcript"
            rounds += 1
            shutil.rmtree(attempt.root)
            attempt = prepared.copy(tmp_path / str(rounds))
