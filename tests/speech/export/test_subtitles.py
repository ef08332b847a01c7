"""Subtitles keep every word, never overlap, and can be read."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech.export.subtitles import (
    Cue,
    CueRules,
    compute_reading_speed,
    make_cues,
    report_reading_speed,
    to_srt,
    to_txt,
    to_vtt,
)
from speech.transcript import Meta, Options, Segment, Transcript, Word

RULES = CueRules()
# Two disjoint alphabets, so that a character of a cue tells which channel it was said on. Neither has the dialogue dash.
ALPHABETS = (
    (
        "abc",
        "é.",
        "déjà,",
        "w" * 43,
        "-->",
        "語",
        "彙「学」習。",
        "กำแพง",
        "שלום",
        "한국어",
        "e\u0301",
    ),
    ("xyz", "ж!", "цель;", "v" * 90, "<z", "仮", "名、交", "ไทยที่", "مرحبا", "o\u0308"),
)


def _transcript(*segments: Segment, duration: float = 60.0, channels: int = 1) -> Transcript:
    meta = Meta(
        audio_file="a.wav",
        audio_sha256="0",
        audio_duration_sec=duration,
        channels=channels,
        model_name="base",
        model_sha256="0",
        engine_version="1",
        options=Options(),
        language_probability=None,
        speech=(),
        speech_seconds=0,
    )
    return Transcript(file="a.wav", language="en", meta=meta, segments=segments)


def _segment(
    text: str, start: float, end: float, *, words: tuple[Word, ...] = (), channel: int | None = None, number: int = 0
) -> Segment:
    return Segment(
        id=number,
        start=start,
        end=end,
        text=text,
        words=words,
        channel=channel,
        avg_logprob=-0.2,
        compression_ratio=1.2,
        no_speech_prob=0.0,
        temperature=0.0,
        decoded="sequential",
    )


def _spoken(text: str, start: float, each: float, *, channel: int | None = None, number: int = 0) -> Segment:
    """A segment in which every word takes ``each`` seconds and follows at once."""
    pieces = text.split(" ")
    words = tuple(
        Word(word=f" {piece}", start=round(start + i * each, 3), end=round(start + (i + 1) * each, 3), probability=0.9)
        for i, piece in enumerate(pieces)
    )
    return _segment(text, start, words[-1].end, words=words, channel=channel, number=number)


def _visible(text: str) -> str:
    return "".join(text.split())


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


@st.composite
def _transcripts(draw: st.DrawFn) -> Transcript:
    channels = draw(st.integers(1, 2))
    duration = draw(st.sampled_from([0.0, 0.04, 1.0, 12.345, 60.0, 7200.0]))
    seconds = st.floats(0, max(duration * 1.1, 0.1)).map(lambda value: round(value, 3))
    segments = []
    for number in range(draw(st.integers(0, 6))):
        channel = draw(st.integers(0, channels - 1))
        tokens = draw(st.lists(st.sampled_from(ALPHABETS[channel]), max_size=25))
        spaces = draw(st.lists(st.booleans(), min_size=len(tokens), max_size=len(tokens)))
        spelled = [(" " if space else "") + token for token, space in zip(tokens, spaces, strict=True)]
        start = draw(seconds)
        each = draw(st.sampled_from([0.0, 0.05, 0.3, 2.0]))
        words = tuple(
            Word(word=word, start=start + index * each, end=start + (index + 1) * each, probability=0.5)
            for index, word in enumerate(spelled)
        )
        timed = draw(st.sampled_from(["words", "text only", "other words"]))
        if timed != "words":
            words = () if timed == "text only" else words[1:]
        text = "".join(spelled).strip()
        end = start + len(tokens) * each
        segments.append(
            _segment(text, start, end, words=words, channel=channel if channels > 1 else None, number=number)
        )
    return _transcript(*segments, duration=duration, channels=channels)


@settings(max_examples=150, deadline=None)
@given(_transcripts())
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
    shown = _visible("".join(line.removeprefix("- ") for cue in result for line in cue.lines))
    for channel, alphabet in enumerate(ALPHABETS):
        letters = set("".join(alphabet))
        said = "".join(
            segment.text
            for segment in sorted(transcript.segments, key=lambda segment: segment.start)
            if (segment.channel or 0) == channel
        )
        assert "".join(character for character in shown if character in letters) == _visible(said)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("abcdefgh.,'", min_size=1, max_size=50), max_size=80), st.sampled_from([0.0, 0.1, 0.4, 1.2]))
def test_no_word_is_ever_split(words: list[str], each: float) -> None:
    segments = [_spoken(" ".join(words), 1.0, each)] if words else []
    for with_words in (True, False):
        given_segments = segments if with_words else [s.model_copy(update={"words": ()}) for s in segments]
        shown = make_cues(_transcript(*given_segments, duration=600.0))
        assert [word for cue in shown for line in cue.lines for word in line.split(" ")] == words


@settings(max_examples=50, deadline=None)
@given(_transcripts())
def test_srt_and_vtt_hold_the_same_cues_whatever_the_text(transcript: Transcript) -> None:
    """A reader that splits at blank lines, as players do, must find every cue again, in both files."""
    result = make_cues(transcript)
    srt = [block.splitlines() for block in to_srt(result).split("\n\n") if block]
    header, *vtt = [block.splitlines() for block in to_vtt(result).split("\n\n") if block]
    assert header == ["WEBVTT"]
    assert [block[0] for block in srt] == [str(number + 1) for number in range(len(result))]
    assert [block[1].replace(",", ".") for block in srt] == [block[0] for block in vtt]
    assert [len(block) - 2 for block in srt] == [len(block) - 1 for block in vtt] == [len(c.lines) for c in result]
    for block in vtt:
        assert all("-->" not in line and "<" not in line for line in block[1:])


def test_nothing_said_gives_valid_empty_files() -> None:
    empty = _transcript()
    assert make_cues(empty) == []
    assert to_srt([]) == ""
    assert to_vtt([]) == "WEBVTT\n"
    assert to_txt(empty) == ""
    assert report_reading_speed([]).cues == 0


def test_milliseconds_are_rounded_half_up_as_written_in_the_transcript() -> None:
    """1.0005 has no exact binary form and lies below itself; a half written in the transcript must still go up."""
    for start, expected in ((1.0005, "00:00:01,001"), (1.0004, "00:00:01,000"), (2.0015, "00:00:02,002")):
        word = Word(word="one", start=start, end=start + 2, probability=1)
        srt = to_srt(make_cues(_transcript(_segment("one", start, start + 2, words=(word,)))))
        assert srt.splitlines()[1].startswith(f"{expected} --> ")


def test_hours_are_written_out() -> None:
    cue = Cue(3_661_001, 36_000_000, ("late",))
    assert to_srt([cue]) == "1\n01:01:01,001 --> 10:00:00,000\nlate\n"
    assert to_vtt([cue]) == "WEBVTT\n\n01:01:01.001 --> 10:00:00.000\nlate\n"


def test_marks_that_mean_something_to_a_player_are_made_harmless() -> None:
    result = [Cue(0, 1000, ("a --> b <i> & c",))]
    assert "a --&gt; b &lt;i&gt; &amp; c\n" in to_vtt(result)
    body = to_srt(result).splitlines()[2]
    assert "-->" not in body
    assert "<i" not in body
    assert body.replace("\u2060", "") == "a --> b <i> & c"


def test_cues_end_at_sentences_and_lines_at_commas() -> None:
    said = _spoken(
        "The committee met on Tuesday afternoon, although nobody had told the chairman. It adjourned without a vote.",
        0.0,
        0.35,
    )
    assert [cue.lines for cue in make_cues(_transcript(said))] == [
        ("The committee met on Tuesday afternoon,", "although nobody had told the chairman."),
        ("It adjourned without a vote.",),
    ]


def test_a_text_that_fits_one_line_stays_on_one() -> None:
    (cue,) = make_cues(_transcript(_spoken("It fits, as it happens, on one line.", 0.0, 0.3)))
    assert len(cue.lines) == 1


def test_a_silence_ends_a_cue() -> None:
    """Else the second half could be read seconds before it is said."""
    words = (
        Word(word=" Wait", start=1.0, end=1.5, probability=1),
        Word(word=" for", start=1.5, end=1.8, probability=1),
        Word(word=" it.", start=4.8, end=5.1, probability=1),
    )
    result = make_cues(_transcript(_segment("Wait for it.", 1.0, 5.1, words=words)))
    assert [cue.lines for cue in result] == [("Wait for",), ("it.",)]
    assert result[1].start_ms == 4800


def test_a_cue_stays_longer_where_silence_follows() -> None:
    quick = "Eighteen characters a second are too many."
    (cue,) = make_cues(_transcript(_spoken(quick, 1.0, 0.2)))
    assert cue.start_ms == 1000
    assert compute_reading_speed(cue) <= RULES.max_cps
    (short,) = make_cues(_transcript(_spoken("Yes.", 1.0, 0.1)))
    assert short.end_ms - short.start_ms >= RULES.min_duration_s * 1000


def test_a_cue_never_outlasts_the_recording() -> None:
    (cue,) = make_cues(_transcript(_spoken("Eighteen characters a second are too many.", 1.0, 0.2), duration=2.5))
    assert (cue.start_ms, cue.end_ms) == (1000, 2500)


def test_a_last_word_comes_as_spoken_unless_it_could_not_be_seen() -> None:
    (on_time,) = make_cues(_transcript(_spoken("Bye.", 9.5, 0.4), duration=10.0))
    assert (on_time.start_ms, on_time.end_ms) == (9500, 10_000)
    (early,) = make_cues(_transcript(_spoken("Bye.", 9.99, 0.4), duration=10.0))
    assert (early.start_ms, early.end_ms) == (9583, 10_000)


def test_a_cue_lingers_no_longer_than_the_bbc_allows() -> None:
    (cue,) = make_cues(_transcript(_spoken("incomprehensibilities notwithstanding", 1.0, 0.05)))
    assert cue.end_ms == 1100 + 1500


def test_speech_too_fast_to_read_is_counted_not_hidden() -> None:
    fast = _spoken(" ".join(["supercalifragilistic words"] * 10), 0.0, 0.12)
    transcript = _transcript(fast, duration=fast.end)
    result = make_cues(transcript)
    report = report_reading_speed(result)
    assert report.cues == len(result)
    assert report.above_max_cps == sum(compute_reading_speed(cue) > 17 for cue in result) > 0
    slow = report_reading_speed(make_cues(_transcript(_spoken("one two three four five", 0.0, 0.5))))
    assert slow.above_max_cps == 0


def test_a_short_gap_is_closed_because_it_would_flicker() -> None:
    first, second = _spoken("The first sentence ends.", 0.0, 0.5), _spoken("The second follows it.", 2.4, 0.5, number=1)
    left, right = make_cues(_transcript(first, second))
    assert right.start_ms == 2400
    assert right.start_ms - left.end_ms == 84


def test_two_channels_at_once_share_a_cue_with_a_dash_for_each() -> None:
    left = _spoken("How are you today?", 1.0, 0.4, channel=0)
    right = _spoken("Fine, thank you.", 1.3, 0.4, channel=1, number=1)
    (cue,) = make_cues(_transcript(left, right, channels=2))
    assert cue.lines == ("- How are you today?", "- Fine, thank you.")
    assert cue.start_ms == 1000


def test_an_answer_spoken_into_the_end_of_a_question_shares_its_cue() -> None:
    left = _spoken("How are you today?", 1.0, 0.4, channel=0)
    right = _spoken("Fine, thank you.", 2.1, 0.3, channel=1, number=1)
    (cue,) = make_cues(_transcript(left, right, channels=2))
    assert cue.lines == ("- How are you today?", "- Fine, thank you.")


def test_two_channels_that_overlap_with_long_texts_take_turns() -> None:
    """Four lines do not fit; both must stay on the screen long enough to be seen."""
    left = _spoken("This voice has rather a lot to say and does not intend to stop for anyone.", 1.0, 0.3, channel=0)
    right = _spoken(
        "The other voice talks all over it, at the same time, and with equal conviction.", 1.1, 0.3, channel=1
    )
    result = make_cues(_transcript(left, right, channels=2))
    assert all(not line.startswith("- ") for cue in result for line in cue.lines)
    assert all(cue.end_ms - cue.start_ms > 1500 for cue in result)


def test_two_channels_that_take_turns_are_never_put_behind_dashes() -> None:
    left = _spoken("How are you today?", 1.0, 0.4, channel=0)
    right = _spoken("Fine, thank you.", 3.0, 0.4, channel=1, number=1)
    assert [cue.lines for cue in make_cues(_transcript(left, right, channels=2))] == [
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
    result = make_cues(_transcript(_segment(text, 0.0, 20.0)))
    lines = [line for cue in result for line in cue.lines]
    assert "".join(lines) == text
    assert len(lines) > 1
    assert all(_columns(line) <= RULES.max_line_chars for line in lines)
    assert not any(unicodedata.category(line[0]).startswith("M") or line[0] in "าำะๆ。" for line in lines)
    assert not any(line[-1] in "เแโใไ" for line in lines)
    assert all(cue.end_ms - cue.start_ms <= 7000 for cue in result)


def test_full_width_punctuation_never_opens_a_line() -> None:
    text = "「東京は、晴れです。」と彼は言った。" * 6
    lines = [line for cue in make_cues(_transcript(_segment(text, 0.0, 30.0))) for line in cue.lines]
    assert "".join(lines) == text
    assert not any(line[0] in "、。」" for line in lines)
    assert not any(line[-1] == "「" for line in lines)


def test_where_words_and_text_disagree_the_text_is_shown() -> None:
    words = (Word(word=" Wrong", start=1.0, end=2.0, probability=1),)
    (cue,) = make_cues(_transcript(_segment("Right text.", 1.0, 2.0, words=words)))
    assert cue.lines == ("Right text.",)


def test_other_rules_are_obeyed() -> None:
    rules = CueRules(max_line_chars=20, max_lines=3)
    said = _spoken("one two three four five six seven eight nine ten", 0.0, 0.4)
    result = make_cues(_transcript(said), rules)
    assert all(len(cue.lines) <= 3 and all(len(line) <= 20 for line in cue.lines) for cue in result)
    assert max(len(cue.lines) for cue in result) == 3
    with pytest.raises(ValueError, match="no text fits"):
        CueRules(max_lines=0)


def test_plain_text_names_the_channel_only_where_there_are_several() -> None:
    one = _segment(" Hello\nthere. ", 0.0, 1.0)
    assert to_txt(_transcript(one)) == "Hello there.\n"
    two = (
        _segment("Hello.", 0.0, 1.0, channel=0),
        _segment("", 1.0, 1.5, channel=0),
        _segment("Hi.", 1.0, 2.0, channel=1),
    )
    assert to_txt(_transcript(*two, channels=2)) == "[channel 1] Hello.\n[channel 2] Hi.\n"


def test_the_clock_of_both_files_is_the_one_players_read() -> None:
    result = make_cues(_transcript(_spoken("A sentence that is said at an ordinary pace.", 0.0, 0.3)))
    assert re.search(r"^\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}$", to_srt(result), re.MULTILINE)
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{3} --> \d\d:\d\d:\d\d\.\d{3}$", to_vtt(result), re.MULTILINE)
