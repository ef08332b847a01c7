"""Hallucinations: which text is suspected, which is dropped, and which is believed although it looks strange."""

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
)
from speech.asr.hypothesis import SegmentHypothesis


def make_segment(
    text: str, *, logprob: float = -0.2, no_speech: float = 0.05, tokens: int | None = None
) -> SegmentHypothesis:
    """A segment with the figures of ordinary speech, except for those given."""
    data = text.encode()
    compression = len(data) / len(zlib.compress(data)) if data else 0.0
    count = tokens if tokens is not None else max(1, len(text) // 5)
    return SegmentHypothesis(text, 0.0, 5.0, (), count, logprob, compression, no_speech)


def list_suspicions(segment: SegmentHypothesis, seconds: float = 6.0, language: str = "en") -> tuple[str, ...]:
    return find_suspicions(ChunkHypothesis((segment,), seconds), language)


LOOP = "Please enter your conference number followed by the pound key. " * 2
LONG_LOOP = "I'm sorry. " * 30


@pytest.mark.parametrize(
    "text",
    [
        "And so my fellow Americans, ask not what your country can do for you.",
        "Some sung out, tear down the fence, tear down the fence.",  # from LibriSpeech
        "Thank you for watching over the children while I was away.",
        "You never know.",
        "No, no, no!",
    ],
)
def test_ordinary_speech_is_believed(text: str) -> None:
    assert list_suspicions(make_segment(text)) == ()
    assert judge(make_segment(text), "en", 5.0) == ("believe", ())


@pytest.mark.parametrize(
    ("segment", "suspicion"),
    [
        (make_segment(""), "empty"),
        (make_segment(" ... "), "empty"),
        (make_segment(LONG_LOOP), "repetition"),
        (make_segment(LOOP), "repeated_end"),
        (make_segment("Something was mumbled here.", logprob=-0.75), "improbable"),
        (make_segment("A sentence.", tokens=60), "too_much_text"),
        (make_segment("Thanks for watching!"), "phantom_phrase"),
        (make_segment("♪ ♪"), "empty"),
        (make_segment("the", logprob=-1.2, no_speech=0.7), "not_speech"),
        (make_segment("Well, привет to you all."), "foreign_script"),
    ],
)
def test_each_sign_raises_its_suspicion(segment: SegmentHypothesis, suspicion: str) -> None:
    assert suspicion in list_suspicions(segment)
    assert suspicion in SUSPICIONS, "it is a documented reason"


def test_on_the_careful_path_a_repeated_phrase_is_believed_and_a_repeated_end_is_not() -> None:
    menu = make_segment(
        "Press 1 to list users currently in the conference, 2 to kick all non-administrator users, 3 to mute or unmute all "
        "non-administrator users, 4 to record this conference, or 8 to exit this menu and return to the conference."
    )
    assert list_suspicions(menu) == ("repeated_phrase",)
    assert find_suspicions(ChunkHypothesis((menu,), 14.0), "en", careful=True) == ()
    assert "repeated_end" in find_suspicions(ChunkHypothesis((make_segment(LOOP),), 6.0), "en", careful=True)


def test_letters_of_the_script_of_the_language_are_believed() -> None:
    assert list_suspicions(make_segment("Всё счастливые семьи похожи друг на друга."), language="ru") == ()
    assert list_suspicions(make_segment("Tôi đã đến đây hôm qua với các bạn."), language="vi") == ()
    assert "foreign_script" in list_suspicions(make_segment("これは日本語です、とても長い。"), language="vi")


@pytest.mark.parametrize(
    ("segment", "seconds", "fate"),
    [
        (make_segment(LONG_LOOP), 20.0, "drop"),
        (make_segment("the", logprob=-1.2, no_speech=0.7), 1.0, "drop"),
        (make_segment("Thank you.", logprob=-0.9), 1.0, "drop"),
        (make_segment("Thank you.", no_speech=0.8), 1.0, "drop"),
        (make_segment("Thank you.", logprob=-0.2), 1.0, "flag"),  # may have been said
        (make_segment("Something was mumbled here.", logprob=-0.8), 3.0, "flag"),
    ],
)
def test_only_text_that_nobody_can_have_said_is_dropped(segment: SegmentHypothesis, seconds: float, fate: str) -> None:
    """A wrong drop loses speech; a flag only asks for a second look."""
    assert judge(segment, "en", seconds)[0] == fate
    assert judge(segment, "en", seconds)[1], "there is a reason"


def test_results_are_ranked_by_suspicions_and_then_by_probability() -> None:
    loop, plain, surer = (
        ChunkHypothesis((make_segment(LOOP, logprob=-0.05),), 6.0),
        ChunkHypothesis((make_segment("Press one.", logprob=-0.5),), 6.0),
        ChunkHypothesis((make_segment("Press one.", logprob=-0.3),), 6.0),
    )
    assert sorted([loop, plain, surer], key=lambda hypothesis: rank(hypothesis, "en")) == [surer, plain, loop]
    assert min([ChunkHypothesis((), 6.0), plain], key=lambda hypothesis: rank(hypothesis, "en")) is plain


def test_a_sentence_beside_an_improbable_one_is_flagged_too_unless_it_is_confident() -> None:
    weak, half, sure = (
        make_segment("Mumbled.", logprob=SUSPECT_LOG_PROB_THRESHOLD - 0.01),
        make_segment("Half.", logprob=CONFIDENT_LOG_PROB_THRESHOLD - 0.01),
        make_segment("Yes, sure."),
    )
    shared = find_shared_suspicions(ChunkHypothesis((weak, half, sure), 9.0))
    assert shared == ("improbable",)
    assert [judge(segment, "en", 3.0, shared)[0] for segment in (weak, half, sure)] == ["flag", "flag", "believe"]
    assert judge(half, "en", 3.0) == ("believe", ()), "alone it is believed"


def test_two_different_improbable_texts_are_flagged_and_a_confident_second_one_is_not() -> None:
    first = ChunkHypothesis(
        (make_segment("They're gonna blow up their muscles!", logprob=SUSPECT_LOG_PROB_THRESHOLD - 0.01),), 9.0
    )
    other = make_segment("Here's not going to put it in the bush.", logprob=CONFIDENT_LOG_PROB_THRESHOLD - 0.01)
    assert find_shared_suspicions(ChunkHypothesis((other,), 9.0), first) == ("unstable",)
    assert judge(other, "en", 3.0, ("unstable",)) == ("flag", ("unstable",))
    assert judge(make_segment("Press one."), "en", 3.0, ("unstable",)) == ("believe", ())
    similar = make_segment("They are gonna blow up their muscles.", logprob=CONFIDENT_LOG_PROB_THRESHOLD - 0.01)
    assert find_shared_suspicions(ChunkHypothesis((similar,), 9.0), first) == ()
    looped = ChunkHypothesis((make_segment(LOOP),), 6.0)
    assert find_shared_suspicions(ChunkHypothesis((other,), 9.0), looped) == (), (
        "a loop differs from any real text, so it is no evidence"
    )


@pytest.mark.parametrize("text", ["Okay.", "Goodbye!", "Thank you.", "Bye-bye."])
def test_a_short_answer_is_dropped_only_where_the_detector_is_not_sure_of_speech(text: str) -> None:
    weak = make_segment(text, logprob=-0.9)
    assert judge(weak, "en", 1.0)[0] == "drop"
    fate, reasons = judge(weak, "en", 1.0, is_voiced=True)
    assert fate == "flag"
    assert "phantom_phrase" in reasons


def test_a_loop_that_does_not_fit_into_the_time_is_dropped_even_where_somebody_speaks() -> None:
    fate, reasons = judge(make_segment("Ch" + "um" * 220, logprob=-0.2), "en", 3.0, is_voiced=True)
    assert fate == "drop"
    assert {"too_much_text", "repeated_letters"} <= set(reasons)


def test_marks_without_a_word_are_dropped_even_where_somebody_speaks() -> None:
    assert judge(make_segment("...", logprob=-0.9), "en", 1.0, is_voiced=True)[0] == "drop"


def test_a_sound_that_the_model_takes_for_no_speech_is_flagged_where_the_detector_is_sure() -> None:
    segment = make_segment("Nineteen.", logprob=-1.2, no_speech=0.9)
    assert judge(segment, "en", 1.0)[0] == "drop"
    assert judge(segment, "en", 1.0, is_voiced=True)[0] == "flag"


def test_words_times_refute_a_loop_and_not_that_it_is_too_fast() -> None:
    said = make_segment("I am calm. I am strong. " * 10, logprob=-0.2)
    assert judge(said, "en", 25.0)[0] == "drop"
    assert judge(said, "en", 25.0, is_repeated=True)[0] == "drop", "nobody is sure that somebody speaks"
    assert judge(said, "en", 25.0, is_voiced=True, is_repeated=True) == ("believe", ())
    assert judge(said, "en", 2.0, is_voiced=True, is_repeated=True)[1] == ("too_much_text",)


def test_inside_the_margin_nothing_is_dropped_and_a_loop_ranks_below_an_improbable_text() -> None:
    between = (SUSPECT_LOG_PROB_THRESHOLD + WEAK_LOG_PROB_THRESHOLD) / 2
    assert judge(make_segment("Thank you.", logprob=between), "en", 1.0)[0] == "flag"
    looped, unsure = (
        ChunkHypothesis((make_segment(LOOP, logprob=-0.1),), 6.0),
        ChunkHypothesis((make_segment("Press one.", logprob=between),), 6.0),
    )
    assert rank(unsure, "en") < rank(looped, "en")


@pytest.mark.parametrize("sign", [".", "۔", "。", "♪ "])
def test_signs_without_a_word_that_are_written_over_and_over_are_dropped(sign: str) -> None:
    """Also where somebody surely speaks: Whisper writes hundreds of them in languages that it hardly knows."""
    fate, reasons = judge(make_segment(sign * 200), "hi", 17.0, is_voiced=True)
    assert (fate, reasons[0]) == ("drop", "repetition")
    assert judge(make_segment(sign * 3), "hi", 17.0, is_voiced=True)[0] != "drop", "a few are harmless"
