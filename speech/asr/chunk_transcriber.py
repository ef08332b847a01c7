"""Transcribes one chunk: decodes it, checks the text, continues where decoding ended early, and decodes suspect chunks again.

The work on a chunk is a generator: it yields requests to the model and is sent their results. So it needs no thread of its own, and
nothing here depends on what else is being decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from speech.asr.chunks import Chunk, count_samples
from speech.asr.detected_speech import DetectedSpeech
from speech.asr.encoder_window import SHORT, WindowPolicy, compute_context_s
from speech.asr.gaps import (
    LONGEST_WORD_S,
    MIN_GAP_S,
    SIDE_S,
    UNTRANSCRIBED_S,
    compute_longest_s,
    find_gaps,
    insert_between,
    list_spans,
    list_texts,
)
from speech.asr.hallucination import (
    LOOP_SUSPICIONS,
    TIMED_SUSPICIONS,
    ChunkHypothesis,
    find_shared_suspicions,
    find_suspicions,
    judge,
    rank,
)
from speech.asr.hypothesis import ChunkResult, DecodedSegment, SegmentHypothesis
from speech.asr.prompt_echo import find_echoes, is_confirmed
from speech.asr.repetition import find_repetitions, has_loop, is_respelled, remove_extra
from speech.asr.requests import DecodeChunk, DecodeSequential, Work, ask
from speech.asr.vad import Span
from speech.asr.whisper import DecodeOptions, Samples
from speech.audio.normalize import SAMPLE_RATE
from speech.transcript import DecodingMethod

_MAX_CONTINUATIONS = 4
"""A chunk is continued at most this many times. Each continuation adds at least one word, but the loop must always end."""

_MAX_FILLED_GAPS = 8
"""Most places of a chunk that are decoded alone. A chunk has room for a few more than this; each costs as much as a chunk."""

_NO_REPEAT_NGRAM_SIZE = 3
"""Size of the token n-grams that the last decode may not write twice. Shorter repetitions are ordinary language."""

_SHORT_CHUNK_S = 10.0
"""In chunks up to this many seconds words are located only if word times are wanted: no such chunk of our corpora ended early."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A result that may stand.

    Attributes:
        hypothesis: The result, without what a loop has added.
        shortened: Indices of segments that lost words so.
        is_loop: Whether its words cannot have been said like that.
        is_repeated: Whether it repeats itself and the words' times show that it was said so.
    """

    hypothesis: ChunkHypothesis
    shortened: frozenset[int] = frozenset()
    is_loop: bool = False
    is_repeated: bool = False


@dataclass(frozen=True, slots=True)
class ChunkTranscriber:
    """Transcribes chunks of one recording.

    Attributes:
        read_samples: Reads a chunk's audio, with silence between its pieces.
        options: How its chunks are decoded.
        detected: Detected speech; it shows which speech was not transcribed, and where text is to be doubted.
        window_policy: Length of the encoder's window on the fast strategies.
    """

    read_samples: Callable[[Chunk], Samples]
    options: DecodeOptions
    detected: DetectedSpeech
    window_policy: WindowPolicy = SHORT

    @property
    def text_language(self) -> str:
        """Whisper's code of the language of the text; the hallucination checks depend on it."""
        return "en" if self.options.task == "translate" else self.options.language

    def decode_first(self, chunk: Chunk) -> Work[SegmentHypothesis]:
        """What ``transcribe_fast`` begins with: the text on the shortened window, before any check."""
        return self._decode_fast(chunk, self.options)

    def is_suspect(self, chunk: Chunk, hypothesis: SegmentHypothesis) -> bool:
        """Whether the text speaks against what ``decode_first`` gave."""
        return bool(find_suspicions(ChunkHypothesis((hypothesis,), chunk.seconds), self.text_language))

    def transcribe_fast(self, chunk: Chunk, first_hypothesis: SegmentHypothesis | None = None) -> Work[ChunkResult]:
        """Decode fast; a suspect result is decoded again sequentially.

        Args:
            chunk: What to decode.
            first_hypothesis: Its text, if it was already decoded when the language was detected or the strategy was tried.
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
            gaps = self._find_gaps(remainder, list_spans(remainder, first_hypothesis, lambda _: LONGEST_WORD_S))
            is_cut_off = bool(gaps) and gaps[0][1] == remainder.pieces[-1][1]
            if find_suspicions(hypothesis, self.text_language) or (gaps and not is_cut_off):
                careful = yield from self._decode_sequential(remainder)
                result = yield from self._rescue(remainder, careful, "rescued", hypothesis)
                return (yield from self._fill_gaps(chunk, replace(result, kept=(*segments, *result.kept))))
            segments.append(DecodedSegment(remainder, first_hypothesis, "rescued" if suspect else "batched"))
            remainder = remainder.take_between(*gaps[0]) if gaps else None
            suspect = suspect or remainder is not None
            first_hypothesis = None
        result = ChunkResult(tuple(segments), (), suspect, is_rescued=len(segments) > 1)
        return (yield from self._fill_gaps(chunk, result))

    def transcribe_careful(self, chunk: Chunk) -> Work[ChunkResult]:
        """Decode carefully from the start."""
        hypothesis = yield from self._decode_sequential(chunk)
        if find_suspicions(hypothesis, self.text_language, careful=True):
            result = yield from self._rescue(chunk, hypothesis, "sequential")
        else:
            result = self._judge_segments(chunk, _Candidate(hypothesis), "sequential")
        return (yield from self._fill_gaps(chunk, result))

    def _rescue(
        self,
        chunk: Chunk,
        hypothesis: ChunkHypothesis,
        decoded: DecodingMethod,
        fast_hypothesis: ChunkHypothesis | None = None,
    ) -> Work[ChunkResult]:
        """Return the better of the careful results; segments that are still doubtful are flagged or dropped.

        The result of the fast strategy was decoded with less context, and it is suspect. It is compared with the careful result,
        and it is used only where that one is a loop and it is none itself.

        Args:
            chunk: What was decoded.
            hypothesis: The first careful result.
            decoded: The method to note if that result is used.
            fast_hypothesis: The suspect result of the fast strategy, if there is one.
        """
        best = _Candidate(hypothesis)
        if self._looks_looped(hypothesis):
            if not all(segment.words for segment in hypothesis.segments if segment.text):
                hypothesis = yield from self._decode_sequential(chunk, word_timestamps=True)
            best = self._check_repetition(chunk, hypothesis)
            if best.is_loop and fast_hypothesis:
                fast = self._check_repetition(chunk, fast_hypothesis)
                best = best if fast.is_loop else fast
            # A repeated sentence looks more probable each time, so one that is improbable even so was hardly said.
            if best.is_loop or best.hypothesis.is_weak:
                without_repeats = yield from self._decode_sequential(chunk, no_repeat_ngram_size=_NO_REPEAT_NGRAM_SIZE)
                is_better = rank(without_repeats, self.text_language) < rank(hypothesis, self.text_language)
                if is_better and not is_respelled(without_repeats.text, hypothesis.text):
                    best, decoded = _Candidate(without_repeats), "rescued"
        result = self._judge_segments(chunk, best, decoded, fast_hypothesis)
        return replace(result, is_suspect=True)

    def _decode_fast(self, chunk: Chunk, options: DecodeOptions) -> Work[SegmentHypothesis]:
        context_s = compute_context_s(count_samples(chunk) / SAMPLE_RATE, self.window_policy)
        needs_times = needs_word_timestamps(chunk, word_timestamps=options.word_timestamps)
        read_audio = partial(self.read_samples, chunk)
        return ask(DecodeChunk(read_audio, chunk.seconds, context_s, replace(options, word_timestamps=needs_times)))

    def _decode_sequential(
        self, chunk: Chunk, *, no_repeat_ngram_size: int = 0, word_timestamps: bool | None = None
    ) -> Work[ChunkHypothesis]:
        """Decode with prompt and hotwords; then without them, if the text repeats them and nothing confirms that they were said."""
        options = self.options if word_timestamps is None else replace(self.options, word_timestamps=word_timestamps)

        def decode(options: DecodeOptions) -> Work[list[SegmentHypothesis]]:
            read_audio = partial(self.read_samples, chunk)
            return ask(DecodeSequential(read_audio, chunk.seconds, options, no_repeat_ngram_size))

        segments = yield from decode(options)
        if echoes := self._find_echoes(" ".join(segment.text for segment in segments)):
            unprompted = yield from decode(options.without_prompt())
            text = " ".join(segment.text for segment in unprompted)
            if not all(is_confirmed(echo, text) for echo in echoes):
                segments = unprompted
        return ChunkHypothesis(tuple(segments), chunk.seconds)

    def _find_echoes(self, text: str) -> list[str]:
        return find_echoes(text, (self.options.initial_prompt, self.options.hotwords))

    def _looks_looped(self, hypothesis: ChunkHypothesis) -> bool:
        suspicions = find_suspicions(hypothesis, self.text_language, careful=True)
        return not LOOP_SUSPICIONS.isdisjoint(suspicions)

    def _check_repetition(self, chunk: Chunk, hypothesis: ChunkHypothesis) -> _Candidate:
        """Take out what a loop has added to what was said, as far as the words' times tell."""

        def measure_s(start: float, end: float) -> float:
            return self.detected.measure_s(chunk, chunk.locate(start, start).start, chunk.locate(end, end).end)

        words = [word for segment in hypothesis.segments for word in segment.words]
        if not words:
            return _Candidate(hypothesis, is_loop=True)
        repetitions = find_repetitions(words, measure_s)
        segments, shortened = remove_extra(hypothesis.segments, repetitions)
        cleaned = replace(hypothesis, segments=segments)
        left = LOOP_SUSPICIONS.intersection(find_suspicions(cleaned, self.text_language, careful=True))
        is_loop = has_loop(segments, repetitions) or not left.issubset(TIMED_SUSPICIONS)
        return _Candidate(cleaned, shortened, is_loop=is_loop, is_repeated=not is_loop)

    def _judge_segments(
        self,
        chunk: Chunk,
        candidate: _Candidate,
        decoded: DecodingMethod,
        fast_hypothesis: ChunkHypothesis | None = None,
    ) -> ChunkResult:
        hypothesis = candidate.hypothesis
        shared = find_shared_suspicions(hypothesis, fast_hypothesis)
        kept: list[DecodedSegment] = []
        dropped: list[DecodedSegment] = []
        for i, segment in enumerate(hypothesis.segments):
            if not segment.text:
                continue
            place = chunk.locate(segment.start, segment.end)
            judgement, reasons = judge(
                segment,
                self.text_language,
                segment.end - segment.start,
                shared,
                is_voiced=self.detected.is_sure(chunk.channel, place.start, place.end),
                is_repeated=candidate.is_repeated,
            )
            if i in candidate.shortened and "repetition" not in reasons:
                reasons = ("repetition", *reasons)
            segments = dropped if judgement == "drop" else kept
            segments.append(DecodedSegment(chunk, segment, decoded, reasons))
        return ChunkResult(
            tuple(kept), tuple(dropped), is_suspect=False, is_rescued=decoded == "rescued" and bool(kept)
        )

    def _fill_gaps(self, chunk: Chunk, result: ChunkResult) -> Work[ChunkResult]:
        """Decode speech that got no text alone; where it gets none then either is among the dropped, with its reason."""
        tried: list[Span] = []
        while len(tried) < _MAX_FILLED_GAPS:
            gap = next((gap for gap in self._find_silent_gaps(chunk, result) if gap not in tried), None)
            if gap is None:
                break
            tried.append(gap)
            part = self.detected.widen(chunk, gap, SIDE_S)
            if part == chunk:
                continue  # that is what was decoded
            hypothesis = yield from self._decode_sequential(part, word_timestamps=True)
            looks_looped = self._looks_looped(hypothesis)
            candidate = self._check_repetition(part, hypothesis) if looks_looped else _Candidate(hypothesis)
            result = insert_between(result, self._judge_segments(part, candidate, "rescued"), gap)
        if result.kept or result.dropped:
            parts = [chunk.take_between(*gap) for gap in self._find_silent_gaps(chunk, result)]
        else:
            parts = [chunk]
        nothing = tuple(
            DecodedSegment(part, SegmentHypothesis("", 0.0, part.seconds, (), 0, 0.0, 0.0, 0.0), "rescued", ("empty",))
            for pieces in parts
            for part in pieces.split_pieces()
            if self.detected.is_sure(chunk.channel, *part.pieces[0])
        )
        kept = tuple(map(self._without_times, result.kept))
        return replace(result, kept=kept, dropped=(*result.dropped, *nothing))

    def _find_silent_gaps(self, chunk: Chunk, result: ChunkResult) -> list[Span]:
        """Where the detector is sure of speech and no text came of it."""
        if self.options.task == "translate":
            # Translated words stand in another order than what was said.
            texts = list_texts(result, lambda _: LONGEST_WORD_S)
            gaps = self._find_gaps(chunk, texts)
        else:
            texts = list_texts(result, compute_longest_s)
            gaps = find_gaps(chunk, texts, partial(self.detected.measure_voiced_s, chunk), MIN_GAP_S)
        return [
            gap
            for gap in gaps
            if any(self.detected.is_sure(chunk.channel, *piece) for piece in chunk.take_between(*gap).pieces)
        ]

    def _find_gaps(self, chunk: Chunk, texts: Sequence[Span]) -> list[Span]:
        """Where much speech of a chunk got no text, as spans of the recording."""
        return find_gaps(chunk, texts, partial(self.detected.measure_s, chunk), UNTRANSCRIBED_S)

    def _without_times(self, segment: DecodedSegment) -> DecodedSegment:
        """The same without its words, where nobody asked for their times."""
        if self.options.word_timestamps:
            return segment
        return replace(segment, hypothesis=replace(segment.hypothesis, words=()))


def needs_word_timestamps(chunk: Chunk, *, word_timestamps: bool) -> bool:
    """Whether a chunk's words must be located: because word times are wanted, or to find speech that was not transcribed."""
    return word_timestamps or chunk.seconds > _SHORT_CHUNK_S
