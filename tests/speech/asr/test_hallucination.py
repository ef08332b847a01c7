"""The guard: what it doubts, what it drops, and above all what it leaves alone, because people do say strange things."""

from __future__ import annotations

import zlib

import pytest

from speech.asr.hallucination import (
    CONFIDENT_LOG_PROB_THRESHOLD,
    SUSPECT_LOG_PROB_THRESHOLD,
    SUSPICIONS,
    WEAK_LOG_PROB_THRESHOLD,
    ChunkHypothesis,
    find_shared_suspicions,
    find_suspicions,
    judge,
    rank,
    split_words,
)
from speech.asr.hypothesis import SegmentHypothesis


def said(text: str, *, logprob: float = -0.2, no_speech: float = 0.05, tokens: int | None = None) -> SegmentHypothesis:
    """A segment with the evidence of ordinary speech, except for what is given."""
    data = text.encode()
    compression = len(data) / len(zlib.compress(data)) if data else 0.0
    count = tokens if tokens is not None else max(1, len(text) // 5)
    return SegmentHypothesis(text, 0.0, 5.0, (), count, logprob, compression, no_speech)


def doubted(segment: SegmentHypothesis, seconds: float = 6.0, language: str = "en") -> tuple[str, ...]:
    return find_suspicions(ChunkHypothesis((segment,), seconds), language)


LOOP = "Please enter your conference number followed by the pound key. " * 2
LONG_LOOP = "I'm sorry. " * 30


@pytest.mark.parametrize(
    "text",
    [
        "And so my fellow Americans, ask not what your country can do for you.",
        "Some sung out, tear down the fence, tear down the fence.",  # said so in LibriSpeech
        "Thank you for watching over the children while I was away.",
        "You never know.",
        "No, no, no!",
    ],
)
def test_ordinary_speech_is_believed(text: str) -> None:
    assert doubted(said(text)) == ()
    assert judge(said(text), "en", 5.0) == ("believe", ())


@pytest.mark.parametrize(
    ("segment", "doubt"),
    [
        (said(""), "empty"),
        (said(" ... "), "empty"),
        (said(LONG_LOOP), "repetition"),
        (said(LOOP), "repeated_end"),
        (said("Something was mumbled here.", logprob=-0.75), "improbable"),
        (said("A sentence.", tokens=60), "too_much_text"),
        (said("Thanks for watching!"), "phantom_phrase"),
        (said("♪ ♪"), "empty"),
        (said("the", logprob=-1.2, no_speech=0.7), "not_speech"),
        (said("Well, привет to you all."), "foreign_script"),
    ],
)
def test_each_sign_raises_its_doubt(segment: SegmentHypothesis, doubt: str) -> None:
    assert doubt in doubted(segment)
    assert doubt in SUSPICIONS, "a reason that people can look up"


def test_a_phrase_that_comes_twice_on_the_careful_way_too_was_said_twice_but_a_doubled_end_is_a_loop() -> None:
    menu = said(
        "Press 1 to list users currently in the conference, 2 to kick all non-administrator users, 3 to mute or unmute all "
        "non-administrator users, 4 to record this conference, or 8 to exit this menu and return to the conference."
    )
    assert doubted(menu) == ("repeated_phrase",)
    assert find_suspicions(ChunkHypothesis((menu,), 14.0), "en", careful=True) == ()
    assert "repeated_end" in find_suspicions(ChunkHypothesis((said(LOOP),), 6.0), "en", careful=True)


def test_letters_of_the_languages_own_script_are_at_home() -> None:
    assert doubted(said("Всё счастливые семьи похожи друг на друга."), language="ru") == ()
    assert doubted(said("Tôi đã đến đây hôm qua với các bạn."), language="vi") == ()
    assert "foreign_script" in doubted(said("これは日本語です、とても長い。"), language="vi")


@pytest.mark.parametrize(
    ("segment", "seconds", "fate"),
    [
        (said(LONG_LOOP), 20.0, "drop"),
        (said("the", logprob=-1.2, no_speech=0.7), 1.0, "drop"),
        (said("Thank you.", logprob=-0.9), 1.0, "drop"),
        (said("Thank you.", no_speech=0.8), 1.0, "drop"),
        (said("Thank you.", logprob=-0.2), 1.0, "flag"),  # may have been said
        (said("Something was mumbled here.", logprob=-0.8), 3.0, "flag"),
    ],
)
def test_only_what_nobody_can_have_said_is_dropped(segment: SegmentHypothesis, seconds: float, fate: str) -> None:
    """A wrong drop loses speech for ever; a flag only asks for a second look."""
    assert judge(segment, "en", seconds)[0] == fate
    assert judge(segment, "en", seconds)[1], "with a reason"


def test_of_two_results_the_one_with_fewer_doubts_is_better_then_the_more_probable() -> None:
    loop, plain, surer = (
        ChunkHypothesis((said(LOOP, logprob=-0.05),), 6.0),
        ChunkHypothesis((said("Press one.", logprob=-0.5),), 6.0),
        ChunkHypothesis((said("Press one.", logprob=-0.3),), 6.0),
    )
    assert sorted([loop, plain, surer], key=lambda heard: rank(heard, "en")) == [surer, plain, loop]
    assert min([ChunkHypothesis((), 6.0), plain], key=lambda heard: rank(heard, "en")) is plain


def test_a_sentence_beside_an_improbable_one_is_marked_too_unless_the_model_is_sure_of_it() -> None:
    weak, half, sure = (
        said("Mumbled.", logprob=SUSPECT_LOG_PROB_THRESHOLD - 0.01),
        said("Half.", logprob=CONFIDENT_LOG_PROB_THRESHOLD - 0.01),
        said("Yes, sure."),
    )
    shared = find_shared_suspicions(ChunkHypothesis((weak, half, sure), 9.0))
    assert shared == ("improbable",)
    assert [judge(segment, "en", 3.0, shared)[0] for segment in (weak, half, sure)] == ["flag", "flag", "believe"]
    assert judge(half, "en", 3.0) == ("believe", ()), "by itself it may stand"


def test_two_improbable_texts_that_are_not_each_others_are_marked_and_a_mended_one_is_not() -> None:
    first = ChunkHypothesis(
        (said("They're gonna blow up their muscles!", logprob=SUSPECT_LOG_PROB_THRESHOLD - 0.01),), 9.0
    )
    other = said("Here's not going to put it in the bush.", logprob=CONFIDENT_LOG_PROB_THRESHOLD - 0.01)
    assert find_shared_suspicions(ChunkHypothesis((other,), 9.0), first) == ("unstable",)
    assert judge(other, "en", 3.0, ("unstable",)) == ("flag", ("unstable",))
    assert judge(said("Press one."), "en", 3.0, ("unstable",)) == ("believe", ())
    same = said("They are gonna blow up their muscles.", logprob=CONFIDENT_LOG_PROB_THRESHOLD - 0.01)
    assert find_shared_suspicions(ChunkHypothesis((same,), 9.0), first) == ()
    looped = ChunkHypothesis((said(LOOP),), 6.0)
    assert find_shared_suspicions(ChunkHypothesis((other,), 9.0), looped) == (), (
        "a loop is another text than what was said, and no evidence"
    )


def test_inside_the_margin_nothing_is_dropped_and_a_loop_is_worse_than_an_improbable_text() -> None:
    between = (SUSPECT_LOG_PROB_THRESHOLD + WEAK_LOG_PROB_THRESHOLD) / 2
    assert judge(said("Thank you.", logprob=between), "en", 1.0)[0] == "flag"
    looped, unsure = (
        ChunkHypothesis((said(LOOP, logprob=-0.1),), 6.0),
        ChunkHypothesis((said("Press one.", logprob=between),), 6.0),
    )
    assert rank(unsure, "en") < rank(looped, "en")


def test_words_are_counted_in_scripts_without_spaces() -> None:
    assert split_words("Don't — stop!") == ["don't", "stop"]
    assert split_words("これは本") == ["こ", "れ", "は", "本"]
