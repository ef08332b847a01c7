"""Asset checks in the real job, on real audio, with real damage on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import dagster as dg
import pytest

from assets.capacity.production import COST_AS_PREDICTED
from assets.common.checks import to_check_result
from assets.common.partitions import batches
from recordings.batches import BatchLimits
from recordings.intake.intake import run_intake
from recordings.states import State
from recordings.steps import checks
from speech.checks import Check, CheckResult
from speech.machine.resources import detect_resources
from stt_orchestration.cli.batch_runner import RunFailedError, run_batches
from stt_orchestration.definitions import build_defs
from stt_orchestration.jobs import JOB_NAME
from tests.stt_orchestration.conftest import PROJECT, Installation

SAMPLES = PROJECT / "samples"
EXPECTED = {
    "raw": checks.AFTER_RAW,
    "normalized": checks.AFTER_NORMALIZED,
    "transcript": (*checks.AFTER_TRANSCRIPT, COST_AS_PREDICTED),
    "enriched": checks.AFTER_ENRICHED,
}
Evaluations = Mapping[tuple[str, str], dg.AssetCheckEvaluation]


@pytest.fixture
def key(installation: Installation, tmp_path: Path) -> str:
    """A batch of jfk.opus with its reference text, and of a silent recording. Returns its key."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for name in ("jfk.opus", "jfk.opus.ref.txt", "silence.wav"):
        shutil.copyfile(SAMPLES / name, inbox / name)
    run_intake(installation.workspace, [inbox], BatchLimits(), "test")
    (key,) = installation.workspace.ledger.list_open_batches(float("inf"), 10)
    return key


def materialize(installation: Installation, key: str) -> tuple[dg.ExecuteInProcessResult, Evaluations]:
    installation.instance.add_dynamic_partitions(batches.name or "", [key])
    job = build_defs(installation.settings).resolve_job_def(JOB_NAME)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = job.execute_in_process(
        instance=installation.instance, partition_key=key, run_config=quiet, raise_on_error=False
    )
    evaluations = (
        event.asset_check_evaluation_data
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    )
    return result, {(e.asset_key.to_user_string(), e.check_name): e for e in evaluations}


def list_started_steps(result: dg.ExecuteInProcessResult) -> list[str | None]:
    return [e.step_key for e in result.all_events if e.event_type == dg.DagsterEventType.STEP_START]


def test_errors_stop_the_next_step_and_warnings_do_not(installation: Installation, key: str) -> None:
    result, evaluations = materialize(installation, key)
    assert result.success
    assert set(evaluations) == {(asset, check.name) for asset, expected in EXPECTED.items() for check in expected}
    for (asset, name), evaluation in evaluations.items():
        assert evaluation.passed, (asset, name, evaluation.description)
        assert evaluation.partition == key
        assert evaluation.blocking == next(check.stops for check in EXPECTED[asset] if check.name == name)
    said = [entry.user_message for entry in installation.instance.all_logs(result.run_id)]
    assert said.count(detect_resources().sentence) == len(EXPECTED), "each step says what it may use"
    word_errors = evaluations["transcript", "word_error_rate"]
    assert word_errors.metadata["references"].value == 1
    assert word_errors.metadata["word_error_rate"].value == pytest.approx(0.0, abs=0.05)
    assert evaluations["transcript", "speech_rate_plausible"].metadata["checked"].value == 1

    # Half of the audio is lost on disk; without the check, the transcript step would see its work as done and notice nothing.
    wav = installation.data / "input_audio/inbox/jfk.opus.wav"
    wav.write_bytes(wav.read_bytes()[: wav.stat().st_size // 2])
    result, evaluations = materialize(installation, key)
    assert not result.success
    assert list_started_steps(result) == ["raw", "normalized"]
    evaluation = evaluations["normalized", "duration_kept"]
    assert (evaluation.passed, evaluation.severity, evaluation.blocking) == (False, dg.AssetCheckSeverity.ERROR, True)
    table = evaluation.metadata["recordings"]
    assert isinstance(table, dg.TableMetadataValue)
    (row,) = (record.data for record in table.records)
    assert row["recording"] == "inbox/jfk.opus"
    assert row["finding"] == "holds 5.499 s, and 11.000 s were decoded"
    assert evaluation.description is not None
    assert "Remove the named files under input_audio/" in evaluation.description

    wav.unlink()
    result, evaluations = materialize(installation, key)
    assert result.success
    assert all(evaluation.passed for evaluation in evaluations.values())

    # Words where no speech was detected are a warning, and do not stop the batch.
    transcript = installation.data / "whisper_json/inbox/jfk.opus.json"
    content = json.loads(transcript.read_text())
    content["meta"]["speech"][-1]["start"] = 9.0
    transcript.write_text(json.dumps(content))
    result, evaluations = materialize(installation, key)
    assert result.success
    doubtful = [evaluation for evaluation in evaluations.values() if not evaluation.passed]
    assert [(evaluation.check_name, evaluation.severity) for evaluation in doubtful] == [
        ("words_inside_speech", dg.AssetCheckSeverity.WARN)
    ]


def test_a_word_error_rate_above_the_limit_blocks_the_texts_with_a_reason(installation: Installation, key: str) -> None:
    reference = installation.raw / "inbox/jfk.opus.ref.txt"
    reference.write_text("Ask what your country can do for you")
    definitions = build_defs(installation.settings.model_copy(update={"max_wer": 0.5}))
    with pytest.raises(RunFailedError, match=r"transcript: .*word errors.*STT_MAX_WER allows 50\.00%.*inbox/jfk\.opus"):
        run_batches(
            installation.workspace,
            definitions,
            installation.instance,
            (),
            lambda _: nullcontext(),
            print,
            lambda: False,
        )
    assert {m.state for m in installation.workspace.ledger.list_members(key)} == {State.TRANSCRIBED}
    assert not (installation.data / "transcripts/inbox").exists()
    # Without a limit the same rate is reported and stops nothing.
    result, evaluations = materialize(installation, key)
    assert result.success
    word_errors = evaluations["transcript", "word_error_rate"]
    assert word_errors.passed
    assert float(str(word_errors.metadata["word_error_rate"].value)) > 0.5


def test_only_a_failed_check_can_block_and_a_note_never_does() -> None:
    blocking, warning = Check("a", "It holds.", stops=True), Check("b", "It holds.")
    severity = dg.AssetCheckSeverity
    results = {
        (check.name, passed): to_check_result(CheckResult(check, passed, "seen"))
        for check in (blocking, warning)
        for passed in (True, False, None)
    }
    assert {case: (result.passed, result.severity) for case, result in results.items()} == {
        ("a", True): (True, severity.ERROR),
        ("a", False): (False, severity.ERROR),
        ("a", None): (False, severity.WARN),
        ("b", True): (True, severity.WARN),
        ("b", False): (False, severity.WARN),
        ("b", None): (False, severity.WARN),
    }


def test_figures_keep_their_names_and_kinds_and_examples_become_a_table() -> None:
    result = CheckResult(
        Check("a", "It holds."), False, "seen", figures={"n": 2, "r": 0.5}, examples=(("x.wav", "why"),)
    )
    metadata = to_check_result(result).metadata
    assert (metadata["n"], metadata["r"]) == (dg.MetadataValue.int(2), dg.MetadataValue.float(0.5))
    table = metadata["recordings"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data for record in table.records] == [{"recording": "x.wav", "finding": "why"}]
    assert set(to_check_result(CheckResult(Check("a", "It holds."), True, "seen")).metadata) == set()
