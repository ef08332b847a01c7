"""``stt size``: what it writes; bad input gives one sentence and exit code 2, and changes no file."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.platform.result import write_result
from speech.models.registry import Weights
from stt_orchestration.cli.app import app
from tests.benchmarks.results import make_result

PRICE = ["--cpu-node-price", "0.19"]


@pytest.fixture
def result(tmp_path: Path) -> Path:
    path = tmp_path / "here_base_2024-12-02.json"
    write_result(make_result([2400.0 + 60 * math.sin(i) for i in range(50)]), path)
    return path


def stt_size(result: Path, *options: str) -> tuple[int, str, str]:
    out = result.parent / "out"
    finished = CliRunner().invoke(app, ["size", str(result), "--output", str(out), *options])
    return finished.exit_code, finished.stdout, finished.stderr


def test_a_service_and_a_batch_are_sized_and_a_second_run_replaces_the_report(result: Path) -> None:
    out = result.parent / "out"
    command = [
        sys.executable,
        "-m",
        "stt_orchestration.cli",
        "size",
        str(result),
        "--output",
        str(out),
        "--pod-cpu",
        "1",
    ]
    options = ["--rps", "1", "--hours-per-day", "50", "--deadline", "4"]
    output = subprocess.run([*command, *options, *PRICE], capture_output=True, text=True, check=True).stdout
    assert "1 requests/s" in output
    assert "50 h of audio a day" in output
    first = (out / "sizing_report.md").read_text()
    subprocess.run([*command, "--rps", "2", *PRICE], capture_output=True, check=True)
    assert (out / "sizing_report.md").read_text() != first


BAD_INPUT: dict[str, tuple[list[str], str]] = {
    "negative load": (["--rps=-1", *PRICE], "-1 is not possible for the load"),
    "a huge load": (["--rps", "1e300", *PRICE], "1e+300 is not possible for the load"),
    "no number": (["--rps", "nan", *PRICE], "nan is not possible for the load"),
    "GPU without a batch": (["--rps", "1", "--gpu", "A100=9", *PRICE], "--gpu is of a batch"),
    "an impossible deadline": (["--hours-per-day", "9", "--deadline", "0.05", *PRICE], "out of reach"),
    "another model than measured": (["--rps", "1", "--model", "small", *PRICE], "its own model"),
    "iterations of nothing": (["--rps", "1", "--iterations", "9", *PRICE], "are of --measure"),
    "somebody else's report": (["--rps", "1", *PRICE], "holds sizing_report.md, and no sizing wrote that"),
    "target below the service time": (["--rps", "1", "--p95", "2", *PRICE], "out of reach"),
    "no price": (["--rps", "1"], "no price for the CPU-only node"),
    "no load": (PRICE, "Nothing to size"),
    "no deadline": (["--hours-per-day", "5", *PRICE], "belong together"),
    "target without load": (["--p95", "5", *PRICE], "give its --rps"),
    "no cores": (["--rps", "1", "--pod-cpu", "0", *PRICE], "--pod-cpu is 0"),
    "no GPU's speed": (["--hours-per-day", "5", "--deadline", "2", "--gpu", "A100", *PRICE], "NAME=TIMES_REALTIME"),
    "no ratio": (["--rps", "1", "--ratio", "nowhere.json", *PRICE], "no such file"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gives_one_sentence_and_overwrites_nothing(case: str, result: Path) -> None:
    out = result.parent / "out"
    out.mkdir()
    files = {"sizing_report.md": "an earlier one"}
    if case != "somebody else's report":
        files["sizing.json"] = json.dumps(dict.fromkeys(("basis", "prices", "service", "batch", "assumptions")))
    for name, text in files.items():
        (out / name).write_text(text)
    options, expected = BAD_INPUT[case]
    code, _, error = stt_size(result, *options)
    assert expected in error
    assert code == 2
    assert {path.name: path.read_text() for path in out.iterdir()} == files


def test_a_truncated_result_is_refused(result: Path) -> None:
    result.write_text(result.read_text()[:500])
    code, _, error = stt_size(result, "--rps", "1", *PRICE)
    assert code == 2
    assert "cut off" in error


def test_without_a_result_the_newest_of_this_machine_is_sized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.platform.machine import describe_machine
    from speech.machine.host import Host

    machine_ids = describe_machine(Host.here()).ids or pytest.skip(
        "this machine has no identity to find its benchmark by"
    )
    monkeypatch.setenv("STT_DATA_DIR", str(tmp_path))
    folder = tmp_path / "benchmarks"
    arguments = ["size", "--rps", "1", *PRICE]
    refused = CliRunner().invoke(app, arguments)
    assert (refused.exit_code, "Give --measure" in refused.stderr) == (2, True)
    noise = [2400.0 + 60 * math.sin(i) for i in range(50)]
    write_result(make_result(noise, ids=machine_ids), folder / "old_base.json")
    write_result(make_result(noise, ids=machine_ids, timestamp="2025-12-02T10:30:00Z"), folder / "new_base.json")
    write_result(
        make_result(noise, ids=machine_ids, timestamp="2026-01-02T10:30:00Z", model="small"), folder / "new_small.json"
    )
    write_result(make_result(noise, ids=("x",), timestamp="2026-01-02T10:30:00Z"), folder / "other_base.json")
    process = subprocess.run(
        [sys.executable, "-m", "stt_orchestration.cli", *arguments], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert "# Sizing: base on new_base" in (folder / "sizing" / "sizing_report.md").read_text()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="one CPU needs a container or Linux' affinity")
def test_one_command_measures_this_machine_and_writes_the_report(
    tmp_path: Path, base_weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("STT_MODEL_DIR", str(base_weights.path))
    arguments = ["size", "--measure", "--rps", "1", *PRICE, "--iterations"]
    refused = CliRunner().invoke(app, [*arguments, "4"])
    assert (refused.exit_code, "at least 5" in refused.stderr) == (2, True)
    command = [sys.executable, "-m", "stt_orchestration.cli", *arguments, "5"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    (result,) = (tmp_path / "benchmarks").glob("*_base_*.json")
    report = (tmp_path / "benchmarks" / "sizing" / "sizing_report.md").read_text()
    assert f"{result.stem}: 5 iterations of lj-30s.flac" in report
    content = result.read_bytes()
    again = CliRunner().invoke(app, [*arguments, "5"])
    assert (again.exit_code, "Leave out --measure" in again.stderr, result.read_bytes()) == (2, True, content)
