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

from speech.asr.assembly import build_segments, list_dropped
from speech.asr.batching import Batcher
from speech.asr.checkpoint import Checkpoint
from speech.asr.chunk_transcriber import ChunkTranscriber, needs_word_timestamps
from speech.asr.chunks import FAST_CHUNK_S, GLUE_S, MAX_CHUNK_S, Chunk, plan_chunks
from speech.asr.encoder_window import SHORT, WindowPolicy, compute_context_s
from speech.asr.hypothesis import ChunkResult, SegmentHypothesis
from speech.asr.language import LanguageDetection, decide_language, get_likeliest_language, pick_evenly
from speech.asr.runtime.affinity import choose_worker_cores
from speech.asr.strategy import SHORT_WINDOW_LANGUAGES, choose_strategy, measure_bandwidth_db
from speech.asr.strategy import DecodingStrategy as DecodingPath
from speech.asr.vad import (
    VAD_FRAME_SAMPLES,
    Span,
    VadOptions,
    VoiceActivityDetector,
    get_speech_spans,
    measure_union_s,
    merge_spans,
)
from speech.asr.whisper import Samples, WhisperDecoder
from speech.audio.normalize import SAMPLE_RATE
from speech.audio.wav import WavReader
from speech.models.registry import Weights
from speech.transcript import DecodingStats, Meta, Options, SpeechSpan, Transcript

ENGINE_VERSION = "6"
"""Part of the work key: raise it with any change that can change a transcript."""

_VAD_WINDOW_FRAMES = 60 * SAMPLE_RATE // VAD_FRAME_SAMPLES  # the detector reads one minute at a time: 4 MB a channel
_MIN_CHECKPOINT_CHUNKS = 4
"""Recordings with fewer chunks (under a minute of speech) write no checkpoint: repeating them is quick."""

_MAX_IN_FLIGHT = 64
"""Most chunks, and most recordings, in flight: each recording may have a minute of audio in memory."""

_DEFAULT_BATCH_SIZE = {"cpu": 4, "cuda": 16}
"""Batch size per device. On two x86 cores a batch of four short chunks is 15 % faster than single ones, a batch of eight is no
faster. Eight long chunks are 17 % faster than four, but ten hours of speech then need more than 1 GB (measured)."""


@dataclass(frozen=True, slots=True)
class RecordingIdentity:
    """Name and checksum of the recording, as written to the transcript."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class _DetectedSpeech:
    """Detected speech of a recording.

    Attributes:
        spans: For each channel, sorted (start, end) in seconds.
        probabilities: For each channel, (frames,) float32, 32 ms a frame.
    """

    spans: tuple[tuple[Span, ...], ...]
    probabilities: tuple[npt.NDArray[np.float32], ...]

    @property
    def speech_spans(self) -> tuple[SpeechSpan, ...]:
        everything = [(*span, channel) for channel, spans in enumerate(self.spans) for span in merge_spans(spans)]
        return tuple(SpeechSpan(start=round(s, 3), end=round(e, 3), channel=c) for s, e, c in sorted(everything))

    def cut_chunks(self, max_s: float) -> tuple[Chunk, ...]:
        found = [
            chunk
            for channel, (spans, probabilities) in enumerate(zip(self.spans, self.probabilities, strict=True))
            for chunk in plan_chunks(spans, probabilities, channel, max_s=max_s)
        ]
        return tuple(sorted(found, key=lambda chunk: (chunk.pieces[0][0], chunk.channel)))


@dataclass(frozen=True, slots=True)
class _DecodeRequest:
    """A request to the model. Only chunks with equal requests share a batch."""

    operation: str  # hear, unknown, languages or careful
    context_s: int = 0
    language: str = ""
    word_timestamps: bool = True
    no_repeat_ngram_size: int = 0
    accepted_languages: frozenset[str] = frozenset()


_DecodeResult = (
    SegmentHypothesis
    | list[SegmentHypothesis]
    | Mapping[str, float]
    | tuple[Mapping[str, float], SegmentHypothesis | None]
)


class Engine:
    """Transcribes recordings with one set of weights and options, several at a time. Use as a context manager: it owns threads."""

    def __init__(
        self,
        weights: Weights,
        options: Options,
        *,
        workers: int = 1,
        batch_size: int | None = None,
        vad_options: VadOptions | None = None,
    ) -> None:
        """Prepare; the model itself is loaded with the first speech.

        Args:
            weights: Checked weights.
            options: Everything that can change the text.
            workers: Batches decoded at the same time: the number of cores on a CPU, 1 on a GPU.
            batch_size: Chunks in a batch; default: the fastest size on the device.
            vad_options: Options of the voice-activity detector.
        """
        self.weights = weights
        self.options = options
        self._vad_options = vad_options or VadOptions()
        self._decoder: WhisperDecoder | None = None
        self._load_lock = Lock()
        size = batch_size or _DEFAULT_BATCH_SIZE[options.device]
        self._workers = workers
        self._batcher: Batcher[_DecodeRequest, Samples, _DecodeResult] = Batcher(
            self._process_batch,
            workers=workers,
            max_batch_size=lambda question: 1 if question.operation == "careful" else size,
            cores=choose_worker_cores(workers) if options.device == "cpu" else None,
        )
        self.max_in_flight = min(_MAX_IN_FLIGHT, workers * size * 8)
        """Chunks in flight at the same time, enough for full batches for every worker. With half as many, a recording of 13 minutes
        had 14 batches of one chunk instead of 6 (measured)."""
        self._pool = ThreadPoolExecutor(self.max_in_flight, thread_name_prefix="listen")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batcher.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def decoder(self) -> WhisperDecoder:
        """The model, loaded when it is first needed, once for all threads."""
        with self._load_lock:
            if self._decoder is None:
                options = self.options
                self._decoder = WhisperDecoder(self.weights, options.device, options.compute_type, self._workers)
            return self._decoder

    @property
    def is_loaded(self) -> bool:
        """Whether the model has been loaded."""
        return self._decoder is not None

    def transcribe(
        self,
        path: Path,
        recording: RecordingIdentity,
        progress: Callable[[float], None] | None = None,
        open_checkpoint: Callable[[], Checkpoint] | None = None,
    ) -> Transcript:
        """Transcribe one recording. Threads may call it at the same time; nothing in a text depends on the others.

        Args:
            path: Normalized audio: 16 kHz WAV or RF64, any number of channels.
            recording: The recording's name and checksum.
            progress: Called often with the finished share of the speech, 0 to 1; an exception that it raises stops the
                transcription.
            open_checkpoint: Opens this recording's checkpoint; called for long recordings only. The caller deletes the file.

        Raises:
            DeviceUnavailableError: See ``WhisperDecoder``.
        """
        with WavReader(path) as wav:
            activity = self._detect_speech(wav, progress)
            seconds, channels = wav.duration_s, wav.channels
        chunks = activity.cut_chunks(FAST_CHUNK_S)
        if not chunks:
            flags = {"no_speech": "The voice-activity detector heard no speech in the whole recording."}
            meta = self._build_meta(recording, (seconds, channels), activity, flags)
            return Transcript(file=recording.name, language=None, meta=meta, segments=())
        read = partial(_read_chunk, path)
        bandwidth = measure_bandwidth_db([read(chunk) for chunk in pick_evenly(chunks)])
        verdict, firsts = self._detect_language(chunks, read, bandwidth)
        language = verdict.language if verdict else str(self.options.language)
        way = choose_strategy(language, bandwidth, careful=self.options.careful)
        if way.window_policy is None:
            chunks = activity.cut_chunks(MAX_CHUNK_S)
        listener = ChunkTranscriber(
            _PooledDecoder(self, way.window_policy), read, language, self.options.word_timestamps, activity.spans
        )
        listen = (
            (lambda chunk: listener.transcribe_fast(chunk, firsts.get(chunk)))
            if way.window_policy
            else listener.transcribe_careful
        )
        long = open_checkpoint is not None and len(chunks) >= _MIN_CHECKPOINT_CHUNKS
        with open_checkpoint() if long and open_checkpoint else nullcontext() as kept:
            results = self._transcribe_chunks(chunks, listen, kept, progress)
        segments = build_segments(results, channels)
        flags = dict(verdict.flags) if verdict else {}
        if not segments:
            # Without words, flags about the language make no sense.
            flags = {
                "no_speech": "The voice-activity detector heard something like speech, and the model found no words in it that "
                "can be believed."
            }
        meta = self._build_meta(
            recording,
            (seconds, channels),
            activity,
            flags,
            language_probability=verdict.probability if verdict else None,
            language_alternatives=verdict.alternatives if verdict else (),
            language_windows=tuple(place.window for place in verdict.windows) if verdict else (),
            decoding=_summarize_decoding(way, results),
            dropped=list_dropped(results),
        )
        return Transcript(file=recording.name, language=language if segments else None, meta=meta, segments=segments)

    def _detect_speech(self, wav: WavReader, progress: Callable[[float], None] | None) -> _DetectedSpeech:
        """Detect speech in windows of (channels, 60 s * 16,000) float32 at 16 kHz."""
        detectors = [VoiceActivityDetector() for _ in range(wav.channels)]
        collected: list[list[npt.NDArray[np.float32]]] = [[] for _ in detectors]
        for start in range(0, wav.frames, _VAD_WINDOW_FRAMES * VAD_FRAME_SAMPLES):
            window = wav.read(start, _VAD_WINDOW_FRAMES * VAD_FRAME_SAMPLES)
            for channel, detector in enumerate(detectors):
                collected[channel].append(detector.probabilities(window[channel]))
            if progress:
                progress(0.0)
        probabilities = tuple(np.concatenate(parts) if parts else np.zeros(0, np.float32) for parts in collected)
        spans = tuple(tuple(get_speech_spans(heard, wav.duration_s, self._vad_options)) for heard in probabilities)
        return _DetectedSpeech(spans, probabilities)

    def _detect_language(
        self, chunks: Sequence[Chunk], read_samples: Callable[[Chunk], Samples], bandwidth: float
    ) -> tuple[LanguageDetection | None, dict[Chunk, SegmentHypothesis]]:
        """Detect the language (None if it is forced).

        Also returns the hypotheses of chunks that were already decoded in that language.
        """
        if self.options.language is not None:
            return None, {}
        if not self.decoder.is_multilingual:
            return LanguageDetection("en", 1.0, ()), {}
        asked = pick_evenly(chunks)
        # The bandwidth already decides part of the strategy. Chunks whose window will not change are decoded in the same call.
        room = choose_strategy("en", bandwidth, careful=self.options.careful).window_policy
        ask = "unknown" if room else "languages"
        room = room or SHORT
        words = [needs_word_timestamps(chunk, word_timestamps=self.options.word_timestamps) for chunk in asked]
        wanted = frozenset(
            spoken
            for spoken in SHORT_WINDOW_LANGUAGES
            if choose_strategy(spoken, bandwidth, careful=False).window_policy == room
        )
        futures = [
            self._batcher.submit(
                _DecodeRequest(
                    ask, compute_context_s(chunk.seconds, room), word_timestamps=timed, accepted_languages=wanted
                ),
                read_samples(chunk),
            )
            for chunk, timed in zip(asked, words, strict=True)
        ]
        second_half = chunks[0].take_second_half() if len(chunks) == 1 else None
        if second_half:
            question = _DecodeRequest("languages", compute_context_s(second_half.seconds, room))
            asked.append(second_half)
            futures.append(self._batcher.submit(question, read_samples(second_half)))
        answers: list[tuple[Chunk, Mapping[str, float]]] = []
        written: dict[Chunk, tuple[str, SegmentHypothesis]] = {}
        for chunk, future in zip(asked, futures, strict=True):
            answer = future.result()
            if isinstance(answer, tuple):
                answer, segment = answer
                if segment is not None:
                    written[chunk] = (get_likeliest_language(answer), segment)
            answers.append((chunk, _as_mapping(answer)))
        verdict = decide_language(answers)
        return verdict, {chunk: seg for chunk, (spoken, seg) in written.items() if spoken == verdict.language}

    def _transcribe_chunks(
        self,
        chunks: Sequence[Chunk],
        transcribe_chunk: Callable[[Chunk], ChunkResult],
        checkpoint: Checkpoint | None,
        progress: Callable[[float], None] | None,
    ) -> list[ChunkResult]:
        results = checkpoint.read()[: len(chunks)] if checkpoint else []
        for result in self._run_in_order(chunks[len(results) :], transcribe_chunk):
            if checkpoint:
                checkpoint.append(result)
            results.append(result)
            if progress:
                progress(len(results) / len(chunks))
        return results

    def _run_in_order(
        self, chunks: Sequence[Chunk], transcribe_chunk: Callable[[Chunk], ChunkResult]
    ) -> Iterator[ChunkResult]:
        # Only a limited number of chunks is submitted ahead, so that a long recording is never in memory as a whole.
        running = [self._pool.submit(transcribe_chunk, chunk) for chunk in chunks[: self.max_in_flight]]
        try:
            for i in range(len(chunks)):
                yield running.pop(0).result()
                if i + self.max_in_flight < len(chunks):
                    running.append(self._pool.submit(transcribe_chunk, chunks[i + self.max_in_flight]))
        finally:
            for future in running:
                future.cancel()

    def _process_batch(self, request: _DecodeRequest, batch: Sequence[Samples]) -> Sequence[_DecodeResult]:
        decoder, beam, context, words = self.decoder, self.options.beam_size, request.context_s, request.word_timestamps
        match request.operation:
            case "hear":
                return decoder.decode_batch(batch, context, request.language, beam, word_timestamps=words)
            case "unknown":
                return decoder.detect_language_and_decode(
                    batch, context, beam, request.accepted_languages, word_timestamps=words
                )
            case "languages":
                return decoder.detect_languages(batch, context)
            case _:
                careful = partial(
                    decoder.decode_sequential,
                    language=request.language,
                    beam_size=beam,
                    no_repeat_ngram_size=request.no_repeat_ngram_size,
                )
                return [careful(samples, word_timestamps=words) for samples in batch]

    def submit_and_wait(self, request: _DecodeRequest, samples: Samples) -> _DecodeResult:
        """Run a request in a batch with equal requests and wait for its result."""
        return self._batcher.submit(request, samples).result()

    def _build_meta(
        self,
        recording: RecordingIdentity,
        duration_and_channels: tuple[float, int],
        detected: _DetectedSpeech,
        flags: dict[str, str],
        **optional_fields: object,
    ) -> Meta:
        seconds, channels = duration_and_channels
        heard = detected.speech_spans
        return Meta(
            audio_file=recording.name,
            audio_sha256=recording.sha256,
            audio_duration_sec=round(seconds, 3),
            channels=channels,
            model_name=self.weights.name,
            model_sha256=self.weights.sha256,
            engine_version=ENGINE_VERSION,
            options=self.options,
            speech=heard,
            speech_seconds=round(measure_union_s((s.start, s.end) for s in heard), 3),
            flags=flags,
            **optional_fields,
        )


@dataclass(frozen=True, slots=True)
class _PooledDecoder:
    """A ``ChunkDecoder`` that sends its requests through the engine's batches."""

    engine: Engine
    window_policy: WindowPolicy | None

    def decode_fast(self, samples: Samples, language: str, *, word_timestamps: bool) -> SegmentHypothesis:
        context_s = compute_context_s(len(samples) / SAMPLE_RATE, self.window_policy or SHORT)
        question = _DecodeRequest("hear", context_s, language, word_timestamps)
        answer = self.engine.submit_and_wait(question, samples)
        assert isinstance(answer, SegmentHypothesis)  # noqa: S101 - the question says so
        return answer

    def decode_sequential(
        self, samples: Samples, language: str, *, word_timestamps: bool, no_repeat_ngram_size: int = 0
    ) -> list[SegmentHypothesis]:
        answer = self.engine.submit_and_wait(
            _DecodeRequest(
                "careful", language=language, word_timestamps=word_timestamps, no_repeat_ngram_size=no_repeat_ngram_size
            ),
            samples,
        )
        assert isinstance(answer, list)  # noqa: S101 - the question says so
        return answer


def _as_mapping(answer: object) -> Mapping[str, float]:
    assert isinstance(answer, Mapping)  # noqa: S101 - the question says so
    return answer


def _summarize_decoding(strategy: DecodingPath, results: Sequence[ChunkResult]) -> DecodingStats:
    return DecodingStats(
        path=strategy.name,
        why=strategy.why,
        chunks=len(results),
        suspects=sum(result.is_suspect for result in results),
        rescued=sum(result.is_rescued for result in results),
        dropped=sum(len(result.dropped) for result in results),
        flagged=sum(bool(written.flags) for result in results for written in result.kept),
    )


def _read_chunk(path: Path, chunk: Chunk) -> Samples:
    """Read a chunk's audio, with silence between its pieces.

    Returns float32 of shape (n,) at 16 kHz, n = chunk.seconds * 16,000 up to rounding. Each call opens the file, because a reader
    has only one position.
    """
    glue = np.zeros(round(GLUE_S * SAMPLE_RATE), np.float32)
    parts: list[npt.NDArray[np.float32]] = []
    with WavReader(path) as wav:
        for start, end in chunk.pieces:
            first = round(start * SAMPLE_RATE)
            parts += [wav.read(first, round(end * SAMPLE_RATE) - first)[chunk.channel], glue]
    return np.concatenate(parts[:-1])
