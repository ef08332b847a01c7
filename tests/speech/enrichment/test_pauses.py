"""Pauses and speech rates, and no figure where nothing could be measured."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech.enrichment.pauses import analyse_pauses
from speech.transcript import Meta, Options, Segment, SpeechSpan, Transcript, Word

Spoken = tuple[str, float, float]


def _transcript(
    *segments: Segment, language: str | None = "en", spans: tuple[SpeechSpan, ...] = (), channels: int = 1
) -> Transcript:
    meta = Meta(
        audio_file="a.wav",
        audio_sha256="0",
        audio_duration_sec=600,
        channels=channels,
        model_name="base",
        model_sha256="0",
        engine_version="1",
        options=Options(),
        language_probability=None,
        speech=spans,
        speech_seconds=0,
    )
    return Transcript(file="a.wav", language=language, meta=meta, segments=segments)


def _segment(*words: Spoken, number: int = 0, channel: int | None = None, text: str | None = None) -> Segment:
    return Segment(
        id=number,
        start=words[0][1],
        end=words[-1][2],
        text="".join(word for word, _, _ in words).strip() if text is None else text,
        words=tuple(Word(word=word, start=start, end=end, probability=1) for word, start, end in words)
        if text is None
        else (),
        channel=channel,
        avg_logprob=-0.2,
        compression_ratio=1.2,
        no_speech_prob=0.0,
        temperature=0.0,
        decoded="sequential",
    )


def test_a_gap_is_a_pause_from_250_ms_on() -> None:
    """As floats, 0.35 - 0.1 is less than 0.25; the threshold is meant for the times as written."""
    report = analyse_pauses(_transcript(_segment((" a", 0.0, 0.1), (" b", 0.35, 0.5), (" c", 0.749, 1.0))))
    assert [(pause.start, pause.end) for pause in report.channels[0].pauses] == [(0.1, 0.35)]


def test_speech_rate_counts_pauses_in_and_articulation_rate_leaves_them_out() -> None:
    report = analyse_pauses(_transcript(_segment((" one", 0.0, 1.0), (" two", 2.0, 3.0), (" three", 3.0, 4.0))))
    rate = report.recording
    assert (rate.words, rate.speech_s, rate.articulation_s) == (3, 4.0, 3.0)
    assert rate.words_per_minute == 45.0
    assert rate.articulation_wpm == 60.0
    assert report.segments[0].rate == rate == report.channels[0].rate


def test_silence_between_two_spans_of_speech_does_not_lower_the_rate() -> None:
    """A wait of ten seconds for an answer is not slow speech."""
    segments = (_segment((" one", 0.0, 1.0), (" two", 1.5, 2.0)), _segment((" three", 12.0, 13.0), number=1))
    spans = (SpeechSpan(start=0, end=2.2, channel=0), SpeechSpan(start=11.8, end=13, channel=0))
    report = analyse_pauses(_transcript(*segments, spans=spans))
    assert [pause.while_speaking for pause in report.channels[0].pauses] == [True, False]
    assert report.recording.speech_s == 3.0
    assert report.recording.articulation_s == 2.5


def test_a_span_of_speech_counts_only_on_its_channel() -> None:
    """Speech on one channel must not turn silence on the other into slow speech."""
    segment = _segment((" one", 0.0, 1.0), (" two", 9.0, 10.0), channel=0)
    spans = (
        SpeechSpan(start=0, end=1, channel=0),
        SpeechSpan(start=0, end=10, channel=1),
        SpeechSpan(start=9, end=10, channel=0),
    )
    assert analyse_pauses(_transcript(segment, spans=spans, channels=2)).recording.speech_s == 2.0


def test_a_word_inside_another_makes_no_gap() -> None:
    """Word times may overlap; silence begins where the last of them ends."""
    report = analyse_pauses(_transcript(_segment((" one", 0.0, 2.0), (" two", 0.5, 0.6), (" three", 2.1, 3.0))))
    assert report.channels[0].pauses == ()


def test_each_channel_has_its_own_pauses() -> None:
    """While one speaks the other pauses. A gap between words of two channels is not a pause."""
    report = analyse_pauses(
        _transcript(
            _segment((" hello", 0.0, 1.0), (" there", 1.0, 2.0), channel=0),
            _segment((" hi", 2.5, 3.0), channel=1, number=1),
            _segment((" again", 4.0, 5.0), channel=0, number=2),
            channels=2,
        )
    )
    first, second = report.channels
    assert [(pause.start, pause.end) for pause in first.pauses] == [(2.0, 4.0)]
    assert second.pauses == ()
    assert (first.rate.words, second.rate.words, report.recording.words) == (3, 1, 4)
    assert report.recording.speech_s == first.rate.speech_s + second.rate.speech_s
    assert [segment.id for segment in report.segments] == [0, 1, 2]


@pytest.mark.parametrize("language", ["zh", "ja", "th", "lo", "my", "yue"])
def test_a_language_without_spaces_is_counted_in_characters(language: str) -> None:
    report = analyse_pauses(_transcript(_segment(("你好", 0.0, 1.0), ("世界。", 1.5, 2.0)), language=language))
    rate = report.recording
    assert report.unit == "characters"
    assert (rate.words, rate.words_per_minute, rate.articulation_wpm) == (None, None, None)
    assert rate.characters == 4
    assert rate.characters_per_second == 2.0
    assert rate.articulation_cps == pytest.approx(4 / 1.5, abs=0.01)


def test_words_are_counted_as_written_and_not_as_the_model_splits_them() -> None:
    """Whisper splits "state-of-the-art" into four, and counts a dash. A reader counts one word and none."""
    words = ((" state", 0.0, 0.2), ("-of", 0.2, 0.3), ("-the", 0.3, 0.4), ("-art", 0.4, 0.6), (" —", 0.6, 0.7))
    assert analyse_pauses(_transcript(_segment(*words))).recording.words == 1


def test_an_empty_transcript_has_no_rate() -> None:
    report = analyse_pauses(_transcript(language=None))
    rate = report.recording
    assert (rate.words, rate.speech_s, rate.words_per_minute, rate.articulation_wpm) == (0, 0.0, None, None)
    assert (report.channels, report.segments) == ((), ())


def test_words_without_times_leave_the_articulation_unknown() -> None:
    report = analyse_pauses(_transcript(_segment(("", 1.0, 3.0), text="four words, no times")))
    assert report.recording.words_per_minute == 120.0
    assert report.recording.articulation_s is None
    assert report.recording.articulation_wpm is None


def test_words_without_duration_have_no_rate() -> None:
    assert analyse_pauses(_transcript(_segment((" um", 1.0, 1.0)))).recording.words_per_minute is None


def test_the_report_is_plain_json() -> None:
    report = analyse_pauses(_transcript(_segment((" one", 0.0, 1.0), (" two", 2.0, 3.0))))
    data = json.loads(json.dumps(report.to_dict()))
    assert data["threshold_s"] == 0.25
    assert data["channels"][0]["pauses"] == [{"start": 1.0, "end": 2.0, "while_speaking": True}]
    assert data["segments"][0]["rate"]["words"] == 2


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 500), st.floats(0, 5), st.integers(0, 1)), max_size=30),
    st.lists(st.tuples(st.floats(0, 500), st.floats(0, 50), st.integers(0, 1)), max_size=5),
)
def test_for_any_times_articulation_is_not_slower_than_speech(
    words: list[tuple[float, float, int]], speech: list[tuple[float, float, int]]
) -> None:
    segments = [
        _segment((" word", round(start, 3), round(start + length, 3)), number=number, channel=channel)
        for number, (start, length, channel) in enumerate(words)
    ]
    spans = tuple(SpeechSpan(start=start, end=start + length, channel=channel) for start, length, channel in speech)
    report = analyse_pauses(_transcript(*segments, spans=spans, channels=2))
    for rate in (report.recording, *(channel.rate for channel in report.channels)):
        assert rate.articulation_s is not None
        assert 0 <= rate.articulation_s <= rate.speech_s + 0.001
        if rate.words_per_minute is not None and rate.articulation_wpm is not None:
            assert rate.words_per_minute <= rate.articulation_wpm
    assert report.recording.words == len(words)
    for channel in report.channels:
        assert all(pause.duration >= 0.2495 for pause in channel.pauses)
