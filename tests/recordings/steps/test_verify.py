"""What is checked of a batch: real outputs on disk, broken one by one, and the ledger behind them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from recordings.batches import BatchLimits
from recordings.intake.intake import run_intake
from recordings.ledger.ledger import Ledger
from recordings.steps import checks, enriched, normalized, raw, transcript, verify
from recordings.steps.references import MAX_BYTES, read_reference
from recordings.steps.report import StepReport
from recordings.storage.directory import DirectoryStore
from recordings.workspace import Workspace
from speech.asr.engine import Engine
from speech.checks import CheckResult
from speech.models.registry import Weights
from speech.transcript import DecodingStats, Options, SpeechSpan, Transcript, Word

SILENCE = Weights(name="none", path=Path("/nonexistent"), sha256="0" * 64, revision=None, source="model directory")
"""Silence never reaches a model, so there need not be one."""


@dataclass
class Batch:
    """A batch of silent recordings, some seconds long each, that the steps are run over one by one."""

    data: Path
    workspace: Workspace
    key: str

    def raw(self) -> dict[str, CheckResult]:
        return self._named(verify.check_raw(self.workspace, raw.run(self.workspace, self.key, print)))

    def normalized(self) -> dict[str, CheckResult]:
        report = normalized.run(self.workspace, self.key, normalized.NormalizeOptions(), print)
        return self._named(verify.check_normalized(self.workspace, report))

    def transcript(self, max_wer: float | None = None) -> dict[str, CheckResult]:
        options = Options(language="en")
        recipe = transcript.EngineFactory("0" * 64, options, lambda: Engine(SILENCE, options))
        report = transcript.run(self.workspace, self.key, recipe, print)
        return self._named(verify.check_transcript(self.workspace, report, max_wer))

    def enriched(self) -> dict[str, CheckResult]:
        report = enriched.run(self.workspace, self.key, enriched.EnrichOptions(), print)
        return self._named(verify.check_enriched(self.workspace, report))

    def report(self, step: str) -> StepReport:
        """The batch as a step would leave it that did nothing."""
        members = tuple(self.workspace.ledger.list_members(self.key))
        return StepReport(step, self.key, members, worked=0, audio_seconds=0.0, wall_seconds=0.1)

    def json(self, name: str) -> Path:
        return self.data / "whisper_json" / f"{name}.json"

    def say(self, name: str, text: str, **changed: Any) -> None:
        """Make somebody say it on the recording, one word every half a second from 1 s on; or change the meta data."""
        empty = Transcript.model_validate_json(self.json(name).read_bytes())
        words = tuple(
            Word(word=f" {word}", start=1 + i / 2, end=1.5 + i / 2, probability=0.9)
            for i, word in enumerate(text.split())
        )
        segment = {
            "id": 0,
            "start": 1.0,
            "end": words[-1].end,
            "text": text,
            "words": words,
            "avg_logprob": -0.2,
            "compression_ratio": 1.1,
            "no_speech_prob": 0.0,
            "temperature": 0.0,
            "decoded": "batched",
        }
        span = SpeechSpan(start=0.6, end=words[-1].end + 0.4, channel=0)
        meta = empty.meta.model_copy(update={"flags": {}, "speech": (span,), **changed})
        said = Transcript.model_validate({**empty.model_dump(), "language": "en", "segments": [segment], "meta": meta})
        self.json(name).write_text(said.to_json())

    def refer(self, name: str, reference: bytes) -> None:
        (self.data / "raw_audio" / f"{name}.ref.txt").write_bytes(reference)

    @staticmethod
    def _named(verdicts: list[CheckResult]) -> dict[str, CheckResult]:
        named = {verdict.check.name: verdict for verdict in verdicts}
        assert len(named) == len(verdicts)
        return named


def broken(verdicts: dict[str, CheckResult]) -> dict[str, tuple[tuple[str, str], ...]]:
    return {name: verdict.examples for name, verdict in verdicts.items() if not verdict.passed}


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Batch]:
    """``a.wav`` of 8 s, ``b.wav`` of 9 s, ``same.wav`` with the bytes of ``b.wav``, and ``bad.wav`` that is no recording."""
    store = DirectoryStore(tmp_path / "data")
    store.prepare()
    folder = tmp_path / "data" / "raw_audio"
    for name, seconds in (("a", 8), ("b", 9), ("same", 9)):
        soundfile.write(folder / f"{name}.wav", np.zeros(16_000 * seconds, np.int16), 16_000)
    (folder / "bad.wav").write_text("<html>")
    workspace = Workspace(store, Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}"))
    run_intake(workspace, [], BatchLimits(), "test")
    (key,) = workspace.ledger.list_open_batches(float("inf"), 10)
    yield Batch(tmp_path / "data", workspace, key)
    workspace.ledger.close()


def test_a_sound_batch_passes_every_check_and_every_check_is_made(batch: Batch) -> None:
    made = (
        (batch.raw(), checks.AFTER_RAW),
        (batch.normalized(), checks.AFTER_NORMALIZED),
        (batch.transcript(), checks.AFTER_TRANSCRIPT),
        (batch.enriched(), checks.AFTER_ENRICHED),
    )
    for verdicts, expected in made:
        assert broken(verdicts) == {}
        assert [verdict.check for verdict in verdicts.values()] == list(expected)
    assert made[3][0]["ledger_reconciled"].figures == {
        "checked": 4,
        "found": 0,
        "deliveries": 4,
        "done": 3,
        "quarantined": 1,
    }
    assert made[1][0]["duration_kept"].figures == {"checked": 3, "found": 0}


def test_a_run_notes_what_it_cost_and_one_without_work_notes_nothing(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    for _ in range(2):
        batch.transcript()
    (run,) = batch.workspace.ledger.list_runs("transcript", 10)
    assert (run.batch_key, run.recordings, run.audio_seconds, run.cores) == (batch.key, 2, 17.0, 1)
    assert 0 < run.wall_seconds < 60
    assert (run.model_sha256, run.options["language"]) == ("0" * 64, "en")


def test_what_could_not_be_judged_is_not_said_to_be_true(batch: Batch) -> None:
    """Silence has no language, no rate and no chunks."""
    batch.raw()
    batch.normalized()
    verdicts = batch.transcript()
    for name in ("speech_rate_plausible", "language_certain", "few_suspects"):
        assert verdicts[name].passed
        assert "Nothing to check." in verdicts[name].sentence
        assert verdicts[name].figures["checked"] == 0


def test_audio_that_lost_its_end_is_named_with_both_lengths(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    wav = batch.data / "input_audio" / "a.wav.wav"
    wav.write_bytes(wav.read_bytes()[:-64_000])
    other = batch.data / "input_audio" / "same.wav.wav"
    other.write_bytes(b"RIFF")
    verdict = batch.normalized()["duration_kept"]
    assert not verdict.passed
    assert verdict.check.stops
    (first, said), (second, why) = verdict.examples
    assert (first, second) == ("a.wav", "same.wav")
    assert said == "holds 6.000 s, and 8.000 s were decoded"
    assert "no normalized audio" in why
    assert "2 of 3" in verdict.sentence
    # What the sentence advises mends it.
    wav.unlink()
    other.unlink()
    assert broken(batch.normalized()) == {}


def test_audio_that_is_gone_is_damage_before_the_end_and_tidiness_after_it(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    (batch.data / "input_audio" / "a.wav.wav").unlink()
    verdicts = verify.check_normalized(batch.workspace, batch.report("normalized"))
    assert verdicts[1].examples == (("a.wav", "its normalized audio is gone"),)
    batch.normalized()
    batch.transcript()
    batch.enriched()
    for folder, name in (("input_audio", "a.wav.wav"), ("whisper_json", "a.wav.json")):
        (batch.data / folder / name).unlink()
    done = batch.report("transcript")
    assert verify.check_normalized(batch.workspace, done)[1].figures == {"checked": 3, "found": 0}
    verdicts = verify.check_transcript(batch.workspace, done, None)
    assert [verdict.check.name for verdict in verdicts if not verdict.passed] == []


def test_a_transcript_that_is_torn_gone_anothers_or_of_another_schema_is_named(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    batch.transcript()
    told = json.loads(batch.json("a.wav").read_text())
    of_b = batch.json("b.wav").read_text()
    batch.json("a.wav").write_text(json.dumps({**told, "schema_version": 3}))
    batch.json("b.wav").write_bytes(batch.json("b.wav").read_bytes()[:100])
    batch.json("same.wav").write_text(json.dumps({**told, "file": "same.wav"}))
    report = batch.report("transcript")
    verdicts = {v.check.name: v for v in verify.check_transcript(batch.workspace, report, None)}
    assert set(broken(verdicts)) == {"schema_valid"}
    assert verdicts["schema_valid"].check.stops
    said = dict(verdicts["schema_valid"].examples)
    assert "schema_version" in said["a.wav"]
    assert "Invalid JSON" in said["b.wav"]
    assert said["same.wav"].startswith("is the transcript of same.wav (sha256 ")  # but of other bytes
    batch.json("same.wav").write_text(of_b)
    assert dict(verify.check_transcript(batch.workspace, report, None)[1].examples)["same.wav"].startswith(
        "is the transcript of b.wav (sha256 "
    )
    for name in said:
        batch.json(name).unlink()
    gone = verify.check_transcript(batch.workspace, report, None)[1]
    assert gone.examples == tuple((name, "its transcript is gone") for name in ("a.wav", "b.wav", "same.wav"))
    assert broken(batch.transcript()) == {}


def test_each_rule_names_the_recording_that_breaks_it_and_says_how_often(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    batch.transcript()
    batch.say("a.wav", "one two three", audio_duration_sec=2.0)
    heard = (SpeechSpan(start=4.0, end=8.0, channel=0),)
    batch.say("b.wav", "one two three", speech=heard, language_probability=0.3)
    found = broken(batch.transcript())
    assert {name: [who for who, _ in named] for name, named in found.items()} == {
        "duration_kept": ["a.wav"],
        "times_in_order": ["a.wav"],
        "speech_covered": ["b.wav"],
        "words_inside_speech": ["b.wav"],
        "language_certain": ["b.wav"],
    }
    ((_, said),) = found["words_inside_speech"]
    assert said == "'one' at 1.00 s stands where no speech was detected; and 2 more"
    stopping = {check.name for check in checks.AFTER_TRANSCRIPT if check.stops}
    assert stopping == {"ledger_reconciled", "schema_valid", "duration_kept", "times_in_order", "word_error_rate"}


def test_a_batch_of_one_chunk_recordings_is_judged_by_its_suspects_together(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    batch.transcript()
    made = DecodingStats(path="fast", why="test", chunks=3, suspects=2, rescued=0, dropped=0, flagged=0)
    for name in ("a.wav", "b.wav"):
        batch.say(name, "one two", decoding=made)
    verdict = batch.transcript()["few_suspects"]
    assert verdict.examples == (("the batch as a whole", "4 of 6 chunks were suspect"),)
    assert (verdict.figures["chunks"], verdict.figures["suspects"]) == (6, 4)
    batch.say("b.wav", "one two", decoding=made.model_copy(update={"suspects": 1}))
    assert batch.transcript()["few_suspects"].passed


def test_a_delivery_that_the_ledger_lost_or_a_step_left_behind_is_noticed(batch: Batch) -> None:
    unread = {v.check.name: v for v in verify.check_raw(batch.workspace, batch.report("raw"))}
    assert unread["ledger_reconciled"].figures == {"checked": 4, "found": 4, "deliveries": 4, "received": 4}
    batch.raw()
    (left,) = verify.check_enriched(batch.workspace, batch.report("enriched"))
    assert [name for name, _ in left.examples] == ["a.wav", "b.wav", "same.wav"]
    assert left.examples[0][1] == "still received after the enriched step"
    with sqlite3.connect(batch.data.parent / "ledger.db") as connection:
        connection.execute("DELETE FROM deliveries WHERE name = 'a.wav'")
    connection.close()
    verdict = batch.normalized()["ledger_reconciled"]
    assert not verdict.passed
    assert verdict.examples == ((batch.key, "4 deliveries, but 3 over all states"),)


def test_a_finished_recording_without_outputs_under_one_of_its_names_is_not_finished(batch: Batch) -> None:
    for step in (batch.raw, batch.normalized, batch.transcript, batch.enriched):
        step()
    with sqlite3.connect(batch.data.parent / "ledger.db") as connection:
        connection.execute("UPDATE deliveries SET placed = '{}' WHERE name = 'same.wav'")
    connection.close()
    (verdict,) = verify.check_enriched(batch.workspace, batch.report("enriched"))
    assert [name for name, _ in verdict.examples] == ["same.wav"]


def test_word_errors_are_counted_over_the_batch_and_only_a_limit_stops_it(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    none = batch.transcript(max_wer=0.0)["word_error_rate"]
    assert (none.passed, none.figures) == (True, {"references": 0})
    batch.say("a.wav", "Printing, in the only sense of it")
    batch.refer("a.wav", b"printing (in the only sense)")
    batch.say("b.wav", "ask not what your country")
    batch.refer("b.wav", b"Ask not what their country.\n")
    batch.refer("bad.wav", b"is never heard")
    told = batch.transcript()["word_error_rate"]
    assert told.passed
    assert told.figures == {
        "references": 2,
        "reference_words": 10,
        "substitutions": 1,
        "deletions": 0,
        "insertions": 2,
        "word_error_rate": 0.3,
    }
    assert told.examples == (
        ("a.wav", "40.00% word errors, 2 over 5 words (0 wrong, 0 missing, 2 too many)"),
        ("b.wav", "20.00% word errors, 1 over 5 words (1 wrong, 0 missing, 0 too many)"),
    )
    assert batch.transcript(max_wer=0.3)["word_error_rate"].passed
    stopped = batch.transcript(max_wer=0.29)["word_error_rate"]
    assert not stopped.passed
    assert "30.00% word errors" in stopped.sentence
    assert "STT_MAX_WER allows 29.00%" in stopped.sentence


def test_a_reference_without_words_counts_what_was_invented(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    batch.transcript()
    batch.refer("a.wav", b"")
    assert batch.transcript(max_wer=0.0)["word_error_rate"].passed
    batch.say("a.wav", "thanks for watching")
    verdict = batch.transcript(max_wer=0.5)["word_error_rate"]
    assert not verdict.passed
    assert "no rate, 3 over 0 words" in verdict.sentence


def test_a_reference_that_is_no_text_is_named_and_stops_nothing(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    batch.refer("a.wav", "dünn".encode("latin-1"))
    batch.refer("b.wav", b"x" * (MAX_BYTES + 1))
    (batch.data / "raw_audio" / "same.wav.ref.txt").symlink_to("/dev/zero")
    verdict = batch.transcript(max_wer=0.0)["word_error_rate"]
    assert verdict.passed
    assert dict(verdict.examples) == {
        "a.wav": "its reference is no UTF-8 text (byte 1)",
        "b.wav": "its reference is larger than 4 MiB and was not read",
    }
    assert read_reference(batch.workspace.store, "a.wav/inner.wav") is None, "its folder has become a file"


def test_no_more_are_named_than_an_event_should_carry(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "data")
    store.prepare()
    for i in range(30):
        soundfile.write(tmp_path / "data" / "raw_audio" / f"{i:02}.wav", np.zeros(1600 + i, np.int16), 16_000)
    # As long as a file system lets a name be: with the suffix there cannot be a reference beside it.
    soundfile.write(tmp_path / "data" / "raw_audio" / f"{'x' * 251}.wav", np.zeros(1600, np.int16), 16_000)
    workspace = Workspace(store, Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}"))
    run_intake(workspace, [], BatchLimits(), "test")
    (key,) = workspace.ledger.list_open_batches(float("inf"), 10)
    batch = Batch(tmp_path / "data", workspace, key)
    batch.raw()
    batch.normalized()
    assert broken(batch.transcript()) == {}
    for path in (batch.data / "whisper_json").iterdir():
        if path.is_file():
            path.write_text("{}")
    verdict = batch.transcript()["schema_valid"]
    assert (len(verdict.examples), verdict.figures["found"]) == (20, 31)
    workspace.ledger.close()
