"""What was said several times is kept, and what the decoder wrote over and over is not: told apart by the words' times."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from speech.asr.hypothesis import SegmentHypothesis, WordHypothesis
from speech.asr.repetition import Repetition, find_repetitions, has_loop, is_respelled, remove_extra


def make_words(text: str, ends: Sequence[float], start: float = 0.0) -> tuple[WordHypothesis, ...]:
    """Words one after the other, each from the end of the one before."""
    starts = [start, *ends[:-1]]
    return tuple(
        WordHypothesis(f" {word}", *times, 0.9) for word, *times in zip(text.split(), starts, ends, strict=True)
    )


def make_segment(words: Sequence[WordHypothesis], tokens: int = 0) -> SegmentHypothesis:
    text = "".join(word.text for word in words).strip()
    return SegmentHypothesis(text, words[0].start, words[-1].end, tuple(words), tokens or len(words), -0.2, 3.0, 0.1)


def measure_all(start: float, end: float) -> float:
    return end - start


def find(words: Sequence[WordHypothesis]) -> list[Repetition]:
    return find_repetitions(words, measure_all)


def test_what_takes_its_time_was_said_however_often() -> None:
    words = make_words("no " * 12, [0.7 * (i + 1) for i in range(12)])
    assert find(words) == [Repetition(0, 1, 12, 12, is_loop=False)]


def test_an_unhurried_speaker_with_an_uneven_rhythm_loses_nothing() -> None:
    words = make_words("yes yes yes yes yes", [0.5, 1.5, 1.8, 2.9, 3.2])
    assert find(words) == [Repetition(0, 1, 5, 5, is_loop=False)]


@pytest.mark.parametrize("extra", [1, 5, 100])
def test_copies_without_time_at_the_end_of_what_was_said_are_extra(extra: int) -> None:
    words = make_words("stop now " * (6 + extra), [*(0.5 * (i + 1) for i in range(12)), *[6.0] * 2 * extra])
    (repetition,) = find(words)
    assert (repetition.copies, repetition.said, repetition.is_loop) == (6 + extra, 6, False)
    (segment,), shortened = remove_extra([make_segment(words, tokens=3 * len(words))], [repetition])
    assert segment.text == "stop now " * 5 + "stop now"
    assert segment.token_count == 36, "what is left is judged by its own length"
    assert shortened == {0}


def test_a_copy_without_time_makes_up_for_a_hole_as_long_as_one() -> None:
    """Alignment may leave out one of six copies in the middle and have no time left for the last."""
    copies = [0.0, 1.0, 3.0, 4.0, 5.0, 6.0]
    ends = [start + part for start in copies[:5] for part in (0.5, 1.0)] + [6.0, 6.0]
    assert find(make_words("one two " * 6, ends))[0].said == 6


def test_silence_between_the_copies_does_not_count() -> None:
    """Two copies, nine seconds of silence, two more, and one without time."""
    words = [
        *make_words("hold on hold on", [0.5, 1.0, 1.5, 2.0]),
        *make_words("hold on hold on hold on", [11.5, 12.0, 12.5, 13.0, 13.0, 13.0], start=11.0),
    ]

    def measure_speech_s(start: float, end: float) -> float:
        return end - start - max(0.0, min(end, 11.0) - max(start, 2.0))

    assert find_repetitions(words, measure_speech_s)[0].said == 4


def test_a_loop_over_other_speech_is_known_by_copies_without_time_among_the_others() -> None:
    ends, end = [], 0.0
    for i in range(60):
        end += (0.4, 0.0, 0.1, 0.9, 0.0)[i % 5]
        ends.append(end)
    words = make_words("yeah " * 60, ends)
    repetitions = find(words)
    assert repetitions[0].is_loop
    segments, _ = remove_extra([make_segment(words)], repetitions)
    assert has_loop(segments, repetitions)


def test_words_without_any_time_are_a_loop_even_if_they_change() -> None:
    words = make_words("one for me two for me three for me four for me", [0.5, 0.9, 1.2, *[1.2] * 9])
    assert has_loop([make_segment(words)], find(words))
    ordinary = make_words("one for me two for me", [0.5, 0.9, 1.2, 1.7, 2.0, 2.0])
    assert not has_loop([make_segment(ordinary)], find(ordinary)), "the last word of a chunk often has none"


def test_the_end_of_a_loop_goes_altogether_and_what_was_said_before_it_stays() -> None:
    """Nobody said the sixth and later copies of "one two", which the loop has joined with one of another kind."""
    words = make_words(
        "call one two three call one two three " + "two three " * 9, [*(0.4 * (i + 1) for i in range(8)), *[3.2] * 18]
    )
    segments, _ = remove_extra([make_segment(words)], find(words))
    assert segments[0].text == "call one two three call one two three"


def test_copies_may_lie_in_several_segments() -> None:
    first = make_words("hold the line", [0.4, 0.7, 1.2])
    second = make_words("hold the line", [1.6, 1.9, 2.4], start=1.2)
    third = make_words("hold the line", [2.4, 2.4, 2.4], start=2.4)
    repetitions = find([*first, *second, *third])
    segments, shortened = remove_extra([make_segment(part) for part in (first, second, third)], repetitions)
    assert [segment.text for segment in segments] == ["hold the line", "hold the line"]
    assert shortened == {1}, "the segment before bears the mark"


def test_where_the_first_segment_goes_the_next_one_bears_the_mark() -> None:
    first = make_segment([WordHypothesis(" No.", 0.5, 0.5, 0.9)])
    said = [WordHypothesis(" No.", 1.0, 1.5, 0.9), WordHypothesis(" No.", 2.0, 2.5, 0.9)]
    second = make_segment([*said, WordHypothesis(" Stop.", 3.0, 3.5, 0.9)])
    repetitions = find_repetitions([*first.words, *second.words], lambda start, end: 0.7 * (end - start))
    segments, shortened = remove_extra([first, second], repetitions)
    assert [segment.text for segment in segments] == ["No. No. Stop."]
    assert shortened == {0}


def test_a_letter_of_a_script_without_spaces_counts_as_a_word() -> None:
    text = "うのもす" * 4
    words = [WordHypothesis(letter, 0.2 * i, 0.2 * (i + 1), 0.9) for i, letter in enumerate(text)]
    assert find(words) == [Repetition(0, 4, 4, 4, is_loop=False)]


@pytest.mark.parametrize(
    ("text", "looped", "is_one"),
    [
        ("lobsters and lumsters and lobstars", "lobsters and lobsters and lobsters", True),
        ("no nope no no", "no no no no", True),
        ("look at all of this", "yeah yeah yeah yeah", False),
        ("lobsters and lobsters", "lobsters and lobsters and lobsters", False),
    ],
)
def test_new_spellings_of_repeated_words_are_known(text: str, looped: str, is_one: bool) -> None:
    assert is_respelled(text, looped) is is_one
