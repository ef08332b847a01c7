"""Line breaks, in scripts with and without spaces."""

from __future__ import annotations

import pytest

from speech.export.linebreaks import LineLayout, join_units, split_into_units
from speech.transcript import Segment, Word


def _segment(text: str, words: tuple[Word, ...] = ()) -> Segment:
    return Segment(
        id=0,
        start=0.0,
        end=10.0,
        text=text,
        words=words,
        avg_logprob=-0.2,
        compression_ratio=1.2,
        no_speech_prob=0.0,
        temperature=0.0,
        decoded="sequential",
    )


def _pieces(text: str) -> list[str]:
    return [unit.text for unit in split_into_units(_segment(text), 42)]


def _lines(text: str, max_width: int = 42) -> list[str]:
    lines = LineLayout(list(split_into_units(_segment(text), max_width)), max_width).wrap_all(2)
    assert lines is not None
    return lines


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("state-of-the-art don't", ["state-of-the-art", "don't"]),
        ("今天。好", ["今", "天。", "好"]),
        ("「東京」と", ["「東", "京」", "と"]),
        ("チャット", ["チャッ", "ト"]),
        ("ラーメン", ["ラー", "メ", "ン"]),
        ("เก่า", ["เก่า"]),
        ("กินน้ำ", ["กิ", "น", "น้ำ"]),
        ("ແມ່ນ", ["ແມ່", "ນ"]),
        ("သည်", ["သ", "ည်"]),
        ("ខ្មែរ", ["ខ្មែ", "រ"]),
        ("한국어 좋다", ["한국어", "좋다"]),
        ("Die 3D打印 ist", ["Die", "3D", "打", "印", "ist"]),
    ],
)
def test_a_break_is_possible_where_the_script_allows_one_and_nowhere_else(text: str, pieces: list[str]) -> None:
    assert _pieces(text) == pieces


def test_words_of_the_model_are_not_split_in_a_script_without_spaces() -> None:
    words = tuple(Word(word=word, start=i, end=i + 1, probability=1) for i, word in enumerate(("今天", "天气", "好")))
    units = list(split_into_units(_segment("今天天气好", words), 42))
    assert [(unit.text, unit.start, unit.end) for unit in units] == [("今天", 0, 1), ("天气", 1, 2), ("好", 2, 3)]


def test_a_text_of_another_spelling_than_its_words_is_spread_over_the_segment() -> None:
    words = (Word(word=" colour", start=3, end=4, probability=1),)
    assert [(unit.start, unit.end) for unit in split_into_units(_segment("color", words), 42)] == [(0, 10)]


@pytest.mark.parametrize(
    ("text", "first_line"),
    [
        ("aaaa bbbb, cccccccc dddddddd eeeeeeee ffffff", "aaaa bbbb,"),
        ("aaaaaaaaaa bbbbbbbbb cccccccccc dddddddddd eeeee", "aaaaaaaaaa bbbbbbbbb"),
        ("aaaaaaaa bbbbbbb the cccccccc ddddddd eeeeeeee", "aaaaaaaa bbbbbbb"),
    ],
    ids=["after a comma", "the lower line longer", "a little word with what follows"],
)
def test_of_several_line_breaks_the_best_is_taken(text: str, first_line: str) -> None:
    assert _lines(text)[0] == first_line


def test_a_text_that_needs_more_lines_is_not_wrapped() -> None:
    layout = LineLayout(list(split_into_units(_segment("one two three four five"), 9)), 9)
    assert layout.wrap_all(2) is None
    assert layout.wrap_all(3) == ["one", "two three", "four five"]
    assert join_units(layout.units) == "one two three four five"
