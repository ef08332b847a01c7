"""Corrects word timestamps: the alignment extends a word over a pause next to it. Pure functions: no I/O, no state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from statistics import median

from speech.asr.hypothesis import WordHypothesis
from speech.sentences import ends_sentence

_MAX_MEDIAN_S = 0.7
_MAX_DURATION_FACTOR = 2.0
"""Longest word at the edge of a sentence, as a multiple of the median word; the median counts as at most 0.7 s (both values as in
OpenAI's and SYSTRAN's (faster-whisper) code)."""


def trim_stretched_words(words: Iterable[WordHypothesis]) -> tuple[WordHypothesis, ...]:
    """Shorten the words at the edges of sentences that the alignment extended over a pause.

    Args:
        words: In order, with times in seconds from the start of the chunk.
    """
    trimmed = list(words)
    lengths = [word.end - word.start for word in trimmed if word.end > word.start]
    if not lengths:
        return tuple(trimmed)
    longest = _MAX_DURATION_FACTOR * min(_MAX_MEDIAN_S, median(lengths))
    for i, word in enumerate(trimmed):
        if word.end - word.start <= longest:
            continue
        if i == 0 or ends_sentence(trimmed[i - 1].text):
            trimmed[i] = replace(word, start=word.end - longest)
        elif ends_sentence(word.text) or i == len(trimmed) - 1:
            trimmed[i] = replace(word, end=word.start + longest)
    return tuple(trimmed)
