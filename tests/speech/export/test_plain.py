"""Plain text: a line for each segment, and the channel where there are several."""

from __future__ import annotations

from speech.export.plain import to_txt
from tests.speech.export.transcripts import make_segment, make_transcript


def test_an_empty_transcript_gives_no_text() -> None:
    assert to_txt(make_transcript()) == ""


def test_plain_text_names_the_channel_only_where_there_are_several() -> None:
    one_channel = make_segment(" Hello\nthere. ", 0.0, 1.0)
    assert to_txt(make_transcript(one_channel)) == "Hello there.\n"
    two_channels = (
        make_segment("Hello.", 0.0, 1.0, channel=0),
        make_segment("", 1.0, 1.5, channel=0),
        make_segment("Hi.", 1.0, 2.0, channel=1),
    )
    assert to_txt(make_transcript(*two_channels, channels=2)) == "[channel 1] Hello.\n[channel 2] Hi.\n"
