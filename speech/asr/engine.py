"""From normalized audio to a transcript: voice activity, language, strategy, chunks, decoding, assembly.

Memory does not grow with the audio. Each step is its own module; this one connects them. The model and its threads belong to
``speech.asr.model_pool``; everything else runs in the caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean
from threading import BoundedSemaphore
from types import TracebackType
from typing import Self

from speech.asr.assembly import build_segments, list_dropped
from speech.asr.calls import Call
from speech.asr.capabilities import check_options, is_for_english
from speech.asr.checkpoint import Checkpoint
from speech.asr.chunk_transcriber import ChunkTranscriber, needs_word_timestamps
from speech.asr.chunks import FAST_CHUNK_S, MAX_CHUNK_S, Chunk
from speech.asr.detected_speech import DetectedSpeech, detect_speech
from speech.asr.encoder_window import SHORT, compute_context_s
from speech.asr.hypothesis import ChunkResult, SegmentHypothesis
from speech.asr.language import (
    LANGUAGES,
    LanguageDetection,
    decide_language,
    get_likeliest_language,
    pick_evenly,
)
from speech.asr.model_pool import EngineConfig, ModelPool, Session
from speech.asr.requests import DetectAndDecode, DetectLanguage, LanguageProbabilities, Work, ask
from speech.asr.strategy import (
    DecodingStrategy,
    FirstResults,
    choose_strategy,
    measure_bandwidth_db,
    revise_strategy,
)
from speech.asr.vad import (
    VadOptions,
    measure_union_s,
)
from speech.asr.whisper import DecodeOptions, Samples
from speech.audio.wav import WavReader
from speech.machine.resources import detect_resources
from speech.models.registry import Weights
from speech.transcript import (
    DecodingStats,
    Dropped,
    LanguageGuess,
    LanguageWindow,
    Meta,
    Options,
    Segment,
    TranscribeOptions,
    Transcript,
)

ENGINE_VERSION = "8"
"""Part of the work key: raise it with any change that can change a transcript."""

_MAX_NAMED_PLACES = 5
"""Most places that a flag's sentence names."""

_MIN_CHECKPOINT_CHUNKS = 4
"""Recordings with fewer chunks (under a minute of speech) write no checkpoint: repeating them is quick."""


@dataclass(frozen=True, slots=True)
class RecordingIdentity:
    """What the transcript says of the recording itself.

    Attributes:
        name: Its name.
        sha256: Of its bytes.
        flags: What was found before it was transcribed, for example audio that is missing: flag -> reason.
    """

    name: str
    sha256: str
    flags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Language:
    """The language of a recording: forced, or detected with its evidence.

    Attributes:
        code: Whisper's.
        detection: None if it was forced.
        hypotheses: What chunks say that were already decoded in that language while it was detected.
    """

    code: str
    detection: LanguageDetection | None
    hypotheses: Mapping[Chunk, SegmentHypothesis]

    @property
    def flags(self) -> dict[str, str]:
        return self.detection.flags if self.detection else {}

    @property
    def probability(self) -> float | None:
        return self.detection.probability if self.detection else None

    @property
    def alternatives(self) -> tuple[LanguageGuess, ...]:
        return self.detection.alternatives if self.detection else ()

    @property
    def windows(self) -> tuple[LanguageWindow, ...]:
        return tuple(sampled.window for sampled in self.detection.windows) if self.detection else ()


@dataclass(frozen=True, slots=True)
class PartialResult:
    """What became of one chunk, while others are still being decoded.

    Attributes:
        segments: Those of the chunk, in order; their ``id`` is provisional. Empty where nothing was kept.
        progress: Share of the recording's speech that is finished, 0 to 1.
    """

    segments: tuple[Segment, ...]
    progress: float


class Engine:
    """Transcribes recordings with one loaded model, several at a time, each with its own options. Use as a context manager."""

    def __init__(
        self,
        weights: Weights,
        config: EngineConfig | None = None,
        *,
        vad_options: VadOptions | None = None,
        vad_weights: Weights | None = None,
    ) -> None:
        """Prepare; the model itself is loaded with the first speech.

        Args:
            weights: Checked weights.
            config: Where and how the model runs.
            vad_options: Options of the voice-activity detector.
            vad_weights: Checked weights of the detector; None: see ``speech.asr.vad.VoiceActivityDetector``.
        """
        self.weights = weights
        self.config = config or EngineConfig()
        self._vad_options = vad_options or VadOptions()
        self._vad_model = vad_weights.file if vad_weights else None
        self._pool = ModelPool(weights, self.config)
        # Many more calls are open than there are CPUs, and all begin with the detector, in their own threads.
        self._detector_slots = BoundedSemaphore(self.config.detectors or detect_resources().cpus)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    @property
    def is_loaded(self) -> bool:
        """Whether the model has been loaded."""
        return self._pool.is_loaded

    @property
    def max_in_flight(self) -> int:
        """How many recordings at the same time keep every worker busy with full batches."""
        return self._pool.max_in_flight

    def load(self) -> None:
        """Load the model now.

        Raises:
            DeviceUnavailableError: See ``speech.asr.whisper.WhisperDecoder``.
        """
        _ = self._pool.model

    def transcribe(
        self,
        path: Path,
        recording: RecordingIdentity,
        options: TranscribeOptions | None = None,
        *,
        call: Call | None = None,
        on_progress: Callable[[float], None] | None = None,
        on_partial: Callable[[PartialResult], None] | None = None,
        open_checkpoint: Callable[[], Checkpoint] | None = None,
    ) -> Transcript:
        """Transcribe one recording. Threads may call it at the same time; nothing in a text depends on the others.

        Args:
            path: Normalized audio: 16 kHz WAV or RF64, any number of channels.
            recording: The recording's name and checksum.
            options: How to transcribe it.
            call: Priority, deadline, and a way to cancel; default: one of ``Priority.BATCH`` without a deadline.
            on_progress: Called often with the finished share of the speech, 0 to 1; an exception that it raises stops the
                transcription.
            on_partial: Called with the result of each chunk that is decoded, in order, as soon as it and those before are done; not
                for what a checkpoint has.
            open_checkpoint: Opens this recording's checkpoint; called for long recordings only. The caller deletes the file.

        Raises:
            CallCancelledError, DeadlineExceededError: See ``speech.asr.calls.Call``.
            UnsupportedOptionError: The model cannot do what the options ask for.
            DeviceUnavailableError: See ``speech.asr.whisper.WhisperDecoder``.
        """
        options = options or TranscribeOptions()
        check_options(self.weights, options)
        call = call or Call()

        def report(share: float) -> None:
            call.check()
            if on_progress:
                on_progress(share)

        with WavReader(path) as wav:
            detected = detect_speech(wav, self._vad_model, self._vad_options, self._detector_slots, report)
            channels = wav.channels
        build_meta = partial(self._build_meta, recording, options, channels, detected)
        chunks = detected.cut_chunks(FAST_CHUNK_S)
        if not chunks:
            flags = {"no_speech": "The voice-activity detector heard no speech in the whole recording."}
            return Transcript(file=recording.name, language=None, meta=build_meta(flags=flags), segments=())
        read_chunk = partial(detected.read_chunk, path)
        # Where some speech is of ordinary level, that alone decides about all.
        heard_at_once = tuple(chunk for chunk in chunks if not detected.is_quiet(chunk)) or chunks
        bandwidth_db = measure_bandwidth_db([read_chunk(chunk) for chunk in pick_evenly(heard_at_once)])
        with self._pool.open_session(call) as session:
            language = self._find_language(session, heard_at_once, read_chunk, bandwidth_db, options)
            strategy = _choose_strategy(options, language.code, bandwidth_db)
            decode_options = _make_decode_options(options, language.code)
            transcriber = ChunkTranscriber(read_chunk, decode_options, detected, strategy.window_policy or SHORT)
            strategy, hypotheses = _try_strategy(session, strategy, transcriber, heard_at_once, language.hypotheses)
            if strategy.window_policy is None:
                chunks = detected.cut_chunks(MAX_CHUNK_S)
            works = _plan_works(strategy, transcriber, chunks, hypotheses)
            writes_checkpoint = open_checkpoint is not None and len(chunks) >= _MIN_CHECKPOINT_CHUNKS
            with open_checkpoint() if writes_checkpoint and open_checkpoint else nullcontext() as checkpoint:
                results = checkpoint.read()[: len(chunks)] if checkpoint else []
                for result in session.run_in_order(works[len(results) :]):
                    if checkpoint:
                        checkpoint.append(result)
                    results.append(result)
                    report(len(results) / len(chunks))
                    if on_partial:
                        on_partial(PartialResult(build_segments([result], channels), len(results) / len(chunks)))
        segments = build_segments(results, channels)
        flags = language.flags
        if not segments:
            # Without words, flags about the language make no sense.
            flags = {
                "no_speech": "The voice-activity detector heard something like speech, and the model found no words in it that "
                "can be believed."
            }
        dropped = list_dropped(results)
        meta = build_meta(
            flags={**flags, **_flag_dropped(dropped, detected)},
            language=language,
            decoding=_summarize_decoding(strategy, results),
            dropped=dropped,
        )
        return Transcript(
            file=recording.name, language=language.code if segments else None, meta=meta, segments=segments
        )

    def _find_language(
        self,
        session: Session,
        chunks: Sequence[Chunk],
        read_samples: Callable[[Chunk], Samples],
        bandwidth_db: float,
        options: TranscribeOptions,
    ) -> _Language:
        """The language that is forced, or that the model detects at several places."""
        if options.language is not None:
            return _Language(options.language, None, {})
        if is_for_english(self.weights) or not self._pool.model.is_multilingual:
            return _Language("en", LanguageDetection("en", 1.0, ()), {})
        # The bandwidth already decides part of the strategy. Chunks whose window will not change are decoded in the same request.
        policy = _choose_strategy(options, "en", bandwidth_db).window_policy
        window = policy or SHORT
        accepted = frozenset(
            code for code in LANGUAGES if _choose_strategy(options, code, bandwidth_db).window_policy == window
        )

        def sample(chunk: Chunk, *, decode: bool) -> Work[tuple[LanguageProbabilities, SegmentHypothesis | None]]:
            read_audio, context_s = partial(read_samples, chunk), compute_context_s(chunk.seconds, window)
            if decode:
                needs_times = needs_word_timestamps(chunk, word_timestamps=options.word_timestamps)
                decode_options = _make_decode_options(options, "en", word_timestamps=needs_times)
                return (yield from ask(DetectAndDecode(read_audio, chunk.seconds, context_s, decode_options, accepted)))
            return (yield from ask(DetectLanguage(read_audio, chunk.seconds, context_s))), None

        sampled = [(chunk, policy is not None) for chunk in pick_evenly(chunks)]
        second_half = chunks[0].take_second_half() if len(chunks) == 1 else None
        if second_half:
            sampled.append((second_half, False))
        results = list(session.run_in_order([sample(chunk, decode=decode) for chunk, decode in sampled]))
        detection = decide_language(
            [(chunk, probabilities) for (chunk, _), (probabilities, _) in zip(sampled, results, strict=True)]
        )
        hypotheses = {
            chunk: hypothesis
            for (chunk, _), (probabilities, hypothesis) in zip(sampled, results, strict=True)
            if hypothesis is not None and get_likeliest_language(probabilities) == detection.language
        }
        return _Language(detection.language, detection, hypotheses)

    def _build_meta(
        self,
        recording: RecordingIdentity,
        options: TranscribeOptions,
        channels: int,
        detected: DetectedSpeech,
        *,
        flags: dict[str, str],
        language: _Language | None = None,
        decoding: DecodingStats | None = None,
        dropped: Sequence[Dropped] = (),
    ) -> Meta:
        speech = detected.speech_spans
        return Meta(
            audio_file=recording.name,
            audio_sha256=recording.sha256,
            audio_duration_sec=round(detected.duration_s, 3),
            channels=channels,
            model_name=self.weights.name,
            model_sha256=self.weights.sha256,
            engine_version=ENGINE_VERSION,
            options=join_options(options, self.config),
            language_probability=language.probability if language else None,
            language_alternatives=language.alternatives if language else (),
            language_windows=language.windows if language else (),
            decoding=decoding,
            dropped=tuple(dropped),
            speech=speech,
            speech_seconds=round(measure_union_s((span.start, span.end) for span in speech), 3),
            flags={**recording.flags, **detected.flags, **flags},
        )


def join_options(options: TranscribeOptions, config: EngineConfig) -> Options:
    """Everything that can change a text, as transcripts and work keys have it."""
    return Options(**options.model_dump(), device=config.device, compute_type=config.compute_type)


def _choose_strategy(options: TranscribeOptions, language: str, bandwidth_db: float) -> DecodingStrategy:
    return choose_strategy(language, bandwidth_db, careful=options.careful, task=options.task, speed=options.speed)


def _try_strategy(
    session: Session,
    strategy: DecodingStrategy,
    transcriber: ChunkTranscriber,
    chunks: Sequence[Chunk],
    known: Mapping[Chunk, SegmentHypothesis],
) -> tuple[DecodingStrategy, Mapping[Chunk, SegmentHypothesis]]:
    """Decode some chunks from all over the recording first; what they say decides about the strategy for the whole of it.

    Args:
        session: The model.
        strategy: What the recording begins with.
        transcriber: Transcribes its chunks.
        chunks: Those to choose from.
        known: First hypotheses that there are already.

    Returns:
        The strategy, and all first hypotheses that there are now. So no first hypothesis is decoded twice.
    """
    sampled = pick_evenly(chunks)
    if strategy.window_policy is None or len(sampled) < strategy.min_sampled_chunks:
        return strategy, known
    missing = [chunk for chunk in sampled if chunk not in known]
    found = session.run_in_order([transcriber.decode_first(chunk) for chunk in missing])
    hypotheses = {**known, **dict(zip(missing, found, strict=True))}
    first = FirstResults(
        sampled=len(sampled),
        suspects=sum(transcriber.is_suspect(chunk, hypotheses[chunk]) for chunk in sampled),
        avg_logprob=mean(hypotheses[chunk].avg_logprob for chunk in sampled),
    )
    return revise_strategy(strategy, first), hypotheses


def _plan_works(
    strategy: DecodingStrategy,
    transcriber: ChunkTranscriber,
    chunks: Sequence[Chunk],
    hypotheses: Mapping[Chunk, SegmentHypothesis],
) -> list[Work[ChunkResult]]:
    """For each chunk the work on it, which is not begun."""
    if strategy.window_policy is None:
        return [transcriber.transcribe_careful(chunk) for chunk in chunks]
    return [transcriber.transcribe_fast(chunk, hypotheses.get(chunk)) for chunk in chunks]


def _make_decode_options(
    options: TranscribeOptions, language: str, *, word_timestamps: bool | None = None
) -> DecodeOptions:
    return DecodeOptions(
        language=language,
        task=options.task,
        beam_size=options.beam_size,
        word_timestamps=options.word_timestamps if word_timestamps is None else word_timestamps,
        initial_prompt=options.initial_prompt,
        hotwords=options.hotwords,
    )


def _summarize_decoding(strategy: DecodingStrategy, results: Sequence[ChunkResult]) -> DecodingStats:
    return DecodingStats(
        path=strategy.name,
        why=strategy.why,
        chunks=len(results),
        suspects=sum(result.is_suspect for result in results),
        rescued=sum(result.is_rescued for result in results),
        dropped=sum(len(result.dropped) for result in results),
        flagged=sum(bool(segment.flags) for result in results for segment in result.kept),
    )


def _flag_dropped(dropped: Sequence[Dropped], detected: DetectedSpeech) -> dict[str, str]:
    """The flag for speech without text: flag -> reason. Only where the detector is sure that somebody speaks."""
    places = [place for place in dropped if detected.is_sure(place.channel, place.start, place.end)]
    if not places:
        return {}
    seconds = sum(
        detected.measure_spans_s(channel, [(place.start, place.end) for place in places if place.channel == channel])
        for channel in {place.channel for place in places}
    )
    named = ", ".join(
        f"{place.start:.1f} to {place.end:.1f} s ({', '.join(place.reasons)})" for place in places[:_MAX_NAMED_PLACES]
    )
    more = f" and {len(places) - _MAX_NAMED_PLACES} more" if len(places) > _MAX_NAMED_PLACES else ""
    return {
        "dropped": f"{seconds:.1f} s of speech have no text that can be believed: {named}{more}. Listen there; meta.dropped "
        "has what the model wrote."
    }
