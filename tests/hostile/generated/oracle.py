"""Judges a transcript by what was put into its recording.

Every second in which somebody speaks must be told of: by text, by a drop with its reason, or by a flag that says that something may
be missing. And where nobody speaks there must be no text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from speech.asr.scripts import split_words
from speech.asr.vad import Span, merge_spans
from speech.transcript import Segment, Transcript
from tests.hostile.generated.recordings import Recording, Spoken

What = Literal["lost", "no speech", "other words", "invented", "refused", "error"]

FLAGS: dict[str, Literal["missing", "wrong", "nothing"]] = {
    "partial": "missing",
    "gaps": "missing",
    "tracks_left_out": "missing",
    "quiet": "missing",
    "quiet_speech": "missing",
    "clipped": "wrong",
    "language_mixed": "wrong",
    "language_uncertain": "wrong",
    "dropped": "nothing",  # the places in ``meta.dropped`` are looked at one by one
    "undeclared": "nothing",
    "overdriven": "nothing",
    "no_speech": "nothing",
    "duplicate": "nothing",
    "annotations_missing": "nothing",
}
"""What a flag tells a person about speech: that some may be ``missing``, that words may be ``wrong``, or ``nothing``."""

WORD_MARGIN_S = 0.5
"""A word also covers so many seconds before and after it: the model's times are rough."""

LONGEST_WORD_S = 2.0
"""A longer word was stretched over what follows it, and covers no more than these seconds."""

MAX_LOST_S = 1.0
"""Longest part of what somebody says that may be without text, in seconds. With the margins of the words around it, two seconds of
speech without a word are a loss, and so is half of something shorter that is said alone."""

PAUSE_S = 1.0
"""Silence up to so many seconds does not part what somebody says: the words' times are too rough for it."""

MAX_STRAY_S = 1.0
"""A word farther from all speech than so many seconds was invented."""

MIN_KNOWN_WORDS = 0.5
"""Least share of the words of a sentence that must be in the text of that time, where a person speaks."""

MIN_KNOWN_SYNTHETIC = 0.2
"""The same for a synthetic voice, of which the model understands less. Other languages than English are not looked at: of some the
model understands nothing."""

KNOWN_LETTERS = 4
"""Words shorter than so many letters are not looked for: they stand in every sentence."""

MIN_LONGER_WORDS = 3
"""A sentence with fewer longer words is not looked for: one of them misheard would be too large a share."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a recording.

    Attributes:
        transcript: Its transcript; None if it was refused.
        refusal: Why there is none.
        is_refused: Whether that was a decision, and no accident.
    """

    transcript: Transcript | None
    refusal: str = ""
    is_refused: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong and that nobody is told.

    Attributes:
        what: The sort of fault.
        start_s: Where it begins, in seconds of the recording.
        end_s: Where it ends.
        detail: A sentence for people.
    """

    what: What
    start_s: float
    end_s: float
    detail: str

    def __str__(self) -> str:
        return f"{self.what}, {self.start_s:.1f} to {self.end_s:.1f} s: {self.detail}"


def judge(recording: Recording, outcome: Outcome) -> list[Finding]:
    """What is wrong with an outcome.

    Raises:
        KeyError: There is a flag of which ``FLAGS`` does not say what it means.
    """
    transcript = outcome.transcript
    if transcript is None:
        length_s = max((item.end_s for item in recording.spoken), default=0.0)
        if not outcome.is_refused:
            return [Finding("error", 0.0, length_s, outcome.refusal)]
        refused = [Finding("refused", 0.0, length_s, f"the file is as it should be: {outcome.refusal}")]
        return refused if recording.is_valid else []
    told = {FLAGS[flag] for flag in transcript.meta.flags}
    findings = list(_find_invented(recording.spoken, transcript))
    if not transcript.segments and any(item.is_clear for item in recording.spoken):
        first, last = recording.spoken[0], recording.spoken[-1]
        reason = transcript.meta.flags.get("no_speech", "no flag at all")
        return [*findings, Finding("no speech", first.start_s, last.end_s, reason)]
    if "missing" in told:
        return findings
    findings += _find_lost(recording.spoken, transcript)
    if "wrong" not in told:
        findings += _find_other_words(recording.spoken, transcript)
    return findings


def _find_lost(spoken: Sequence[Spoken], transcript: Transcript) -> Iterator[Finding]:
    covers = merge_spans(_list_covers(transcript))
    for channel, track in sorted({(item.channel, item.track) for item in spoken}):
        own = [item for item in spoken if (item.channel, item.track) == (channel, track)]
        for span_start, span_end in merge_spans((item.start_s, item.end_s + PAUSE_S) for item in own):
            allowed_s = min(MAX_LOST_S, (span_end - PAUSE_S - span_start) / 2)
            for start, end in _subtract(span_start, span_end - PAUSE_S, covers):
                if end - start > allowed_s:
                    texts = [item.utterance.text for item in own if item.start_s < end and start < item.end_s]
                    yield Finding(
                        "lost", start, end, f"channel {channel}, track {track}, somewhere in {' '.join(texts)!r}"
                    )


def _list_covers(transcript: Transcript) -> Iterator[Span]:
    """Spans that text or a drop speaks for."""
    for segment in transcript.segments:
        for start, end in _list_word_spans(segment):
            yield start - WORD_MARGIN_S, min(end, start + LONGEST_WORD_S) + WORD_MARGIN_S
    for drop in transcript.meta.dropped:
        yield drop.start - WORD_MARGIN_S, drop.end + WORD_MARGIN_S


def _list_word_spans(segment: Segment) -> list[Span]:
    return [(word.start, word.end) for word in segment.words] or [(segment.start, segment.end)]


def _subtract(start: float, end: float, covers: Sequence[Span]) -> Iterator[Span]:
    """The parts of a span that no cover overlaps; covers are sorted and do not overlap."""
    for cover_start, cover_end in covers:
        if cover_end <= start:
            continue
        if cover_start >= end:
            break
        if cover_start > start:
            yield start, cover_start
        start = max(start, cover_end)
    if start < end:
        yield start, end


def _find_invented(spoken: Sequence[Spoken], transcript: Transcript) -> Iterator[Finding]:
    speech = merge_spans((item.start_s - MAX_STRAY_S, item.end_s + MAX_STRAY_S) for item in spoken)
    for segment in transcript.segments:
        words = segment.words or (segment,)
        stray = [word for word in words if not any(s < word.end and word.start < e for s, e in speech)]
        if stray:
            text = " ".join(getattr(word, "word", segment.text).strip() for word in stray)
            yield Finding("invented", stray[0].start, stray[-1].end, f"{text!r} where nobody speaks")


def _find_other_words(spoken: Sequence[Spoken], transcript: Transcript) -> Iterator[Finding]:
    """Sentences that stand there with other words or in another language, and without any flag."""
    for item in spoken:
        start, end = item.start_s - MAX_STRAY_S, item.end_s + MAX_STRAY_S
        near = [segment for segment in transcript.segments if segment.start < end and start < segment.end]
        dropped = any(drop.start < end and start < drop.end for drop in transcript.meta.dropped)
        if not item.is_clear or dropped or any(segment.flags for segment in near):
            continue
        text = " ".join(segment.text for segment in near)
        there = f"of {item.utterance.text!r} (channel {item.channel}, track {item.track}); there is {text!r}"
        if near and item.utterance.language != transcript.language:
            detail = f"{transcript.language} in place of {item.utterance.language} {there}"
            yield Finding("other words", item.start_s, item.end_s, detail)
            continue
        expected = [word for word in _read_words(item.utterance.text) if len(word) >= KNOWN_LETTERS]
        if item.utterance.language != "en" or len(expected) < MIN_LONGER_WORDS:
            continue
        heard = _read_words(text)
        known = sum(word in heard for word in expected)
        least = MIN_KNOWN_WORDS if item.utterance.is_person else MIN_KNOWN_SYNTHETIC
        if known < least * len(expected):
            detail = f"{known} of {len(expected)} longer words {there}"
            yield Finding("other words", item.start_s, item.end_s, detail)


def _read_words(text: str) -> list[str]:
    return split_words(text.replace("-", " "))
