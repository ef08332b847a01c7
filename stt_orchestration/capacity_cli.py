"""The commands of capacity: measure a platform, stress it, compare two. The work is in ``benchmarks``; here is only the talking."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmarks.files import Refused, claim
from speech.transcript import Options
from speech.weights import Weights, resolve
from stt_orchestration.exits import Exit, spoken_errors, stop
from stt_orchestration.settings import Settings
from stt_orchestration.show import console, counting

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.result import BenchmarkResult

capacity = typer.Typer()

FOLDER = "benchmarks"
"""Below the data folder: where results lie unless told otherwise."""

_ALONE = 0.95
"""Share of one CPU's time below which a run was not alone on it: nothing in the engine waits for anything but the CPU."""

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
    screen, asked = console(), _asked(model, audio)
    from benchmarks.gather import file_name, this_platform
    from benchmarks.measure import STANDARD_CLIP, measure
    from benchmarks.result import write_result

    target = output or asked.folder / file_name(this_platform(asked.model))
    claim(target, overwrite=overwrite)
    with _interruptible(), _pinned(pin):
        weights = asked.weights(screen)
        with counting(screen, f"benchmark of {asked.model}") as progress:
            result = measure(
                weights,
                asked.options,
                audio or STANDARD_CLIP,
                iterations=iterations,
                warmup=warmup,
                workers=workers,
                unisolated=unisolated,
                pinned_by_us=pin,
                progress=progress,
            )
    write_result(result, target)
    for line in _told(result):
        screen.print(line)
    screen.print(str(target))
    if result.details.partial:
        stop(
            f"Interrupted after {result.iterations} of {iterations} iterations; {target} holds those and is marked as partial.",
            Exit.INTERRUPTED,
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
    screen, asked = console(), _asked(model, audio)
    from benchmarks.measure import STANDARD_CLIP
    from benchmarks.stress import stress as run
    from benchmarks.stress import table, write_stress

    counts = _numbers(threads)
    if output:
        claim(output, overwrite=overwrite)
    with _interruptible(), _pinned(pin):
        weights = asked.weights(screen)
        with counting(screen, f"stress of {asked.model}") as progress:
            every = (warmup + iterations) * len(counts)
            found = run(
                weights,
                asked.options,
                audio or STANDARD_CLIP,
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

    target = output or Settings.read().data_dir / FOLDER / CONFIG_NAME
    found = compare(a, b)
    claim(target, overwrite=True)
    if target.exists():
        read_ratio(target)  # only a file of its own kind is replaced
    write_ratio(found, target)
    screen.print(summary(found.ratios))
    for one in found.ratios:
        for note in one.notes:
            screen.print(f"{one.model_size}: {note}")
    screen.print(str(target))


@dataclass(frozen=True)
class _Asked:
    """What is to be measured."""

    model: str
    options: Options
    folder: Path
    settings: Settings

    def weights(self, screen: Console) -> Weights:
        settings = self.settings
        return resolve(self.model, model_dir=settings.model_dir, cache_dir=settings.cache_dir, progress=screen.print)


def _asked(model: str | None, audio: Path | None) -> _Asked:
    if audio is not None and not audio.is_file():
        raise Refused(f"{audio}: there is no such audio file.")
    settings = Settings.read()
    options = Options(
        language=settings.language,
        beam_size=settings.beam_size,
        word_timestamps=settings.word_timestamps,
        careful=settings.careful,
        device=settings.device,
        compute_type=settings.computes_in,
    )
    return _Asked(model or settings.model, options, settings.data_dir / FOLDER, settings)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise Refused(f"--threads is {text!r}; give numbers with commas between them, such as 1,2,4.") from None


@contextmanager
def _pinned(pin: bool) -> Iterator[None]:
    from benchmarks.isolation import pinned_to_one_core

    with pinned_to_one_core() if pin else nullcontext():
        yield


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a container's stop end a measurement as Ctrl-C does, once; without any iteration there is nothing to keep.

    A second signal (``timeout`` and impatient people send two) would leave the model's threads running while Python ends, which
    aborts the process, so after the first they are ignored to the end of the process. What is at work ends within seconds; SIGKILL
    is always there.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def obey(_number: int, _frame: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in before:
        signal.signal(number, obey)
    try:
        yield
    except KeyboardInterrupt:
        stop("Interrupted before any iteration had ended; nothing was written.", Exit.INTERRUPTED)
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is obey:
                signal.signal(number, handler)


def _told(result: BenchmarkResult) -> Iterator[str]:
    details = result.details
    yield (
        f"{result.cpu_model} ({result.architecture}), {result.model_size}, {details.audio.name} ({details.audio.seconds:.1f} s), "
        f"{'; '.join(details.isolation.how) or 'no isolation'}"
    )
    interval = details.mean_interval_ms
    sure = f" (95 % interval {interval[0]:.0f} to {interval[1]:.0f})" if interval else ""
    yield (
        f"mean {result.avg_latency_ms:.0f} ms{sure}, p50 {details.p50_ms:.0f}, p95 {details.p95_ms:.0f}, p99 {details.p99_ms:.0f}; "
        f"{result.rps:.3f} requests/s, {details.audio.seconds * result.rps:.1f} times realtime"
    )
    throttled = details.throttling
    counted = f"; throttled in {throttled.throttled} of {throttled.periods} periods" if throttled else ""
    steal = f"; {details.steal_s:.1f} s taken by the host" if details.steal_s else ""
    yield (
        f"model loaded in {details.model_load_s:.2f} s, audio decoded in {details.normalize_s:.2f} s, peak memory "
        f"{result.memory_mb:.0f} MB{counted}{steal}"
    )
    had = details.cpu_s / (result.total_time_s * min(1, result.cpu_limit))
    if had < _ALONE:
        yield f"It had its CPU for {had:.0%} of the time only: something else ran beside it. Measure again when nothing does."
