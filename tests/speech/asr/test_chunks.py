"""Cutting speech into chunks: nothing lost, nothing twice, nothing too long, and every moment finds its way back."""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from speech.asr.chunks import GLUE_S, MAX_CHUNK_S, Chunk, LocatedSpan, plan_chunks
from speech.asr.vad import VAD_FRAME_S, Span

NO_DOUBT = np.ones(0, np.float32)
Probabilities = NDArray[np.float32]


@st.composite
def speech(draw: st.DrawFn) -> tuple[list[Span], Probabilities]:
    """Spans apart from each other, some longer than a chunk, and a detector's opinion about all of the recording."""
    lengths = draw(st.lists(st.tuples(st.floats(0.05, 12), st.floats(0.1, 100)), max_size=8))
    edges = list(accumulate(value for pair in lengths for value in pair))
    spans = list(zip(edges[::2], edges[1::2], strict=True))
    known = int((edges[-1] if edges else 0.0) / VAD_FRAME_S) + 1
    return spans, np.random.default_rng(draw(st.integers(0, 9))).random(known, np.float32)


def pieces_of(chunks: list[Chunk]) -> list[Span]:
    return [piece for chunk in chunks for piece in chunk.pieces]


def seconds_of(spans: list[Span]) -> float:
    return sum(end - start for start, end in spans)


def common(some: list[Span], others: list[Span]) -> float:
    return sum(max(0.0, min(e, f) - max(s, t)) for s, e in some for t, f in others)


@given(speech(), st.sampled_from([5.0, MAX_CHUNK_S]), st.sampled_from([0.0, 0.5, 2.0]))
@settings(max_examples=200)
def test_every_moment_of_speech_is_in_exactly_one_chunk(
    said: tuple[list[Span], Probabilities], max_s: float, max_gap_s: float
) -> None:
    """A moment in none is a lost word, a moment in two a word written twice."""
    spans, probabilities = said
    pieces = pieces_of(plan_chunks(spans, probabilities, 0, max_s=max_s, max_gap_s=max_gap_s))
    assert all(start < end for start, end in pieces)
    assert all(end <= start for (_, end), (start, _) in pairwise(pieces)), "out of order, or twice"
    assert common(spans, pieces) == pytest.approx(seconds_of(spans))
    # Whatever else is in a chunk is a short silence, whole.
    gaps = [(end, start) for (_, end), (start, _) in pairwise(spans)]
    kept = [gap for gap in gaps if common([gap], pieces) > 1e-6]
    assert all(end - start <= max_gap_s for start, end in kept)
    assert seconds_of(pieces) == pytest.approx(seconds_of(spans) + seconds_of(kept))


@given(speech(), st.sampled_from([5.0, MAX_CHUNK_S]))
@settings(max_examples=200)
def test_no_chunk_is_longer_than_the_model_hears(said: tuple[list[Span], Probabilities], max_s: float) -> None:
    """With the glue counted, because the model hears it; what lies behind 30 s it never does."""
    for chunk in plan_chunks(*said, 0, max_s=max_s):
        glue = GLUE_S * (len(chunk.pieces) - 1)
        assert chunk.seconds == pytest.approx(seconds_of(list(chunk.pieces)) + glue)
        assert chunk.seconds <= max_s + 1e-6


@given(st.floats(0, 5), st.floats(29, 200), st.integers(0, 1000))
@settings(max_examples=100)
def test_a_long_span_is_cut_where_speech_was_least_probable(start: float, length: float, seed: int) -> None:
    """The least probable frame of those in the second half of what fits: a pause if there is one, never blindly in a word."""
    probabilities = np.random.default_rng(seed).random(int((start + length) / VAD_FRAME_S) + 2, np.float32)
    pieces = pieces_of(plan_chunks([(start, start + length)], probabilities, 0))
    assert len(pieces) >= 2
    for begin, cut in pieces[:-1]:
        allowed = [
            frame
            for frame in range(len(probabilities))
            if begin + MAX_CHUNK_S / 2 <= frame * VAD_FRAME_S and (frame + 1) * VAD_FRAME_S <= begin + MAX_CHUNK_S
        ]
        assert probabilities[int(cut / VAD_FRAME_S)] <= min(probabilities[frame] for frame in allowed)
        assert begin + MAX_CHUNK_S / 2 - VAD_FRAME_S <= cut <= begin + MAX_CHUNK_S


def test_a_cut_falls_into_the_middle_of_the_pause_frame() -> None:
    probabilities = np.ones(2000, np.float32)
    probabilities[600] = 0.2  # 19.2 s
    (_, cut), (behind, _) = pieces_of(plan_chunks([(0.0, 40.0)], probabilities, 0))
    assert cut == behind == pytest.approx(600.5 * VAD_FRAME_S)


def test_a_pause_in_the_first_half_of_what_fits_is_no_place_to_cut() -> None:
    """It would make a chunk too short to give the model context: here 3 s, for the next pause lies 27 s behind it."""
    probabilities = np.ones(2000, np.float32)
    probabilities[100], probabilities[950], probabilities[700] = 0.0, 0.2, 0.5
    ((_, cut), _) = pieces_of(plan_chunks([(0.0, 50.0)], probabilities, 0))
    assert cut == pytest.approx(700.5 * VAD_FRAME_S)


def test_a_short_silence_stays_and_a_long_one_is_cut_down() -> None:
    """Whisper invents words in long silences and runs words together where there is none."""
    (chunk,) = plan_chunks([(1.0, 2.0), (3.5, 4.0), (60.0, 61.0)], NO_DOUBT, 1)
    assert chunk == Chunk(1, ((1.0, 4.0), (60.0, 61.0)))
    assert chunk.seconds == pytest.approx(3.0 + GLUE_S + 1.0)


def test_spans_that_do_not_fit_together_are_parted_at_the_silence_between_them() -> None:
    chunks = plan_chunks([(0.0, 20.0), (21.0, 41.0), (42.0, 45.0)], NO_DOUBT, 0)
    assert [chunk.pieces for chunk in chunks] == [((0.0, 20.0),), ((21.0, 45.0),)]


def test_no_speech_makes_no_chunks() -> None:
    assert plan_chunks([], NO_DOUBT, 0) == []


@given(speech(), st.lists(st.floats(-1, 40), min_size=2))
@settings(max_examples=200)
def test_times_go_back_in_order_and_only_to_what_was_heard(
    said: tuple[list[Span], Probabilities], moments: list[float]
) -> None:
    """A word never ends before it begins, and never lies in a silence that nobody heard, not even one past the end."""
    for chunk in plan_chunks(*said, 0):
        back = [chunk.locate(moment, moment).start for moment in sorted(moments)]
        assert back == sorted(back)
        for moment in back:
            assert any(start - 1e-9 <= moment <= end + 1e-9 for start, end in chunk.pieces)


@given(speech(), st.floats(0.001, 0.999))
@settings(max_examples=100)
def test_a_moment_of_the_glued_audio_goes_back_to_where_it_was_taken_from(
    said: tuple[list[Span], Probabilities], part: float
) -> None:
    for chunk in plan_chunks(*said, 0):
        glued_so_far = 0.0
        for start, end in chunk.pieces:
            inside = part * (end - start)
            assert chunk.locate(glued_so_far + inside, glued_so_far + inside).start == pytest.approx(start + inside)
            glued_so_far += end - start + GLUE_S


@pytest.mark.parametrize(
    ("heard_at", "said_at"), [(1.0, 11.0), (2.0, 12.0), (2.1, 12.0), (2.2, 50.0), (2.3, 50.0), (2.8, 50.5), (9.0, 51.0)]
)
def test_a_moment_inside_the_glue_goes_to_the_nearer_edge(heard_at: float, said_at: float) -> None:
    assert Chunk(0, ((10.0, 12.0), (50.0, 51.0))).locate(heard_at, heard_at).start == pytest.approx(said_at)


@given(speech(), st.lists(st.floats(0, 40), min_size=2, max_size=12))
@settings(max_examples=200)
def test_words_keep_their_order_and_none_reaches_over_a_silence_that_was_taken_out(
    said: tuple[list[Span], Probabilities], edges: list[float]
) -> None:
    """The model places a word's start before the glue and its end behind it; in the recording minutes lie between."""
    for chunk in plan_chunks(*said, 0):
        words = [chunk.locate(start, end) for start, end in pairwise(sorted(edges))]
        for word in words:
            first, last = chunk.pieces[word.piece]
            assert first - 1e-9 <= word.start <= word.end <= last + 1e-9
        for before, after in pairwise(words):
            assert before.piece <= after.piece
            assert before.end <= after.start + 1e-9


def test_a_word_across_the_glue_goes_where_most_of_it_was_heard() -> None:
    chunk = Chunk(0, ((10.0, 12.0), (50.0, 51.0)))
    assert chunk.locate(1.8, 2.9) == LocatedSpan(1, 50.0, pytest.approx(50.6))
    assert chunk.locate(1.2, 2.5) == LocatedSpan(0, pytest.approx(11.2), 12.0)
