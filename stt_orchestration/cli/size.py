"""``stt size``: from a measurement to what to order. This file only parses options and prints results.

The work is in ``benchmarks.sizing``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmarks.files import RefusedError, check_output_file
from stt_orchestration.cli.benchmark import ModelOption, OverwriteOption
from stt_orchestration.cli.console import make_console
from stt_orchestration.cli.exit_codes import errors_to_exit_codes
from stt_orchestration.cli.measurement import make_measurement_request, measure_into
from stt_orchestration.settings import Settings

sizing_app = typer.Typer()


@sizing_app.command()
@errors_to_exit_codes
def size(
    result: Annotated[
        Path | None,
        typer.Argument(help="What `stt benchmark` wrote; default: the newest of this machine in the data folder."),
    ] = None,
    rps: Annotated[float | None, typer.Option(help="A service: requests a second, each like the one measured.")] = None,
    p95: Annotated[float | None, typer.Option(help="Its response time: 95th percentile at most, seconds.")] = None,
    mean: Annotated[float | None, typer.Option(help="Its response time: mean at most, seconds.")] = None,
    hours_per_day: Annotated[float | None, typer.Option(help="A batch: hours of audio a day.")] = None,
    deadline: Annotated[float | None, typer.Option(help="Hours within which the batch is to be done.")] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure this machine first, one core of it, with the standard audio.")
    ] = False,
    model: ModelOption = None,
    iterations: Annotated[
        int | None, typer.Option(help="Requests measured by --measure; default: 50.", show_default=False)
    ] = None,
    overwrite: OverwriteOption = False,
    ratio: Annotated[
        Path | None, typer.Option(help="A ratio_config.json: size for its platform B, from a result of A.")
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            help="A GPU for the batch: NAME=TIMES_REALTIME, and @ORIGIN behind it for where that is from. Repeatable."
        ),
    ] = None,
    prices: Annotated[Path | None, typer.Option(help="A price file; default: the dated one that is shipped.")] = None,
    cpu_node: Annotated[str | None, typer.Option(help="The CPU-only node of the price file to order.")] = None,
    cpu_node_price: Annotated[float | None, typer.Option(help="Its price per hour, if the file has none.")] = None,
    pod_cpu: Annotated[int | None, typer.Option(help="Cores of a pod; default: the cheapest of 1, 2, 3 and 4.")] = None,
    dispatch: Annotated[
        Literal["service", "queue"],
        typer.Option(help="How requests reach pods: by chance through a Kubernetes Service, or from one line."),
    ] = "service",
    variation: Annotated[
        float, typer.Option(help="Coefficient of variation of service times from request to request.")
    ] = 0.5,
    peak: Annotated[float, typer.Option(help="Load at the worst, as a multiple of --rps.")] = 2.0,
    trough: Annotated[float, typer.Option(help="Load in quiet hours, as a share of --rps.")] = 0.25,
    longest: Annotated[float, typer.Option(help="Minutes of the batch's longest recording.")] = 60.0,
    deployment: Annotated[Path | None, typer.Option(help="A Deployment to patch; default: a plain one.")] = None,
    hpa: Annotated[Path | None, typer.Option(help="A HorizontalPodAutoscaler to patch; default: a plain one.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write to, an earlier sizing there is replaced; default: benchmarks/sizing in the data folder."
        ),
    ] = None,
) -> None:
    """Say what a target load needs: pods, CPU, memory, threads, autoscaler, GPUs, cost, each with its uncertainty.

    Writes sizing_report.md with its plots, sizing.json, and a Deployment and an autoscaler with the result.
    """
    from benchmarks.platform.gather import StoredResult, read_stored_result
    from benchmarks.platform.ratio import RatioConfig
    from benchmarks.sizing import size as sizing
    from benchmarks.sizing.batch import BatchLoad, parse_gpu_figure
    from benchmarks.sizing.report import format_summary
    from benchmarks.sizing.service import Target

    if (hours_per_day is None) != (deadline is None):
        raise RefusedError("--hours-per-day and --deadline belong together: so much audio, within so many hours.")
    if rps is None and (p95 is not None or mean is not None):
        raise RefusedError("--p95 and --mean are of a service: give its --rps too.")
    if hours_per_day is None and gpu:
        raise RefusedError("--gpu is of a batch: give its --hours-per-day and --deadline too.")
    if rps is None and hours_per_day is None:
        raise RefusedError("Nothing to size: give --rps, or --hours-per-day and --deadline, or both.")
    if pod_cpu is not None and not 1 <= pod_cpu <= 128:
        raise RefusedError(f"--pod-cpu is {pod_cpu}; give 1 to 128 cores.")
    request = sizing.SizingRequest(
        target=Target(rps, p95, mean, variation, dispatch, peak, trough) if rps is not None else None,
        load=(
            BatchLoad(hours_per_day, deadline, longest) if hours_per_day is not None and deadline is not None else None
        ),
        gpus=tuple(parse_gpu_figure(figure) for figure in gpu or ()),
        pod_cpu=pod_cpu,
        ratios=ratio,
        prices=prices,
        cpu_node=cpu_node,
        cpu_node_price=cpu_node_price,
        output=output or Settings.read().capacity_dir / "sizing",
        deployment=deployment,
        hpa=hpa,
    )

    def select_result(ratios: RatioConfig | None) -> tuple[StoredResult, RatioConfig | None]:
        path = _find_or_measure_result(result, model, measure=measure, iterations=iterations, overwrite=overwrite)
        return read_stored_result(path), ratios

    sized = sizing.size(request, select_result)
    screen = make_console()
    for line in format_summary(sized.plan):
        screen.print(line)
    for file in sized.files:
        screen.print(str(file))


def _find_or_measure_result(
    result: Path | None, model: str | None, *, measure: bool, iterations: int | None, overwrite: bool
) -> Path:
    """The result to size from: the one that was named, the newest of this machine, or one that is measured now."""
    if not measure and (iterations is not None or overwrite):
        raise RefusedError("--iterations and --overwrite are of --measure: give it too.")
    if result is not None:
        if measure or model is not None:
            raise RefusedError(
                f"{result} is a measurement of its own model: leave out --measure and --model, or leave it out."
            )
        return result
    from benchmarks.platform.gather import find_newest_result, make_result_path
    from benchmarks.platform.intervals import MIN_SAMPLES
    from benchmarks.platform.isolation import detect_isolation
    from benchmarks.platform.measure import ITERATIONS, WARMUP
    from speech.machine.host import Host

    question = make_measurement_request(model, None)
    if not measure:
        return find_newest_result(question.folder, question.model)
    count = ITERATIONS if iterations is None else iterations
    if count < MIN_SAMPLES:
        raise RefusedError(
            f"--iterations is {count}; a sizing needs at least {MIN_SAMPLES} to know how sure the mean is."
        )
    target = make_result_path(question.folder, question.model)
    if target.exists() and not overwrite:
        raise RefusedError(
            f"{target} is there already. Leave out --measure to size from it, or give --overwrite to measure anew."
        )
    check_output_file(target, overwrite=True)
    measure_into(
        target,
        question,
        iterations=count,
        warmup=WARMUP,
        workers=1,
        pin=not detect_isolation(Host.here()).one_cpu,
        unisolated=False,
    )
    return target
