"""One loaded model and its worker threads, shared by all calls of an engine.

The model is loaded with the first request, so a batch of silent recordings loads none.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX, Lock
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from speech.asr.batching import Batcher
from speech.asr.calls import Call
from speech.asr.requests import Request, Work
from speech.asr.runtime.affinity import choose_worker_cores
from speech.asr.whisper import Samples, WhisperDecoder
from speech.machine.resources import detect_resources
from speech.models.registry import Weights

R = TypeVar("R")

_MAX_IN_FLIGHT = 64
"""Most chunks of a call, and most recordings of a step, in flight."""

_DEFAULT_BATCH_SIZE = {"cpu": 4, "cuda": 16}
"""Batch size per device. On two x86 cores a batch of four short chunks is 15 % faster than single ones, a batch of eight is no
faster. Eight long chunks are 17 % faster than four, but ten hours of speech then need more than 1 GB (measured)."""


COMPUTE_TYPES = frozenset(
    {"int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32"}
)
"""CTranslate2's names of the types that weights are computed in."""


class EngineOptions(BaseModel):
    """What the operator decides about where and how the model runs. The settings take fields and descriptions from here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: Literal["cpu", "cuda"] = Field(
        default="cpu",
        description="cpu or cuda. A GPU that was asked for and is not there is an error, never a run on the CPU.",
    )
    compute_type: str | None = Field(
        default=None,
        description="int8, int8_float32, int8_float16, int16, float16, bfloat16 or float32; default: int8, on a GPU float16.",
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description=(
            "How many batches are decoded at once, 1 to 256; default: one for each CPU of the process, fewer where memory is "
            "short, on a GPU 1."
        ),
    )
    batch: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description=(
            "How many chunks are decoded together, 1 to 256; it changes no text; default: 4, fewer where memory is "
            "short, on a GPU 16."
        ),
    )

    @field_validator("device", mode="before")
    @classmethod
    def _lower_device(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("compute_type")
    @classmethod
    def _known_compute_type(cls, value: str | None) -> str | None:
        if value is not None and value not in COMPUTE_TYPES:
            raise ValueError("not a compute type of CTranslate2")
        return value

    @property
    def effective_compute_type(self) -> str:
        """The compute type: the one given, or the usual one of the device."""
        return self.compute_type or ("float16" if self.device == "cuda" else "int8")

    def make_config(self) -> EngineConfig:
        """These options on this machine."""
        workers = self.workers or (1 if self.device == "cuda" else detect_resources().cpus)
        return EngineConfig(self.device, self.effective_compute_type, workers, self.batch)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Where and how a model runs: what all calls of an engine share.

    Attributes:
        device: A missing device is an error; no other one is used instead.
        compute_type: CTranslate2's name, such as ``int8`` or ``float16``.
        workers: Batches decoded at the same time. Changes no text.
        batch_size: Chunks in a batch; None: the fastest size on the device. Changes no text.
        detectors: Calls that look for speech at the same time; None: one for each CPU. Changes no text.
    """

    device: Literal["cpu", "cuda"] = "cpu"
    compute_type: str = "int8"
    workers: int = 1
    batch_size: int | None = None
    detectors: int | None = None


def get_batch_size(config: EngineConfig) -> int:
    """Chunks in a batch: as configured, or the fastest size on the device."""
    return config.batch_size or _DEFAULT_BATCH_SIZE[config.device]


class ModelPool:
    """Answers requests of many calls with one model. It owns threads: whoever makes one closes it."""

    def __init__(self, weights: Weights, config: EngineConfig) -> None:
        """Start the workers.

        Args:
            weights: Checked weights.
            config: Where and how the model runs.
        """
        self._weights = weights
        self._config = config
        self._model: WhisperDecoder | None = None
        self._load_lock = Lock()
        size = get_batch_size(config)
        self._batcher: Batcher[Hashable, Request[Any], Any] = Batcher(
            self._run_batch,
            workers=config.workers,
            max_batch_size=lambda key: 1 if key is None else size,
            cores=choose_worker_cores(config.workers) if config.device == "cpu" else None,
        )
        self.max_in_flight = min(_MAX_IN_FLIGHT, config.workers * size * 8)
        """Requests of a call in flight at the same time, enough for full batches for every worker. With half as many, a recording
        of 13 minutes had 14 batches of one chunk instead of 6 (measured)."""

    def close(self) -> None:
        """Cancel waiting requests and wait for running ones."""
        self._batcher.close()

    @property
    def model(self) -> WhisperDecoder:
        """The model, loaded when it is first needed, once for all threads.

        Raises:
            DeviceUnavailableError: See ``WhisperDecoder``.
        """
        with self._load_lock:
            if self._model is None:
                config = self._config
                self._model = WhisperDecoder(self._weights, config.device, config.compute_type, config.workers)
            return self._model

    @property
    def is_loaded(self) -> bool:
        """Whether the model has been loaded."""
        return self._model is not None

    @contextmanager
    def open_session(self, call: Call) -> Iterator[Session]:
        """Open a session, which runs the work of a call; when it closes, requests that still wait are cancelled."""
        session = Session(self, call)
        try:
            yield session
        finally:
            self._batcher.discard(call)

    def submit(self, request: Request[R], call: Call, order: int = 0) -> Future[R]:
        """Queue a request; the future gets its result.

        Args:
            request: What is asked.
            call: Whose it is.
            order: Of a call's requests, those of a lower number go first.

        Raises:
            RuntimeError: The pool is closed.
        """
        return self._batcher.submit(request.batch_key, request, call, request.seconds, order)

    def _run_batch(self, _: Hashable, requests: Sequence[Request[Any]]) -> Sequence[Any]:
        """Read each request's audio and run those that could be read; one that could not gets its own error."""
        results: list[Any] = [None] * len(requests)
        batch: list[Samples] = []
        readable: list[int] = []
        for i, request in enumerate(requests):
            try:
                batch.append(request.read_samples())
            except Exception as error:  # noqa: BLE001 - raised for whoever made the request
                results[i] = error
            else:
                readable.append(i)
        if readable:
            answers = requests[0].run_batch(self.model, [requests[i] for i in readable], batch)
            for i, answer in zip(readable, answers, strict=True):
                results[i] = answer
        return results


class Session:
    """Runs the work of one call, in the caller's thread; only the model's requests run in the pool's threads."""

    def __init__(self, pool: ModelPool, call: Call) -> None:
        """Prepare. Callers use ``ModelPool.open_session``."""
        self._pool = pool
        self._call = call
        self._events: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        call.on_cancel(lambda: self._events.put(None))

    def run_in_order(self, works: Sequence[Work[R]]) -> Iterator[R]:
        """Run works side by side and yield their results in order.

        At most ``ModelPool.max_in_flight`` works are begun ahead of the one that is yielded next, so the number of waiting results
        does not grow with the recording.

        Args:
            works: Generators that were not started yet.

        Raises:
            CallCancelledError, DeadlineExceededError: See ``Call.check``.
            Exception: What a request or a work raised.
        """
        results: dict[int, R] = {}
        began = 0
        try:
            for index in range(len(works)):
                while began < min(len(works), index + self._pool.max_in_flight):
                    self._advance(works, began, None, results)
                    began += 1
                while index not in results:
                    self._wait()
                yield results.pop(index)
        finally:
            for work in works[:began]:
                work.close()

    def _advance(self, works: Sequence[Work[R]], index: int, result: Any, results: dict[int, R]) -> None:
        """Send a work the result of its request (None: begin), and queue the next request, or note the work's result."""
        try:
            request = works[index].send(result)
        except StopIteration as stop:
            results[index] = stop.value
            return
        # What an earlier part needs further goes before later parts, so that results come in order.
        future = self._pool.submit(request, self._call, index)
        future.add_done_callback(
            lambda finished: self._events.put(lambda: self._advance(works, index, finished.result(), results))
        )

    def _wait(self) -> None:
        """Wait for the next event, and continue the work whose request is done.

        Raises:
            CallCancelledError, DeadlineExceededError: See ``Call.check``.
        """
        self._call.check()
        try:
            remaining_s = self._call.remaining_s
            event = self._events.get(timeout=None if remaining_s is None else min(remaining_s, TIMEOUT_MAX))
        except Empty:
            event = None
        self._call.check()
        if event is not None:
            event()
