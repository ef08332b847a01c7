"""Splits speech into chunks that fit the model's window, at pauses and, if possible, never inside a word.

Pure functions: no I/O, no state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speech.asr.vad import VAD_FRAME_S, Span
from speech.audio.normalize import SAMPLE_RATE

FAST_CHUNK_S = 18.0
"""Longest chunk, in seconds, of the strategies that decode batches: the encoder's time grows faster than the length (see
``speech.asr.encoder_window``)."""

MAX_CHUNK_S = 28.0
"""Longest chunk of the careful strategy, in seconds.

Whisper's window has 30 s; two seconds stay unused, because words at the edge of the window are lost (measured on 13 minutes of
LibriSpeech test-other: 10.3 % WER with cuts at 28 s in silence, 27.9 % with fixed cuts at 30 s)."""

MIN_HALVED_CHUNK_S = 10.0
"""Chunks shorter than this many seconds are not split for language detection: half of one is too short."""

GLUE_S = 0.3
"""Silence inserted between two joined spans, in seconds. Without it the model merges their words."""


@dataclass(frozen=True, slots=True)
class LocatedSpan:
    """A span of the recording, in seconds, and the index of the chunk's piece that contains it."""

    piece: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Chunk:
    """Spans (pieces) of one channel that are decoded as one audio, in order, with ``GLUE_S`` seconds of silence between them."""

    channel: int
    pieces: tuple[Span, ...]

    @property
    def seconds(self) -> float:
        """Length of the chunk's audio in seconds, with the silence between its pieces."""
        return sum(end - start for start, end in self.pieces) + GLUE_S * (len(self.pieces) - 1)

    def take_second_half(self) -> Chunk | None:
        """The second half of the chunk; None if the chunk is shorter than ``MIN_HALVED_CHUNK_S``."""
        if self.seconds < MIN_HALVED_CHUNK_S:
            return None
        middle = self.locate(self.seconds / 2, self.seconds / 2)
        return self.take_between(middle.start, self.pieces[-1][1])

    def take_between(self, start: float, end: float) -> Chunk:
        """The part of the chunk between two times of the recording, with something of it between them."""
        cut = ((max(piece_start, start), min(piece_end, end)) for piece_start, piece_end in self.pieces)
        return Chunk(
            self.channel, tuple((piece_start, piece_end) for piece_start, piece_end in cut if piece_end > piece_start)
        )

    def split_pieces(self) -> tuple[Chunk, ...]:
        """A chunk for each piece."""
        return tuple(Chunk(self.channel, (piece,)) for piece in self.pieces)

    def locate(self, start: float, end: float) -> LocatedSpan:
        """Convert a span of the chunk's audio to a span of the recording, limited to the piece that it overlaps most.

        The model may place a word across the inserted silence; in the recording its two ends could be minutes apart.
        """
        best, offset = LocatedSpan(0, *self.pieces[0]), 0.0
        largest_overlap = -math.inf
        for i, (piece_start, piece_end) in enumerate(self.pieces):
            length = piece_end - piece_start
            # Negative if they do not overlap; then the nearest piece is used.
            overlap = min(end, offset + length) - max(start, offset)
            if overlap > largest_overlap:
                largest_overlap = overlap
                begin = piece_start + min(max(0.0, start - offset), length)
                best = LocatedSpan(i, begin, max(begin, piece_start + min(max(0.0, end - offset), length)))
            offset += length + GLUE_S
        return best


def count_samples(chunk: Chunk) -> int:
    """Samples at 16 kHz of a chunk as it is read: each piece from its nearest first to its nearest last sample, and the glue."""
    pieces = sum(round(end * SAMPLE_RATE) - round(start * SAMPLE_RATE) for start, end in chunk.pieces)
    return pieces + round(GLUE_S * SAMPLE_RATE) * (len(chunk.pieces) - 1)


def plan_chunks(
    spans: Sequence[Span],
    probabilities: npt.NDArray[np.float32],
    channel: int,
    *,
    max_s: float = MAX_CHUNK_S,
    max_gap_s: float = 2.0,
) -> list[Chunk]:
    """Group spans of speech into chunks of at most ``max_s`` seconds.

    A silence up to ``max_gap_s`` stays as it is; a longer one is cut down to ``GLUE_S``, because Whisper invents words in long
    silences. A span longer than a chunk is cut at the frame with the lowest speech probability.

    Args:
        spans: Speech spans, sorted and not overlapping.
        probabilities: (frames,) float32 of the whole channel, 32 ms a frame, frame 0 at the start of the recording. They decide
            where a long span is cut.
        channel: Zero-based.
        max_s: Longest chunk, in seconds.
        max_gap_s: Longest silence that is kept whole inside a chunk, in seconds.
    """
    chunks: list[Chunk] = []
    pieces: list[Span] = []
    for start, end in (span_part for span in spans for span_part in _split_span(span, probabilities, max_s)):
        joined = pieces and start - pieces[-1][1] <= max_gap_s
        grown = [*pieces[:-1], (pieces[-1][0], end)] if joined else [*pieces, (start, end)]
        if pieces and Chunk(channel, tuple(grown)).seconds > max_s:
            chunks.append(Chunk(channel, tuple(pieces)))
            pieces = [(start, end)]
        else:
            pieces = grown
    if pieces:
        chunks.append(Chunk(channel, tuple(pieces)))
    return chunks


def _split_span(span: Span, probabilities: npt.NDArray[np.float32], max_s: float) -> list[Span]:
    """Cut a span into parts of at most ``max_s`` seconds; ``probabilities`` are those of ``plan_chunks``."""
    start, end = span
    parts: list[Span] = []
    while end - start > max_s:
        # Search the cut in the second half of the maximal length: earlier cuts would give chunks with too little context.
        first_frame, last_frame = int((start + max_s / 2) / VAD_FRAME_S), int((start + max_s) / VAD_FRAME_S)
        window = probabilities[first_frame:last_frame]
        cut = (first_frame + int(np.argmin(window)) + 0.5) * VAD_FRAME_S if len(window) else start + max_s
        parts.append((start, cut))
        start = cut
    return [*parts, (start, end)]
