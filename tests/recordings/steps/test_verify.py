"""The checks of a batch, on real outputs that are broken one by one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from recordings.batches import BatchLimits
from recordings.intake import intake
from recordings.intake.intake import run_intake
from recordings.ledger.ledger import Ledger
from recordings.steps import checks, enriched, normalized, raw, transcript, verify
from recordings.steps.references import MAX_BYTES, read_reference
from recordings.steps.report import StepReport
from recordings.storage.directory import DirectoryStore
from recordings.workspace import Workspace
from speech.asr.engine import Engine
from speech.asr.model_pool import EngineConfig
from speech.checks import CheckResult
from speech.machine.cgroups import CpuCounters
from speech.models.registry import Weights
from speech.transcript import DecodingStats, SpeechSpan, TranscribeOptions, Transcript, Word

NO_WEIGHTS = Weights(name="none", path=Path("/nonexistent"), sha256="0" * 64, revision=None, source="model directory")
"""Weights for silent recordings, which never reach the model."""


@dataclass
class Batch:
    """A batch of silent recordings, each some seconds long. Each step method runs the step and its checks: check name -> result."""

    data: Path
    workspace: Workspace
    key: str

    def raw(self) -> dict[str, CheckResult]:
        return self._by_name(verify.check_raw(self.workspace, raw.run(self.workspace, self.key, print)))

    def normalized(self) -> dict[str, CheckResult]:
        report = normalized.run(self.workspace, self.key, normalized.NormalizeOptions(), print)
        return self._by_name(verify.check_normalized(self.workspace, report))

    def transcript(self, max_wer: float | None = None) -> dict[str, CheckResult]:
        options = TranscribeOptions(language="en")
        config = EngineConfig()
        factory = transcript.EngineFactory("0" * 64, config, options, lambda: Engine(NO_WEIGHTS, config))
        report = transcript.run(self.workspace, self.key, factory, print)
        return self._by_name(verify.check_transcript(self.workspace, report, max_wer))

    def enriched(self) -> dict[str, CheckResult]:
        report = enriched.run(self.workspace, self.key, enriched.EnrichOptions(), print)
        return self._by_name(verify.check_enriched(self.workspace, report))

    def report(self, step: str) -> StepReport:
        """The report of a step that did nothing."""
        members = tuple(self.workspace.ledger.list_members(self.key))
        return StepReport(step, self.key, members, worked=0, audio_seconds=0.0, wall_seconds=0.1)

    def json(self, name: str) -> Path:
        return self.data / "whisper_json" / f"{name}.json"

    def write_transcript(self, name: str, text: str, **meta_changes: Any) -> None:
        """Replace the transcript of a recording: one word every half second from 1 s on, and changed fields of its meta data."""
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
        meta = empty.meta.model_copy(update={"flags": {}, "speech": (span,), **meta_changes})
        transcript = Transcript.model_validate(
            {**empty.model_dump(), "language": "en", "segments": [segment], "meta": meta}
        )
        self.json(name).write_text(transcript.to_json())

    def write_reference(self, name: str, reference: bytes) -> None:
        (self.data / "raw_audio" / f"{name}.ref.txt").write_bytes(reference)

    @staticmethod
    def _by_name(results: list[CheckResult]) -> dict[str, CheckResult]:
        by_name = {result.check.name: result for result in results}
        assert len(by_name) == len(results)
        return by_name


def list_failed(results: dict[str, CheckResult]) -> dict[str, tuple[tuple[str, str], ...]]:
    return {name: result.examples for name, result in results.items() if not result.passed}


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Batch]:
    """``a.wav`` of 8 s, ``b.wav`` of 9 s, ``same.wav`` with the bytes of ``b.wav``, and ``bad.wav`` that is not audio."""
    store = DirectoryStore(tmp_path / "data")
    store.prepare()
    folder = tmp_path / "data" / "raw_audio"
    for name, seconds in (("a", 8), ("b", 9), ("same", 9)):
        soundfile.write(folder / f"{name}.wav", np.zeros(16_000 * seconds, np.int16), 16_000)
    (folder / "bad.wav").write_text("<html>")
    workspace = Workspace(store, Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}"))
    monkeypatch.setattr(intake, "_SETTLE_S", 0)  # nobody writes to these files
    run_intake(workspace, [], BatchLimits(), "test")
    (key,) = workspace.ledger.list_open_batches(float("inf"), 10)
    yield Batch(tmp_path / "data", workspace, key)
    workspace.ledger.close()


@pytest.mark.parametrize(
    ("throttled", "worked", "passed", "sentence"),
    [
        (24, 1, True, "in 24 of 100 periods (24%)"),
        (25, 1, False, "in 25 of 100 periods (25%), for 1.5 s of CPU time in all. Raise the limit"),
        (90, 0, True, "No recording was worked on."),
        (None, 1, True, "No CPU limit was in force."),
    ],
)
def test_a_step_that_its_cpu_limit_stopped_often_gets_a_warning(
    batch: Batch, throttled: int | None, worked: int, passed: bool, sentence: str
) -> None:
    counted = None if throttled is None else CpuCounters(periods=100, throttled=throttled, throttled_s=1.5)
    report = replace(batch.report("transcript"), worked=worked, throttling=counted)
    result = verify.check_transcript(batch.workspace, report, None)[-1]
    assert (result.check, result.passed, result.check.stops) == (checks.CPU_NOT_THROTTLED, passed, False)
    assert sentence in result.sentence


def test_a_good_batch_passes_every_check_and_every_check_is_made(batch: Batch) -> None:
    checked = (
        (batch.raw(), checks.AFTER_RAW),
        (batch.normalized(), checks.AFTER_NORMALIZED),
        (batch.transcript(), checks.AFTER_TRANSCRIPT),
        (batch.enriched(), checks.AFTER_ENRICHED),
    )
    for results, expected in checked:
        assert list_failed(results) == {}
        assert [result.check for result in results.values()] == list(expected)
    assert checked[3][0]["ledger_reconciled"].figures == {
        "checked": 4,
        "found": 0,
        "deliveries": 4,
        "done": 3,
        "quarantined": 1,
    }
    assert checked[1][0]["duration_kept"].figures == {"checked": 3, "found": 0}


def test_a_run_records_its_cost_and_a_run_without_work_records_nothing(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    for _ in range(2):
        batch.transcript()
    (run,) = batch.workspace.ledger.list_runs("transcript", 10)
    assert (run.batch_key, run.recordings, run.audio_seconds, run.cores) == (batch.key, 2, 17.0, 1)
    assert 0 < run.wall_seconds < 60
    assert (run.model_sha256, run.options["language"]) == ("0" * 64, "en")


def test_a_check_without_anything_to_check_says_so(batch: Batch) -> None:
    """Silence has no language, no speech rate and no chunks."""
    batch.raw()
    batch.normalized()
    results = batch.transcript()
    for name in ("speech_rate_plausible", "language_certain", "few_suspects"):
        assert results[name].passed
        assert "Nothing to check." in results[name].sentence
        assert results[name].figures["checked"] == 0


def test_audio_that_lost_its_end_is_reported_with_both_lengths(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    wav = batch.data / "input_audio" / "a.wav.wav"
    wav.write_bytes(wav.read_bytes()[:-64_000])
    other = batch.data / "input_audio" / "same.wav.wav"
    other.write_bytes(b"RIFF")
    result = batch.normalized()["duration_kept"]
    assert not result.passed
    assert result.check.stops
    (first, first_reason), (second, second_reason) = result.examples
    assert (first, second) == ("a.wav", "same.wav")
    assert first_reason == "holds 6.000 s, and 8.000 s were decoded"
    assert "no normalized audio" in second_reason
    assert "2 of 3" in result.sentence
    # Deleting the files, as the sentence advises, mends it.
    wav.unlink()
    other.unlink()
    assert list_failed(batch.normalized()) == {}


def test_missing_audio_is_an_error_only_while_it_is_still_needed(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    (batch.data / "input_audio" / "a.wav.wav").unlink()
    results = verify.check_normalized(batch.workspace, batch.report("normalized"))
    assert results[1].examples == (("a.wav", "its normalized audio is gone"),)
    batch.normalized()
    batch.transcript()
    batch.enriched()
    for folder, name in (("input_audio", "a.wav.wav"), ("whisper_json", "a.wav.json")):
        (batch.data / folder / name).unlink()
    done = batch.report("transcript")
    assert verify.check_normalized(batch.workspace, done)[1].figures == {"checked": 3, "found": 0}
    results = verify.check_transcript(batch.workspace, done, None)
    assert [result.check.name for result in results if not result.passed] == []


def test_a_transcript_that_is_damaged_missing_foreign_or_of_another_schema_is_reported(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    batch.transcript()
    transcript_a = json.loads(batch.json("a.wav").read_text())
    text_b = batch.json("b.wav").read_text()
    batch.json("a.wav").write_text(json.dumps({**transcript_a, "schema_version": 3}))
    batch.json("b.wav").write_bytes(batch.json("b.wav").read_bytes()[:100])
    batch.json("same.wav").write_text(json.dumps({**transcript_a, "file": "same.wav"}))
    report = batch.report("transcript")
    results = {v.check.name: v for v in verify.check_transcript(batch.workspace, report, None)}
    assert set(list_failed(results)) == {"schema_valid"}
    assert results["schema_valid"].check.stops
    examples = dict(results["schema_valid"].examples)
    assert "schema_version" in examples["a.wav"]
    assert "Invalid JSON" in examples["b.wav"]
    assert examples["same.wav"].startswith("is the transcript of same.wav (sha256 ")  # but of other bytes
    batch.json("same.wav").write_text(text_b)
    assert dict(verify.check_transcript(batch.workspace, report, None)[1].examples)["same.wav"].startswith(
        "is the transcript of b.wav (sha256 "
    )
    for name in examples:
        batch.json(name).unlink()
    gone = verify.check_transcript(batch.workspace, report, None)[1]
    assert gone.examples == tuple((name, "its transcript is gone") for name in ("a.wav", "b.wav", "same.wav"))
    assert list_failed(batch.transcript()) == {}


def test_each_rule_names_the_recording_that_breaks_it_and_how_often(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    batch.transcript()
    batch.write_transcript("a.wav", "one two three", audio_duration_sec=2.0)
    spans = (SpeechSpan(start=4.0, end=8.0, channel=0),)
    batch.write_transcript("b.wav", "one two three", speech=spans, language_probability=0.3)
    failed = list_failed(batch.transcript())
    assert {name: [recording for recording, _ in examples] for name, examples in failed.items()} == {
        "duration_kept": ["a.wav"],
        "times_in_order": ["a.wav"],
        "speech_covered": ["b.wav"],
        "words_inside_speech": ["b.wav"],
        "language_certain": ["b.wav"],
    }
    ((_, reason),) = failed["words_inside_speech"]
    assert reason == "'one' at 1.00 s stands where no speech was detected; and 2 more"
    stopping = {check.name for check in checks.AFTER_TRANSCRIPT if check.stops}
    assert stopping == {"ledger_reconciled", "schema_valid", "duration_kept", "times_in_order", "word_error_rate"}


def test_in_a_batch_of_short_recordings_suspects_are_counted_together(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    batch.transcript()
    stats = DecodingStats(path="fast", why="test", chunks=3, suspects=2, rescued=0, dropped=0, flagged=0)
    for name in ("a.wav", "b.wav"):
        batch.write_transcript(name, "one two", decoding=stats)
    result = batch.transcript()["few_suspects"]
    assert result.examples == (("the batch as a whole", "4 of 6 chunks were suspect"),)
    assert (result.figures["chunks"], result.figures["suspects"]) == (6, 4)
    batch.write_transcript("b.wav", "one two", decoding=stats.model_copy(update={"suspects": 1}))
    assert batch.transcript()["few_suspects"].passed


def test_a_delivery_that_the_ledger_lost_or_a_step_skipped_is_reported(batch: Batch) -> None:
    unread = {v.check.name: v for v in verify.check_raw(batch.workspace, batch.report("raw"))}
    assert unread["ledger_reconciled"].figures == {"checked": 4, "found": 4, "deliveries": 4, "received": 4}
    batch.raw()
    (unfinished,) = verify.check_enriched(batch.workspace, batch.report("enriched"))
    assert [name for name, _ in unfinished.examples] == ["a.wav", "b.wav", "same.wav"]
    assert unfinished.examples[0][1] == "still received after the enriched step"
    with sqlite3.connect(batch.data.parent / "ledger.db") as connection:
        connection.execute("DELETE FROM deliveries WHERE name = 'a.wav'")
    connection.close()
    result = batch.normalized()["ledger_reconciled"]
    assert not result.passed
    assert result.examples == ((batch.key, "4 deliveries, but 3 over all states"),)


def test_a_finished_recording_without_outputs_for_one_of_its_names_is_reported(batch: Batch) -> None:
    for step in (batch.raw, batch.normalized, batch.transcript, batch.enriched):
        step()
    with sqlite3.connect(batch.data.parent / "ledger.db") as connection:
        connection.execute("UPDATE deliveries SET placed = '{}' WHERE name = 'same.wav'")
    connection.close()
    (result,) = verify.check_enriched(batch.workspace, batch.report("enriched"))
    assert [name for name, _ in result.examples] == ["same.wav"]


def test_word_errors_are_counted_over_the_batch_and_only_a_limit_stops_it(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    unreferenced = batch.transcript(max_wer=0.0)["word_error_rate"]
    assert (unreferenced.passed, unreferenced.figures) == (True, {"references": 0})
    batch.write_transcript("a.wav", "Printing, in the only sense of it")
    batch.write_reference("a.wav", b"printing (in the only sense)")
    batch.write_transcript("b.wav", "ask not what your country")
    batch.write_reference("b.wav", b"Ask not what their country.\n")
    batch.write_reference("bad.wav", b"is never transcribed")
    measured = batch.transcript()["word_error_rate"]
    assert measured.passed
    assert measured.figures == {
        "references": 2,
        "reference_words": 10,
        "substitutions": 1,
        "deletions": 0,
        "insertions": 2,
        "word_error_rate": 0.3,
    }
    assert measured.examples == (
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
    batch.write_reference("a.wav", b"")
    assert batch.transcript(max_wer=0.0)["word_error_rate"].passed
    batch.write_transcript("a.wav", "thanks for watching")
    result = batch.transcript(max_wer=0.5)["word_error_rate"]
    assert not result.passed
    assert "no rate, 3 over 0 words" in result.sentence


def test_a_reference_that_is_not_text_is_reported_and_stops_nothing(batch: Batch) -> None:
    batch.raw()
    batch.normalized()
    batch.write_reference("a.wav", "dünn".encode("latin-1"))
    batch.write_reference("b.wav", b"x" * (MAX_BYTES + 1))
    (batch.data / "raw_audio" / "same.wav.ref.txt").symlink_to("/dev/zero")
    result = batch.transcript(max_wer=0.0)["word_error_rate"]
    assert result.passed
    assert dict(result.examples) == {
        "a.wav": "its reference is no UTF-8 text (byte 1)",
        "b.wav": "its reference is larger than 4 MiB and was not read",
    }
    assert read_reference(batch.workspace.store, "a.wav/inner.wav") is None, "its folder has become a file"


def test_at_most_twenty_recordings_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DirectoryStore(tmp_path / "data")
    store.prepare()
    for i in range(30):
        soundfile.write(tmp_path / "data" / "raw_audio" / f"{i:02}.wav", np.zeros(1600 + i, np.int16), 16_000)
    # The longest possible name: that of its reference would be too long.
    soundfile.write(tmp_path / "data" / "raw_audio" / f"{'x' * 251}.wav", np.zeros(1600, np.int16), 16_000)
    workspace = Workspace(store, Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}"))
    monkeypatch.setattr(intake, "_SETTLE_S", 0)  # nobody writes to these files
    run_intake(workspace, [], BatchLimits(), "test")
    (key,) = workspace.ledger.list_open_batches(float("inf"), 10)
    batch = Batch(tmp_path / "data", workspace, key)
    batch.raw()
    batch.normalized()
    assert list_failed(batch.transcript()) == {}
    for path in (batch.data / "whisper_json").iterdir():
        if path.is_file():
            path.write_text("{}")
    result = batch.transcript()["schema_valid"]
    assert (len(result.examples), result.figures["found"]) == (20, 31)
    workspace.ledger.close()
