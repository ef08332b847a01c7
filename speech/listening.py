"""How one chunk becomes text: the first decode, the guard's doubts, decoding on where it ended early, the careful way for suspects.

Every question to the model goes through ``Ears``, so that the order of things here does not care who else is being decoded.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Protocol

from speech.activity import Span
from speech.chunks import Chunk
from speech.decoder import Samples
from speech.guard import LONGEST_WORD_S, LOOPING, UNSAID_S, Heard, doubts, rank, shared_doubts, verdict
from speech.heard import HeardSegment
from speech.transcript import Decoded

_ROUNDS = 4
"""A chunk is continued at most so often: each time at least a word is written, but a hopeless chunk must end."""

_NO_REPEAT = 3
"""Tokens that the last way out may not write twice in a row: shorter runs are ordinary language."""

_SHORT_S = 10.0
"""Chunks up to this long are not asked where their words end when no word times are wanted: none of our corpora ended early."""


class Ears(Protocol):
    """The model, as a chunk sees it."""

    def hear(self, samples: Samples, language: str, *, words: bool) -> HeardSegment:
        """Decode fast, as one text."""

    def hear_carefully(self, samples: Samples, language: str, *, words: bool, no_repeat: int = 0) -> list[HeardSegment]:
        """Decode sequentially on the whole window."""


@dataclass(frozen=True, slots=True)
class Written:
    """A segment with the chunk it was decoded as, how, and what the guard says of it."""

    chunk: Chunk
    segment: HeardSegment
    decoded: Decoded
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What became of a chunk.

    Attributes:
        kept: Segments in order.
        dropped: Segments taken out; their flags are the reasons.
        suspect: Whether the first result was not believed.
        rescued: Whether text of a later result stands in its place.
    """

    kept: tuple[Written, ...]
    dropped: tuple[Written, ...]
    suspect: bool
    rescued: bool


@dataclass(frozen=True, slots=True)
class Listener:
    """Listens to chunks of one recording.

    Attributes:
        ears: The model.
        read: Gives a chunk's glued audio.
        language: Whisper's code.
        words: Whether word times are wanted.
        speech: Detected speech of each channel, padded as it was found, to see what was left unsaid.
    """

    ears: Ears
    read: Callable[[Chunk], Samples]
    language: str
    words: bool
    speech: tuple[tuple[Span, ...], ...]

    def fast(self, chunk: Chunk, first: HeardSegment | None = None) -> ChunkResult:
        """Decode fast; what the guard doubts is decoded again the careful way.

        Args:
            chunk: What to listen to.
            first: What was already written for it, when its language was asked.
        """
        written: list[Written] = []
        suspect = False
        rest: Chunk | None = chunk
        for _ in range(_ROUNDS):
            if rest is None:
                break
            samples = self.read(rest)
            if first is None:
                first = self.ears.hear(samples, self.language, words=needs_times(rest, words=self.words))
            heard = Heard((first,), rest.seconds)
            if doubts(heard, self.language) or self._skips(rest, first):
                result = self._rescue(rest, samples, self._careful(rest, samples), "rescued", heard)
                return replace(result, kept=(*written, *result.kept))
            written.append(
                Written(rest, first if self.words else replace(first, words=()), "rescued" if suspect else "batched")
            )
            rest = self._unsaid(rest, first)
            suspect = suspect or rest is not None
            first = None
        return ChunkResult(tuple(written), (), suspect, rescued=len(written) > 1)

    def careful(self, chunk: Chunk) -> ChunkResult:
        """Decode carefully from the start."""
        samples = self.read(chunk)
        first = self._careful(chunk, samples)
        if doubts(first, self.language, careful=True):
            return self._rescue(chunk, samples, first, "sequential")
        return self._judged(chunk, first, "sequential", suspect=False)

    def _rescue(
        self, chunk: Chunk, samples: Samples, careful: Heard, decoded: Decoded, first: Heard | None = None
    ) -> ChunkResult:
        """The better of the careful results; what is wrong with it even so is flagged or dropped.

        The first result of the fast path is out of the race: it was decoded with less context, and the guard has spoken. It is
        only compared with the better one.

        Args:
            chunk: What was listened to.
            samples: Its audio.
            careful: The first careful result.
            decoded: How that one is called where it stays the best.
            first: What the fast path wrote, if this is one of its suspects.
        """
        best = careful
        if LOOPING.intersection(doubts(careful, self.language, careful=True)):
            last = self._careful(chunk, samples, no_repeat=_NO_REPEAT)
            if rank(last, self.language) < rank(careful, self.language):
                best, decoded = last, "rescued"
        return self._judged(chunk, best, decoded, suspect=True, first=first)

    def _careful(self, chunk: Chunk, samples: Samples, no_repeat: int = 0) -> Heard:
        segments = self.ears.hear_carefully(samples, self.language, words=self.words, no_repeat=no_repeat)
        return Heard(tuple(segments), chunk.seconds)

    def _judged(
        self, chunk: Chunk, heard: Heard, decoded: Decoded, *, suspect: bool, first: Heard | None = None
    ) -> ChunkResult:
        shared = shared_doubts(heard, first)
        kept: list[Written] = []
        dropped: list[Written] = []
        for segment in heard.segments:
            if not segment.text:
                continue
            said, reasons = verdict(segment, self.language, segment.end - segment.start, shared)
            (dropped if said == "drop" else kept).append(Written(chunk, segment, decoded, reasons))
        return ChunkResult(tuple(kept), tuple(dropped), suspect, rescued=decoded == "rescued" and bool(kept))

    def _skips(self, chunk: Chunk, segment: HeardSegment) -> bool:
        """Whether much speech lies before the first word or between two; the decoder sometimes leaves out a sentence."""
        behind = chunk.pieces[0][0]
        for word in segment.words:
            place = chunk.place(word.start, word.end)
            if self._speech(chunk, behind, place.start) > UNSAID_S:
                return True
            # Alignment stretches a word over what was left out behind it.
            behind = min(place.end, place.start + LONGEST_WORD_S)
        return False

    def _unsaid(self, chunk: Chunk, segment: HeardSegment) -> Chunk | None:
        """The part of the chunk behind its last word, when much speech is in it; the decoder sometimes ends early."""
        if not segment.words:
            return None
        end = chunk.place(segment.words[-1].start, segment.words[-1].end)
        rest = chunk.after(end.piece, end.end)
        return rest if rest and self._speech(rest, end.end, rest.pieces[-1][1]) > UNSAID_S else None

    def _speech(self, chunk: Chunk, start: float, end: float) -> float:
        """Seconds of detected speech of a chunk between two moments of the recording."""
        spans = self.speech[chunk.channel]
        # A long recording has thousands of spans, in order and apart from each other.
        near = spans[bisect_right(spans, start, key=itemgetter(1)) : bisect_left(spans, end, key=itemgetter(0))]
        return sum(
            max(0.0, min(last, stop, end) - max(first, begin, start))
            for first, last in chunk.pieces
            for begin, stop in near
        )


def needs_times(chunk: Chunk, *, words: bool) -> bool:
    """Whether a chunk's words have to be located: because word times are wanted, or to see what was left unsaid."""
    return words or chunk.seconds > _SHORT_S
