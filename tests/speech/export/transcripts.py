"""Transcripts for the tests of exports: of even speed, or arbitrary ones from Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from speech.transcript import Meta, Options, Segment, Transcript, Word

# Two disjoint alphabets, so that a character of a cue shows its channel. Neither has the dialogue dash.
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


def make_transcript(*segments: Segment, duration: float = 60.0, channels: int = 1) -> Transcript:
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


def make_segment(
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


def make_spoken_segment(
    text: str, start: float, word_s: float, *, channel: int | None = None, number: int = 0
) -> Segment:
    """A segment in which every word takes ``word_s`` seconds, without pauses."""
    pieces = text.split(" ")
    words = tuple(
        Word(
            word=f" {piece}",
            start=round(start + i * word_s, 3),
            end=round(start + (i + 1) * word_s, 3),
            probability=0.9,
        )
        for i, piece in enumerate(pieces)
    )
    return make_segment(text, start, words[-1].end, words=words, channel=channel, number=number)


@st.composite
def any_transcript(draw: st.DrawFn) -> Transcript:
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
        word_s = draw(st.sampled_from([0.0, 0.05, 0.3, 2.0]))
        words = tuple(
            Word(word=word, start=start + index * word_s, end=start + (index + 1) * word_s, probability=0.5)
            for index, word in enumerate(spelled)
        )
        timed = draw(st.sampled_from(["words", "text only", "other words"]))
        if timed != "words":
            words = () if timed == "text only" else words[1:]
        text = "".join(spelled).strip()
        end = start + len(tokens) * word_s
        segments.append(
            make_segment(text, start, end, words=words, channel=channel if channels > 1 else None, number=number)
        )
    return make_transcript(*segments, duration=duration, channels=channels)
