"""What the measuring commands share, as ``stt benchmark`` uses it: refused input, pinning to one core, interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.platform.result import read_result
from speech.models.registry import Weights
from tests.stt_orchestration.cli.conftest import PROJECT, SPEECH, Stt, needs_affinity

pytestmark = needs_affinity

BAD_INPUT: dict[str, tuple[list[str], str]] = {
    "zero iterations": (["--pin", "--iterations", "0"], "iterations is 0; 1 is the least"),
    "negative warm-up": (["--pin", "--warmup", "-1"], "warm-up is -1; 0 is the least"),
    "unknown model": (["--pin", "--model", "bsae"], "No model is called 'bsae'"),
    "no such audio": (["--pin", "--audio", "nowhere.wav"], "nowhere.wav: there is no such audio file"),
    "no audio at all": (["--pin", "--audio", str(PROJECT / "samples/broken.mp3")], "Not a recording"),
    "nobody speaks": (["--pin", "--audio", str(PROJECT / "samples/silence.wav")], "heard no words"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gives_one_sentence_and_writes_no_file(case: str, stt: Stt, tmp_path: Path) -> None:
    options, expected = BAD_INPUT[case]
    target = tmp_path / "out.json"
    code, output = stt("benchmark", "--output", target, *options)
    assert code == 2, output
    assert expected in output
    assert "Traceback" not in output
    assert not target.exists()


def test_a_compute_type_that_the_cpu_lacks_gives_a_sentence(stt: Stt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_COMPUTE_TYPE", "float16")
    code, output = stt("benchmark", "--pin")
    assert (code, "cannot compute in 'float16'" in output, "Traceback" in output) == (2, True, False)


def test_the_device_cuda_is_refused(stt: Stt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_DEVICE", "cuda")
    code, output = stt("benchmark", "--pin")
    assert (code, "STT_DEVICE" in output) == (2, True)


@pytest.mark.skipif(
    hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) < 2, reason="needs two usable cores"
)
def test_more_than_one_cpu_is_refused_without_unisolated(stt: Stt, tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    options = ("benchmark", "--audio", SPEECH, "--iterations", 1, "--warmup", 0, "--output", target)
    code, output = stt(*options)
    assert (code, target.exists()) == (2, False), output
    assert "cannot be compared" in output
    code, output = stt(*options, "--unisolated")
    assert code == 0, output
    assert not read_result(target).details.isolation.one_cpu
    assert "no isolation" in output


def test_an_interrupt_leaves_a_valid_file_marked_partial(tmp_path: Path, base_weights: Weights) -> None:
    target = tmp_path / "cut.json"
    options = ["--pin", "--audio", str(SPEECH), "--iterations", "40", "--warmup", "0", "--output", str(target)]
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
        command.send_signal(signal.SIGTERM)  # as `timeout` sends it: the second signal must not prevent the orderly end
        _, output = command.communicate(timeout=60)
    assert command.returncode == 130, output
    result = read_result(target)
    assert result.details.partial
    assert result.details.iterations_asked == 40
    assert 4 <= result.iterations < 40
    assert "marked as partial" in output
