"""Mending the word times that alignment gives: where nobody speaks, alignment stretches the nearest word over the pause. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from statistics import median

from speech.heard import HeardWord
from speech.sentences import ends_sentence

_LONGEST_MEDIAN_S = 0.7
_LONGEST = 2.0
"""A word at the edge of a sentence is at most so many times as long as the median word, which counts as 0.7 s at most (both as in
OpenAI's and SYSTRAN's code for the same trouble)."""


def trimmed(words: Iterable[HeardWord]) -> tuple[HeardWord, ...]:
    """Shorten the words at the edges of sentences that alignment stretched over a pause.

    Args:
        words: In order, with times from the start of the chunk.
    """
    found = list(words)
    lengths = [word.end - word.start for word in found if word.end > word.start]
    if not lengths:
        return tuple(found)
    longest = _LONGEST * min(_LONGEST_MEDIAN_S, median(lengths))
    for i, word in enumerate(found):
        if word.end - word.start <= longest:
            continue
        if i == 0 or ends_sentence(found[i - 1].text):
            found[i] = replace(word, start=word.end - longest)
        elif ends_sentence(word.text) or i == len(found) - 1:
            found[i] = replace(word, end=word.start + longest)
    return tuple(found)
