"""Tells what was said several times from what the decoder wrote over and over. Pure.

A decoder that has fallen into a loop writes more than can be said. Its words' times show it: the alignment has no sound left for
the extra ones, so they take no time at all. What somebody really says again takes as long as the first time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from statistics import median

from speech.asr.hypothesis import SegmentHypothesis, WordHypothesis, take_words
from speech.asr.scripts import compute_compression_ratio, split_words

MAX_CHARACTERS_PER_S = 35.0
"""Characters a second. No recording of our corpora is above it, in no language, and no auctioneer; loops are."""

_MIN_SHARE_OF_COPY = 1 / 3
"""A copy that takes less than this share of what the others take was not said like them."""

_MAX_BROKEN_SHARE = 0.25
"""Largest share of the copies before the end that may take too little time. In what was said six to twelve times (eSpeak NG, two
voices) it was at most a tenth, in a loop over other speech a quarter to a half."""

_MAX_TIMELESS_SHARE = 0.25
"""Largest share of words without any time. At the end of a chunk the alignment leaves two or three even in good results."""

_MIN_ALIKE = 0.6
"""difflib's ratio from which on one word is a spelling of another: 0.67 for "no" and "nope", 0.88 for "merrily" and "merriely"."""

MeasureSpeech = Callable[[float, float], float]
"""Seconds of detected speech between two moments of the chunk."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """Some words that come several times in a row.

    Attributes:
        start: Index of the first word of the first copy, counted over all segments.
        length: Words of one copy.
        copies: How often they were written.
        said: How often they can have been said, 0 to ``copies``. 0: the words before it go on for ever.
        is_loop: Whether even of those many take too little time, so that other words may have been said.
    """

    start: int
    length: int
    copies: int
    said: int
    is_loop: bool


def find_repetitions(words: Sequence[WordHypothesis], measure_speech_s: MeasureSpeech) -> list[Repetition]:
    """Every stretch of words that is written twice or more in a row, from left to right.

    Args:
        words: All words of a chunk, in order, with their times.
        measure_speech_s: Measures detected speech, so that pauses between the copies do not count.
    """
    keys = [tuple(split_words(word.text)) for word in words]
    repetitions = []
    start = 0
    while start < len(words):
        length, copies = _find_longest(keys, start)
        if copies > 1:
            repetitions.append(_measure(words, keys, start, length, copies, measure_speech_s))
        start += max(1, length * copies)
    return repetitions


def remove_extra(
    segments: Sequence[SegmentHypothesis], repetitions: Sequence[Repetition]
) -> tuple[tuple[SegmentHypothesis, ...], frozenset[int]]:
    """Take out the copies that nobody said, those with the shortest times; segments that lose all their words go too.

    Returns:
        The segments, and the indices among them of those that have lost words.
    """
    words = [word for segment in segments for word in segment.words]
    extra: set[int] = set()
    for repetition in repetitions:
        copies = _list_copies(words, repetition.start, repetition.length, repetition.copies)
        # Of copies that take the same time, the last goes first.
        by_time = sorted(range(len(copies)), key=lambda i: (_sum_seconds(copies[i]), -i))
        for i in by_time[: repetition.copies - repetition.said]:
            first = repetition.start + i * repetition.length
            extra.update(range(first, first + repetition.length))
    kept: list[SegmentHypothesis] = []
    changed: set[int] = set()
    index = 0
    for segment in segments:
        own = range(index, index + len(segment.words))
        index += len(segment.words)
        if extra.isdisjoint(own):
            kept.append(segment)
            continue
        left = tuple(words[i] for i in own if i not in extra)
        # Where nothing is left of a segment, its neighbour is marked: the one before, or for the first the one behind.
        changed.add(len(kept) if left else max(0, len(kept) - 1))
        if left:
            kept.append(_shorten(segment, left))
    return tuple(kept), frozenset(changed)


def has_loop(segments: Sequence[SegmentHypothesis], repetitions: Sequence[Repetition]) -> bool:
    """Whether one of the repetitions is a loop, or too many words have no time at all, as in a loop that changes as it goes on.

    Args:
        segments: What ``remove_extra`` has left.
        repetitions: What it has removed the extra copies of.
    """
    words = [word for segment in segments for word in segment.words]
    timeless = sum(word.end <= word.start for word in words)
    return any(repetition.is_loop for repetition in repetitions) or timeless > _MAX_TIMELESS_SHARE * len(words)


def is_respelled(text: str, looped: str) -> bool:
    """Whether most new words of a text are only new spellings of words that another one repeats.

    The decoder writes such words where it may not write the same ones again: "lumsters" for "lobsters".
    """
    counts = Counter(split_words(looped))
    repeated = [word for word, count in counts.items() if count > 1]
    new = set(split_words(text)) - set(counts)
    alike = sum(
        any(SequenceMatcher(None, word, other, autojunk=False).ratio() >= _MIN_ALIKE for other in repeated)
        for word in new
    )
    return bool(new) and alike >= len(new) / 2


def _find_longest(keys: Sequence[tuple[str, ...]], start: int) -> tuple[int, int]:
    """Length and number of the copies that begin at a word and cover the most words; (1, 1) if nothing is repeated there."""
    best = (1, 1)
    for length in range(1, (len(keys) - start) // 2 + 1):
        unit = keys[start : start + length]
        if not any(unit):
            continue
        copies = 1
        while keys[start + copies * length : start + (copies + 1) * length] == unit:
            copies += 1
        if copies > 1 and copies * length > best[0] * best[1]:
            best = (length, copies)
    return best


def _measure(
    words: Sequence[WordHypothesis],
    keys: Sequence[tuple[str, ...]],
    start: int,
    length: int,
    copies: int,
    measure_speech_s: MeasureSpeech,
) -> Repetition:
    parts = _list_copies(words, start, length, copies)
    seconds = [_sum_seconds(part) for part in parts]
    fastest_s = sum(len(word) for key in keys[start : start + length] for word in key) / MAX_CHARACTERS_PER_S
    possible = [value for value in seconds if value >= fastest_s]
    least_s = max(fastest_s, _MIN_SHARE_OF_COPY * median(possible)) if possible else fastest_s
    is_possible = [value >= least_s for value in seconds]
    if all(is_possible):
        return Repetition(start, length, copies, copies, is_loop=False)
    if not any(is_possible):
        # The end of a loop whose copies stand before it, or words of which one at least may have been said.
        goes_on = list(keys[max(0, start - length) : start]) == list(keys[start : start + length])
        return Repetition(start, length, copies, 0 if goes_on else 1, is_loop=False)
    starts = [part[0].start for part in parts]
    steps = [
        measure_speech_s(starts[i], starts[i + 1]) for i in range(copies - 1) if is_possible[i] and is_possible[i + 1]
    ]
    step_s = median(steps) if steps else median(possible)
    heard = round(measure_speech_s(starts[0], parts[-1][-1].end) / step_s) if step_s > 0 else 1
    said = min(copies, max(1, heard))
    before = is_possible[: said - 1]
    broken = before.count(False)
    return Repetition(start, length, copies, said, is_loop=broken > max(1, _MAX_BROKEN_SHARE * len(before)))


def _list_copies(
    words: Sequence[WordHypothesis], start: int, length: int, copies: int
) -> list[Sequence[WordHypothesis]]:
    return [words[first : first + length] for first in range(start, start + copies * length, length)]


def _sum_seconds(words: Sequence[WordHypothesis]) -> float:
    return sum(word.end - word.start for word in words)


def _shorten(segment: SegmentHypothesis, words: Sequence[WordHypothesis]) -> SegmentHypothesis:
    left = take_words(segment, words)
    return replace(
        left,
        token_count=math.ceil(segment.token_count * len(words) / len(segment.words)),
        compression_ratio=compute_compression_ratio(left.text),
    )
