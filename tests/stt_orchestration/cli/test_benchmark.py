"""``stt benchmark`` and ``stt ratio``: their result files, with the real base model."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmarks.platform.ratio import read_ratio
from benchmarks.platform.result import BenchmarkResult, read_result, write_result
from tests.benchmarks.results import make_result
from tests.stt_orchestration.cli.conftest import SPEECH, Stt, needs_affinity

CORPUS = Path(os.environ.get("STT_TEST_CORPUS", ""))

pytestmark = needs_affinity


@pytest.fixture(scope="session")
def results_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmarks")


@pytest.fixture
def result_file(stt: Stt, results_folder: Path) -> Path:
    """A real result of this machine, measured once per session."""
    target = results_folder / "here_base.json"
    if not target.exists():
        code, output = stt(
            "benchmark", "--pin", "--audio", SPEECH, "--iterations", 5, "--warmup", 1, "--output", target
        )
        assert code == 0, output
        assert "benchmark of base: 6 of 6" in output
        assert "95 % interval" in output
    return target


def change_machine(result: BenchmarkResult) -> BenchmarkResult:
    """A copy of the result with the identity of another machine."""
    machine = result.details.machine.model_copy(update={"ids": ("elsewhere",)})
    return result.model_copy(update={"details": result.details.model_copy(update={"machine": machine})})


def test_a_result_holds_what_was_measured(result_file: Path) -> None:
    result = read_result(result_file)
    details = result.details
    assert (result.model_size, result.iterations, result.cpu_limit) == ("base", 5, 1)
    assert (len(details.latencies_ms), len(details.warmup_latencies_ms)) == (5, 1)
    assert min(details.latencies_ms) <= details.p50_ms <= details.p95_ms <= details.p99_ms <= max(details.latencies_ms)
    assert details.words >= 20
    assert details.decoding == "fast"
    assert details.audio.seconds == pytest.approx(9.7, abs=0.1)
    assert 0 < details.cpu_s <= result.total_time_s * 1.05, "one core gives no more than its time"
    assert result.memory_mb > 200
    assert details.isolation.pinned_by_us
    assert not details.partial
    assert details.versions["faster-whisper"]


def test_an_existing_result_is_not_overwritten(stt: Stt, result_file: Path) -> None:
    content = result_file.read_bytes()
    code, output = stt("benchmark", "--pin", "--audio", SPEECH, "--output", result_file)
    assert (code, result_file.read_bytes()) == (2, content)
    assert "is there already" in output


def test_the_ratio_of_two_machines_is_written_and_bad_input_leaves_it_unchanged(
    stt: Stt, result_file: Path, tmp_path: Path
) -> None:
    other_result = tmp_path / "other.json"
    write_result(change_machine(read_result(result_file)), other_result)
    code, output = stt("ratio", result_file, other_result)
    assert code == 0, output
    ratio_file = tmp_path / "data" / "benchmarks" / "ratio_config.json"
    assert read_ratio(ratio_file).ratios[0].ratio == 1.0
    content = ratio_file.read_bytes()
    assert "other takes 1.000 times as long as here_base" in output
    copy = tmp_path / "copy.json"
    copy.write_bytes(result_file.read_bytes())
    code, output = stt("ratio", result_file, copy)
    assert (code, "measured on one machine" in output) == (2, True)
    copy.write_bytes(result_file.read_bytes()[:-30])
    code, output = stt("ratio", copy, other_result)
    assert (code, "copy.json is no whole JSON" in output) == (2, True)
    write_result(make_result(ids=("x",)), copy)
    code, output = stt("ratio", copy, other_result)
    assert (code, "details.audio.sha256 is" in output) == (2, True)
    assert ratio_file.read_bytes() == content
    code, output = stt("ratio", result_file, other_result, "--output", result_file)
    assert (code, "here_base.json is not what ratio_config files hold" in output) == (2, True)
    read_result(result_file)


@pytest.mark.skipif("STT_TEST_CORPUS" not in os.environ, reason="needs the corpus with Vietnamese: STT_TEST_CORPUS")
def test_a_vietnamese_recording_can_be_measured(stt: Stt, tmp_path: Path) -> None:
    recording = max((CORPUS / "vivos_vi").glob("*.flac"), key=lambda path: path.stat().st_size)
    target = tmp_path / "vi.json"
    code, output = stt("benchmark", "--pin", "--audio", recording, "--iterations", 1, "--warmup", 0, "--output", target)
    assert code == 0, output
    result = read_result(target)
    assert (result.details.audio.name, result.details.words > 0) == (recording.name, True)


def test_the_top_level_fields_are_plain_numbers_and_strings(result_file: Path) -> None:
    result = json.loads(result_file.read_text())
    assert {name: type(value) for name, value in result.items() if name in ("timestamp", "iterations", "rps")} == {
        "timestamp": str,
        "iterations": int,
        "rps": float,
    }
    assert result["cpu_limit"] == 1
