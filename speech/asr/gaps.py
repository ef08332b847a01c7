"""Speech that got no text: where it is, and how the text that is found later is put between the rest. Pure.

The decoder sometimes leaves out a sentence or ends early. The alignment hides it: it stretches the words beside it over the sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from speech.asr.chunks import Chunk
from speech.asr.hypothesis import ChunkResult, DecodedSegment, SegmentHypothesis, WordHypothesis, take_words
from speech.asr.scripts import split_words
from speech.asr.vad import Span

UNTRANSCRIBED_S = 2.0
"""Detected speech, with the detector's padding, of more than this many seconds without a word makes a result suspect: five words
are said in that time."""

MIN_GAP_S = 1.0
"""Speech that the detector is sure of is decoded alone if more than this many seconds of it got no text."""

LONGEST_WORD_S = 1.5
"""Seconds. A longer word was stretched by the alignment over speech that was left out."""

SIDE_S = 1.0
"""Speech without text is decoded from the pause before it on and up to the pause behind it, if they are as near as this."""

_WORD_S = 0.4
_LETTER_S = 0.1
"""Longest time of a short word, and of each of its letters: words before a pause are drawn out."""

_SPELT_S = 0.6  # of "seven thousand" or "W", slowly


def compute_longest_s(word: WordHypothesis) -> float:
    """Seconds that a word can cover. Digits, and capitals of an abbreviation, are each as long as a word."""
    text = word.text.strip()
    capitals = sum(character.isupper() for character in text)
    spelt = sum(character.isdigit() for character in text) + (capitals if capitals > 1 else 0)
    return min(LONGEST_WORD_S, _WORD_S + _LETTER_S * (len(text) - spelt)) + _SPELT_S * spelt


def list_spans(
    chunk: Chunk, segment: SegmentHypothesis, compute_longest: Callable[[WordHypothesis], float]
) -> list[Span]:
    """Spans of the recording that have text: of each word, or of the segment if its words were not located."""
    if not segment.text:
        return []
    if not segment.words:
        return [(chunk.locate(segment.start, segment.start).start, chunk.locate(segment.end, segment.end).end)]
    places = [(chunk.locate(word.start, word.end), compute_longest(word)) for word in segment.words]
    return [(place.start, min(place.end, place.start + longest_s)) for place, longest_s in places]


def list_texts(result: ChunkResult, compute_longest: Callable[[WordHypothesis], float]) -> list[Span]:
    """Spans of the recording that have text, kept or dropped, or of which it is said that they have none."""
    spans = [
        span
        for segment in (*result.kept, *result.dropped)
        for span in list_spans(segment.chunk, segment.hypothesis, compute_longest)
    ]
    silent = [segment.chunk for segment in result.dropped if not segment.hypothesis.text]
    return spans + [piece for chunk in silent for piece in chunk.pieces]


def find_gaps(
    chunk: Chunk, texts: Sequence[Span], measure_s: Callable[[float, float], float], longest_s: float
) -> list[Span]:
    """Spans of the recording, inside a chunk, that have more speech than so many seconds and no text.

    Args:
        chunk: The chunk.
        texts: Spans of the recording that have text.
        measure_s: Seconds of speech between two moments.
        longest_s: Most seconds that may have no text.
    """
    end = chunk.pieces[-1][1]
    covered_until = chunk.pieces[0][0]
    gaps = []
    for text_start, text_end in (*sorted(texts), (end, end)):
        if text_start > covered_until and measure_s(covered_until, text_start) > longest_s:
            gaps.append((covered_until, text_start))
        covered_until = max(covered_until, text_end)
    return gaps


def insert_between(result: ChunkResult, filled: ChunkResult, gap: Span) -> ChunkResult:
    """Put what was found in a gap between the segments of a result, in order of time; words that both have stand once."""
    kept = [part for segment in result.kept for part in _split_at(segment, gap[0])]
    before = [segment for segment in kept if _locate_start(segment) < gap[0]]
    behind = [segment for segment in kept if _locate_start(segment) >= gap[0]]
    found = _strip_known(filled.kept, before, behind, gap)
    before = _strip_stretched_word(before, found)
    return ChunkResult(
        (*before, *found, *behind),
        (*result.dropped, *filled.dropped),
        is_suspect=True,
        is_rescued=result.is_rescued or bool(found),
    )


def _split_at(segment: DecodedSegment, moment: float) -> Iterable[DecodedSegment]:
    """A segment as it is, or the words before a moment of the recording and those from it on."""
    words = segment.hypothesis.words
    count = sum(segment.chunk.locate(word.start, word.end).start < moment for word in words)
    if not 0 < count < len(words):
        return (segment,)
    return tuple(
        replace(segment, hypothesis=take_words(segment.hypothesis, part)) for part in (words[:count], words[count:])
    )


def _strip_known(
    found: Sequence[DecodedSegment], before: Sequence[DecodedSegment], behind: Sequence[DecodedSegment], gap: Span
) -> list[DecodedSegment]:
    """Without the words on either side of the gap, which have text already.

    A gap is decoded from the pause before it up to the pause behind it. Only where the word beside the gap was stretched over more
    than it can cover, other words may have been said there, before that word or behind it.
    """
    keeps = (_is_stretched(before, -1), _is_stretched(behind, 0))
    words = [word for segment in found for word in segment.hypothesis.words]
    again: set[int] = set()  # indices of stretched words that were heard a second time
    if words and keeps[0] and _are_same(words[0], before[-1].hypothesis.words[-1]):
        again.add(0)
    if words and keeps[1] and _are_same(words[-1], behind[0].hypothesis.words[0]):
        again.add(len(words) - 1)
    stripped: list[DecodedSegment] = []
    index = 0
    for segment in found:
        own = list(enumerate(segment.hypothesis.words, index))
        index += len(own)
        left = [
            word
            for i, word in own
            if (side := _find_side(segment, word, gap)) is None or (keeps[side] and i not in again)
        ]
        if len(left) == len(segment.hypothesis.words):
            stripped.append(segment)
        elif left:
            stripped.append(replace(segment, hypothesis=take_words(segment.hypothesis, left)))
    return stripped


def _are_same(first: WordHypothesis, second: WordHypothesis) -> bool:
    return split_words(first.text) == split_words(second.text)


def _is_stretched(segments: Sequence[DecodedSegment], index: int) -> bool:
    """Whether the first or last word (0 or -1) has more time than it can cover."""
    words = segments[index].hypothesis.words if segments else ()
    return bool(words) and words[index].end - words[index].start > compute_longest_s(words[index])


def _find_side(segment: DecodedSegment, word: WordHypothesis, gap: Span) -> int | None:
    """0: the middle of the word lies shortly before the gap; 1: shortly behind it; None: elsewhere."""
    place = segment.chunk.locate(word.start, word.end)
    middle = (place.start + place.end) / 2
    if gap[0] - SIDE_S <= middle < gap[0]:
        return 0
    return 1 if gap[1] < middle <= gap[1] + SIDE_S else None


def _strip_stretched_word(before: Sequence[DecodedSegment], found: Sequence[DecodedSegment]) -> list[DecodedSegment]:
    """Without a last word that was stretched back over the gap, if it was found where it was said: at the gap's end."""
    words = [word for segment in found for word in segment.hypothesis.words]
    last = before[-1].hypothesis.words if before else ()
    if not words or not last or not _are_same(last[-1], words[-1]):
        return list(before)
    if not _is_stretched(before, -1):
        return list(before)
    if len(last) == 1:
        return list(before[:-1])
    return [*before[:-1], replace(before[-1], hypothesis=take_words(before[-1].hypothesis, last[:-1]))]


def _locate_start(segment: DecodedSegment) -> float:
    return segment.chunk.locate(segment.hypothesis.start, segment.hypothesis.start).start
