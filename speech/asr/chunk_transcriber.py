"""Transcribes one chunk: decodes it, checks the text, continues where decoding ended early, and decodes suspect chunks again.

The work on a chunk is a generator: it yields requests to the model and is sent their results. So it needs no thread of its own, and
nothing here depends on what else is being decoded.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter

from speech.asr.chunks import Chunk, count_samples
from speech.asr.encoder_window import SHORT, WindowPolicy, compute_context_s
from speech.asr.hallucination import (
    LONGEST_WORD_S,
    LOOP_SUSPICIONS,
    UNTRANSCRIBED_S,
    ChunkHypothesis,
    find_shared_suspicions,
    find_suspicions,
    judge,
    rank,
)
from speech.asr.hypothesis import ChunkResult, DecodedSegment, SegmentHypothesis
from speech.asr.prompt_echo import find_echoes, is_confirmed
from speech.asr.requests import DecodeChunk, DecodeSequential, Work, ask
from speech.asr.vad import Span
from speech.asr.whisper import DecodeOptions, Samples
from speech.audio.normalize import SAMPLE_RATE
from speech.transcript import DecodingMethod

_MAX_CONTINUATIONS = 4
"""A chunk is continued at most this many times. Each continuation adds at least one word, but the loop must always end."""

_NO_REPEAT_NGRAM_SIZE = 3
"""Size of the token n-grams that the last decode may not write twice. Shorter repetitions are ordinary language."""

_SHORT_CHUNK_S = 10.0
"""In chunks up to this many seconds words are located only if word times are wanted: no such chunk of our corpora ended early."""


@dataclass(frozen=True, slots=True)
class ChunkTranscriber:
    """Transcribes chunks of one recording.

    Attributes:
        read_samples: Reads a chunk's audio, with silence between its pieces.
        options: How its chunks are decoded.
        speech_spans: Detected speech of each channel, with padding; it shows which speech was not transcribed.
        window_policy: Length of the encoder's window on the fast strategies.
    """

    read_samples: Callable[[Chunk], Samples]
    options: DecodeOptions
    speech_spans: tuple[tuple[Span, ...], ...]
    window_policy: WindowPolicy = SHORT

    @property
    def text_language(self) -> str:
        """Whisper's code of the language of the text; the hallucination checks depend on it."""
        return "en" if self.options.task == "translate" else self.options.language

    def transcribe_fast(self, chunk: Chunk, first_hypothesis: SegmentHypothesis | None = None) -> Work[ChunkResult]:
        """Decode fast; a suspect result is decoded again sequentially.

        Args:
            chunk: What to decode.
            first_hypothesis: Its text, if it was already decoded when the language was detected.
        """
        segments: list[DecodedSegment] = []
        suspect = False
        remainder: Chunk | None = chunk
        for _ in range(_MAX_CONTINUATIONS):
            if remainder is None:
                break
            if first_hypothesis is None:
                first_hypothesis = yield from self._decode_fast(remainder, self.options)
            if echoes := self._find_echoes(first_hypothesis.text):
                unprompted = yield from self._decode_fast(remainder, self.options.without_prompt())
                if not all(is_confirmed(echo, unprompted.text) for echo in echoes):
                    first_hypothesis = unprompted
            hypothesis = ChunkHypothesis((first_hypothesis,), remainder.seconds)
            if find_suspicions(hypothesis, self.text_language) or self._has_skipped_speech(remainder, first_hypothesis):
                careful = yield from self._decode_sequential(remainder)
                result = yield from self._rescue(remainder, careful, "rescued", hypothesis)
                return replace(result, kept=(*segments, *result.kept))
            segments.append(
                DecodedSegment(
                    remainder,
                    first_hypothesis if self.options.word_timestamps else replace(first_hypothesis, words=()),
                    "rescued" if suspect else "batched",
                )
            )
            remainder = self._find_untranscribed(remainder, first_hypothesis)
            suspect = suspect or remainder is not None
            first_hypothesis = None
        return ChunkResult(tuple(segments), (), suspect, is_rescued=len(segments) > 1)

    def transcribe_careful(self, chunk: Chunk) -> Work[ChunkResult]:
        """Decode carefully from the start."""
        hypothesis = yield from self._decode_sequential(chunk)
        if find_suspicions(hypothesis, self.text_language, careful=True):
            return (yield from self._rescue(chunk, hypothesis, "sequential"))
        return self._judge_segments(chunk, hypothesis, "sequential", is_suspect=False)

    def _rescue(
        self,
        chunk: Chunk,
        hypothesis: ChunkHypothesis,
        decoded: DecodingMethod,
        fast_hypothesis: ChunkHypothesis | None = None,
    ) -> Work[ChunkResult]:
        """Return the better of the careful results; segments that are still doubtful are flagged or dropped.

        The result of the fast strategy is never used: it was decoded with less context, and it is suspect. It is only compared with
        the careful result.

        Args:
            chunk: What was decoded.
            hypothesis: The first careful result.
            decoded: The method to note if that result is used.
            fast_hypothesis: The suspect result of the fast strategy, if there is one.
        """
        best = hypothesis
        if LOOP_SUSPICIONS.intersection(find_suspicions(hypothesis, self.text_language, careful=True)):
            without_repeats = yield from self._decode_sequential(chunk, no_repeat_ngram_size=_NO_REPEAT_NGRAM_SIZE)
            if rank(without_repeats, self.text_language) < rank(hypothesis, self.text_language):
                best, decoded = without_repeats, "rescued"
        return self._judge_segments(chunk, best, decoded, is_suspect=True, fast_hypothesis=fast_hypothesis)

    def _decode_fast(self, chunk: Chunk, options: DecodeOptions) -> Work[SegmentHypothesis]:
        context_s = compute_context_s(count_samples(chunk) / SAMPLE_RATE, self.window_policy)
        needs_times = needs_word_timestamps(chunk, word_timestamps=options.word_timestamps)
        read_audio = partial(self.read_samples, chunk)
        return ask(DecodeChunk(read_audio, chunk.seconds, context_s, replace(options, word_timestamps=needs_times)))

    def _decode_sequential(self, chunk: Chunk, no_repeat_ngram_size: int = 0) -> Work[ChunkHypothesis]:
        """Decode with prompt and hotwords; then without them, if the text repeats them and nothing confirms that they were said."""

        def decode(options: DecodeOptions) -> Work[list[SegmentHypothesis]]:
            read_audio = partial(self.read_samples, chunk)
            return ask(DecodeSequential(read_audio, chunk.seconds, options, no_repeat_ngram_size))

        segments = yield from decode(self.options)
        if echoes := self._find_echoes(" ".join(segment.text for segment in segments)):
            unprompted = yield from decode(self.options.without_prompt())
            text = " ".join(segment.text for segment in unprompted)
            if not all(is_confirmed(echo, text) for echo in echoes):
                segments = unprompted
        return ChunkHypothesis(tuple(segments), chunk.seconds)

    def _find_echoes(self, text: str) -> list[str]:
        return find_echoes(text, (self.options.initial_prompt, self.options.hotwords))

    def _judge_segments(
        self,
        chunk: Chunk,
        hypothesis: ChunkHypothesis,
        decoded: DecodingMethod,
        *,
        is_suspect: bool,
        fast_hypothesis: ChunkHypothesis | None = None,
    ) -> ChunkResult:
        shared = find_shared_suspicions(hypothesis, fast_hypothesis)
        kept: list[DecodedSegment] = []
        dropped: list[DecodedSegment] = []
        for segment in hypothesis.segments:
            if not segment.text:
                continue
            judgement, reasons = judge(segment, self.text_language, segment.end - segment.start, shared)
            (dropped if judgement == "drop" else kept).append(DecodedSegment(chunk, segment, decoded, reasons))
        return ChunkResult(tuple(kept), tuple(dropped), is_suspect, is_rescued=decoded == "rescued" and bool(kept))

    def _has_skipped_speech(self, chunk: Chunk, hypothesis: SegmentHypothesis) -> bool:
        """Whether much speech lies before the first word or between two; the decoder sometimes leaves out a sentence."""
        covered_until = chunk.pieces[0][0]
        for word in hypothesis.words:
            place = chunk.locate(word.start, word.end)
            if self._measure_speech_s(chunk, covered_until, place.start) > UNTRANSCRIBED_S:
                return True
            # Alignment stretches a word over speech that was left out after it.
            covered_until = min(place.end, place.start + LONGEST_WORD_S)
        return False

    def _find_untranscribed(self, chunk: Chunk, hypothesis: SegmentHypothesis) -> Chunk | None:
        """The part of the chunk behind its last word, when much speech is in it; the decoder sometimes ends early."""
        if not hypothesis.words:
            return None
        end = chunk.locate(hypothesis.words[-1].start, hypothesis.words[-1].end)
        remainder = chunk.take_remainder(end.piece, end.end)
        if not remainder:
            return None
        speech_s = self._measure_speech_s(remainder, end.end, remainder.pieces[-1][1])
        return remainder if speech_s > UNTRANSCRIBED_S else None

    def _measure_speech_s(self, chunk: Chunk, start: float, end: float) -> float:
        """Seconds of detected speech of a chunk between two moments of the recording."""
        spans = self.speech_spans[chunk.channel]
        # A long recording has thousands of spans, in order and apart from each other.
        near = spans[bisect_right(spans, start, key=itemgetter(1)) : bisect_left(spans, end, key=itemgetter(0))]
        return sum(
            max(0.0, min(piece_end, span_end, end) - max(piece_start, span_start, start))
            for piece_start, piece_end in chunk.pieces
            for span_start, span_end in near
        )


def needs_word_timestamps(chunk: Chunk, *, word_timestamps: bool) -> bool:
    """Whether a chunk's words must be located: because word times are wanted, or to find speech that was not transcribed."""
    return word_timestamps or chunk.seconds > _SHORT_CHUNK_S
