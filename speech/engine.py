"""From normalized audio to a transcript: voice activity, language, strategy, chunks, decoding, assembly.

Memory does not grow with the audio. Each step is its own module; this one connects them and owns the threads. Without speech the
model is not loaded, so a batch of silent recordings loads none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from speech.activity import FRAME, ActivityDetector, ActivityRules, Span, joined, speech_spans, union_seconds
from speech.assembly import dropped_of, segments_of
from speech.audio import SAMPLE_RATE
from speech.batching import Batcher
from speech.chunks import FAST_CHUNK_S, GLUE_S, MAX_CHUNK_S, Chunk, plan_chunks
from speech.context import SNUG, Room, context_seconds
from speech.decoder import Decoder, Samples
from speech.heard import HeardSegment
from speech.journal import Journal
from speech.language import LanguageVerdict, decide, likeliest, spread
from speech.listening import ChunkResult, Listener, needs_times
from speech.paths import CUT_LANGUAGES, bandwidth_db, choose
from speech.paths import Path as DecodingPath
from speech.pinning import own_cores
from speech.transcript import Decoding, Meta, Options, SpeechSpan, Transcript
from speech.wav import Wav
from speech.weights import Weights

ENGINE_VERSION = "6"
"""Part of the work key: raise it with any change that can change a transcript."""

_WINDOW_FRAMES = 60 * SAMPLE_RATE // FRAME  # the detector reads one minute at a time: 4 MB a channel
_JOURNAL_CHUNKS = 4
"""Recordings with fewer chunks (under a minute of speech) write no checkpoint: repeating them is quick."""

_MOST_AHEAD = 64
"""Most chunks, and most recordings, in flight: each recording may have a minute of audio in memory."""

_BATCH = {"cpu": 4, "cuda": 16}
"""Batch size per device. On two x86 cores a batch of four short chunks is 15 % faster than single ones, a batch of eight is no
faster. Eight long chunks are 17 % faster than four, but ten hours of speech then need more than 1 GB (measured)."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Name and checksum of the recording, as written to the transcript."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class _Activity:
    """Detected speech of a recording.

    Attributes:
        spans: For each channel, sorted (start, end) in seconds.
        probabilities: For each channel, (frames,) float32, 32 ms a frame.
    """

    spans: tuple[tuple[Span, ...], ...]
    probabilities: tuple[npt.NDArray[np.float32], ...]

    @property
    def heard(self) -> tuple[SpeechSpan, ...]:
        everything = [(*span, channel) for channel, spans in enumerate(self.spans) for span in joined(spans)]
        return tuple(SpeechSpan(start=round(s, 3), end=round(e, 3), channel=c) for s, e, c in sorted(everything))

    def chunks(self, max_s: float) -> tuple[Chunk, ...]:
        found = [
            chunk
            for channel, (spans, probabilities) in enumerate(zip(self.spans, self.probabilities, strict=True))
            for chunk in plan_chunks(spans, probabilities, channel, max_s=max_s)
        ]
        return tuple(sorted(found, key=lambda chunk: (chunk.pieces[0][0], chunk.channel)))


@dataclass(frozen=True, slots=True)
class _Question:
    """A request to the model. Only chunks with equal requests share a batch."""

    ask: str  # hear, unknown, languages or careful
    context_s: int = 0
    language: str = ""
    words: bool = True
    no_repeat: int = 0
    wanted: frozenset[str] = frozenset()


_Answer = HeardSegment | list[HeardSegment] | Mapping[str, float] | tuple[Mapping[str, float], HeardSegment | None]


class Engine:
    """Transcribes recordings with one set of weights and options, several at a time. Use as a context manager: it owns threads."""

    def __init__(
        self,
        weights: Weights,
        options: Options,
        *,
        workers: int = 1,
        batch: int | None = None,
        rules: ActivityRules | None = None,
    ) -> None:
        """Prepare; the model itself is loaded with the first speech.

        Args:
            weights: Checked weights.
            options: Everything that can change the text.
            workers: Batches decoded at the same time: the number of cores on a CPU, 1 on a GPU.
            batch: Chunks in a batch; default: the fastest size on the device.
            rules: Options of the voice-activity detector.
        """
        self.weights = weights
        self.options = options
        self._rules = rules or ActivityRules()
        self._decoder: Decoder | None = None
        self._loading = Lock()
        size = batch or _BATCH[options.device]
        self._workers = workers
        self._batcher: Batcher[_Question, Samples, _Answer] = Batcher(
            self._answer,
            workers=workers,
            size=lambda question: 1 if question.ask == "careful" else size,
            cores=own_cores(workers) if options.device == "cpu" else None,
        )
        self.ahead = min(_MOST_AHEAD, workers * size * 8)
        """Chunks in flight at the same time, enough for full batches for every worker. With half as many, a recording of 13 minutes
        had 14 batches of one chunk instead of 6 (measured)."""
        self._pool = ThreadPoolExecutor(self.ahead, thread_name_prefix="listen")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batcher.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def decoder(self) -> Decoder:
        """The model, loaded when it is first needed, once for all threads."""
        with self._loading:
            if self._decoder is None:
                options = self.options
                self._decoder = Decoder(self.weights, options.device, options.compute_type, self._workers)
            return self._decoder

    @property
    def loaded(self) -> bool:
        """Whether the model has been loaded."""
        return self._decoder is not None

    def transcribe(
        self,
        path: Path,
        subject: Subject,
        progress: Callable[[float], None] | None = None,
        journal: Callable[[], Journal] | None = None,
    ) -> Transcript:
        """Transcribe one recording. Threads may call it at the same time; nothing in a text depends on the others.

        Args:
            path: Normalized audio: 16 kHz WAV or RF64, any number of channels.
            subject: The recording's name and checksum.
            progress: Called often with the finished share of the speech, 0 to 1; an exception that it raises stops the
                transcription.
            journal: Opens this recording's checkpoint; called for long recordings only. The caller deletes the file.

        Raises:
            DeviceUnavailable: See ``Decoder``.
        """
        with Wav(path) as wav:
            activity = self._activity(wav, progress)
            seconds, channels = wav.duration_s, wav.channels
        chunks = activity.chunks(FAST_CHUNK_S)
        if not chunks:
            flags = {"no_speech": "The voice-activity detector heard no speech in the whole recording."}
            meta = self._meta(subject, (seconds, channels), activity, flags)
            return Transcript(file=subject.name, language=None, meta=meta, segments=())
        read = partial(_samples, path)
        bandwidth = bandwidth_db([read(chunk) for chunk in spread(chunks)])
        verdict, firsts = self._language(chunks, read, bandwidth)
        language = verdict.language if verdict else str(self.options.language)
        way = choose(language, bandwidth, careful=self.options.careful)
        if way.room is None:
            chunks = activity.chunks(MAX_CHUNK_S)
        listener = Listener(_Ears(self, way.room), read, language, self.options.word_timestamps, activity.spans)
        listen = (lambda chunk: listener.fast(chunk, firsts.get(chunk))) if way.room else listener.careful
        long = journal is not None and len(chunks) >= _JOURNAL_CHUNKS
        with journal() if long and journal else nullcontext() as kept:
            results = self._results(chunks, listen, kept, progress)
        segments = segments_of(results, channels)
        flags = dict(verdict.flags) if verdict else {}
        if not segments:
            # Without words, flags about the language make no sense.
            flags = {
                "no_speech": "The voice-activity detector heard something like speech, and the model found no words in it that "
                "can be believed."
            }
        meta = self._meta(
            subject,
            (seconds, channels),
            activity,
            flags,
            language_probability=verdict.probability if verdict else None,
            language_alternatives=verdict.alternatives if verdict else (),
            language_windows=tuple(place.heard for place in verdict.places) if verdict else (),
            decoding=_decoding(way, results),
            dropped=dropped_of(results),
        )
        return Transcript(file=subject.name, language=language if segments else None, meta=meta, segments=segments)

    def _activity(self, wav: Wav, progress: Callable[[float], None] | None) -> _Activity:
        """Detect speech in windows of (channels, 60 s * 16,000) float32 at 16 kHz."""
        detectors = [ActivityDetector() for _ in range(wav.channels)]
        collected: list[list[npt.NDArray[np.float32]]] = [[] for _ in detectors]
        for start in range(0, wav.frames, _WINDOW_FRAMES * FRAME):
            window = wav.read(start, _WINDOW_FRAMES * FRAME)
            for channel, detector in enumerate(detectors):
                collected[channel].append(detector.hear(window[channel]))
            if progress:
                progress(0.0)
        probabilities = tuple(np.concatenate(parts) if parts else np.zeros(0, np.float32) for parts in collected)
        spans = tuple(tuple(speech_spans(heard, wav.duration_s, self._rules)) for heard in probabilities)
        return _Activity(spans, probabilities)

    def _language(
        self, chunks: Sequence[Chunk], read: Callable[[Chunk], Samples], bandwidth: float
    ) -> tuple[LanguageVerdict | None, dict[Chunk, HeardSegment]]:
        """Detect the language (None if it is forced).

        Also returns the hypotheses of chunks that were already decoded in that language.
        """
        if self.options.language is not None:
            return None, {}
        if not self.decoder.multilingual:
            return LanguageVerdict("en", 1.0, ()), {}
        asked = spread(chunks)
        # The bandwidth already decides part of the strategy. Chunks whose window will not change are decoded in the same call.
        room = choose("en", bandwidth, careful=self.options.careful).room
        ask = "unknown" if room else "languages"
        room = room or SNUG
        words = [needs_times(chunk, words=self.options.word_timestamps) for chunk in asked]
        wanted = frozenset(spoken for spoken in CUT_LANGUAGES if choose(spoken, bandwidth, careful=False).room == room)
        futures = [
            self._batcher.ask(
                _Question(ask, context_seconds(chunk.seconds, room), words=timed, wanted=wanted), read(chunk)
            )
            for chunk, timed in zip(asked, words, strict=True)
        ]
        second_half = chunks[0].second_half() if len(chunks) == 1 else None
        if second_half:
            question = _Question("languages", context_seconds(second_half.seconds, room))
            asked.append(second_half)
            futures.append(self._batcher.ask(question, read(second_half)))
        answers: list[tuple[Chunk, Mapping[str, float]]] = []
        written: dict[Chunk, tuple[str, HeardSegment]] = {}
        for chunk, future in zip(asked, futures, strict=True):
            answer = future.result()
            if isinstance(answer, tuple):
                answer, segment = answer
                if segment is not None:
                    written[chunk] = (likeliest(answer), segment)
            answers.append((chunk, _mapping(answer)))
        verdict = decide(answers)
        return verdict, {chunk: seg for chunk, (spoken, seg) in written.items() if spoken == verdict.language}

    def _results(
        self,
        chunks: Sequence[Chunk],
        listen: Callable[[Chunk], ChunkResult],
        journal: Journal | None,
        progress: Callable[[float], None] | None,
    ) -> list[ChunkResult]:
        results = journal.read()[: len(chunks)] if journal else []
        for result in self._in_order(chunks[len(results) :], listen):
            if journal:
                journal.add(result)
            results.append(result)
            if progress:
                progress(len(results) / len(chunks))
        return results

    def _in_order(self, chunks: Sequence[Chunk], listen: Callable[[Chunk], ChunkResult]) -> Iterator[ChunkResult]:
        # Only a limited number of chunks is submitted ahead, so that a long recording is never in memory as a whole.
        running = [self._pool.submit(listen, chunk) for chunk in chunks[: self.ahead]]
        try:
            for i in range(len(chunks)):
                yield running.pop(0).result()
                if i + self.ahead < len(chunks):
                    running.append(self._pool.submit(listen, chunks[i + self.ahead]))
        finally:
            for future in running:
                future.cancel()

    def _answer(self, question: _Question, batch: Sequence[Samples]) -> Sequence[_Answer]:
        decoder, beam, context, words = self.decoder, self.options.beam_size, question.context_s, question.words
        match question.ask:
            case "hear":
                return decoder.hear(batch, context, question.language, beam, words=words)
            case "unknown":
                return decoder.hear_unknown(batch, context, beam, question.wanted, words=words)
            case "languages":
                return decoder.languages(batch, context)
            case _:
                careful = partial(
                    decoder.hear_carefully, language=question.language, beam_size=beam, no_repeat=question.no_repeat
                )
                return [careful(samples, words=words) for samples in batch]

    def ask(self, question: _Question, samples: Samples) -> _Answer:
        """Run a request in a batch with equal requests and wait for its result."""
        return self._batcher.ask(question, samples).result()

    def _meta(
        self, subject: Subject, shape: tuple[float, int], activity: _Activity, flags: dict[str, str], **more: object
    ) -> Meta:
        seconds, channels = shape
        heard = activity.heard
        return Meta(
            audio_file=subject.name,
            audio_sha256=subject.sha256,
            audio_duration_sec=round(seconds, 3),
            channels=channels,
            model_name=self.weights.name,
            model_sha256=self.weights.sha256,
            engine_version=ENGINE_VERSION,
            options=self.options,
            speech=heard,
            speech_seconds=round(union_seconds((s.start, s.end) for s in heard), 3),
            flags=flags,
            **more,
        )


@dataclass(frozen=True, slots=True)
class _Ears:
    """``Ears`` that send their requests through the engine's batches."""

    engine: Engine
    room: Room | None

    def hear(self, samples: Samples, language: str, *, words: bool) -> HeardSegment:
        context_s = context_seconds(len(samples) / SAMPLE_RATE, self.room or SNUG)
        question = _Question("hear", context_s, language, words)
        answer = self.engine.ask(question, samples)
        assert isinstance(answer, HeardSegment)  # noqa: S101 - the question says so
        return answer

    def hear_carefully(self, samples: Samples, language: str, *, words: bool, no_repeat: int = 0) -> list[HeardSegment]:
        answer = self.engine.ask(_Question("careful", language=language, words=words, no_repeat=no_repeat), samples)
        assert isinstance(answer, list)  # noqa: S101 - the question says so
        return answer


def _mapping(answer: object) -> Mapping[str, float]:
    assert isinstance(answer, Mapping)  # noqa: S101 - the question says so
    return answer


def _decoding(way: DecodingPath, results: Sequence[ChunkResult]) -> Decoding:
    return Decoding(
        path=way.name,
        why=way.why,
        chunks=len(results),
        suspects=sum(result.suspect for result in results),
        rescued=sum(result.rescued for result in results),
        dropped=sum(len(result.dropped) for result in results),
        flagged=sum(bool(written.flags) for result in results for written in result.kept),
    )


def _samples(path: Path, chunk: Chunk) -> Samples:
    """Read a chunk's audio, with silence between its pieces.

    Returns float32 of shape (n,) at 16 kHz, n = chunk.seconds * 16,000 up to rounding. Each call opens the file, because a reader
    has only one position.
    """
    glue = np.zeros(round(GLUE_S * SAMPLE_RATE), np.float32)
    parts: list[npt.NDArray[np.float32]] = []
    with Wav(path) as wav:
        for start, end in chunk.pieces:
            first = round(start * SAMPLE_RATE)
            parts += [wav.read(first, round(end * SAMPLE_RATE) - first)[chunk.channel], glue]
    return np.concatenate(parts[:-1])
