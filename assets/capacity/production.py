"""Compares the cost of a production run with the prediction from this machine's benchmark."""

from __future__ import annotations

from pathlib import Path

from benchmarks.platform.gather import load_results
from benchmarks.platform.result import BenchmarkResult
from recordings.ledger.runs import StepRun
from recordings.steps.report import StepReport
from recordings.steps.transcript import STEP
from recordings.workspace import Workspace
from speech.checks import Check, CheckResult

MAX_DRIFT = 0.5
"""A run that costs more than 1.5 times the prediction, or less than 1/1.5 of it, points to a changed machine or a wrong prediction.
Batches of short recordings and loading the model move an honest run by some tenths."""

_MIN_AUDIO_S = 120.0
"""Shorter runs are not compared, because loading the model is a large part of their time."""

COST_AS_PREDICTED = Check(
    "cost_as_predicted",
    f"A run of at least {_MIN_AUDIO_S:.0f} s of audio costs, per second of audio and core, what the newest benchmark "
    f"of this machine with the same weights and options says, within {MAX_DRIFT:.0%}.",
    "Look whether something else works on the machine or its CPU limit changed; then measure it anew with `stt "
    "benchmark` and size again.",
)


_FULL_CORE_SHARE = 0.9
"""A run that used at least this share of its cores' time had the cores for itself and enough work."""


def check_cost(workspace: Workspace, report: StepReport, folder: Path, cpu_s: float) -> CheckResult:
    """Compare the run that made the report with its prediction.

    Args:
        workspace: Its ledger has the run.
        report: Of the transcript step.
        folder: Where benchmark results lie.
        cpu_s: Processor time that the step took, its threads summed, seconds: it tells a busy machine from a slower one.
    """
    if not report.worked or report.audio_seconds < _MIN_AUDIO_S:
        return _pass_without_comparison(f"{report.audio_seconds:.0f} s of audio were worked on: too little to compare.")
    run = next((one for one in workspace.ledger.list_runs(STEP, 50) if one.batch_key == report.batch_key), None)
    found = _find_prediction(folder, run) if run else None
    if run is None or found is None:
        return _pass_without_comparison(
            "This machine has no benchmark with these weights and options to compare with; run `stt benchmark`."
        )
    name, result = found
    predicted = result.avg_latency_ms / 1000 / result.details.audio.seconds
    measured = run.wall_seconds * run.cores / run.audio_seconds
    drift = measured / predicted - 1
    sentence = (
        f"{run.audio_seconds:.0f} s of audio took {run.wall_seconds:.1f} s on {run.cores} cores: {measured:.4f} core "
        f"seconds per second of audio, {drift:+.0%} of the {predicted:.4f} that {name} predicts."
    )
    share = cpu_s / (run.wall_seconds * run.cores)
    if share < _FULL_CORE_SHARE:
        sentence += (
            f" It had its cores for {share:.0%} of that time: others had them, or there was no work for all of them."
        )
    figures = {
        "core_seconds_per_audio_second": round(measured, 5),
        "predicted": round(predicted, 5),
        "drift": round(drift, 4),
        "audio_seconds": round(run.audio_seconds, 1),
        "wall_seconds": round(run.wall_seconds, 2),
        "cores": run.cores,
        "share_of_cores": round(share, 4),
    }
    # Symmetric as a factor: between 1/1.5 and 1.5.
    passed = 1 / (1 + MAX_DRIFT) <= measured / predicted <= 1 + MAX_DRIFT
    if not passed:
        sentence += f" {COST_AS_PREDICTED.remedy}"
    return CheckResult(COST_AS_PREDICTED, passed, sentence, figures=figures)


def _pass_without_comparison(sentence: str) -> CheckResult:
    return CheckResult(COST_AS_PREDICTED, True, sentence)


def _find_prediction(folder: Path, run: StepRun) -> tuple[str, BenchmarkResult] | None:
    from speech.machine.host import Host

    for one in load_results(folder).filter_by_machine(Host.here()):
        details = one.result.details
        if details.weights.sha256 == run.model_sha256 and details.options.model_dump() == run.options:
            return one.path.stem, one.result
    return None
