"""SRT and WebVTT files hold every cue, and players can read them."""

from __future__ import annotations

import re

from hypothesis import given, settings

from speech.export.cues import Cue, make_cues
from speech.export.subtitles import to_srt, to_vtt
from speech.transcript import Transcript, Word
from tests.speech.export.transcripts import any_transcript, make_segment, make_spoken_segment, make_transcript


@settings(max_examples=50, deadline=None)
@given(any_transcript())
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


def test_an_empty_transcript_gives_valid_empty_files() -> None:
    assert to_srt([]) == ""
    assert to_vtt([]) == "WEBVTT\n"


def test_milliseconds_are_rounded_half_up_as_written_in_the_transcript() -> None:
    """1.0005 is stored as a slightly smaller binary number, but must be rounded up."""
    for start, expected in ((1.0005, "00:00:01,001"), (1.0004, "00:00:01,000"), (2.0015, "00:00:02,002")):
        word = Word(word="one", start=start, end=start + 2, probability=1)
        srt = to_srt(make_cues(make_transcript(make_segment("one", start, start + 2, words=(word,)))))
        assert srt.splitlines()[1].startswith(f"{expected} --> ")


def test_hours_are_written_out() -> None:
    cue = Cue(3_661_001, 36_000_000, ("late",))
    assert to_srt([cue]) == "1\n01:01:01,001 --> 10:00:00,000\nlate\n"
    assert to_vtt([cue]) == "WEBVTT\n\n01:01:01.001 --> 10:00:00.000\nlate\n"


def test_markup_in_a_text_is_escaped() -> None:
    result = [Cue(0, 1000, ("a --> b <i> & c",))]
    assert "a --&gt; b &lt;i&gt; &amp; c\n" in to_vtt(result)
    body = to_srt(result).splitlines()[2]
    assert "-->" not in body
    assert "<i" not in body
    assert body.replace("\u2060", "") == "a --> b <i> & c"


def test_the_times_of_both_files_have_the_standard_format() -> None:
    result = make_cues(make_transcript(make_spoken_segment("A sentence that is said at an ordinary pace.", 0.0, 0.3)))
    assert re.search(r"^\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}$", to_srt(result), re.MULTILINE)
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{3} --> \d\d:\d\d:\d\d\.\d{3}$", to_vtt(result), re.MULTILINE)
