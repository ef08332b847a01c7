"""How one chunk becomes text: the first decode, its suspicions, decoding on where it ended early, sequentially where it is suspect.

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
"""A chunk is continued at most so often: each time at least a word is written, but a hopeless chunk must end."""

_NO_REPEAT_NGRAM_SIZE = 3
"""Tokens that the last way out may not write twice in a row: shorter runs are ordinary language."""

_SHORT_CHUNK_S = 10.0
"""Chunks up to this long are not asked where their words end when no word times are wanted: none of our corpora ended early."""


@dataclass(frozen=True, slots=True)
class ChunkTranscriber:
    """Transcribes chunks of one recording.

    Attributes:
        read_samples: Gives a chunk's glued audio.
        options: How its chunks are decoded.
        speech_spans: Detected speech of each channel, padded as it was found, to see what was left unsaid.
        window_policy: The encoder's window on the fast strategies.
    """

    read_samples: Callable[[Chunk], Samples]
    options: DecodeOptions
    speech_spans: tuple[tuple[Span, ...], ...]
    window_policy: WindowPolicy = SHORT

    @property
    def text_language(self) -> str:
        """Whisper's code of the language that is written, which the rules of the guard depend on."""
        return "en" if self.options.task == "translate" else self.options.language

    def transcribe_fast(self, chunk: Chunk, first_hypothesis: SegmentHypothesis | None = None) -> Work[ChunkResult]:
        """Decode fast; what is suspect is decoded again sequentially.

        Args:
            chunk: What to decode.
            first_hypothesis: What was already written for it, when its language was detected.
        """
        written: list[DecodedSegment] = []
        suspect = False
        rest: Chunk | None = chunk
        for _ in range(_MAX_CONTINUATIONS):
            if rest is None:
                break
            if first_hypothesis is None:
                first_hypothesis = yield from self._decode_fast(rest, self.options)
            if echoes := self._find_echoes(first_hypothesis.text):
                unprompted = yield from self._decode_fast(rest, self.options.without_prompt())
                if not all(is_confirmed(echo, unprompted.text) for echo in echoes):
                    first_hypothesis = unprompted
            hypothesis = ChunkHypothesis((first_hypothesis,), rest.seconds)
            if find_suspicions(hypothesis, self.text_language) or self._has_skipped_speech(rest, first_hypothesis):
                careful = yield from self._decode_sequential(rest)
                result = yield from self._rescue(rest, careful, "rescued", hypothesis)
                return replace(result, kept=(*written, *result.kept))
            written.append(
                DecodedSegment(
                    rest,
                    first_hypothesis if self.options.word_timestamps else replace(first_hypothesis, words=()),
                    "rescued" if suspect else "batched",
                )
            )
            rest = self._find_untranscribed(rest, first_hypothesis)
            suspect = suspect or rest is not None
            first_hypothesis = None
        return ChunkResult(tuple(written), (), suspect, is_rescued=len(written) > 1)

    def transcribe_careful(self, chunk: Chunk) -> Work[ChunkResult]:
        """Decode carefully from the start."""
        first = yield from self._decode_sequential(chunk)
        if find_suspicions(first, self.text_language, careful=True):
            return (yield from self._rescue(chunk, first, "sequential"))
        return self._judge_segments(chunk, first, "sequential", is_suspect=False)

    def _rescue(
        self,
        chunk: Chunk,
        hypothesis: ChunkHypothesis,
        decoded: DecodingMethod,
        first: ChunkHypothesis | None = None,
    ) -> Work[ChunkResult]:
        """The better of the careful results; what is wrong with it even so is flagged or dropped.

        The first result of the fast strategy is never taken: it was decoded with less context, and it is suspect. It is only
        compared with the better one.

        Args:
            chunk: What was decoded.
            hypothesis: The first careful result.
            decoded: How that one is called where it stays the best.
            first: What the fast path wrote, if this is one of its suspects.
        """
        best = hypothesis
        if LOOP_SUSPICIONS.intersection(find_suspicions(hypothesis, self.text_language, careful=True)):
            last = yield from self._decode_sequential(chunk, no_repeat_ngram_size=_NO_REPEAT_NGRAM_SIZE)
            if rank(last, self.text_language) < rank(hypothesis, self.text_language):
                best, decoded = last, "rescued"
        return self._judge_segments(chunk, best, decoded, is_suspect=True, first=first)

    def _decode_fast(self, chunk: Chunk, options: DecodeOptions) -> Work[SegmentHypothesis]:
        context_s = compute_context_s(count_samples(chunk) / SAMPLE_RATE, self.window_policy)
        timed = needs_word_timestamps(chunk, word_timestamps=options.word_timestamps)
        read = partial(self.read_samples, chunk)
        return ask(DecodeChunk(read, chunk.seconds, context_s, replace(options, word_timestamps=timed)))

    def _decode_sequential(self, chunk: Chunk, no_repeat_ngram_size: int = 0) -> Work[ChunkHypothesis]:
        """Decode with prompt and hotwords; without them, where the result repeats them and nothing confirms that they were said."""

        def decode(options: DecodeOptions) -> Work[list[SegmentHypothesis]]:
            read = partial(self.read_samples, chunk)
            return ask(DecodeSequential(read, chunk.seconds, options, no_repeat_ngram_size))

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
        first: ChunkHypothesis | None = None,
    ) -> ChunkResult:
        shared = find_shared_suspicions(hypothesis, first)
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
