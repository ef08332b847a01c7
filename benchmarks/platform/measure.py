"""Measuring a platform: the production engine over one recording, one request after the other, on one CPU.

A latency is what ``Engine.transcribe`` takes from a 16 kHz file on the disk to the finished transcript: voice activity, language,
encoding, decoding, hallucination checks. Loading the model and reading the audio file are timed separately; the first iterations
are not counted.
"""

from __future__ import annotations

import hashlib
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks.files import RefusedError
from benchmarks.platform.isolation import Isolation, detect_isolation, require_one_cpu
from benchmarks.platform.machine import Machine, describe_machine, read_steal_seconds
from benchmarks.platform.memory import peak_memory_mb
from benchmarks.platform.result import Audio, BenchmarkResult, Details, WeightsUsed, summarize
from speech.asr.engine import ENGINE_VERSION, Engine, RecordingIdentity
from speech.asr.model_pool import EngineConfig
from speech.asr.whisper import DeviceUnavailableError
from speech.audio.errors import BadAudioError
from speech.audio.normalize import SAMPLE_RATE, normalize
from speech.machine.cgroups import CpuCounters, read_cpu_counters
from speech.machine.host import Host
from speech.models.catalogue import load_catalogue
from speech.models.registry import Weights
from speech.transcript import Options, Transcript

STANDARD_CLIP = Path(__file__).with_name("audio") / "lj-30s.flac"
"""Thirty seconds of public-domain English; see ``audio/README.md``."""

ITERATIONS = 50
WARMUP = 2
"""The first request fills caches and buffers; the second one ensures that nothing is initialized during the measurement."""

_LIBRARIES = ("faster-whisper", "ctranslate2", "onnxruntime", "numpy", "av")


@dataclass(frozen=True, slots=True)
class _CounterSnapshot:
    """Counters that only grow, read between two iterations."""

    cpu_s: float
    steal_s: float | None
    counters: CpuCounters | None

    @classmethod
    def now(cls, host: Host) -> _CounterSnapshot:
        return cls(time.process_time(), read_steal_seconds(host), read_cpu_counters(host))


@dataclass(slots=True)
class _IterationResults:
    """What the iterations gave until now."""

    latencies_ms: list[float]
    began: _CounterSnapshot
    ended: _CounterSnapshot
    partial: bool = False


def measure(
    weights: Weights,
    options: Options,
    audio: Path = STANDARD_CLIP,
    *,
    iterations: int = ITERATIONS,
    warmup: int = WARMUP,
    workers: int = 1,
    unisolated: bool = False,
    pinned_by_us: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> BenchmarkResult:
    """Measure one model over one recording on this machine.

    An interrupt (``KeyboardInterrupt``) ends it early: what was measured until then comes back, marked ``details.partial``.
    Peak memory is the process's: call it in a process of its own for a figure that means something.

    Args:
        weights: Checked weights.
        options: Everything that can change the text, as production has it. On a CPU only.
        audio: Any audio file with speech in it.
        iterations: How many requests are measured.
        warmup: How many come before them, uncounted.
        workers: The engine's decoding threads.
        unisolated: Measure even where more than one CPU can be used.
        pinned_by_us: Whether the affinity in force was set for this run; only recorded.
        progress: Called with the number of iterations that have ended and the number of all, warm-up included.

    Raises:
        RefusedError: The numbers, the device, the compute type or the audio make no measurement, or more than one CPU can be used.
        KeyboardInterrupt: Interrupted before any iteration had ended.
    """
    _check(options, audio, iterations, warmup, workers)
    host = Host.here()
    isolation = detect_isolation(host, pinned_by_us=pinned_by_us)
    if not unisolated:
        require_one_cpu(isolation, host.system)
    began_at = datetime.now(UTC)
    report_progress = progress or (lambda _done, _all: None)
    with tempfile.TemporaryDirectory(prefix="stt-benchmark-") as place:
        wav = Path(place, "audio.wav")
        clip, normalize_s = _normalize_audio(audio, wav)
        with Engine(weights, EngineConfig(options.device, options.compute_type, workers)) as engine:
            request = partial(
                engine.transcribe, wav, RecordingIdentity(clip.name, clip.sha256), options.transcribe_options
            )
            load_s = _load(engine)
            warmup_ms: list[float] = []
            for _ in range(warmup):
                warmup_ms.append(_time_request(request, clip.name)[0])
                report_progress(len(warmup_ms), warmup + iterations)
            results, transcript = _iterate(
                request, clip.name, iterations, host, lambda done: report_progress(warmup + done, warmup + iterations)
            )
    details = Details(
        **summarize(results.latencies_ms),
        partial=results.partial,
        iterations_asked=iterations,
        warmup_latencies_ms=tuple(round(value, 3) for value in warmup_ms),
        model_load_s=round(load_s, 4),
        normalize_s=round(normalize_s, 4),
        cpu_s=round(results.ended.cpu_s - results.began.cpu_s, 3),
        steal_s=_compute_increase(results.began.steal_s, results.ended.steal_s),
        throttling=results.ended.counters.since(results.began.counters)
        if results.began.counters and results.ended.counters
        else None,
        workers=workers,
        audio=clip,
        weights=WeightsUsed(name=_get_model_name(weights), sha256=weights.sha256, revision=weights.revision),
        options=options,
        engine_version=ENGINE_VERSION,
        decoding=transcript.meta.decoding.path if transcript.meta.decoding else None,
        words=sum(len(segment.text.split()) for segment in transcript.segments),
        isolation=isolation,
        machine=describe_machine(host),
        versions={**{name: version(name) for name in _LIBRARIES}, "python": platform.python_version()},
    )
    return _result(began_at, details, isolation, details.machine)


def _check(options: Options, audio: Path, iterations: int, warmup: int, workers: int) -> None:
    for name, value, least in (("iterations", iterations, 1), ("warm-up", warmup, 0), ("workers", workers, 1)):
        if value < least:
            raise RefusedError(f"{name} is {value}; {least} is the least that can be measured.")
    if options.device != "cpu":
        raise RefusedError(
            "The benchmark measures one CPU, and STT_DEVICE asks for another device. Unset it, or set STT_DEVICE=cpu."
        )
    if not audio.is_file():
        raise RefusedError(f"{audio}: there is no such audio file.")


def _iterate(
    request: Callable[[], Transcript], name: str, iterations: int, host: Host, report_progress: Callable[[int], None]
) -> tuple[_IterationResults, Transcript]:
    moment = _CounterSnapshot.now(host)
    results = _IterationResults([], moment, moment)
    transcript: Transcript | None = None
    try:
        for _ in range(iterations):
            milliseconds, transcript = _time_request(request, name)
            results.ended = _CounterSnapshot.now(host)
            results.latencies_ms.append(milliseconds)
            report_progress(len(results.latencies_ms))
    except KeyboardInterrupt:
        if not results.latencies_ms:
            raise
        results.partial = True
    assert transcript is not None  # noqa: S101 - one iteration at least has ended
    return results, transcript


def _time_request(request: Callable[[], Transcript], name: str) -> tuple[float, Transcript]:
    began = time.perf_counter()
    transcript = request()
    milliseconds = (time.perf_counter() - began) * 1000
    if not transcript.segments:
        raise RefusedError(
            f"{name}: the engine heard no words in it, so there is nothing to measure. Give a file with speech."
        )
    return milliseconds, transcript


def _normalize_audio(audio: Path, wav: Path) -> tuple[Audio, float]:
    with audio.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    began = time.perf_counter()
    try:
        normalized = normalize(audio, wav)
    except BadAudioError as error:
        raise RefusedError(f"{audio}: {error.sentence}") from error
    seconds = time.perf_counter() - began
    if not normalized.samples_per_channel:
        raise RefusedError(f"{audio}: it holds no sound at all.")
    return Audio(
        name=audio.name, sha256=sha256, seconds=round(normalized.samples_per_channel / SAMPLE_RATE, 3)
    ), seconds


def _result(began_at: datetime, details: Details, isolation: Isolation, platform_: Machine) -> BenchmarkResult:
    count, total_ms = len(details.latencies_ms), sum(details.latencies_ms)
    return BenchmarkResult(
        timestamp=began_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        architecture=platform_.architecture,
        cpu_model=platform_.cpu_model,
        model_size=details.weights.name,
        iterations=count,
        avg_latency_ms=round(total_ms / count, 3),
        total_time_s=round(total_ms / 1000, 6),
        rps=round(count / (total_ms / 1000), 6),
        cpu_limit=isolation.cpu_limit,
        memory_mb=peak_memory_mb(),
        details=details,
    )


def _get_model_name(weights: Weights) -> str:
    return weights.name if weights.name in load_catalogue() else weights.path.name


def _compute_increase(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else round(max(0.0, after - before), 3)


def _load(engine: Engine) -> float:
    """Load the model; the seconds it took."""
    began = time.perf_counter()
    try:
        engine.load()
    except DeviceUnavailableError as error:
        raise RefusedError(str(error)) from error
    return time.perf_counter() - began
