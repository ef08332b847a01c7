"""A real load: recordings arrive at random and are transcribed by the real engine, one process per core, from one line."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from speech.asr.runtime.affinity import get_usable_cores
from speech.asr.vad import VadOptions, VoiceActivityDetector, get_speech_spans
from speech.audio.normalize import SAMPLE_RATE, normalize
from speech.audio.wav import WavReader, WavWriter
from speech.machine.resources import detect_resources

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
_SOURCES = ("lj-printing.mp3", "austen.m4a", "video.webm", "nested/lj-long.flac")
_SHORTEST_S, _LONGEST_S = 1.5, 6.0


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """A request that was answered. Times in seconds on one monotonic clock."""

    clip: int
    arrived: float
    began: float
    ended: float
    cpu: float

    @property
    def response_s(self) -> float:
        """From arrival to answer."""
        return self.ended - self.arrived

    @property
    def service_s(self) -> float:
        """From the moment a worker took it to the answer."""
        return self.ended - self.began


def make_clips(folder: Path) -> list[Path]:
    """Phrases of the bundled samples, cut at pauses, 1.5 to 6 seconds each: short, so that minutes of load are many requests."""
    clips: list[Path] = []
    for source in _SOURCES:
        source_wav = folder / "whole.wav"
        normalize(SAMPLES / source, source_wav, keep_channels=False)
        with WavReader(source_wav) as wav:
            samples, seconds = wav.read(0, wav.frames), wav.duration_s
        source_wav.unlink()
        spans = get_speech_spans(
            VoiceActivityDetector().probabilities(samples[0]), seconds, VadOptions(speech_pad_s=0.05)
        )
        pauses = [(earlier[1] + later[0]) / 2 for earlier, later in pairwise(spans)]
        start = 0.0
        for end in [*pauses, seconds]:
            if _SHORTEST_S <= end - start <= _LONGEST_S:
                clips.append(folder / f"{len(clips):02}.wav")
                writer = WavWriter(clips[-1], 1)
                writer.write(
                    (samples.T[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] * 32767).astype(np.int16)
                )
                writer.finish()
            if end - start >= _SHORTEST_S:
                start = end
    return clips


class WorkerPool:
    """The service: a queue of requests, and one engine for each given core."""

    def __init__(self, weights: Path, cores: Sequence[int]) -> None:
        self._line: queue.SimpleQueue[tuple[int, Path, float] | None] = queue.SimpleQueue()
        self.served: list[ServedRequest] = []
        self.failed: RuntimeError | None = None
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.lab.queueing_check.worker", str(weights), str(core)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for core in cores
        ]
        for process in self._processes:
            _read(process)
        self._threads = [
            threading.Thread(target=self._serve, args=(process,), daemon=True) for process in self._processes
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, clip: int, path: Path) -> None:
        """Put a request into the queue."""
        self._line.put((clip, path, time.monotonic()))

    def wait_for(self, count: int) -> None:
        """Wait until this many requests have been answered in all.

        Raises:
            RuntimeError: A worker ended.
        """
        while len(self.served) < count:
            if self.failed:
                raise self.failed
            time.sleep(0.002)

    def close(self) -> None:
        """End the workers; requests that still wait are not served."""
        for process in self._processes:
            process.terminate()
            process.wait()

    def _serve(self, process: subprocess.Popen[str]) -> None:
        while (request := self._line.get()) is not None:
            clip, path, arrived = request
            assert process.stdin is not None  # noqa: S101 - it was asked for
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            try:
                took = json.loads(_read(process))
            except RuntimeError as error:
                self.failed = error
                return
            self.served.append(ServedRequest(clip, arrived, took["began"], took["ended"], took["cpu"]))


@contextmanager
def start_workers(weights: Path, servers: int) -> Iterator[WorkerPool]:
    """Engines that are loaded and warm when the block begins, each on a core of its own; the last cores of the process first.

    Raises:
        ValueError: There are not so many cores.
        RuntimeError: An engine did not start.
    """
    cores = get_usable_cores()
    usable = min(len(cores), detect_resources().cpus)
    if servers > usable:
        raise ValueError(f"{servers} workers need a core each, and this process may use {usable}.")
    workers = WorkerPool(weights, cores[-servers:])
    try:
        yield workers
    finally:
        workers.close()


def calibrate(workers: WorkerPool, clips: Sequence[Path], passes: int) -> list[ServedRequest]:
    """Every clip so many times, one after the other with nothing in line: the service times that a prediction rests on."""
    return [_serve_alone(workers, i, clip) for _ in range(passes) for i, clip in enumerate(clips)]


def select_decoded_once(clips: Sequence[Path], served: Sequence[ServedRequest]) -> list[Path]:
    """The clips whose processor time is at most twice the median: the others were suspected hallucinations and were decoded again.

    A few of them would make the 95th percentile jump from one mode of the distribution to the other from one short run to the next.
    """
    usual = float(np.median([request.cpu for request in served]))
    return [clips[request.clip] for request in served if request.cpu <= 2 * usual]


def _serve_alone(workers: WorkerPool, clip: int, path: Path) -> ServedRequest:
    served_before = len(workers.served)
    workers.submit(clip, path)
    workers.wait_for(served_before + 1)
    return workers.served[-1]


def generate_load(
    workers: WorkerPool, clips: Sequence[Path], rate: float, seconds: float, seed: int
) -> list[ServedRequest]:
    """Requests at random times (Poisson) for random clips, whether or not earlier ones are answered; then wait for the last.

    Args:
        workers: The service.
        clips: What is asked for, each as likely as any other.
        rate: Requests a second.
        seconds: How long requests arrive.
        seed: Of the arrivals.

    Returns:
        The requests in the order of arrival.
    """
    chance = np.random.default_rng(seed)
    served_before = len(workers.served)
    began, due_s, sent = time.monotonic(), chance.exponential(1 / rate), 0
    while due_s < seconds:
        time.sleep(max(0.0, began + due_s - time.monotonic()))
        clip = int(chance.integers(len(clips)))
        workers.submit(clip, clips[clip])
        sent, due_s = sent + 1, due_s + chance.exponential(1 / rate)
    workers.wait_for(served_before + sent)
    return sorted(workers.served[served_before:], key=lambda request: request.arrived)


def _read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"A worker ended early, exit code {process.wait()}; its own words stand above.")
    return line
