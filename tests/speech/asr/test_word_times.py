"""Words that alignment stretched over a pause: only those at the edge of a sentence are shortened."""

from __future__ import annotations

import pytest

from speech.asr.hypothesis import WordHypothesis
from speech.asr.word_times import trim_stretched_words


def get_times(*words: tuple[str, float, float]) -> list[tuple[float, float]]:
    trimmed = trim_stretched_words(WordHypothesis(text, start, end, 1.0) for text, start, end in words)
    return [(word.start, word.end) for word in trimmed]


SHORT = [(" and", 0.0, 0.3), (" so", 0.3, 0.6), (" on", 0.6, 0.9)]


@pytest.mark.parametrize("end", [" it.", ' it."', " it?", " それ。", " वह।"])
def test_a_pause_between_sentences_belongs_to_no_word(end: str) -> None:
    assert get_times(*SHORT, (end, 0.9, 1.2), (" Then", 1.2, 4.0), (" we", 4.0, 4.3))[-2] == pytest.approx((3.4, 4.0))
    assert get_times(*SHORT, (end, 0.9, 4.0), (" Then", 4.0, 4.3))[-2] == pytest.approx((0.9, 1.5))


def test_a_long_word_inside_a_sentence_is_kept_even_behind_a_title() -> None:
    assert get_times(*SHORT, (" Mr.", 0.9, 1.2), (" Collins", 1.2, 4.0), (" we", 4.0, 4.3))[-2] == (1.2, 4.0)


def test_the_first_and_the_last_word_of_a_chunk_are_shortened_too() -> None:
    assert get_times((" So", 0.0, 3.0), *[(w, s + 3, e + 3) for w, s, e in SHORT])[0] == pytest.approx((2.4, 3.0))
    assert get_times(*SHORT, (" Then", 0.9, 4.0))[-1] == pytest.approx((0.9, 1.5))
    assert get_times() == []
