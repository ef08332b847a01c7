"""Shared by the measuring commands: the request, pinning to one core, progress, and interrupts that keep partial results."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.files import RefusedError
from speech.models.registry import Weights, resolve
from speech.transcript import Options, TranscribeOptions
from stt_orchestration.cli.console import make_console, show_progress
from stt_orchestration.cli.exit_codes import ExitCode, exit_with
from stt_orchestration.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.platform.result import BenchmarkResult


@dataclass(frozen=True)
class MeasurementRequest:
    """What is to be measured, and where its result goes unless told otherwise."""

    model: str
    options: Options
    audio: Path
    folder: Path
    settings: Settings


def make_measurement_request(model: str | None, audio: Path | None) -> MeasurementRequest:
    """The question, from the options of a command and the settings.

    Raises:
        RefusedError: There is no such audio file.
    """
    from benchmarks.platform.measure import STANDARD_CLIP
    from speech.asr.engine import join_options
    from speech.asr.model_pool import EngineConfig

    if audio is not None and not audio.is_file():
        raise RefusedError(f"{audio}: there is no such audio file.")
    settings = Settings.read()
    config = EngineConfig(settings.device, settings.effective_compute_type)
    options = join_options(settings.pick(TranscribeOptions), config)
    return MeasurementRequest(model or settings.model, options, audio or STANDARD_CLIP, settings.capacity_dir, settings)


@contextmanager
def measurement_session(
    screen: Console, request: MeasurementRequest, *, pin: bool, what: str
) -> Iterator[tuple[Weights, Callable[[int, int], None]]]:
    """Context of a measurement: yields the weights and a callback for the progress (iterations done, total).

    A KeyboardInterrupt that leaves the block ends the command, because there is no result to keep.
    """
    from benchmarks.platform.isolation import pin_to_one_core

    with _interruptible(), pin_to_one_core() if pin else nullcontext():
        settings = request.settings
        weights = resolve(
            request.model, model_dir=settings.model_dir, cache_dir=settings.cache_dir, progress=screen.print
        )
        with show_progress(screen, f"{what} of {request.model}") as progress:
            yield weights, progress


def measure_into(
    target: Path,
    request: MeasurementRequest,
    *,
    iterations: int,
    warmup: int,
    workers: int,
    pin: bool,
    unisolated: bool,
) -> BenchmarkResult:
    """Measure, write the result and say what it is. An interrupt leaves what was measured, marked so, and ends the command."""
    from benchmarks.platform.measure import measure
    from benchmarks.platform.result import write_result

    screen = make_console()
    with measurement_session(screen, request, pin=pin, what="benchmark") as (weights, progress):
        result = measure(
            weights,
            request.options,
            request.audio,
            iterations=iterations,
            warmup=warmup,
            workers=workers,
            unisolated=unisolated,
            pinned_by_us=pin,
            progress=progress,
        )
    write_result(result, target)
    for line in _summary_lines(result):
        screen.print(line)
    screen.print(str(target))
    if result.details.partial:
        exit_with(
            f"Interrupted after {result.iterations} of {iterations} iterations; {target} holds those and is marked as partial.",
            ExitCode.INTERRUPTED,
        )
    return result


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a container's stop end a measurement as Ctrl-C does, once; without any iteration there is nothing to keep.

    A second signal would leave the model's threads running while Python ends, which aborts the process, so after the first they are
    ignored to the end of the process. What is at work ends within seconds; SIGKILL still works.
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
        exit_with("Interrupted before any iteration had ended; nothing was written.", ExitCode.INTERRUPTED)
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is obey:
                signal.signal(number, handler)


def _summary_lines(result: BenchmarkResult) -> Iterator[str]:
    from benchmarks.platform.trust import check_result

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
    if doubts := [finding.sentence for finding in check_result(result) if not finding.passed]:
        yield f"Not to order hardware from: {' '.join(doubts)}"
