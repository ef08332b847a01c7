"""``stt benchmark`` and ``stt ratio`` as a person meets them, with the real base model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.platform.measure import STANDARD_CLIP, measure
from benchmarks.platform.ratio import read_ratio
from benchmarks.platform.result import BenchmarkResult, read_result, write_result
from speech.models.registry import Weights
from speech.transcript import Options
from stt_orchestration.cli.app import app
from tests.benchmarks.results import make_result

PROJECT = Path(__file__).resolve().parents[3]
SPOKEN = PROJECT / "samples" / "lj-printing.mp3"
CORPUS = Path(os.environ.get("STT_TEST_CORPUS", ""))
Stt = Callable[..., "tuple[int, str]"]

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="--pin needs affinity, which this system lacks"
)


@pytest.fixture
def stt(
    tmp_path: Path, base_weights: Weights, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Stt:
    for name in [name for name in os.environ if name.startswith(("STT_", "WHISPER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("STT_MODEL_DIR", str(base_weights.path))

    def call(*arguments: str | Path) -> tuple[int, str]:
        capfd.readouterr()
        code = app([str(argument) for argument in arguments], standalone_mode=False)
        told = capfd.readouterr()
        return int(code or 0), told.out + told.err

    return call


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmarks")


@pytest.fixture
def measured(stt: Stt, place: Path) -> Path:
    """A real result of this machine, measured once."""
    target = place / "here_base.json"
    if not target.exists():
        code, told = stt("benchmark", "--pin", "--audio", SPOKEN, "--iterations", 5, "--warmup", 1, "--output", target)
        assert code == 0, told
        assert "benchmark of base: 6 of 6" in told
        assert "95 % interval" in told
    return target


def elsewhere(result: BenchmarkResult) -> BenchmarkResult:
    """The result as another machine could have written it."""
    machine = result.details.machine.model_copy(update={"ids": ("elsewhere",)})
    return result.model_copy(update={"details": result.details.model_copy(update={"machine": machine})})


def test_a_result_holds_what_was_measured(measured: Path) -> None:
    found = read_result(measured)
    details = found.details
    assert (found.model_size, found.iterations, found.cpu_limit) == ("base", 5, 1)
    assert (len(details.latencies_ms), len(details.warmup_latencies_ms)) == (5, 1)
    assert min(details.latencies_ms) <= details.p50_ms <= details.p95_ms <= details.p99_ms <= max(details.latencies_ms)
    assert details.words >= 20
    assert details.decoding == "fast"
    assert details.audio.seconds == pytest.approx(9.7, abs=0.1)
    assert 0 < details.cpu_s <= found.total_time_s * 1.05, "one core gives no more than its time"
    assert found.memory_mb > 200
    assert details.isolation.pinned_by_us
    assert not details.partial
    assert details.versions["faster-whisper"]


def test_a_result_is_not_overwritten_unasked(stt: Stt, measured: Path) -> None:
    before = measured.read_bytes()
    code, told = stt("benchmark", "--pin", "--audio", SPOKEN, "--output", measured)
    assert (code, measured.read_bytes()) == (2, before)
    assert "is there already" in told


def test_the_ratio_with_another_machine_is_written_and_one_machine_refused(
    stt: Stt, measured: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    write_result(elsewhere(read_result(measured)), other)
    code, told = stt("ratio", measured, other)
    assert code == 0, told
    target = tmp_path / "data" / "benchmarks" / "ratio_config.json"
    assert read_ratio(target).ratios[0].ratio == 1.0
    before = target.read_bytes()
    assert "other takes 1.000 times as long as here_base" in told
    copied = tmp_path / "copy.json"
    copied.write_bytes(measured.read_bytes())
    code, told = stt("ratio", measured, copied)
    assert (code, "measured on one machine" in told) == (2, True)
    copied.write_bytes(measured.read_bytes()[:-30])
    code, told = stt("ratio", copied, other)
    assert (code, "copy.json is no whole JSON" in told) == (2, True)
    write_result(make_result(ids=("x",)), copied)
    code, told = stt("ratio", copied, other)
    assert (code, "details.audio.sha256 is" in told) == (2, True)
    assert target.read_bytes() == before
    code, told = stt("ratio", measured, other, "--output", measured)
    assert (code, "here_base.json is not what ratio_config files hold" in told) == (2, True)
    read_result(measured)


@pytest.mark.skipif("STT_TEST_CORPUS" not in os.environ, reason="needs the corpus with Vietnamese: STT_TEST_CORPUS")
def test_a_vietnamese_recording_of_one_s_own_is_measured(stt: Stt, tmp_path: Path) -> None:
    spoken = max((CORPUS / "vivos_vi").glob("*.flac"), key=lambda path: path.stat().st_size)
    output = tmp_path / "vi.json"
    code, told = stt("benchmark", "--pin", "--audio", spoken, "--iterations", 1, "--warmup", 0, "--output", output)
    assert code == 0, told
    found = read_result(output)
    assert (found.details.audio.name, found.details.words > 0) == (spoken.name, True)


BAD: dict[str, tuple[list[str], str]] = {
    "zero iterations": (["--pin", "--iterations", "0"], "iterations is 0; 1 is the least"),
    "negative warm-up": (["--pin", "--warmup", "-1"], "warm-up is -1; 0 is the least"),
    "unknown model": (["--pin", "--model", "bsae"], "No model is called 'bsae'"),
    "no such audio": (["--pin", "--audio", "nowhere.wav"], "nowhere.wav: there is no such audio file"),
    "no audio at all": (["--pin", "--audio", str(PROJECT / "samples/broken.mp3")], "Not a recording"),
    "nobody speaks": (["--pin", "--audio", str(PROJECT / "samples/silence.wav")], "heard no words"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(case: str, stt: Stt, tmp_path: Path) -> None:
    options, expected = BAD[case]
    output = tmp_path / "out.json"
    code, told = stt("benchmark", "--output", output, *options)
    assert code == 2, told
    assert expected in told
    assert "Traceback" not in told
    assert not output.exists()


def test_a_compute_type_that_this_cpu_lacks_is_a_sentence(stt: Stt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_COMPUTE_TYPE", "float16")
    code, told = stt("benchmark", "--pin")
    assert (code, "cannot compute in 'float16'" in told, "Traceback" in told) == (2, True, False)


def test_a_gpu_is_not_benchmarked(stt: Stt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_DEVICE", "cuda")
    code, told = stt("benchmark", "--pin")
    assert (code, "STT_DEVICE" in told) == (2, True)


@pytest.mark.skipif(
    hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) < 2, reason="needs two usable cores"
)
def test_more_than_one_cpu_is_refused_unless_asked_for(stt: Stt, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    options = ("benchmark", "--audio", SPOKEN, "--iterations", 1, "--warmup", 0, "--output", output)
    code, told = stt(*options)
    assert (code, output.exists()) == (2, False), told
    assert "cannot be compared" in told
    code, told = stt(*options, "--unisolated")
    assert code == 0, told
    assert not read_result(output).details.isolation.one_cpu
    assert "no isolation" in told


def test_an_interrupt_leaves_a_valid_file_marked_partial(tmp_path: Path, base_weights: Weights) -> None:
    output = tmp_path / "cut.json"
    options = ["--pin", "--audio", str(SPOKEN), "--iterations", "40", "--warmup", "0", "--output", str(output)]
    with subprocess.Popen(
        [sys.executable, "-m", "stt_orchestration.cli", "benchmark", *options],
        cwd=PROJECT,
        env={**os.environ, "STT_MODEL_DIR": str(base_weights.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        for line in command.stdout:
            if "4 of 40" in line:
                break
        command.send_signal(signal.SIGINT)
        time.sleep(0.1)
        command.send_signal(signal.SIGTERM)  # as `timeout` does: the second must not cut short the orderly end
        _, told = command.communicate(timeout=60)
    assert command.returncode == 130, told
    found = read_result(output)
    assert found.details.partial
    assert found.details.iterations_asked == 40
    assert 4 <= found.iterations < 40
    assert "marked as partial" in told


def test_an_interrupt_before_the_first_iteration_keeps_nothing(base_weights: Weights) -> None:
    def interrupt(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(base_weights, Options(), SPOKEN, iterations=1, warmup=1, unisolated=True, progress=interrupt)


def test_the_standard_clip_is_thirty_seconds_and_as_its_page_says() -> None:
    import hashlib

    import soundfile

    told = soundfile.info(STANDARD_CLIP)
    assert (told.frames, told.samplerate, told.channels) == (480_000, 16_000, 1)
    page = (STANDARD_CLIP.parent / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(STANDARD_CLIP.read_bytes()).hexdigest() in page


def test_the_ten_fields_are_plain_numbers_and_texts(measured: Path) -> None:
    found = json.loads(measured.read_text())
    assert {name: type(value) for name, value in found.items() if name in ("timestamp", "iterations", "rps")} == {
        "timestamp": str,
        "iterations": int,
        "rps": float,
    }
    assert found["cpu_limit"] == 1
