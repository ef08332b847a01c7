"""Segments and words of a recording: their order, channels and times, on real speech with a real model."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from speech.asr.engine import Engine
from speech.transcript import TranscribeOptions, Transcript
from tests.speech.asr.helpers import (
    ENGLISH,
    extract_words,
    is_inside,
    list_words,
    make_silence,
    merge_speech,
    read_samples,
    transcribe,
    write,
)


def test_words_follow_each_other_and_lie_inside_the_detected_speech(jfk: Transcript) -> None:
    """Only detected speech reaches the model, so a word outside of it would be invented."""
    assert "".join(word.word for word in list_words(jfk)).split() == jfk.text.split()
    for word in list_words(jfk):
        assert 0 <= word.start <= word.end <= jfk.meta.audio_duration_sec
        assert is_inside(word.start, word.end, merge_speech(jfk.meta.speech, 0))
    assert all(before.end <= after.start for before, after in pairwise(list_words(jfk)))
    for segment in jfk.segments:
        assert (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)


def test_words_have_the_number_of_their_channel_and_are_in_the_order_of_time(conversation: Transcript) -> None:
    """The left speaker reads about printing, the right one from a novel."""
    texts = {
        channel: " ".join(extract_words("".join(word.word for word in list_words(conversation, channel))))
        for channel in (0, 1)
    }
    for phrase in ("first importance that the letter", "gothic letter was most often used"):
        assert phrase in texts[0]
        assert phrase not in texts[1]
    for phrase in ("young man", "might even have been made amiable himself"):
        assert phrase in texts[1]
        assert phrase not in texts[0]
    assert conversation.meta.channels == 2
    assert [segment.id for segment in conversation.segments] == list(range(len(conversation.segments)))
    starts = [segment.start for segment in conversation.segments]
    assert starts == sorted(starts)
    assert [segment.channel for segment in conversation.segments][:2] == [0, 1]
    assert {span.channel for span in conversation.meta.speech} == {0, 1}
    assert [span.start for span in conversation.meta.speech] == sorted(span.start for span in conversation.meta.speech)
    assert conversation.meta.speech_seconds < sum(span.end - span.start for span in conversation.meta.speech), (
        "overlap counts once"
    )


def test_each_turn_of_a_conversation_is_a_separate_segment(conversation: Transcript) -> None:
    """A segment across the silence during the other speaker's turn would put the turns out of order."""
    assert [segment.channel for segment in conversation.segments] == [0, 1, 0, 1]
    for segment in conversation.segments:
        assert is_inside(segment.start, segment.end, merge_speech(conversation.meta.speech, segment.channel or 0)), (
            segment.text
        )


def test_long_silences_move_words_and_change_nothing_else(engine: Engine, audio_dir: Path, tmp_path: Path) -> None:
    """20 s of silence before and between two phrases are removed before decoding. The times of words must stay right."""
    austen, first, pause, between = audio_dir / "austen.m4a", 7.3, 10.73, 20.0
    close = transcribe(engine, write(tmp_path / "close.wav", read_samples(austen, first)), ENGLISH)
    apart_parts = (
        make_silence(between),
        read_samples(austen, first, pause),
        make_silence(between),
        read_samples(austen, pause),
    )
    apart = transcribe(engine, write(tmp_path / "apart.wav", *apart_parts), ENGLISH)
    assert extract_words(apart.text) == extract_words(close.text)
    assert len(extract_words(close.text)) > 15
    for before, after in zip(list_words(close), list_words(apart), strict=True):
        shift = between if before.end < pause - first else 2 * between
        # Ends are compared closely, because the model adds a pause to the word behind it.
        assert after.end - shift == pytest.approx(before.end, abs=0.15), before.word
        assert after.start - shift >= before.start - 0.15, before.word
        assert is_inside(after.start, after.end, merge_speech(apart.meta.speech, 0)), after


def test_no_word_spans_a_silence_that_was_removed(engine: Engine, audio_dir: Path, tmp_path: Path) -> None:
    """The model may place the start of a word before the cut and its end behind it."""
    jfk = audio_dir / "jfk.opus"
    parts = (make_silence(20), read_samples(jfk, 0, 2.75), make_silence(20), read_samples(jfk, 2.75))
    transcript = transcribe(engine, write(tmp_path / "apart.wav", *parts), ENGLISH)
    assert len(merge_speech(transcript.meta.speech, 0)) == 2
    across = [
        w for w in list_words(transcript) if not is_inside(w.start, w.end, merge_speech(transcript.meta.speech, 0))
    ]
    assert across == []


def test_without_word_times_the_text_is_the_same(engine: Engine, audio_dir: Path) -> None:
    transcript = transcribe(engine, audio_dir / "austen.m4a", TranscribeOptions(language="en", word_timestamps=False))
    assert all(segment.words == () for segment in transcript.segments)
    assert extract_words(transcript.text) == extract_words(transcribe(engine, audio_dir / "austen.m4a", ENGLISH).text)
    assert all(0 <= s.start < s.end <= transcript.meta.audio_duration_sec for s in transcript.segments)
