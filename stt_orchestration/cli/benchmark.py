"""The commands of capacity: measure a platform, stress it, compare two. This file only parses options and prints results.

The work is in ``benchmarks``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.files import RefusedError, check_output_file
from stt_orchestration.cli.console import make_console
from stt_orchestration.cli.exit_codes import ExitCode, errors_to_exit_codes, exit_with
from stt_orchestration.cli.measurement import make_measurement_request, measure_into, measurement_session
from stt_orchestration.settings import Settings

capacity_app = typer.Typer()

ModelOption = Annotated[
    str | None, typer.Option(help="base, small, medium, any other of the catalogue, or a folder; default: STT_MODEL.")
]
AudioOption = Annotated[
    Path | None,
    typer.Option(help="A recording with speech in it; default: 30 s of public-domain English.", show_default=False),
]
PinOption = Annotated[bool, typer.Option("--pin", help="Keep this process on one core (Linux).")]
UnisolatedOption = Annotated[
    bool, typer.Option("--unisolated", help="Measure even where more than one CPU can be used.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it is there.")]


@capacity_app.command()
@errors_to_exit_codes
def benchmark(
    model: ModelOption = None,
    audio: AudioOption = None,
    iterations: Annotated[int, typer.Option(help="Requests measured, one after the other.")] = 50,
    warmup: Annotated[int, typer.Option(help="Requests before them, uncounted.")] = 2,
    workers: Annotated[int, typer.Option(help="Decoding threads of the engine, as STT_WORKERS sets them.")] = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            help="The result; its name without .json is the platform's. Default: benchmarks/ in the data folder."
        ),
    ] = None,
    pin: PinOption = False,
    unisolated: UnisolatedOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure how long this machine's one CPU takes for a request, with the engine as production runs it."""
    from benchmarks.platform.gather import make_result_path

    question = make_measurement_request(model, audio)
    target = output or make_result_path(question.folder, question.model)
    check_output_file(target, overwrite=overwrite)
    measure_into(
        target,
        question,
        iterations=iterations,
        warmup=warmup,
        workers=workers,
        pin=pin,
        unisolated=unisolated,
    )


@capacity_app.command()
@errors_to_exit_codes
def stress(
    model: ModelOption = None,
    audio: AudioOption = None,
    threads: Annotated[
        str, typer.Option(help="Numbers of decoding threads; the first is what others are compared with.")
    ] = "1,2,4",
    iterations: Annotated[int, typer.Option(help="Requests measured with each.")] = 10,
    warmup: Annotated[int, typer.Option(help="Requests before them, uncounted.")] = 1,
    output: Annotated[Path | None, typer.Option(help="Write the table as JSON too.")] = None,
    pin: PinOption = False,
    unisolated: UnisolatedOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Find throttling: several decoding threads under one CPU, with what the kernel counted and what it did to latency."""
    from benchmarks.platform.stress import format_table, write_stress
    from benchmarks.platform.stress import run_stress_test as run

    screen, question, counts = make_console(), make_measurement_request(model, audio), _numbers(threads)
    if output:
        check_output_file(output, overwrite=overwrite)
    with measurement_session(screen, question, pin=pin, what="stress") as (weights, progress):
        every = (warmup + iterations) * len(counts)
        found = run(
            weights,
            question.options,
            question.audio,
            threads=counts,
            iterations=iterations,
            warmup=warmup,
            unisolated=unisolated,
            pinned_by_us=pin,
            progress=lambda count, done, of: progress(counts.index(count) * of + done, every),
        )
    screen.print(f"{found.cpu_model}, {found.model_size}, {'; '.join(found.isolation) or 'no isolation'}")
    screen.print(format_table(found))
    screen.print(found.verdict)
    if output:
        write_stress(found, output)
        screen.print(str(output))
    if found.partial:
        exit_with("Interrupted; the last row, or a missing one, is not the whole.", ExitCode.INTERRUPTED)


@capacity_app.command()
@errors_to_exit_codes
def ratio(
    a: Annotated[Path, typer.Argument(help="A result, or a folder of one platform's results.")],
    b: Annotated[Path, typer.Argument(help="The other platform's.")],
    output: Annotated[
        Path | None,
        typer.Option(help="Default: benchmarks/ratio_config.json in the data folder; an older one is replaced."),
    ] = None,
) -> None:
    """Compare two platforms: latency on B / latency on A, with its uncertainty, for runs that are alike in all else."""
    screen = make_console()
    from benchmarks.platform.ratio import CONFIG_NAME, compare_platforms, format_summary, read_ratio, write_ratio
    from benchmarks.platform.trust import check_ratios

    target = output or Settings.read().capacity_dir / CONFIG_NAME
    found = compare_platforms(a, b)
    check_output_file(target, overwrite=True)
    if target.exists():
        read_ratio(target)  # only a file of its own kind is replaced
    write_ratio(found, target)
    screen.print(format_summary(found.ratios))
    for one in found.ratios:
        for note in one.notes:
            screen.print(f"{one.model_size}: {note}")
    finding = check_ratios(found.ratios, ())
    if not finding.passed:
        screen.print(f"Not to order hardware from: {finding.sentence}")
    screen.print(str(target))


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise RefusedError(f"--threads is {text!r}; give numbers with commas between them, such as 1,2,4.") from None
