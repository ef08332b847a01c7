"""What can be told of a transcript's quality from the transcript alone: rules, each with the findings that break it.

A rule takes a transcript and gives a sentence with figures per finding, none when all is well; where there is nothing to judge by,
it gives None. Here belong rules and their bounds; what becomes of a transcript that breaks one is decided by whoever asks.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from speech.activity import ActivityRules, Span, joined
from speech.language import LOW_CONFIDENCE
from speech.pauses import PauseReport, analyse
from speech.transcript import Segment, Transcript

FRAME_S = 0.02
"""Length of a frame of Whisper's encoder and the step of its timestamps: what is shorter moves no word."""

HOLE_S = 3.0
"""Detected speech without a word is a hole from this length on. Ours: about seven words at a usual pace are a clause lost, while a
laugh, a cough or a drawn-out "um" that the model rightly leaves out is shorter."""

NEAR_S = ActivityRules().pad_s
"""A word covers so much before and behind it, because the detector's spans of speech are padded by as much."""

FASTEST_SEGMENT_WPS = 11.0
"""Words a second in a segment. The fastest talker on record said 655 words in a minute (Sean Shannon, Guinness, 1995)."""

FASTEST_WPS = 9.1
"""Words a second over a recording. A word has at least one syllable, and the fastest of 170 speakers of 17 languages came to 9.1
syllables a second over a text (Coupé, Oh, Dediu and Pellegrino, Science Advances 2019)."""

SLOWEST_WPS = 0.5
"""Words a second over a recording. Broadcasts made for learners, the slowest speech meant to be followed, have about 1.5 (Voice of
America's Special English); a third of that is no longer somebody talking."""

MAX_SUSPECTS = 0.5
"""Share of chunks whose first result was not believed. Beyond a half the audio, or the guard, is not what the fast path was made
for: a first try that fails that often saves nothing (our measurement of greedy decoding with rescue by beam search)."""

FEW_CHUNKS = 4
"""Below so many chunks a share says nothing."""

_FEW_WORDS = 4  # a rate over fewer is a matter of where the model put one boundary
_SHORT_S = 10.0  # of speech; below it one drawn-out word makes a recording slow

Rule = Callable[[Transcript], Iterator[str] | None]


def duration_kept(transcript: Transcript, seconds: float) -> Iterator[str]:
    """The transcript speaks of a recording as long as the one that was normalized.

    Args:
        transcript: The transcript.
        seconds: Length of the normalized audio.
    """
    told = transcript.meta.audio_duration_sec
    if not same_length(told, seconds):
        yield f"is a transcript of {told:.3f} s of audio, and {seconds:.3f} s were normalized"


def same_length(one: float, other: float) -> bool:
    """Whether two lengths in seconds are equal within a frame."""
    return abs(one - other) <= FRAME_S


def times_in_order(transcript: Transcript) -> Iterator[str]:
    """On each channel segments begin in order, in each segment words do, nothing ends before it begins or behind the recording."""
    last = transcript.meta.audio_duration_sec + FRAME_S
    for _, segments in _by_channel(transcript):
        before = 0.0
        for segment in segments:
            stretches = [(f"segment {segment.id}", segment.start, segment.end, before)]
            earlier = 0.0
            for word in segment.words:
                stretches.append((f"{word.word.strip()!r} in segment {segment.id}", word.start, word.end, earlier))
                earlier = word.start
            for what, start, end, not_before in stretches:
                if start < not_before:
                    yield f"{what} begins at {start:.2f} s, before what precedes it ({not_before:.2f} s)"
                elif end < start:
                    yield f"{what} ends at {end:.2f} s, before its beginning at {start:.2f} s"
                elif end > last:
                    length = transcript.meta.audio_duration_sec
                    yield f"{what} ends at {end:.2f} s, and the recording at {length:.2f} s"
            before = segment.start


def speech_covered(transcript: Transcript) -> Iterator[str]:
    """No stretch of detected speech of ``HOLE_S`` or more is without a word, except where one was dropped on purpose."""
    for channel, spans in _spans(transcript).items():
        said = [(start - NEAR_S, end + NEAR_S) for start, end in _stretches(transcript, channel)]
        dropped = [(d.start, d.end) for d in transcript.meta.dropped if d.channel == channel]
        covers = joined([*said, *dropped])
        ends = [end for _, end in covers]
        for start, end in spans:
            for hole_start, hole_end in _holes(start, end, covers, bisect_right(ends, start)):
                length = hole_end - hole_start
                if length >= HOLE_S:
                    place = f"{hole_start:.1f} to {hole_end:.1f} s{_on(transcript, channel)}"
                    yield f"{length:.1f} s of detected speech without a word, {place}"


def words_inside_speech(transcript: Transcript) -> Iterator[str]:
    """No word lies wholly outside detected speech."""
    heard = _spans(transcript)
    for channel, segments in _by_channel(transcript):
        spans = heard.get(channel, [])
        ends = [end + FRAME_S for _, end in spans]
        for segment in segments:
            for word in segment.words:
                nearest = bisect_right(ends, word.start)
                if nearest == len(spans) or word.end < spans[nearest][0] - FRAME_S:
                    place = f"at {word.start:.2f} s{_on(transcript, channel)}"
                    yield f"{word.word.strip()!r} {place} stands where no speech was detected"


def speech_rate_plausible(transcript: Transcript) -> Iterator[str] | None:
    """Nobody speaks so fast, or so slowly. Not judged in languages written without spaces, where a word is not known."""
    report = analyse(transcript)
    return _implausible(transcript, report) if report.recording.words else None


def _implausible(transcript: Transcript, report: PauseReport) -> Iterator[str]:
    whole = report.recording
    if whole.words is not None and whole.words >= _FEW_WORDS:
        rate = _per_second(whole.words, whole.speech_s)
        if rate > FASTEST_WPS:
            yield f"{rate:.1f} words a second over the recording; nobody keeps up more than {FASTEST_WPS}"
        elif rate < SLOWEST_WPS and whole.speech_s >= _SHORT_S:
            yield f"{rate:.2f} words a second over {whole.speech_s:.1f} s of speech; under {SLOWEST_WPS} nobody is talking"
    for segment, told in zip(transcript.segments, report.segments, strict=True):
        words = told.rate.words or 0
        rate = _per_second(words, told.rate.speech_s)
        if words >= _FEW_WORDS and rate > FASTEST_SEGMENT_WPS:
            place = f"{told.rate.speech_s:.2f} s at {segment.start:.1f} s"
            yield f"{words} words in {place}; nobody says more than {FASTEST_SEGMENT_WPS} a second"


def language_certain(transcript: Transcript) -> Iterator[str] | None:
    """One language, and with confidence. Not judged where it was forced or nothing was said: there it is nobody's guess."""
    doubts = [reason for flag, reason in transcript.meta.flags.items() if flag.startswith("language")]
    probability = transcript.meta.language_probability
    if not doubts and probability is None:
        return None
    if not doubts and probability is not None and probability < LOW_CONFIDENCE:
        doubts.append(f"taken for {transcript.language} with only {probability:.0%}")
    return iter(doubts)


def few_suspects(transcript: Transcript) -> Iterator[str] | None:
    """The engine believed its first result for at least half of the chunks. Not judged where no speech reached the model."""
    made = transcript.meta.decoding
    if made is None:
        return None
    said = (
        f"{made.suspects} of {made.chunks} chunks were suspect: {made.rescued} rescued, {made.dropped} segments dropped, "
        f"{made.flagged} flagged"
    )
    return iter([said] if too_many(made.suspects, made.chunks) else [])


def too_many(suspects: int, chunks: int) -> bool:
    """Whether the share of suspects says that something is wrong."""
    return chunks >= FEW_CHUNKS and suspects > MAX_SUSPECTS * chunks


def _by_channel(transcript: Transcript) -> Iterator[tuple[int, Iterator[Segment]]]:
    """Segments of each channel in the order of the transcript; a recording with one channel has channel 0."""
    # Sorting is stable.
    return groupby(sorted(transcript.segments, key=_channel), key=_channel)


def _channel(segment: Segment) -> int:
    return segment.channel or 0


def _spans(transcript: Transcript) -> Mapping[int, list[Span]]:
    """Detected speech per channel, in order and apart."""
    spans: dict[int, list[Span]] = {}
    for span in transcript.meta.speech:
        spans.setdefault(span.channel, []).append((span.start, span.end))
    return {channel: joined(found) for channel, found in spans.items()}


def _stretches(transcript: Transcript, channel: int) -> Iterator[Span]:
    """Where something is said: words, or segments whose words have no times."""
    for segment in transcript.segments:
        if _channel(segment) == channel:
            yield from ((said.start, said.end) for said in segment.words or (segment,))


def _holes(start: float, end: float, covers: Sequence[Span], first: int) -> Iterator[Span]:
    """What of a span no cover lies over. Covers are in order and apart; ``first`` is the first to end behind the span's start."""
    while first < len(covers) and covers[first][0] < end:
        yield start, covers[first][0]
        start = covers[first][1]
        first += 1
    yield start, end


def _on(transcript: Transcript, channel: int) -> str:
    return f" on channel {channel}" if transcript.meta.channels > 1 else ""


def _per_second(count: int, seconds: float) -> float:
    return count / seconds if seconds else math.inf
