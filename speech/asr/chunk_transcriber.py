"""How one chunk becomes text: the first decode, its suspicions, decoding on where it ended early, sequentially where it is suspect.

Every request to the model goes through ``ChunkDecoder``, so nothing here depends on what else is being decoded.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Protocol

from speech.asr.chunks import Chunk
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
from speech.asr.vad import Span
from speech.asr.whisper import Samples
from speech.transcript import DecodingMethod

_MAX_CONTINUATIONS = 4
"""A chunk is continued at most so often: each time at least a word is written, but a hopeless chunk must end."""

_NO_REPEAT_NGRAM_SIZE = 3
"""Tokens that the last way out may not write twice in a row: shorter runs are ordinary language."""

_SHORT_CHUNK_S = 10.0
"""Chunks up to this long are not asked where their words end when no word times are wanted: none of our corpora ended early."""


class ChunkDecoder(Protocol):
    """The model, as a chunk sees it."""

    def decode_fast(self, samples: Samples, language: str, *, word_timestamps: bool) -> SegmentHypothesis:
        """Decode fast, as one text."""

    def decode_sequential(
        self, samples: Samples, language: str, *, word_timestamps: bool, no_repeat_ngram_size: int = 0
    ) -> list[SegmentHypothesis]:
        """Decode sequentially on the whole window."""


@dataclass(frozen=True, slots=True)
class ChunkTranscriber:
    """Listens to chunks of one recording.

    Attributes:
        decoder: The model.
        read_samples: Gives a chunk's glued audio.
        language: Whisper's code.
        word_timestamps: Whether word times are wanted.
        speech_spans: Detected speech of each channel, padded as it was found, to see what was left unsaid.
    """

    decoder: ChunkDecoder
    read_samples: Callable[[Chunk], Samples]
    language: str
    word_timestamps: bool
    speech_spans: tuple[tuple[Span, ...], ...]

    def transcribe_fast(self, chunk: Chunk, first_hypothesis: SegmentHypothesis | None = None) -> ChunkResult:
        """Decode fast; what is suspect is decoded again sequentially.

        Args:
            chunk: What to listen to.
            first_hypothesis: What was already written for it, when its language was asked.
        """
        written: list[DecodedSegment] = []
        suspect = False
        rest: Chunk | None = chunk
        for _ in range(_MAX_CONTINUATIONS):
            if rest is None:
                break
            samples = self.read_samples(rest)
            if first_hypothesis is None:
                first_hypothesis = self.decoder.decode_fast(
                    samples,
                    self.language,
                    word_timestamps=needs_word_timestamps(rest, word_timestamps=self.word_timestamps),
                )
            hypothesis = ChunkHypothesis((first_hypothesis,), rest.seconds)
            if find_suspicions(hypothesis, self.language) or self._has_skipped_speech(rest, first_hypothesis):
                result = self._rescue(rest, samples, self._decode_sequential(rest, samples), "rescued", hypothesis)
                return replace(result, kept=(*written, *result.kept))
            written.append(
                DecodedSegment(
                    rest,
                    first_hypothesis if self.word_timestamps else replace(first_hypothesis, words=()),
                    "rescued" if suspect else "batched",
                )
            )
            rest = self._find_untranscribed(rest, first_hypothesis)
            suspect = suspect or rest is not None
            first_hypothesis = None
        return ChunkResult(tuple(written), (), suspect, is_rescued=len(written) > 1)

    def transcribe_careful(self, chunk: Chunk) -> ChunkResult:
        """Decode carefully from the start."""
        samples = self.read_samples(chunk)
        first = self._decode_sequential(chunk, samples)
        if find_suspicions(first, self.language, careful=True):
            return self._rescue(chunk, samples, first, "sequential")
        return self._judge_segments(chunk, first, "sequential", is_suspect=False)

    def _rescue(
        self,
        chunk: Chunk,
        samples: Samples,
        hypothesis: ChunkHypothesis,
        decoded: DecodingMethod,
        first: ChunkHypothesis | None = None,
    ) -> ChunkResult:
        """The better of the careful results; what is wrong with it even so is flagged or dropped.

        The first result of the fast strategy is never taken: it was decoded with less context, and it is suspect. It is only
        compared with the better one.

        Args:
            chunk: What was listened to.
            samples: Its audio.
            hypothesis: The first careful result.
            decoded: How that one is called where it stays the best.
            first: What the fast path wrote, if this is one of its suspects.
        """
        best = hypothesis
        if LOOP_SUSPICIONS.intersection(find_suspicions(hypothesis, self.language, careful=True)):
            last = self._decode_sequential(chunk, samples, no_repeat_ngram_size=_NO_REPEAT_NGRAM_SIZE)
            if rank(last, self.language) < rank(hypothesis, self.language):
                best, decoded = last, "rescued"
        return self._judge_segments(chunk, best, decoded, is_suspect=True, first=first)

    def _decode_sequential(self, chunk: Chunk, samples: Samples, no_repeat_ngram_size: int = 0) -> ChunkHypothesis:
        segments = self.decoder.decode_sequential(
            samples, self.language, word_timestamps=self.word_timestamps, no_repeat_ngram_size=no_repeat_ngram_size
        )
        return ChunkHypothesis(tuple(segments), chunk.seconds)

    def _judge_segments(
        self,
        chunk: Chunk,
        hypothesis: ChunkHypothesis,
        decoded: DecodingMethod,
        *,
        is_suspect: bool,
        first: ChunkHypothesis | None = None,
    ) -> ChunkResult:
        shared = find_shared_suspicions(hypothesis, first)
        kept: list[DecodedSegment] = []
        dropped: list[DecodedSegment] = []
        for segment in hypothesis.segments:
            if not segment.text:
                continue
            judgement, reasons = judge(segment, self.language, segment.end - segment.start, shared)
            (dropped if judgement == "drop" else kept).append(DecodedSegment(chunk, segment, decoded, reasons))
        return ChunkResult(tuple(kept), tuple(dropped), is_suspect, is_rescued=decoded == "rescued" and bool(kept))

    def _has_skipped_speech(self, chunk: Chunk, hypothesis: SegmentHypothesis) -> bool:
        """Whether much speech lies before the first word or between two; the decoder sometimes leaves out a sentence."""
        behind = chunk.pieces[0][0]
        for word in hypothesis.words:
            place = chunk.locate(word.start, word.end)
            if self._measure_speech_s(chunk, behind, place.start) > UNTRANSCRIBED_S:
                return True
            # Alignment stretches a word over what was left out behind it.
            behind = min(place.end, place.start + LONGEST_WORD_S)
        return False

    def _find_untranscribed(self, chunk: Chunk, hypothesis: SegmentHypothesis) -> Chunk | None:
        """The part of the chunk behind its last word, when much speech is in it; the decoder sometimes ends early."""
        if not hypothesis.words:
            return None
        end = chunk.locate(hypothesis.words[-1].start, hypothesis.words[-1].end)
        rest = chunk.take_remainder(end.piece, end.end)
        return rest if rest and self._measure_speech_s(rest, end.end, rest.pieces[-1][1]) > UNTRANSCRIBED_S else None

    def _measure_speech_s(self, chunk: Chunk, start: float, end: float) -> float:
        """Seconds of detected speech of a chunk between two moments of the recording."""
        spans = self.speech_spans[chunk.channel]
        # A long recording has thousands of spans, in order and apart from each other.
        near = spans[bisect_right(spans, start, key=itemgetter(1)) : bisect_left(spans, end, key=itemgetter(0))]
        return sum(
            max(0.0, min(last, stop, end) - max(first, begin, start))
            for first, last in chunk.pieces
            for begin, stop in near
        )


def needs_word_timestamps(chunk: Chunk, *, word_timestamps: bool) -> bool:
    """Whether a chunk's words have to be located: because word times are wanted, or to see what was left unsaid."""
    return word_timestamps or chunk.seconds > _SHORT_CHUNK_S
