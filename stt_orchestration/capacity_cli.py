"""The commands of capacity: measure a platform, stress it, compare two. This file only parses options and prints results.

The work is in ``benchmarks``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.files import Refused, claim
from stt_orchestration.exits import Exit, spoken_errors, stop
from stt_orchestration.measuring import asked, at_work, measure_into
from stt_orchestration.settings import Settings
from stt_orchestration.show import console

capacity = typer.Typer()

Model = Annotated[
    str | None, typer.Option(help="base, small, medium, any other of the catalogue, or a folder; default: STT_MODEL.")
]
Audio = Annotated[
    Path | None,
    typer.Option(help="A recording with speech in it; default: 30 s of public-domain English.", show_default=False),
]
Pin = Annotated[bool, typer.Option("--pin", help="Keep this process on one core (Linux).")]
Unisolated = Annotated[bool, typer.Option("--unisolated", help="Measure even where more than one CPU can be used.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it is there.")]


@capacity.command()
@spoken_errors
def benchmark(
    model: Model = None,
    audio: Audio = None,
    iterations: Annotated[int, typer.Option(help="Requests measured, one after the other.")] = 50,
    warmup: Annotated[int, typer.Option(help="Requests before them, uncounted.")] = 2,
    workers: Annotated[int, typer.Option(help="Decoding threads of the engine, as STT_WORKERS sets them.")] = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            help="The result; its name without .json is the platform's. Default: benchmarks/ in the data folder."
        ),
    ] = None,
    pin: Pin = False,
    unisolated: Unisolated = False,
    overwrite: Overwrite = False,
) -> None:
    """Measure how long this machine's one CPU takes for a request, with the engine as production runs it."""
    from benchmarks.gather import new_file

    question = asked(model, audio)
    target = output or new_file(question.folder, question.model)
    claim(target, overwrite=overwrite)
    measure_into(
        target,
        question,
        iterations=iterations,
        warmup=warmup,
        workers=workers,
        pin=pin,
        unisolated=unisolated,
    )


@capacity.command()
@spoken_errors
def stress(
    model: Model = None,
    audio: Audio = None,
    threads: Annotated[
        str, typer.Option(help="Numbers of decoding threads; the first is what others are compared with.")
    ] = "1,2,4",
    iterations: Annotated[int, typer.Option(help="Requests measured with each.")] = 10,
    warmup: Annotated[int, typer.Option(help="Requests before them, uncounted.")] = 1,
    output: Annotated[Path | None, typer.Option(help="Write the table as JSON too.")] = None,
    pin: Pin = False,
    unisolated: Unisolated = False,
    overwrite: Overwrite = False,
) -> None:
    """Find throttling: several decoding threads under one CPU, with what the kernel counted and what it did to latency."""
    from benchmarks.stress import stress as run
    from benchmarks.stress import table, write_stress

    screen, question, counts = console(), asked(model, audio), _numbers(threads)
    if output:
        claim(output, overwrite=overwrite)
    with at_work(screen, question, pin=pin, what="stress") as (weights, progress):
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
    screen.print(table(found))
    screen.print(found.verdict)
    if output:
        write_stress(found, output)
        screen.print(str(output))
    if found.partial:
        stop("Interrupted; the last row, or a missing one, is not the whole.", Exit.INTERRUPTED)


@capacity.command()
@spoken_errors
def ratio(
    a: Annotated[Path, typer.Argument(help="A result, or a folder of one platform's results.")],
    b: Annotated[Path, typer.Argument(help="The other platform's.")],
    output: Annotated[
        Path | None,
        typer.Option(help="Default: benchmarks/ratio_config.json in the data folder; an older one is replaced."),
    ] = None,
) -> None:
    """Compare two platforms: latency on B / latency on A, with its uncertainty, for runs that are alike in all else."""
    screen = console()
    from benchmarks.ratio import CONFIG_NAME, compare, read_ratio, summary, write_ratio
    from benchmarks.trust import of_ratios

    target = output or Settings.read().capacity_dir / CONFIG_NAME
    found = compare(a, b)
    claim(target, overwrite=True)
    if target.exists():
        read_ratio(target)  # only a file of its own kind is replaced
    write_ratio(found, target)
    screen.print(summary(found.ratios))
    for one in found.ratios:
        for note in one.notes:
            screen.print(f"{one.model_size}: {note}")
    finding = of_ratios(found.ratios, ())
    if not finding.kept:
        screen.print(f"Not to order hardware from: {finding.sentence}")
    screen.print(str(target))


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise Refused(f"--threads is {text!r}; give numbers with commas between them, such as 1,2,4.") from None
