"""From normalized audio to a transcript: detector, chunks, language, decoder, assembly. Memory does not grow with the recording.

The order is fixed and every part is a module of its own; this one only passes results on. A recording without speech never
touches the model, so a batch of silence loads none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from speech.activity import FRAME, ActivityDetector, ActivityRules, Span, joined, speech_spans, union_seconds
from speech.audio import SAMPLE_RATE
from speech.chunks import GLUE_S, Chunk, plan_chunks
from speech.decoder import Decoder, HeardSegment
from speech.language import LanguageVerdict, decide, spread
from speech.transcript import Meta, Options, Segment, SpeechSpan, Transcript, Word
from speech.wav import Wav
from speech.weights import Weights

ENGINE_VERSION = "1"
"""Part of the work key: raise it with any change that can change a text."""

_WINDOW_FRAMES = 60 * SAMPLE_RATE // FRAME  # the detector hears a minute at a time: 4 MB a channel


@dataclass(frozen=True, slots=True)
class Subject:
    """Which recording it is: what the transcript says about its origin."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class _Activity:
    spans: tuple[tuple[Span, ...], ...]  # one tuple per channel
    chunks: tuple[Chunk, ...]

    @property
    def heard(self) -> tuple[SpeechSpan, ...]:
        everything = [(*span, channel) for channel, spans in enumerate(self.spans) for span in joined(spans)]
        return tuple(SpeechSpan(start=round(s, 3), end=round(e, 3), channel=c) for s, e, c in sorted(everything))


class Engine:
    """Transcribes recordings with one set of weights and options. Use as a context manager: it owns threads."""

    def __init__(
        self, weights: Weights, options: Options, *, workers: int = 1, rules: ActivityRules | None = None
    ) -> None:
        """Prepare; the model itself is loaded with the first speech.

        Args:
            weights: Checked weights.
            options: Everything that can change the text.
            workers: Chunks decoded at the same time; cores on a CPU, 1 on a GPU.
            rules: The detector's rules.
        """
        self.weights = weights
        self.options = options
        self._workers = workers
        self._rules = rules or ActivityRules()
        self._decoder: Decoder | None = None
        self._loading = Lock()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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

    def transcribe(self, path: Path, subject: Subject, progress: Callable[[float], None] | None = None) -> Transcript:
        """Transcribe one recording.

        Args:
            path: Normalized audio: 16 kHz WAV or RF64, any number of channels.
            subject: Whose it is.
            progress: Told the share of chunks done, 0 to 1, often enough to be stopped by an error it raises.

        Raises:
            DeviceUnavailable: See ``Decoder``.
        """
        with Wav(path) as wav:
            activity = self._activity(wav, progress)
            seconds, channels = wav.duration_s, wav.channels
        if not activity.chunks:
            flags = {"no_speech": "The voice-activity detector heard no speech in the whole recording."}
            return self._transcript(subject, (seconds, channels), activity, None, None, (), flags)
        verdict = self._language(path, activity.chunks)
        language = verdict.language if verdict else str(self.options.language)
        heard: list[tuple[Chunk, Sequence[HeardSegment]]] = []
        for chunk, segments in zip(activity.chunks, self._hear(path, activity.chunks, language), strict=True):
            heard.append((chunk, segments))
            if progress:
                progress(len(heard) / len(activity.chunks))
        segments_ = _assemble(heard, channels)
        flags = dict(verdict.flags) if verdict else {}
        if not segments_:
            flags["no_speech"] = (
                "The voice-activity detector heard something like speech, and the model found no words in it."
            )
        return self._transcript(subject, (seconds, channels), activity, language, verdict, segments_, flags)

    def _activity(self, wav: Wav, progress: Callable[[float], None] | None) -> _Activity:
        detectors = [ActivityDetector() for _ in range(wav.channels)]
        collected: list[list[npt.NDArray[np.float32]]] = [[] for _ in detectors]
        for start in range(0, wav.frames, _WINDOW_FRAMES * FRAME):
            window = wav.read(start, _WINDOW_FRAMES * FRAME)
            for channel, detector in enumerate(detectors):
                collected[channel].append(detector.hear(window[channel]))
            if progress:
                progress(0.0)
        spans: list[tuple[Span, ...]] = []
        chunks: list[Chunk] = []
        for channel, parts in enumerate(collected):
            probabilities = np.concatenate(parts) if parts else np.zeros(0, np.float32)
            found = speech_spans(probabilities, wav.duration_s, self._rules)
            spans.append(tuple(found))
            chunks.extend(plan_chunks(found, probabilities, channel))
        return _Activity(tuple(spans), tuple(sorted(chunks, key=lambda chunk: (chunk.pieces[0][0], chunk.channel))))

    def _language(self, path: Path, chunks: Sequence[Chunk]) -> LanguageVerdict | None:
        """The language by ear; None when it is forced."""
        if self.options.language is not None:
            return None
        if not self.decoder.multilingual:
            return LanguageVerdict("en", 1.0, ())
        asked = spread(chunks)
        return decide(list(self._pool.map(lambda chunk: self.decoder.languages(_samples(path, chunk)), asked)))

    def _hear(self, path: Path, chunks: Sequence[Chunk], language: str) -> Iterator[Sequence[HeardSegment]]:
        decoder = self.decoder
        # A few chunks ahead of the slowest, not all: a long recording's audio must not lie in memory at once.
        ahead = 2 * self._workers
        running = [self._pool.submit(_hear_one, decoder, path, c, language, self.options) for c in chunks[:ahead]]
        for i in range(len(chunks)):
            yield running.pop(0).result()
            if i + ahead < len(chunks):
                running.append(self._pool.submit(_hear_one, decoder, path, chunks[i + ahead], language, self.options))

    def _transcript(
        self,
        subject: Subject,
        shape: tuple[float, int],
        activity: _Activity,
        language: str | None,
        verdict: LanguageVerdict | None,
        segments: tuple[Segment, ...],
        flags: dict[str, str],
    ) -> Transcript:
        seconds, channels = shape
        return Transcript(
            file=subject.name,
            language=language,
            meta=Meta(
                audio_file=subject.name,
                audio_sha256=subject.sha256,
                audio_duration_sec=round(seconds, 3),
                channels=channels,
                model_name=self.weights.name,
                model_sha256=self.weights.sha256,
                engine_version=ENGINE_VERSION,
                options=self.options,
                language_probability=verdict.probability if verdict else None,
                language_alternatives=verdict.alternatives if verdict else (),
                speech=activity.heard,
                speech_seconds=round(union_seconds((s.start, s.end) for s in activity.heard), 3),
                flags=flags,
            ),
            segments=segments,
        )


def _hear_one(decoder: Decoder, path: Path, chunk: Chunk, language: str, options: Options) -> Sequence[HeardSegment]:
    return decoder.hear(_samples(path, chunk), language, options.beam_size)


def _samples(path: Path, chunk: Chunk) -> npt.NDArray[np.float32]:
    """The glued audio of a chunk. Every worker opens the file for itself: a reader has one position."""
    glue = np.zeros(round(GLUE_S * SAMPLE_RATE), np.float32)
    parts: list[npt.NDArray[np.float32]] = []
    with Wav(path) as wav:
        for start, end in chunk.pieces:
            first = round(start * SAMPLE_RATE)
            parts += [wav.read(first, round(end * SAMPLE_RATE) - first)[chunk.channel], glue]
    return np.concatenate(parts[:-1])


def _assemble(heard: Sequence[tuple[Chunk, Sequence[HeardSegment]]], channels: int) -> tuple[Segment, ...]:
    """Segments of all chunks in the order of time, with times of the recording."""
    placed = [part for chunk, segments in heard for segment in segments for part in _placed(segment, chunk, channels)]
    placed.sort(key=lambda segment: (segment.start, segment.channel or 0))
    return tuple(segment.model_copy(update={"id": i}) for i, segment in enumerate(placed))


def _placed(segment: HeardSegment, chunk: Chunk, channels: int) -> Iterator[Segment]:
    """A segment as it lies in the recording; one that reaches over a silence that was taken out becomes two."""
    words = [(word, chunk.place(word.start, word.end)) for word in segment.words]
    for _, group in groupby(words, key=lambda item: item[1].piece):
        part = list(group)
        yield Segment(
            id=0,
            start=round(part[0][1].start, 3),
            end=round(max(place.end for _, place in part), 3),
            text="".join(word.text for word, _ in part).strip(),
            channel=chunk.channel if channels > 1 else None,
            words=tuple(
                Word(
                    word=word.text,
                    start=round(place.start, 3),
                    end=round(place.end, 3),
                    probability=round(word.probability, 3),
                )
                for word, place in part
            ),
            avg_logprob=round(segment.avg_logprob, 4),
            compression_ratio=round(segment.compression_ratio, 3),
            no_speech_prob=round(segment.no_speech_prob, 4),
            temperature=segment.temperature,
            decoded="sequential",
        )
