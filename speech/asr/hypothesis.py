"""The model's output with its scores, before any check: the types that the parts of the engine exchange.

Times are seconds from the start of the chunk that was decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from speech.asr.chunks import Chunk
from speech.transcript import DecodingMethod


@dataclass(frozen=True, slots=True)
class WordHypothesis:
    """A word with its times and the mean probability of its tokens."""

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class SegmentHypothesis:
    """One segment of text from the model.

    Attributes:
        text: Without spaces around it.
        start: Start as given by the model, in seconds from the start of the chunk.
        end: End, in seconds from the start of the chunk.
        words: Empty if no word timestamps were requested.
        token_count: Number of text tokens.
        avg_logprob: Mean natural logarithm of the tokens' probabilities.
        compression_ratio: See ``speech.asr.scripts.compute_compression_ratio``; of a segment's whole window where it was decoded
            sequentially.
        no_speech_prob: Probability of the model's no-speech token.
        temperature: Sampling temperature; 0 means beam search.
    """

    text: str
    start: float
    end: float
    words: tuple[WordHypothesis, ...]
    token_count: int
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class DecodedSegment:
    """A segment with its chunk, the decoding method, and the suspicions against it as flags."""

    chunk: Chunk
    hypothesis: SegmentHypothesis
    decoded: DecodingMethod
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What became of a chunk.

    Attributes:
        kept: Segments in order.
        dropped: Segments taken out; their flags are the reasons.
        is_suspect: Whether the first result was not believed.
        is_rescued: Whether text of a later result stands in its place.
    """

    kept: tuple[DecodedSegment, ...]
    dropped: tuple[DecodedSegment, ...]
    is_suspect: bool
    is_rescued: bool


def take_words(segment: SegmentHypothesis, words: Sequence[WordHypothesis]) -> SegmentHypothesis:
    """A segment with only some of its words, one at least. Its evidence stays that of the whole."""
    return replace(
        segment,
        text="".join(word.text for word in words).strip(),
        words=tuple(words),
        start=words[0].start,
        end=max(word.end for word in words),
    )
