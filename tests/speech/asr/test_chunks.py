"""Cutting speech into chunks: nothing is lost, doubled or too long, and every moment can be located in the recording."""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from speech.asr.chunks import GLUE_S, MAX_CHUNK_S, Chunk, LocatedSpan, plan_chunks
from speech.asr.vad import VAD_FRAME_S, Span

NO_PROBABILITIES = np.ones(0, np.float32)
Probabilities = NDArray[np.float32]


@st.composite
def speech(draw: st.DrawFn) -> tuple[list[Span], Probabilities]:
    """Separate spans, some longer than a chunk, and speech probabilities for the whole recording."""
    lengths = draw(st.lists(st.tuples(st.floats(0.05, 12), st.floats(0.1, 100)), max_size=8))
    edges = list(accumulate(value for pair in lengths for value in pair))
    spans = list(zip(edges[::2], edges[1::2], strict=True))
    known = int((edges[-1] if edges else 0.0) / VAD_FRAME_S) + 1
    return spans, np.random.default_rng(draw(st.integers(0, 9))).random(known, np.float32)


def list_pieces(chunks: list[Chunk]) -> list[Span]:
    return [piece for chunk in chunks for piece in chunk.pieces]


def sum_seconds(spans: list[Span]) -> float:
    return sum(end - start for start, end in spans)


def measure_overlap(some: list[Span], others: list[Span]) -> float:
    return sum(max(0.0, min(e, f) - max(s, t)) for s, e in some for t, f in others)


@given(speech(), st.sampled_from([5.0, MAX_CHUNK_S]), st.sampled_from([0.0, 0.5, 2.0]))
@settings(max_examples=200)
def test_every_moment_of_speech_is_in_exactly_one_chunk(
    detected: tuple[list[Span], Probabilities], max_s: float, max_gap_s: float
) -> None:
    """Speech in no chunk would be lost, and speech in two would be written twice."""
    spans, probabilities = detected
    pieces = list_pieces(plan_chunks(spans, probabilities, 0, max_s=max_s, max_gap_s=max_gap_s))
    assert all(start < end for start, end in pieces)
    assert all(end <= start for (_, end), (start, _) in pairwise(pieces)), "out of order, or twice"
    assert measure_overlap(spans, pieces) == pytest.approx(sum_seconds(spans))
    # The rest of a chunk is short silences, each of them complete.
    gaps = [(end, start) for (_, end), (start, _) in pairwise(spans)]
    kept = [gap for gap in gaps if measure_overlap([gap], pieces) > 1e-6]
    assert all(end - start <= max_gap_s for start, end in kept)
    assert sum_seconds(pieces) == pytest.approx(sum_seconds(spans) + sum_seconds(kept))


@given(speech(), st.sampled_from([5.0, MAX_CHUNK_S]))
@settings(max_examples=200)
def test_no_chunk_is_longer_than_the_window_of_the_model(
    detected: tuple[list[Span], Probabilities], max_s: float
) -> None:
    """The glue counts too, because it is part of the input. The model ignores what lies behind 30 s."""
    for chunk in plan_chunks(*detected, 0, max_s=max_s):
        glue = GLUE_S * (len(chunk.pieces) - 1)
        assert chunk.seconds == pytest.approx(sum_seconds(list(chunk.pieces)) + glue)
        assert chunk.seconds <= max_s + 1e-6


@given(st.floats(0, 5), st.floats(29, 200), st.integers(0, 1000))
@settings(max_examples=100)
def test_a_long_span_is_cut_where_speech_was_least_probable(start: float, length: float, seed: int) -> None:
    """The cut is at the least probable frame in the second half of the longest chunk that fits."""
    probabilities = np.random.default_rng(seed).random(int((start + length) / VAD_FRAME_S) + 2, np.float32)
    pieces = list_pieces(plan_chunks([(start, start + length)], probabilities, 0))
    assert len(pieces) >= 2
    for begin, cut in pieces[:-1]:
        allowed = [
            frame
            for frame in range(len(probabilities))
            if begin + MAX_CHUNK_S / 2 <= frame * VAD_FRAME_S and (frame + 1) * VAD_FRAME_S <= begin + MAX_CHUNK_S
        ]
        assert probabilities[int(cut / VAD_FRAME_S)] <= min(probabilities[frame] for frame in allowed)
        assert begin + MAX_CHUNK_S / 2 - VAD_FRAME_S <= cut <= begin + MAX_CHUNK_S


def test_a_cut_is_in_the_middle_of_the_least_probable_frame() -> None:
    probabilities = np.ones(2000, np.float32)
    probabilities[600] = 0.2  # 19.2 s
    (_, cut), (behind, _) = list_pieces(plan_chunks([(0.0, 40.0)], probabilities, 0))
    assert cut == behind == pytest.approx(600.5 * VAD_FRAME_S)


def test_no_cut_is_made_in_the_first_half_of_a_chunk() -> None:
    """The chunk would be too short to give context: here 3 s, because the next pause is 27 s later."""
    probabilities = np.ones(2000, np.float32)
    probabilities[100], probabilities[950], probabilities[700] = 0.0, 0.2, 0.5
    ((_, cut), _) = list_pieces(plan_chunks([(0.0, 50.0)], probabilities, 0))
    assert cut == pytest.approx(700.5 * VAD_FRAME_S)


def test_a_short_silence_is_kept_and_a_long_one_is_removed() -> None:
    """Whisper invents words in long silences, and joins words without any silence."""
    (chunk,) = plan_chunks([(1.0, 2.0), (3.5, 4.0), (60.0, 61.0)], NO_PROBABILITIES, 1)
    assert chunk == Chunk(1, ((1.0, 4.0), (60.0, 61.0)))
    assert chunk.seconds == pytest.approx(3.0 + GLUE_S + 1.0)


def test_spans_that_do_not_fit_into_one_chunk_are_split_at_the_silence_between_them() -> None:
    chunks = plan_chunks([(0.0, 20.0), (21.0, 41.0), (42.0, 45.0)], NO_PROBABILITIES, 0)
    assert [chunk.pieces for chunk in chunks] == [((0.0, 20.0),), ((21.0, 45.0),)]


def test_no_speech_makes_no_chunks() -> None:
    assert plan_chunks([], NO_PROBABILITIES, 0) == []


@given(speech(), st.lists(st.floats(-1, 40), min_size=2))
@settings(max_examples=200)
def test_located_times_keep_their_order_and_lie_inside_the_pieces(
    detected: tuple[list[Span], Probabilities], moments: list[float]
) -> None:
    """A word never ends before it begins, and never lies in a removed silence or behind the end."""
    for chunk in plan_chunks(*detected, 0):
        located = [chunk.locate(moment, moment).start for moment in sorted(moments)]
        assert located == sorted(located)
        for moment in located:
            assert any(start - 1e-9 <= moment <= end + 1e-9 for start, end in chunk.pieces)


@given(speech(), st.floats(0.001, 0.999))
@settings(max_examples=100)
def test_a_moment_of_a_chunk_is_located_where_it_was_taken_from(
    detected: tuple[list[Span], Probabilities], part: float
) -> None:
    for chunk in plan_chunks(*detected, 0):
        glued_so_far = 0.0
        for start, end in chunk.pieces:
            inside = part * (end - start)
            assert chunk.locate(glued_so_far + inside, glued_so_far + inside).start == pytest.approx(start + inside)
            glued_so_far += end - start + GLUE_S


@pytest.mark.parametrize(
    ("in_chunk", "in_recording"),
    [(1.0, 11.0), (2.0, 12.0), (2.1, 12.0), (2.2, 50.0), (2.3, 50.0), (2.8, 50.5), (9.0, 51.0)],
)
def test_a_moment_inside_the_glue_is_located_at_the_nearer_edge(in_chunk: float, in_recording: float) -> None:
    assert Chunk(0, ((10.0, 12.0), (50.0, 51.0))).locate(in_chunk, in_chunk).start == pytest.approx(in_recording)


@given(speech(), st.lists(st.floats(0, 40), min_size=2, max_size=12))
@settings(max_examples=200)
def test_words_keep_their_order_and_none_spans_a_removed_silence(
    detected: tuple[list[Span], Probabilities], edges: list[float]
) -> None:
    """The model may place the start of a word before the glue and its end behind it; minutes may lie between them."""
    for chunk in plan_chunks(*detected, 0):
        words = [chunk.locate(start, end) for start, end in pairwise(sorted(edges))]
        for word in words:
            first, last = chunk.pieces[word.piece]
            assert first - 1e-9 <= word.start <= word.end <= last + 1e-9
        for before, after in pairwise(words):
            assert before.piece <= after.piece
            assert before.end <= after.start + 1e-9


def test_a_word_across_the_glue_is_located_in_the_piece_with_its_larger_part() -> None:
    chunk = Chunk(0, ((10.0, 12.0), (50.0, 51.0)))
    assert chunk.locate(1.8, 2.9) == LocatedSpan(1, 50.0, pytest.approx(50.6))
    assert chunk.locate(1.2, 2.5) == LocatedSpan(0, pytest.approx(11.2), 12.0)
