"""The quality rules, each with a transcript that keeps it and transcripts that break it in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from speech.evaluation import quality
from speech.transcript import DecodingStats, Dropped, Meta, Options, Segment, SpeechSpan, Transcript, Word

RULES = (
    quality.check_times_in_order,
    quality.check_speech_covered,
    quality.check_words_inside_speech,
    quality.check_speech_rate_plausible,
    quality.check_language_certain,
    quality.check_few_suspects,
)


def make_segment(
    *times: tuple[float, float], channel: int | None = None, number: int = 0, text: str | None = None
) -> Segment:
    """A segment of words ``w0``, ``w1`` and so on at these times."""
    words = tuple(Word(word=f" w{i}", start=start, end=end, probability=0.9) for i, (start, end) in enumerate(times))
    return Segment(
        id=number,
        start=times[0][0],
        end=times[-1][1],
        text=text or " ".join(word.word.strip() for word in words),
        channel=channel,
        words=words,
        avg_logprob=-0.2,
        compression_ratio=1.2,
        no_speech_prob=0.01,
        temperature=0,
        decoded="batched",
    )


def make_word_times(start: float, count: int, pace: float = 2.5) -> list[tuple[float, float]]:
    """Times of ``count`` words one after another, ``pace`` per second."""
    return [(round(start + i / pace, 3), round(start + (i + 1) / pace, 3)) for i in range(count)]


def make_transcript(
    *segments: Segment,
    speech: Sequence[tuple[float, float] | tuple[float, float, int]] = ((0.6, 12.0),),
    seconds: float = 12.0,
    language: str | None = "en",
    channels: int = 1,
    **meta: Any,
) -> Transcript:
    meta = {"language_probability": 0.98, "decoding": make_decoding_stats(1, 0), **meta}
    spans = [(*span, 0)[:3] for span in speech]
    return Transcript(
        file="a.wav",
        language=language,
        meta=Meta(
            audio_file="a.wav",
            audio_sha256="0" * 64,
            audio_duration_sec=seconds,
            channels=channels,
            model_name="base",
            model_sha256="0" * 64,
            engine_version="1",
            options=Options(),
            speech=tuple(SpeechSpan(start=start, end=end, channel=channel) for start, end, channel in spans),
            speech_seconds=sum(end - start for start, end, _ in spans),
            **meta,
        ),
        segments=segments,
    )


def make_decoding_stats(chunks: int, suspects: int) -> DecodingStats:
    return DecodingStats(
        path="fast", why="test", chunks=chunks, suspects=suspects, rescued=suspects, dropped=0, flagged=suspects
    )


def list_findings(rule: quality.Rule, subject: Transcript) -> list[str] | None:
    findings = rule(subject)
    return None if findings is None else list(findings)


GOOD = make_transcript(make_segment(*make_word_times(1.0, 12)), make_segment(*make_word_times(6.0, 14), number=1))


@pytest.mark.parametrize("rule", RULES)
def test_an_ordinary_transcript_breaks_no_rule(rule: quality.Rule) -> None:
    assert list_findings(rule, GOOD) == []
    # Two people talk at once on two channels: the order of words is checked per channel.
    two_channels = make_transcript(
        make_segment(*make_word_times(1.0, 12), channel=0),
        make_segment(*make_word_times(0.8, 12), channel=1, number=1),
        make_segment(*make_word_times(6.0, 12), channel=0, number=2),
        speech=((0.6, 11.2, 0), (0.4, 6.0, 1)),
        channels=2,
    )
    assert list_findings(rule, two_channels) == []


@pytest.mark.parametrize("rule", RULES)
def test_silence_breaks_no_rule(rule: quality.Rule) -> None:
    silence = make_transcript(speech=(), language=None, language_probability=None, decoding=None)
    assert not list_findings(rule, silence)


def test_the_length_may_differ_by_a_frame() -> None:
    assert list(quality.check_duration_kept(GOOD, 12.019)) == []
    (finding,) = quality.check_duration_kept(GOOD, 12.03)
    assert "12.000" in finding
    assert "12.030" in finding


@pytest.mark.parametrize(
    ("segments", "seconds", "expected"),
    [
        ([make_segment((1, 2), (1.5, 1.4))], 12.0, "'w1' in segment 0 ends at 1.40 s, before its beginning at 1.50 s"),
        (
            [make_segment((1, 2), (3, 4), (2, 5))],
            12.0,
            "'w2' in segment 0 begins at 2.00 s, before what precedes it (3.00 s)",
        ),
        ([make_segment((5, 6)), make_segment((4, 5), number=1)], 12.0, "segment 1 begins at 4.00 s, before"),
        ([make_segment((1, 2), (11, 12.5))], 12.0, "segment 0 ends at 12.50 s, and the recording at 12.00 s; 'w1' in"),
        ([make_segment((1, float("inf")))], 12.0, "segment 0 ends at inf s, and the recording"),
        ([make_segment((1, 12.015))], 12.0, ""),
    ],
)
def test_times_increase_and_end_inside_the_recording(segments: list[Segment], seconds: float, expected: str) -> None:
    findings = list_findings(quality.check_times_in_order, make_transcript(*segments, seconds=seconds))
    assert findings is not None
    assert "; ".join(findings).startswith(expected)
    assert bool(findings) == bool(expected)


def test_dropped_text_is_reported_with_its_time_and_words() -> None:
    dropped = Dropped(
        start=4.0, end=21.0, channel=1, text="It was said clearly.", reasons=("phantom_phrase", "improbable")
    )
    transcript = make_transcript(dropped=(dropped,))
    (finding,) = list_findings(quality.check_nothing_dropped, transcript)
    assert finding.startswith("17.0 s, 4.0 to 21.0 s")
    assert finding.endswith("were not believed (phantom_phrase, improbable): 'It was said clearly.'")
    assert list_findings(quality.check_nothing_dropped, make_transcript()) == []


def test_speech_without_words_is_reported_unless_its_text_was_dropped() -> None:
    speech_segment = make_segment(*make_word_times(1.0, 5), (9.0, 9.4))  # words until 3.0 s, then one at 9.0 s
    assert list_findings(quality.check_speech_covered, make_transcript(speech_segment)) == [
        "5.2 s of detected speech without a word, 3.4 to 8.6 s"
    ]
    dropped = Dropped(start=4.0, end=8.0, channel=0, text="Thanks!", reasons=("phantom phrase",))
    assert list_findings(quality.check_speech_covered, make_transcript(speech_segment, dropped=(dropped,))) == []
    other_channel = dropped.model_copy(update={"channel": 1})
    assert list_findings(quality.check_speech_covered, make_transcript(speech_segment, dropped=(other_channel,))) != []


def test_a_hole_is_at_least_three_seconds_of_detected_speech() -> None:
    speech_segment = make_segment(*make_word_times(1.0, 5), (9.0, 9.4))
    assert (
        list_findings(quality.check_speech_covered, make_transcript(speech_segment, speech=((0.6, 6.3), (7.0, 9.8))))
        == []
    )
    assert (
        list_findings(quality.check_speech_covered, make_transcript(speech_segment, speech=((0.6, 6.5), (7.0, 9.8))))
        != []
    )
    nothing = make_transcript(speech=((0.0, 4.0), (5.0, 7.0)), language=None)
    assert list_findings(quality.check_speech_covered, nothing) == [
        "4.0 s of detected speech without a word, 0.0 to 4.0 s"
    ]


def test_a_hole_on_one_channel_is_not_filled_by_words_on_the_other() -> None:
    left = make_segment(*make_word_times(1.0, 25), channel=0)
    two_channels = make_transcript(left, speech=((0.6, 11.4, 0), (2.0, 8.0, 1)), channels=2)
    assert list_findings(quality.check_speech_covered, two_channels) == [
        "6.0 s of detected speech without a word, 2.0 to 8.0 s on channel 1"
    ]


def test_segments_cover_speech_where_words_have_no_times() -> None:
    untimed = make_segment((1.0, 11.0), text="so much was spoken").model_copy(update={"words": ()})
    assert list_findings(quality.check_speech_covered, make_transcript(untimed)) == []


def test_a_word_outside_of_detected_speech_is_reported() -> None:
    speech = ((0.6, 4.0), (8.0, 12.0))
    assert (
        list_findings(
            quality.check_words_inside_speech, make_transcript(make_segment((3.9, 4.5), (7.5, 8.1)), speech=speech)
        )
        == []
    )
    between = make_transcript(make_segment((3.0, 4.0), (5.0, 5.5), (9.0, 9.5)), speech=speech)
    assert list_findings(quality.check_words_inside_speech, between) == [
        "'w1' at 5.00 s stands where no speech was detected"
    ]
    behind = make_transcript(make_segment((3.0, 4.0), (12.1, 12.5)), speech=speech, seconds=20.0)
    assert list_findings(quality.check_words_inside_speech, behind) == [
        "'w1' at 12.10 s stands where no speech was detected"
    ]
    other_channel = make_transcript(make_segment((3.0, 4.0), channel=1), speech=((0.6, 4.0, 0),), channels=2)
    assert list_findings(quality.check_words_inside_speech, other_channel) == [
        "'w0' at 3.00 s on channel 1 stands where no speech was detected"
    ]


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([make_segment(*make_word_times(1.0, 90, pace=9.0))], []),
        (
            [make_segment(*make_word_times(1.0, 95, pace=9.5))],
            ["9.5 words a second over the recording; nobody keeps up more than 9.1"],
        ),
        (
            [make_segment(*make_word_times(1.0, 12)), make_segment(*make_word_times(6.0, 12, pace=12.0), number=1)],
            ["12 words in 1.00 s at 6.0 s; nobody says more than 11.0 a second"],
        ),
        (
            [make_segment(*make_word_times(1.0, 12)), make_segment(*[(6.0, 6.0)] * 5, number=1)],
            ["5 words in 0.00 s at 6.0 s; nobody"],
        ),
        ([make_segment(*make_word_times(1.0, 12)), make_segment((6.0, 6.1), (6.1, 6.2), (6.2, 6.25), number=1)], []),
        (
            [make_segment(*make_word_times(0.0, 4, pace=0.3))],
            ["0.30 words a second over 13.3 s of speech; under 0.5 nobody"],
        ),
        ([make_segment(*make_word_times(0.0, 4, pace=0.45))], []),  # too short to judge
    ],
)
def test_an_implausible_speech_rate_is_reported(segments: list[Segment], expected: list[str]) -> None:
    findings = list_findings(
        quality.check_speech_rate_plausible, make_transcript(*segments, speech=((0.0, 30.0),), seconds=30.0)
    )
    assert findings is not None
    assert [finding[: len(start)] for finding, start in zip(findings, expected, strict=True)] == expected


def test_no_rate_is_judged_for_languages_without_spaces() -> None:
    assert (
        list_findings(
            quality.check_speech_rate_plausible,
            make_transcript(make_segment(*make_word_times(1.0, 95, pace=9.5)), language="ja"),
        )
        is None
    )


def test_an_uncertain_language_is_reported_by_flag_or_by_probability() -> None:
    speech_segment = make_segment(*make_word_times(1.0, 12))
    assert (
        list_findings(quality.check_language_certain, make_transcript(speech_segment, language_probability=0.5)) == []
    )
    uncertain = make_transcript(speech_segment, language_probability=0.41)
    assert list_findings(quality.check_language_certain, uncertain) == ["taken for en with only 41%"]
    flags = {"language_uncertain": "en with only 41%; also de 40%", "partial": "cut off"}
    flagged = make_transcript(speech_segment, language_probability=0.41, flags=flags)
    assert list_findings(quality.check_language_certain, flagged) == ["en with only 41%; also de 40%"]
    assert (
        list_findings(quality.check_language_certain, make_transcript(speech_segment, language_probability=None))
        is None
    )


def test_suspects_are_judged_by_their_share_if_there_are_enough_chunks() -> None:
    speech_segment = make_segment(*make_word_times(1.0, 12))
    for chunks, suspects in ((3, 3), (4, 2), (100, 50)):
        assert (
            list_findings(
                quality.check_few_suspects,
                make_transcript(speech_segment, decoding=make_decoding_stats(chunks, suspects)),
            )
            == []
        )
    findings = list_findings(
        quality.check_few_suspects, make_transcript(speech_segment, decoding=make_decoding_stats(4, 3))
    )
    assert findings == ["3 of 4 chunks were suspect: 3 rescued, 0 segments dropped, 3 flagged"]
