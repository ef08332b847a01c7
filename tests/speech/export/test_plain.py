"""Plain text: a line for each segment, and the channel where there are several."""

from __future__ import annotations

from speech.export.plain import to_txt
from tests.speech.export.transcripts import make_segment, make_transcript


def test_nothing_said_gives_no_text() -> None:
    assert to_txt(make_transcript()) == ""


def test_plain_text_names_the_channel_only_where_there_are_several() -> None:
    one = make_segment(" Hello\nthere. ", 0.0, 1.0)
    assert to_txt(make_transcript(one)) == "Hello there.\n"
    two = (
        make_segment("Hello.", 0.0, 1.0, channel=0),
        make_segment("", 1.0, 1.5, channel=0),
        make_segment("Hi.", 1.0, 2.0, channel=1),
    )
    assert to_txt(make_transcript(*two, channels=2)) == "[channel 1] Hello.\n[channel 2] Hi.\n"
