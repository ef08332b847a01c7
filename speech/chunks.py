"""Cutting speech into chunks the model can hear at once: at pauses, never inside a word where that can be helped. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speech.activity import FRAME_S, Span

FAST_CHUNK_S = 18.0
"""Longest chunk of the fast path: encoding costs more than in proportion to the length (see ``speech.context``)."""

MAX_CHUNK_S = 28.0
"""Longest chunk of the careful path.

Whisper hears 30 s; two seconds stay free, because words at the very edge are lost (our measurement on 13 minutes of
LibriSpeech test-other: cuts at 28 s in silence gave 10.3 % word errors where blind cuts at 30 s gave 27.9 %)."""

HALVED_S = 10.0
"""A shorter chunk is too short to hear two languages in it."""

GLUE_S = 0.3
"""Silence kept between two spans that are further apart; with none, their words run into each other."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A stretch of the recording, in seconds, and the piece of the chunk it lies in."""

    piece: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Chunk:
    """Pieces of one channel that are decoded together, in order, glued with ``GLUE_S`` of silence where they are apart."""

    channel: int
    pieces: tuple[Span, ...]

    @property
    def seconds(self) -> float:
        """Length of the glued audio."""
        return sum(end - start for start, end in self.pieces) + GLUE_S * (len(self.pieces) - 1)

    def second_half(self) -> Chunk | None:
        """What lies behind the middle; None in a chunk of under ``HALVED_S``."""
        if self.seconds < HALVED_S:
            return None
        middle = self.place(self.seconds / 2, self.seconds / 2)
        return self.after(middle.piece, middle.start)

    def after(self, piece: int, moment: float) -> Chunk | None:
        """What is left of the chunk behind a moment of the recording that lies in a piece; None when nothing is."""
        end = self.pieces[piece][1]
        left = (((moment, end),) if end > moment else ()) + self.pieces[piece + 1 :]
        return Chunk(self.channel, left) if left else None

    def place(self, start: float, end: float) -> Placed:
        """Where a stretch of the glued audio lies in the recording: wholly in the piece that it overlaps most.

        The model may begin a word before the glue and end it behind; in the recording the two may be minutes apart.
        """
        best, offset = Placed(0, *self.pieces[0]), 0.0
        most = -math.inf
        for i, (first, last) in enumerate(self.pieces):
            length = last - first
            # Negative in a piece that the stretch misses: the nearest one wins then.
            overlap = min(end, offset + length) - max(start, offset)
            if overlap > most:
                most = overlap
                at = first + min(max(0.0, start - offset), length)
                best = Placed(i, at, max(at, first + min(max(0.0, end - offset), length)))
            offset += length + GLUE_S
        return best


def plan_chunks(
    spans: Sequence[Span],
    probabilities: npt.NDArray[np.float32],
    channel: int,
    *,
    max_s: float = MAX_CHUNK_S,
    max_gap_s: float = 2.0,
) -> list[Chunk]:
    """Group spans of speech into chunks of at most ``max_s`` seconds.

    A silence up to ``max_gap_s`` stays as it is; a longer one is cut down to ``GLUE_S``, because Whisper invents words in
    long silences. A span longer than a chunk is cut where the detector was least sure of speech.

    Args:
        spans: Speech in order, apart from each other.
        probabilities: The detector's, one per frame, to find where to cut a long span.
        channel: Zero-based.
        max_s: Longest chunk.
        max_gap_s: Longest silence that is kept whole inside a chunk.
    """
    chunks: list[Chunk] = []
    pieces: list[Span] = []
    for start, end in (part for span in spans for part in _parts(span, probabilities, max_s)):
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


def _parts(span: Span, probabilities: npt.NDArray[np.float32], max_s: float) -> list[Span]:
    start, end = span
    parts: list[Span] = []
    while end - start > max_s:
        # Between half and the whole of what fits: a cut too early makes chunks too short to give the model context.
        first, last = int((start + max_s / 2) / FRAME_S), int((start + max_s) / FRAME_S)
        window = probabilities[first:last]
        cut = (first + int(np.argmin(window)) + 0.5) * FRAME_S if len(window) else start + max_s
        parts.append((start, cut))
        start = cut
    return [*parts, (start, end)]
