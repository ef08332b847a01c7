"""How long a short call takes beside a long recording that came first, against how long it takes alone.

The long recording has more chunks than can be in flight, so they would keep every worker busy for minutes. The short calls come one
after the other while it is being transcribed; it is cancelled when they are done.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np
import soundfile

from speech.asr.calls import Call, CallCancelledError, Priority
from speech.asr.engine import Engine, RecordingIdentity
from speech.asr.model_pool import EngineConfig
from speech.audio.normalize import SAMPLE_RATE, normalize
from speech.machine.resources import detect_resources
from speech.models.registry import get_default_cache_dir, resolve
from speech.transcript import TranscribeOptions

_SAMPLES = Path(__file__).resolve().parents[2] / "samples"
_LONG_S = 20 * 60
_CALLS = 10


@dataclass(frozen=True)
class ShortCalls:
    """Latencies of short calls in seconds, of ``audio_s`` seconds of audio each.

    Attributes:
        audio_s: Length of a short call's audio.
        workers: Decoding threads.
        alone_s: One after the other, with nothing else to do.
        beside_s: Priority -> latencies beside the long recording.
    """

    audio_s: float
    workers: int
    alone_s: list[float]
    beside_s: dict[str, list[float]]

    def table(self) -> str:
        """For a terminal."""
        rows = {"alone": self.alone_s, **{f"beside, {name}": values for name, values in self.beside_s.items()}}
        lines = [f"{self.audio_s:.1f} s of speech, {self.workers} workers, seconds: median, longest"]
        lines += [f"  {name:22} {statistics.median(values):6.2f} {max(values):6.2f}" for name, values in rows.items()]
        return "\n".join(lines)


def measure() -> ShortCalls:
    """Time short calls alone, and beside a long recording at both priorities."""
    workers = detect_resources().cpus
    weights = resolve("base", model_dir=None, cache_dir=get_default_cache_dir())
    with (
        tempfile.TemporaryDirectory() as folder,
        Engine(weights, EngineConfig(workers=workers)) as engine,
    ):
        short, long = Path(folder, "short.wav"), Path(folder, "long.wav")
        normalize(_SAMPLES / "jfk.opus", short)
        samples, _ = soundfile.read(short, dtype="int16")
        soundfile.write(long, np.tile(samples, _LONG_S * SAMPLE_RATE // len(samples)), SAMPLE_RATE, subtype="PCM_16")
        engine.load()
        time_calls = partial(_time_calls, engine, short)
        time_calls(Priority.BATCH)  # the first ones fill caches
        alone = time_calls(Priority.BATCH)
        beside = {priority.name.lower(): _beside(engine, long, partial(time_calls, priority)) for priority in Priority}
    return ShortCalls(len(samples) / SAMPLE_RATE, workers, alone, beside)


def _time_calls(engine: Engine, path: Path, priority: Priority) -> list[float]:
    latencies = []
    for _ in range(_CALLS):
        began = time.monotonic()
        _transcribe(engine, path, Call(priority))
        latencies.append(time.monotonic() - began)
    return latencies


def _beside(engine: Engine, long: Path, measure_calls: partial[list[float]]) -> list[float]:
    """Call while a long recording is being decoded; it is cancelled at the end."""
    call, begun = Call(), Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(_transcribe, engine, long, call, begun)
        begun.wait()
        latencies = measure_calls()
        call.cancel()
        with suppress(CallCancelledError):
            running.result()
    return latencies


def _transcribe(engine: Engine, path: Path, call: Call, begun: Event | None = None) -> None:
    engine.transcribe(
        path,
        RecordingIdentity(path.name, "0" * 64),
        TranscribeOptions(language="en"),
        call=call,
        on_partial=lambda _: begun.set() if begun else None,
    )
