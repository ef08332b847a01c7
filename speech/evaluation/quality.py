"""Quality rules for a transcript, without a reference text.

A rule yields one sentence with figures per problem, nothing if all is well, and returns None if it does not apply. The caller
decides what a problem means.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from speech.asr.language import LANGUAGE_DETECTION_THRESHOLD
from speech.asr.vad import Span, VadOptions, merge_spans
from speech.enrichment.pauses import PauseReport, analyse_pauses
from speech.transcript import Segment, Transcript

ENCODER_FRAME_S = 0.02
"""Length of a frame of Whisper's encoder and the step of its timestamps, in seconds: differences below this do not change the time
of a word."""

MIN_UNCOVERED_S = 3.0
"""Detected speech without a word is reported from this many seconds on. We chose 3 s: about seven words at a usual pace, a lost
clause. A laugh, a cough or a long "um", which the model rightly omits, is shorter."""

WORD_MARGIN_S = VadOptions().speech_pad_s
"""Each word also covers this many seconds before and after it, because speech spans are padded by the same amount."""

FASTEST_SEGMENT_WPS = 11.0
"""Most words a second in a segment. The fastest talker on record said 655 words in a minute (Sean Shannon, Guinness, 1995)."""

FASTEST_WPS = 9.1
"""Most words a second over a recording. A word has at least one syllable, and the fastest of 170 speakers of 17 languages came to
9.1 syllables a second over a text (Coupé, Oh, Dediu and Pellegrino, Science Advances 2019)."""

SLOWEST_WPS = 0.5
"""Fewest words a second over a recording. Broadcasts made for learners, the slowest speech meant to be followed, have about 1.5
(Voice of America's Special English); a third of that is not talking any more."""

MAX_SUSPECT_SHARE = 0.5
"""Largest share of suspect chunks. Above one half the fast strategy saves no time (measured: greedy decoding with beam search as a
fallback), so it does not fit the audio, or the hallucination checks are wrong for it."""

MIN_CHUNKS_FOR_SHARE = 4
"""With fewer chunks the share is not judged."""

_MIN_WORDS_FOR_RATE = 4  # with fewer words one wrong boundary decides the rate
_MIN_SPEECH_FOR_RATE_S = 10.0  # seconds of speech; below them one long word makes a recording look slow

Rule = Callable[[Transcript], Iterator[str] | None]


def check_duration_kept(transcript: Transcript, seconds: float) -> Iterator[str]:
    """The transcript's audio length equals that of the normalized audio.

    Args:
        transcript: The transcript.
        seconds: Length of the normalized audio, in seconds.
    """
    transcribed_s = transcript.meta.audio_duration_sec
    if not is_same_length(transcribed_s, seconds):
        yield f"is a transcript of {transcribed_s:.3f} s of audio, and {seconds:.3f} s were normalized"


def is_same_length(first_s: float, second_s: float) -> bool:
    """Whether two lengths in seconds are equal within a frame."""
    return abs(first_s - second_s) <= ENCODER_FRAME_S


def check_times_in_order(transcript: Transcript) -> Iterator[str]:
    """Segments of a channel and words of a segment start in order; nothing ends before its start or after the recording."""
    latest_end = transcript.meta.audio_duration_sec + ENCODER_FRAME_S
    for _, segments in _group_by_channel(transcript):
        previous_start = 0.0
        for segment in segments:
            items = [(f"segment {segment.id}", segment.start, segment.end, previous_start)]
            previous_word_start = 0.0
            for word in segment.words:
                items.append(
                    (f"{word.word.strip()!r} in segment {segment.id}", word.start, word.end, previous_word_start)
                )
                previous_word_start = word.start
            for label, start, end, not_before in items:
                if start < not_before:
                    yield f"{label} begins at {start:.2f} s, before what precedes it ({not_before:.2f} s)"
                elif end < start:
                    yield f"{label} ends at {end:.2f} s, before its beginning at {start:.2f} s"
                elif end > latest_end:
                    length = transcript.meta.audio_duration_sec
                    yield f"{label} ends at {end:.2f} s, and the recording at {length:.2f} s"
            previous_start = segment.start


def check_speech_covered(transcript: Transcript) -> Iterator[str]:
    """Detected speech has no span of ``MIN_UNCOVERED_S`` or more without a word, except where text was dropped on purpose."""
    for channel, spans in _group_speech_spans(transcript).items():
        word_spans = [
            (start - WORD_MARGIN_S, end + WORD_MARGIN_S) for start, end in _list_word_spans(transcript, channel)
        ]
        dropped = [(d.start, d.end) for d in transcript.meta.dropped if d.channel == channel]
        covers = merge_spans([*word_spans, *dropped])
        ends = [end for _, end in covers]
        for start, end in spans:
            for hole_start, hole_end in _find_uncovered(start, end, covers, bisect_right(ends, start)):
                length = hole_end - hole_start
                if length >= MIN_UNCOVERED_S:
                    place = f"{hole_start:.1f} to {hole_end:.1f} s{_format_channel(transcript, channel)}"
                    yield f"{length:.1f} s of detected speech without a word, {place}"


def check_nothing_dropped(transcript: Transcript) -> Iterator[str]:
    """No text was dropped, and no speech left without text. Says of each place how long it is and what was written."""
    for dropped in transcript.meta.dropped:
        place = f"{dropped.start:.1f} to {dropped.end:.1f} s{_format_channel(transcript, dropped.channel)}"
        why = ", ".join(dropped.reasons)
        if dropped.text:
            yield f"{dropped.end - dropped.start:.1f} s, {place}, were not believed ({why}): {dropped.text[:60]!r}"
        else:
            yield f"{dropped.end - dropped.start:.1f} s, {place}, got no text ({why})"


def check_words_inside_speech(transcript: Transcript) -> Iterator[str]:
    """No word lies completely outside detected speech."""
    spans_by_channel = _group_speech_spans(transcript)
    for channel, segments in _group_by_channel(transcript):
        spans = spans_by_channel.get(channel, [])
        ends = [end + ENCODER_FRAME_S for _, end in spans]
        for segment in segments:
            for word in segment.words:
                nearest = bisect_right(ends, word.start)
                if nearest == len(spans) or word.end < spans[nearest][0] - ENCODER_FRAME_S:
                    place = f"at {word.start:.2f} s{_format_channel(transcript, channel)}"
                    yield f"{word.word.strip()!r} {place} stands where no speech was detected"


def check_speech_rate_plausible(transcript: Transcript) -> Iterator[str] | None:
    """The speech rate is possible for a person. Not judged for languages without spaces, where words cannot be counted."""
    report = analyse_pauses(transcript)
    return _find_implausible_rates(transcript, report) if report.recording.words else None


def _find_implausible_rates(transcript: Transcript, report: PauseReport) -> Iterator[str]:
    recording = report.recording
    if recording.words is not None and recording.words >= _MIN_WORDS_FOR_RATE:
        rate = _per_second(recording.words, recording.speech_s)
        if rate > FASTEST_WPS:
            yield f"{rate:.1f} words a second over the recording; nobody keeps up more than {FASTEST_WPS}"
        elif rate < SLOWEST_WPS and recording.speech_s >= _MIN_SPEECH_FOR_RATE_S:
            yield f"{rate:.2f} words a second over {recording.speech_s:.1f} s of speech; under {SLOWEST_WPS} nobody is talking"
    for segment, segment_report in zip(transcript.segments, report.segments, strict=True):
        word_count = segment_report.rate.words or 0
        rate = _per_second(word_count, segment_report.rate.speech_s)
        if word_count >= _MIN_WORDS_FOR_RATE and rate > FASTEST_SEGMENT_WPS:
            place = f"{segment_report.rate.speech_s:.2f} s at {segment.start:.1f} s"
            yield f"{word_count} words in {place}; nobody says more than {FASTEST_SEGMENT_WPS} a second"


def check_language_certain(transcript: Transcript) -> Iterator[str] | None:
    """Exactly one language, with sufficient probability. Not judged if the language was forced or nothing was said."""
    problems = [reason for flag, reason in transcript.meta.flags.items() if flag.startswith("language")]
    probability = transcript.meta.language_probability
    if not problems and probability is None:
        return None
    if not problems and probability is not None and probability < LANGUAGE_DETECTION_THRESHOLD:
        problems.append(f"taken for {transcript.language} with only {probability:.0%}")
    return iter(problems)


def check_few_suspects(transcript: Transcript) -> Iterator[str] | None:
    """At most half of the chunks were suspect. Not judged if no speech reached the model."""
    decoding = transcript.meta.decoding
    if decoding is None:
        return None
    sentence = (
        f"{decoding.suspects} of {decoding.chunks} chunks were suspect: {decoding.rescued} rescued, "
        f"{decoding.dropped} segments dropped, {decoding.flagged} flagged"
    )
    return iter([sentence] if has_too_many_suspects(decoding.suspects, decoding.chunks) else [])


def has_too_many_suspects(suspects: int, chunks: int) -> bool:
    """Whether more chunks are suspect than ``MAX_SUSPECT_SHARE`` allows."""
    return chunks >= MIN_CHUNKS_FOR_SHARE and suspects > MAX_SUSPECT_SHARE * chunks


def _group_by_channel(transcript: Transcript) -> Iterator[tuple[int, Iterator[Segment]]]:
    """Segments of each channel in the order of the transcript; a recording with one channel has channel 0."""
    # Sorting is stable.
    return groupby(sorted(transcript.segments, key=_channel), key=_channel)


def _channel(segment: Segment) -> int:
    return segment.channel or 0


def _group_speech_spans(transcript: Transcript) -> Mapping[int, list[Span]]:
    """Detected speech per channel, sorted and not overlapping."""
    spans: dict[int, list[Span]] = {}
    for span in transcript.meta.speech:
        spans.setdefault(span.channel, []).append((span.start, span.end))
    return {channel: merge_spans(channel_spans) for channel, channel_spans in spans.items()}


def _list_word_spans(transcript: Transcript, channel: int) -> Iterator[Span]:
    """Times of the words, or of the segments whose words have no timestamps."""
    for segment in transcript.segments:
        if _channel(segment) == channel:
            yield from ((timed.start, timed.end) for timed in segment.words or (segment,))


def _find_uncovered(start: float, end: float, covers: Sequence[Span], index: int) -> Iterator[Span]:
    """The parts of a span that no cover overlaps.

    Covers are sorted and do not overlap; ``first`` is the index of the first cover that ends after the span's start.
    """
    while index < len(covers) and covers[index][0] < end:
        yield start, covers[index][0]
        start = covers[index][1]
        index += 1
    yield start, end


def _format_channel(transcript: Transcript, channel: int) -> str:
    return f" on channel {channel}" if transcript.meta.channels > 1 else ""


def _per_second(count: int, seconds: float) -> float:
    return count / seconds if seconds else math.inf
