"""Cues keep every word, never overlap, and can be read."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech.export.cues import CueRules, compute_reading_speed, make_cues, report_reading_speed
from speech.transcript import Transcript, Word
from tests.speech.export.transcripts import (
    ALPHABETS,
    any_transcript,
    make_segment,
    make_spoken_segment,
    make_transcript,
)

RULES = CueRules()


def _visible(text: str) -> str:
    return "".join(text.split())


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


@settings(max_examples=150, deadline=None)
@given(any_transcript())
def test_any_transcript_gives_cues_in_order_that_hold_all_of_its_text(transcript: Transcript) -> None:
    result = make_cues(transcript)
    total = transcript.meta.audio_duration_sec * 1000
    assert all(0 <= cue.start_ms <= cue.end_ms <= total for cue in result)
    assert all(left.end_ms <= right.start_ms for left, right in pairwise(result))
    if len(result) * 100 <= total:
        assert all(right.start_ms - left.end_ms >= RULES.min_gap_s * 1000 for left, right in pairwise(result))
        assert all(cue.end_ms > cue.start_ms for cue in result)
    assert all(cue.end_ms - cue.start_ms <= RULES.max_duration_s * 1000 for cue in result)
    assert all(1 <= len(cue.lines) <= RULES.max_lines for cue in result)
    for line in (line for cue in result for line in cue.lines):
        assert line == line.strip() != ""
        assert _columns(line) <= RULES.max_line_chars or " " not in line
    cue_text = _visible("".join(line.removeprefix("- ") for cue in result for line in cue.lines))
    for channel, alphabet in enumerate(ALPHABETS):
        letters = set("".join(alphabet))
        channel_text = "".join(
            segment.text
            for segment in sorted(transcript.segments, key=lambda segment: segment.start)
            if (segment.channel or 0) == channel
        )
        assert "".join(character for character in cue_text if character in letters) == _visible(channel_text)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("abcdefgh.,'", min_size=1, max_size=50), max_size=80), st.sampled_from([0.0, 0.1, 0.4, 1.2]))
def test_no_word_is_ever_split(words: list[str], word_s: float) -> None:
    segments = [make_spoken_segment(" ".join(words), 1.0, word_s)] if words else []
    for with_words in (True, False):
        given_segments = segments if with_words else [s.model_copy(update={"words": ()}) for s in segments]
        cues = make_cues(make_transcript(*given_segments, duration=600.0))
        assert [word for cue in cues for line in cue.lines for word in line.split(" ")] == words


def test_an_empty_transcript_gives_no_cues() -> None:
    assert make_cues(make_transcript()) == []
    assert report_reading_speed([]).cues == 0


def test_cues_end_at_sentences_and_lines_at_commas() -> None:
    segment = make_spoken_segment(
        "The committee met on Tuesday afternoon, although nobody had told the chairman. It adjourned without a vote.",
        0.0,
        0.35,
    )
    assert [cue.lines for cue in make_cues(make_transcript(segment))] == [
        ("The committee met on Tuesday afternoon,", "although nobody had told the chairman."),
        ("It adjourned without a vote.",),
    ]


def test_a_text_that_fits_on_one_line_is_not_broken() -> None:
    (cue,) = make_cues(make_transcript(make_spoken_segment("It fits, as it happens, on one line.", 0.0, 0.3)))
    assert len(cue.lines) == 1


def test_a_silence_ends_a_cue() -> None:
    """Otherwise the second half would be shown seconds before it is spoken."""
    words = (
        Word(word=" Wait", start=1.0, end=1.5, probability=1),
        Word(word=" for", start=1.5, end=1.8, probability=1),
        Word(word=" it.", start=4.8, end=5.1, probability=1),
    )
    result = make_cues(make_transcript(make_segment("Wait for it.", 1.0, 5.1, words=words)))
    assert [cue.lines for cue in result] == [("Wait for",), ("it.",)]
    assert result[1].start_ms == 4800


def test_a_cue_stays_longer_where_silence_follows() -> None:
    quick = "Eighteen characters a second are too many."
    (cue,) = make_cues(make_transcript(make_spoken_segment(quick, 1.0, 0.2)))
    assert cue.start_ms == 1000
    assert compute_reading_speed(cue) <= RULES.max_cps
    (short,) = make_cues(make_transcript(make_spoken_segment("Yes.", 1.0, 0.1)))
    assert short.end_ms - short.start_ms >= RULES.min_duration_s * 1000


def test_a_cue_never_outlasts_the_recording() -> None:
    (cue,) = make_cues(
        make_transcript(make_spoken_segment("Eighteen characters a second are too many.", 1.0, 0.2), duration=2.5)
    )
    assert (cue.start_ms, cue.end_ms) == (1000, 2500)


def test_a_last_word_keeps_its_time_unless_its_cue_would_be_too_short() -> None:
    (on_time,) = make_cues(make_transcript(make_spoken_segment("Bye.", 9.5, 0.4), duration=10.0))
    assert (on_time.start_ms, on_time.end_ms) == (9500, 10_000)
    (early,) = make_cues(make_transcript(make_spoken_segment("Bye.", 9.99, 0.4), duration=10.0))
    assert (early.start_ms, early.end_ms) == (9583, 10_000)


def test_a_cue_stays_no_longer_than_the_bbc_allows() -> None:
    (cue,) = make_cues(make_transcript(make_spoken_segment("incomprehensibilities notwithstanding", 1.0, 0.05)))
    assert cue.end_ms == 1100 + 1500


def test_speech_too_fast_to_read_is_counted_not_hidden() -> None:
    fast = make_spoken_segment(" ".join(["supercalifragilistic words"] * 10), 0.0, 0.12)
    transcript = make_transcript(fast, duration=fast.end)
    result = make_cues(transcript)
    report = report_reading_speed(result)
    assert report.cues == len(result)
    assert report.above_max_cps == sum(compute_reading_speed(cue) > 17 for cue in result) > 0
    slow = report_reading_speed(make_cues(make_transcript(make_spoken_segment("one two three four five", 0.0, 0.5))))
    assert slow.above_max_cps == 0


def test_a_short_gap_between_cues_is_closed() -> None:
    first, second = (
        make_spoken_segment("The first sentence ends.", 0.0, 0.5),
        make_spoken_segment("The second follows it.", 2.4, 0.5, number=1),
    )
    left, right = make_cues(make_transcript(first, second))
    assert right.start_ms == 2400
    assert right.start_ms - left.end_ms == 84


def test_two_channels_at_once_share_a_cue_with_a_dash_for_each() -> None:
    left = make_spoken_segment("How are you today?", 1.0, 0.4, channel=0)
    right = make_spoken_segment("Fine, thank you.", 1.3, 0.4, channel=1, number=1)
    (cue,) = make_cues(make_transcript(left, right, channels=2))
    assert cue.lines == ("- How are you today?", "- Fine, thank you.")
    assert cue.start_ms == 1000


def test_an_answer_that_overlaps_the_end_of_a_question_shares_its_cue() -> None:
    left = make_spoken_segment("How are you today?", 1.0, 0.4, channel=0)
    right = make_spoken_segment("Fine, thank you.", 2.1, 0.3, channel=1, number=1)
    (cue,) = make_cues(make_transcript(left, right, channels=2))
    assert cue.lines == ("- How are you today?", "- Fine, thank you.")


def test_two_channels_that_overlap_with_long_texts_take_turns() -> None:
    """Four lines do not fit; both must stay on the screen long enough to be seen."""
    left = make_spoken_segment(
        "This voice has rather a lot to say and does not intend to stop for anyone.", 1.0, 0.3, channel=0
    )
    right = make_spoken_segment(
        "The other voice talks all over it, at the same time, and with equal conviction.", 1.1, 0.3, channel=1
    )
    result = make_cues(make_transcript(left, right, channels=2))
    assert all(not line.startswith("- ") for cue in result for line in cue.lines)
    assert all(cue.end_ms - cue.start_ms > 1500 for cue in result)


def test_two_channels_that_take_turns_are_never_put_behind_dashes() -> None:
    left = make_spoken_segment("How are you today?", 1.0, 0.4, channel=0)
    right = make_spoken_segment("Fine, thank you.", 3.0, 0.4, channel=1, number=1)
    assert [cue.lines for cue in make_cues(make_transcript(left, right, channels=2))] == [
        ("How are you today?",),
        ("Fine, thank you.",),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "今天的天气非常好我们决定一起去公园散步然后在湖边的小餐馆吃午饭下午再去博物馆看展览",
        "พรุ่งนี้เราจะไปเที่ยวทะเลกับเพื่อนๆที่ทำงานและจะกลับมาถึงบ้านในตอนเย็นของวันอาทิตย์เพื่อเตรียมตัวไปทำงาน",
    ],
    ids=["Chinese", "Thai"],
)
def test_text_without_spaces_and_without_words_is_broken_where_its_script_allows(text: str) -> None:
    result = make_cues(make_transcript(make_segment(text, 0.0, 20.0)))
    lines = [line for cue in result for line in cue.lines]
    assert "".join(lines) == text
    assert len(lines) > 1
    assert all(_columns(line) <= RULES.max_line_chars for line in lines)
    assert not any(unicodedata.category(line[0]).startswith("M") or line[0] in "าำะๆ。" for line in lines)
    assert not any(line[-1] in "เแโใไ" for line in lines)
    assert all(cue.end_ms - cue.start_ms <= 7000 for cue in result)


def test_full_width_punctuation_never_opens_a_line() -> None:
    text = "「東京は、晴れです。」と彼は言った。" * 6
    lines = [line for cue in make_cues(make_transcript(make_segment(text, 0.0, 30.0))) for line in cue.lines]
    assert "".join(lines) == text
    assert not any(line[0] in "、。」" for line in lines)
    assert not any(line[-1] == "「" for line in lines)


def test_where_words_and_text_disagree_the_text_is_shown() -> None:
    words = (Word(word=" Wrong", start=1.0, end=2.0, probability=1),)
    (cue,) = make_cues(make_transcript(make_segment("Right text.", 1.0, 2.0, words=words)))
    assert cue.lines == ("Right text.",)


def test_changed_rules_are_applied() -> None:
    rules = CueRules(max_line_chars=20, max_lines=3)
    segment = make_spoken_segment("one two three four five six seven eight nine ten", 0.0, 0.4)
    result = make_cues(make_transcript(segment), rules)
    assert all(len(cue.lines) <= 3 and all(len(line) <= 20 for line in cue.lines) for cue in result)
    assert max(len(cue.lines) for cue in result) == 3
    with pytest.raises(ValueError, match="no text fits"):
        CueRules(max_lines=0)
