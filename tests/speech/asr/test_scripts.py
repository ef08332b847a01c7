"""Words, letters and compression of texts, in every script.

``prose.json`` has the first article of the Universal Declaration of Human Rights (United Nations, public domain) in 19 languages,
most with a sentence of our own behind it.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech.asr.hallucination import (
    COMPRESSION_RATIO_THRESHOLD,
    ChunkHypothesis,
    find_suspicions,
    judge,
)
from speech.asr.hypothesis import SegmentHypothesis
from speech.asr.scripts import compute_compression_ratio, has_letter_loop, is_latin, split_words

PROSE: dict[str, str] = json.loads(Path(__file__).with_name("prose.json").read_text(encoding="utf-8"))
SPACELESS = {"zh", "ja", "th", "my", "km"}


def make_segment(text: str, logprob: float = -0.2) -> SegmentHypothesis:
    return SegmentHypothesis(
        text=text,
        start=0.0,
        end=20.0,
        words=(),
        token_count=len(text) // 4,
        avg_logprob=logprob,
        compression_ratio=compute_compression_ratio(text),
        no_speech_prob=0.05,
    )


@pytest.mark.parametrize("language", PROSE)
def test_prose_is_no_repetition_in_any_language(language: str) -> None:
    text = PROSE[language]
    assert compute_compression_ratio(text) < 1.65
    assert judge(make_segment(text), language, 20.0) == ("believe", ())
    suspicions = find_suspicions(ChunkHypothesis((make_segment(text),), 25.0), language, careful=True)
    assert set(suspicions) <= {"too_much_text"}, "what these tests make up is the number of tokens"


@pytest.mark.parametrize("language", PROSE)
def test_a_loop_is_one_in_every_language(language: str) -> None:
    phrase = PROSE[language][:30]
    looped = make_segment(" ".join([phrase] * 8))
    assert judge(looped, language, 60.0)[0] == "drop"
    assert compute_compression_ratio(PROSE[language] * 2) > COMPRESSION_RATIO_THRESHOLD - 0.05


@pytest.mark.parametrize(
    "letter",
    ["\u0b85", "\u0915\u093f", "\u0e01\u0e34", "\u1019", "\u3042", "\u0434", "a", "\u4e00", "\u0ba4\u0bbf\u0bb0\u0bc1"],
)
def test_one_letter_two_hundred_times_is_dropped(letter: str) -> None:
    segment = make_segment(letter * 200)
    verdict, reasons = judge(segment, "ta", 30.0)
    assert verdict == "drop"
    assert {"repetition", "repeated_letters"} <= set(reasons)


@pytest.mark.parametrize(
    "text",
    [
        "hahahaha",
        "Mississippi",
        "1000000000000000000000",
        "Brrrrr, it is cold.",
        "\u092e\u0930\u092e\u0930\u092e\u0930",
        "wwwwww",
    ],
)
def test_what_people_say_and_write_is_no_letter_loop(text: str) -> None:
    segment = make_segment(text)
    language = "hi" if text[0] > "\u0900" else "en"
    assert judge(segment, language, 5.0)[0] == "believe", segment


def test_words_are_whole_with_their_vowel_signs() -> None:
    assert split_words("\u092d\u093e\u0930\u0924 \u090f\u0915 \u0935\u093f\u0936\u093e\u0932") == [
        "\u092d\u093e\u0930\u0924",
        "\u090f\u0915",
        "\u0935\u093f\u0936\u093e\u0932",
    ]
    assert split_words("Don't \u2014 stop! E\u0301t\u00e9") == ["don't", "stop", "e\u0301t\u00e9"]


def test_signs_and_emoji_are_no_words() -> None:
    for text in ("\u2764\ufe0f", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "...", "\u266a", "\u0301"):
        assert split_words(text) == [], text


def test_a_letter_counts_as_a_word_in_scripts_without_spaces() -> None:
    assert split_words("\u3053\u308c\u306f\u672c\u30fc") == ["\u3053", "\u308c", "\u306f", "\u672c", "\u30fc"]
    assert split_words("\u0e17\u0e35\u0e48\u0e19\u0e35\u0e48 OK") == ["\u0e17\u0e35\u0e48", "\u0e19\u0e35\u0e48", "ok"]
    for language, text in PROSE.items():
        words = split_words(text)
        assert (len(words) > 1.2 * len(text.split())) == (language in SPACELESS), language


@given(st.text(st.characters(max_codepoint=0x36F)))
def test_the_ratio_of_latin_text_is_that_of_openai(text: str) -> None:
    encoded = text.encode()
    assert is_latin(text)
    assert compute_compression_ratio(text) == (len(encoded) / len(zlib.compress(encoded)) if encoded else 0.0)


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    split_words(text)
    has_letter_loop(text)
    assert compute_compression_ratio(text) >= 0
