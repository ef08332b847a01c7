"""Speech without text is found behind stretched words, and what is found there later is put in its place."""

from __future__ import annotations

import pytest

from speech.asr.chunks import Chunk
from speech.asr.gaps import LONGEST_WORD_S, compute_longest_s, find_gaps, insert_between, list_texts
from speech.asr.hypothesis import ChunkResult, DecodedSegment, SegmentHypothesis, WordHypothesis

CHUNK = Chunk(0, ((10.0, 20.0),))


def make_result(*words: tuple[str, float, float], chunk: Chunk = CHUNK) -> ChunkResult:
    """A result of one segment; times are seconds from the start of its chunk."""
    heard = tuple(WordHypothesis(f" {text}", start, end, 0.9) for text, start, end in words)
    text = "".join(word.text for word in heard).strip()
    segment = SegmentHypothesis(text, heard[0].start, heard[-1].end, heard, len(heard), -0.2, 1.0, 0.1)
    return ChunkResult((DecodedSegment(chunk, segment, "batched"),), (), is_suspect=False, is_rescued=False)


def find(result: ChunkResult, longest_s: float = 1.0) -> list[tuple[float, float]]:
    gaps = find_gaps(CHUNK, list_texts(result, compute_longest_s), lambda start, end: end - start, longest_s)
    return [(round(start, 2), round(end, 2)) for start, end in gaps]


def test_gaps_lie_before_between_and_behind_the_words() -> None:
    assert find(make_result(("first", 2.0, 2.5), ("second", 5.0, 5.5))) == [(10.0, 12.0), (12.5, 15.0), (15.5, 20.0)]
    assert find(make_result(("short", 0.9, 1.3), ("pauses", 2.0, 9.5)))[:1] == [(13.0, 20.0)]


def test_a_short_word_covers_no_more_than_its_letters_take() -> None:
    """Seen with the base model: "is" from 24.5 to 27.4 s, over a sentence that was left out."""
    assert find(make_result(("it", 0.0, 0.5), ("is", 0.5, 3.4), ("of", 3.4, 10.0)))[0] == (11.1, 13.4)


def test_a_long_word_covers_more_and_none_more_than_the_longest() -> None:
    lengths = [compute_longest_s(WordHypothesis(text, 0.0, 9.0, 1.0)) for text in ("a", "conference", "x" * 40)]
    assert lengths == sorted(lengths)
    assert lengths[-1] == LONGEST_WORD_S


@pytest.mark.parametrize("number", ["1,234,567", "0123456789", "$1,234.56", "1987"])
def test_a_number_covers_what_its_digits_stand_for(number: str) -> None:
    assert compute_longest_s(WordHypothesis(number, 0.0, 9.0, 1.0)) >= 0.5 * sum(map(str.isdigit, number))


def test_letters_that_are_spelt_out_cover_more_than_a_name_does() -> None:
    assert (
        compute_longest_s(WordHypothesis("WWW", 0.0, 9.0, 1.0))
        > 2
        > compute_longest_s(WordHypothesis("Wow", 0.0, 9.0, 1.0))
    )


def test_a_segment_whose_words_were_not_located_covers_all_of_its_time() -> None:
    segment = SegmentHypothesis("some text", 0.0, 10.0, (), 2, -0.2, 1.0, 0.1)
    result = ChunkResult((DecodedSegment(CHUNK, segment, "batched"),), (), is_suspect=False, is_rescued=False)
    assert find(result) == []


def read(result: ChunkResult) -> list[str]:
    return [segment.hypothesis.text for segment in result.kept]


def test_what_is_found_stands_between_the_words_around_it() -> None:
    result = make_result(("before", 0.0, 0.5), ("behind", 6.0, 6.5))
    found = make_result(("in", 1.0, 1.5), ("between", 1.5, 2.5), chunk=Chunk(0, ((11.0, 15.0),)))
    assert read(insert_between(result, found, (10.9, 16.0))) == ["before", "in between", "behind"]


@pytest.mark.parametrize(
    ("begin", "gap_start", "expected"),
    [(10.4, 10.7, ["so", "then we went", "home"]), (11.0, 11.0, ["so", "so then we went", "home"])],
)
def test_a_word_that_was_heard_from_before_the_gap_stands_once(
    begin: float, gap_start: float, expected: list[str]
) -> None:
    """The part is decoded from the pause before the gap on. Inside the gap the same word is another one."""
    result = make_result(("so", 0.0, 1.0), ("home", 6.0, 6.5))
    words = (("so", 0.0, 0.4), ("then", 0.5, 1.0), ("we", 1.0, 1.5), ("went", 1.5, 2.0))
    found = make_result(*words, chunk=Chunk(0, ((begin, 15.0),)))
    assert read(insert_between(result, found, (gap_start, 16.0))) == expected


def find_side_by_side(known: ChunkResult, *found: tuple[str, float, float]) -> list[str]:
    """What stands where a part of the chunk from 11 s on is decoded for a gap from 12 to 16 s."""
    return read(insert_between(known, make_result(*found, chunk=Chunk(0, ((11.0, 17.0),))), (12.0, 16.0)))


def test_words_beside_the_gap_stand_once_however_they_are_spelt() -> None:
    known = make_result(("We", 1.2, 1.8), ("went", 6.2, 6.6))
    found = (("He", 0.2, 0.8), ("met", 1.1, 1.6), ("them", 1.6, 2.4), ("vent", 5.2, 5.6))
    assert find_side_by_side(known, *found) == ["We", "met them", "went"]


def test_beside_a_word_that_was_stretched_over_the_gap_other_words_may_have_been_said() -> None:
    known = make_result(("The", 1.2, 6.1), ("invention", 6.2, 6.9))
    found = (("I", 0.1, 0.3), ("left", 0.3, 0.7), ("the", 0.7, 0.9), ("keys", 1.1, 1.6), ("there", 1.6, 2.4))
    assert find_side_by_side(known, *found) == ["The", "I left the keys there", "invention"]


def test_a_word_that_was_stretched_back_over_the_gap_stands_where_it_was_said() -> None:
    known = make_result(("Good", 0.2, 0.6), ("morning", 0.6, 1.0), ("and", 1.2, 6.0), ("went", 6.2, 6.6))
    found = (("who", 1.1, 1.6), ("comes", 1.6, 2.4), ("and", 4.6, 4.9))
    assert find_side_by_side(known, *found) == ["Good morning", "who comes and", "went"]


def test_beside_text_without_times_only_what_lies_in_the_gap_is_added() -> None:
    segment = SegmentHypothesis("We met", 0.0, 2.0, (), 2, -0.2, 1.0, 0.1)
    known = ChunkResult((DecodedSegment(CHUNK, segment, "sequential"),), (), is_suspect=False, is_rescued=False)
    found = (("We", 0.2, 0.5), ("met", 0.5, 0.9), ("their", 1.1, 1.6), ("cousins", 1.6, 2.4))
    assert find_side_by_side(known, *found) == ["We met", "their cousins"]
