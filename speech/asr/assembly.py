"""Converts decoded chunks to the transcript's segments, with times in the recording. Pure functions: no I/O, no state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

from speech.asr.chunks import Chunk, LocatedSpan
from speech.asr.hypothesis import ChunkResult, DecodedSegment, SegmentHypothesis, WordHypothesis
from speech.sentences import ends_sentence
from speech.transcript import Dropped, Segment, Word

_SENTENCE_PAUSE_S = 0.2
"""A segment ends after a full stop only if a pause of at least this many seconds follows: there is none in "Mr. Smith"."""


def build_segments(results: Sequence[ChunkResult], channels: int) -> tuple[Segment, ...]:
    """The kept segments of all chunks, by time.

    Args:
        results: Those of all chunks.
        channels: Number of channels of the recording; with one, ``Segment.channel`` is None.
    """
    segments = [
        located for result in results for decoded in result.kept for located in _split_segment(decoded, channels)
    ]
    segments.sort(key=lambda segment: (segment.start, segment.channel or 0))
    return tuple(segment.model_copy(update={"id": i}) for i, segment in enumerate(segments))


def list_dropped(results: Sequence[ChunkResult]) -> tuple[Dropped, ...]:
    """All dropped segments, by time."""
    dropped = []
    for result in results:
        for decoded in result.dropped:
            start, end = _locate_segment(decoded)
            channel, text = decoded.chunk.channel, decoded.hypothesis.text
            dropped.append(Dropped(start=start, end=end, channel=channel, text=text, reasons=decoded.flags))
    return tuple(sorted(dropped, key=lambda drop: (drop.start, drop.channel)))


def _locate_segment(decoded_segment: DecodedSegment) -> tuple[float, float]:
    chunk, segment = decoded_segment.chunk, decoded_segment.hypothesis
    start = chunk.locate(segment.start, segment.start).start
    return round(start, 3), round(max(start, chunk.locate(segment.end, segment.end).end), 3)


def _split_segment(decoded_segment: DecodedSegment, channels: int) -> Iterator[Segment]:
    """Convert a segment to recording times, split at sentence ends and where silence was removed."""
    segment = decoded_segment.hypothesis
    if not segment.words:
        start, end = _locate_segment(decoded_segment)
        yield _build_segment(decoded_segment, start, end, segment.text, (), channels)
        return
    words = [(word, decoded_segment.chunk.locate(word.start, word.end)) for word in segment.words]
    for _, group in groupby(zip(words, _number_parts(words), strict=True), key=lambda item: item[1]):
        located_words = [item[0] for item in group]
        start, end = round(located_words[0][1].start, 3), round(max(place.end for _, place in located_words), 3)
        yield _build_segment(
            decoded_segment,
            start,
            end,
            "".join(word.text for word, _ in located_words).strip(),
            located_words,
            channels,
        )


def _number_parts(words: Sequence[tuple[WordHypothesis, LocatedSpan]]) -> list[int]:
    """For each word, the number of the part it belongs to."""
    numbers = [0]
    for (word, place), (_, next_place) in pairwise(words):
        pause = next_place.start - place.end
        sentence = ends_sentence(word.text) and pause >= _SENTENCE_PAUSE_S
        numbers.append(numbers[-1] + (next_place.piece != place.piece or sentence))
    return numbers


def _build_segment(
    decoded_segment: DecodedSegment,
    start: float,
    end: float,
    text: str,
    words: Sequence[tuple[WordHypothesis, LocatedSpan]],
    channels: int,
) -> Segment:
    evidence: SegmentHypothesis = decoded_segment.hypothesis
    chunk: Chunk = decoded_segment.chunk
    return Segment(
        id=0,
        start=start,
        end=end,
        text=text,
        channel=chunk.channel if channels > 1 else None,
        words=tuple(
            Word(
                word=word.text,
                start=round(place.start, 3),
                end=round(place.end, 3),
                probability=round(word.probability, 3),
            )
            for word, place in words
        ),
        avg_logprob=round(evidence.avg_logprob, 4),
        compression_ratio=round(evidence.compression_ratio, 3),
        no_speech_prob=round(min(1.0, evidence.no_speech_prob), 4),
        temperature=evidence.temperature,
        decoded=decoded_segment.decoded,
        flags=decoded_segment.flags,
    )
