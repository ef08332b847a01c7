"""How memory grows with what is worked on at once, and whether the estimates that the steps plan with hold.

Each row is a process of its own, which works with so many threads and then says its peak. The peak above what it had after its
imports is compared with the estimate.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore

import numpy as np
import soundfile

from benchmarks.platform.memory import peak_memory_mb
from speech.asr.chunks import MAX_CHUNK_S
from speech.asr.detected_speech import detect_speech
from speech.asr.encoder_window import WINDOW_S
from speech.asr.engine import Engine, RecordingIdentity
from speech.asr.memory import estimate_engine_bytes, read_shape
from speech.asr.vad import VadOptions
from speech.asr.whisper import DecodeOptions, Samples, WhisperDecoder
from speech.audio.normalize import SAMPLE_RATE, estimate_memory_bytes, normalize
from speech.audio.wav import WavReader
from speech.enrichment.registry import ANNOTATORS
from speech.export import formats
from speech.export.base import ExportInput
from speech.models.registry import Weights, get_default_cache_dir, resolve
from speech.transcript import Segment, Transcript

_SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "austen.m4a"
_MIB = 2**20

_CASES: tuple[tuple[str, ...], ...] = (
    *(
        ("decode", model, workers, batch)
        for model in ("tiny.en", "base")
        for workers, batch in (("1", "1"), ("1", "4"), ("4", "1"), ("4", "4"))
    ),
    *(("detect", calls) for calls in ("1", "4", "8")),
    *(
        ("normalize", recordings, channels, rate)
        for recordings, channels, rate in (
            ("8", "1", "16000"),
            ("8", "2", "48000"),
            ("4", "8", "48000"),
            ("1", "64", "48000"),
        )
    ),
    *(
        ("export", recordings, minutes, embedded)
        for recordings, minutes, embedded in (("1", "20", "1"), ("4", "20", "1"), ("2", "60", "0"), ("1", "600", "0"))
    ),
)
"""Work, and its arguments: model, workers, batch; calls; recordings, channels, rate in Hz; recordings, minutes of speech, whether
the page carries the audio."""


@dataclass(frozen=True)
class Memory:
    """Work -> (MiB above the imports at the peak, MiB estimated)."""

    rows: dict[tuple[str, ...], tuple[float, float]]

    def table(self) -> str:
        """For a terminal."""
        lines = [f"{'work':40}{'measured':>10}{'estimated':>11}   MiB above the imports"]
        for case, (measured, estimated) in self.rows.items():
            lines.append(f"{' '.join(case):40}{measured:10.0f}{estimated:11.0f}")
        return "\n".join(lines)


def measure() -> Memory:
    """Run every case in a process of its own."""
    rows = {}
    for case in _CASES:
        command = [sys.executable, "-m", "benchmarks.lab.memory", *case]
        figures = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        rows[case] = float(figures[0]), float(figures[1])
    return Memory(rows)


def _run_parallel(count: int, work: Callable[[int], object]) -> None:
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, range(count)))


def _read_sample(folder: Path) -> np.ndarray:
    """(n,) int16 at 16 kHz."""
    path = folder / "sample.wav"
    normalize(_SAMPLE, path)
    samples, _ = soundfile.read(path, dtype="int16")
    return np.asarray(samples)


def _decode(folder: Path, model: str, workers: str, batch: str) -> tuple[float, float]:
    """Full windows, the same in every worker."""
    weights = resolve(model, model_dir=None, cache_dir=get_default_cache_dir())
    samples: Samples = np.resize(_read_sample(folder), round(MAX_CHUNK_S * SAMPLE_RATE)).astype(np.float32)
    samples /= 2**15
    before = peak_memory_mb()
    decoder = WhisperDecoder(weights, "cpu", "int8", int(workers))
    for _ in range(2):
        _run_parallel(
            int(workers),
            lambda _: decoder.decode_batch([samples] * int(batch), WINDOW_S, [DecodeOptions("en")] * int(batch)),
        )
    return before, _estimate(weights, int(workers), int(batch), 0)


def _detect(folder: Path, calls: str) -> tuple[float, float]:
    """Five minutes of speech in every call."""
    path = folder / "speech.wav"
    soundfile.write(path, np.resize(_read_sample(folder), 300 * SAMPLE_RATE), SAMPLE_RATE)
    before, slots = peak_memory_mb(), BoundedSemaphore(int(calls))

    def listen(_: int) -> None:
        with WavReader(path) as wav:
            detect_speech(wav, None, VadOptions(), slots, lambda _: None)

    _run_parallel(int(calls), listen)
    weights = resolve("tiny.en", model_dir=None, cache_dir=get_default_cache_dir())
    return before, _estimate(weights, 1, 1, int(calls)) - _estimate(weights, 1, 1, 0)


def _estimate(weights: Weights, workers: int, batch_size: int, detectors: int) -> float:
    shape = read_shape(weights.file)
    if shape is None:
        raise RuntimeError(f"{weights.file} is no model.")
    return estimate_engine_bytes(shape, "int8", workers, batch_size, detectors) / _MIB


def _normalize(folder: Path, recordings: str, channels: str, rate: str) -> tuple[float, float]:
    """Two minutes; the channels differ, so that none is mixed with another."""
    path = folder / "delivered.wav"
    generator = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", int(rate), int(channels), subtype="PCM_16") as file:
        for _ in range(120):
            file.write((generator.standard_normal((int(rate), int(channels))) * 0.1).astype(np.float32))
    before = peak_memory_mb()
    _run_parallel(int(recordings), lambda number: normalize(path, folder / f"{number}.wav"))
    return before, int(recordings) * estimate_memory_bytes(int(channels), int(rate)) / _MIB


def _export(folder: Path, recordings: str, minutes: str, embedded: str) -> tuple[float, float]:
    """The transcript of the sample, repeated."""
    is_embedded, seconds = embedded == "1", 60 * float(minutes)
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks.lab.memory", "transcribe", str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    once = Transcript.model_validate_json(made)
    repeats = int(seconds / once.meta.audio_duration_sec)
    segments = [
        _shift(segment, number * len(once.segments) + segment.id, number * once.meta.audio_duration_sec)
        for number in range(repeats)
        for segment in once.segments
    ]
    words = sum(len(segment.words) for segment in segments)
    meta = once.meta.model_copy(update={"audio_duration_sec": seconds})
    text = once.model_copy(update={"segments": tuple(segments), "meta": meta}).to_json()
    del segments
    audio = folder / "long.wav"
    samples, _ = soundfile.read(folder / "sample.wav", dtype="int16")
    with soundfile.SoundFile(audio, "w", SAMPLE_RATE, 1, subtype="PCM_16") as file:
        for _ in range(repeats if is_embedded else 0):
            file.write(samples)
    before = peak_memory_mb()

    def export(number: int) -> None:
        transcript = Transcript.model_validate_json(text)
        annotations = {
            each.name: each.run(transcript, lambda: contextlib.nullcontext(audio), "", (OSError,))
            for each in ANNOTATORS
        }
        source = ExportInput(
            transcript=transcript,
            annotations=annotations,
            shown_annotations=frozenset(annotations),
            siblings={},
            audio_href="",
            open_audio=lambda: contextlib.nullcontext(audio),
            embed_s=seconds if is_embedded else 0.0,
        )
        for each in formats.FORMATS:
            (folder / f"{number}{each.suffix}").write_text(each.render(source), encoding="utf-8")

    _run_parallel(int(recordings), export)
    one = formats.estimate_memory_bytes(words, seconds if is_embedded else 0.0, 1)
    return before, int(recordings) * one / _MIB


def _shift(segment: Segment, number: int, seconds: float) -> Segment:
    words = tuple(
        word.model_copy(update={"start": word.start + seconds, "end": word.end + seconds}) for word in segment.words
    )
    return segment.model_copy(
        update={"id": number, "start": segment.start + seconds, "end": segment.end + seconds, "words": words}
    )


def _transcribe(folder: Path) -> None:
    """In a process of its own, because a model would count in the peak of what is measured."""
    _read_sample(folder)
    with Engine(resolve("tiny.en", model_dir=None, cache_dir=get_default_cache_dir())) as engine:
        print(engine.transcribe(folder / "sample.wav", RecordingIdentity("sample.wav", "0" * 64)).to_json())


_WORKS: dict[str, Callable[..., tuple[float, float]]] = {
    "decode": _decode,
    "detect": _detect,
    "normalize": _normalize,
    "export": _export,
}


def main(arguments: list[str]) -> None:
    """Do one case, and print MiB at the peak above the imports, and MiB estimated."""
    if arguments[0] == "transcribe":
        _transcribe(Path(arguments[1]))
        return
    with tempfile.TemporaryDirectory() as place:
        before, estimated = _WORKS[arguments[0]](Path(place), *arguments[1:])
        print(peak_memory_mb() - before, estimated)


if __name__ == "__main__":
    main(sys.argv[1:])
