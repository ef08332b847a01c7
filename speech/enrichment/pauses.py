"""Pauses and the rate of speech, from the times of words and the spans of detected speech.

Definitions and computation only; display is elsewhere.

* A pause is a gap of at least 250 ms between two consecutive words of one channel. The threshold is Goldman-Eisler's
  (Psycholinguistics: Experiments in Spontaneous Speech, 1968), below which a gap may be the closure of a consonant; it is the
  usual one in research on pauses.
* The speech rate is words over the time somebody was speaking, including pauses. A pause counts if one span of detected speech
  covers it. A silence between two spans does not count: another channel speaks, or nobody, and the person is listening, not
  speaking slowly. The detector's options decide how long a silence separates two spans.
* The articulation rate is words over the same time without any pauses.

What is unknown is None: there is no rate where nothing was said or where the times of words are missing.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from speech.enrichment.base import Annotator, OpenAudio
from speech.transcript import Seconds, Segment, SpeechSpan, Transcript

# Seconds; Goldman-Eisler (1968), see above.
PAUSE_S = 0.25
# Whisper's codes of the languages written without spaces, where Whisper's words are not words of the language: the list by which
# its own tokenizer decides to split text at characters.
SPACELESS_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


@dataclass(frozen=True, slots=True)
class Pause:
    """A silence between two words.

    Attributes:
        start: Seconds from the start of the recording.
        end: Seconds from the start of the recording.
        while_speaking: Whether one span of detected speech covers it, so that it counts in the speech rate.
    """

    start: Seconds
    end: Seconds
    while_speaking: bool

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class SpeechRate:
    """How much was said in how much time.

    Words are counted in languages written with spaces, characters (letters, marks and digits) in those written without; the
    other fields are None.

    Attributes:
        words: Words said.
        characters: Characters said.
        speech_s: Seconds of speaking, pauses within spans of speech included. Over several channels it is their sum.
        articulation_s: The same without any pause; None if words have no timestamps.
        words_per_minute: The speech rate in words a minute.
        articulation_wpm: The articulation rate in words a minute.
        characters_per_second: The speech rate in characters a second.
        articulation_cps: The articulation rate in characters a second.
    """

    words: int | None
    characters: int | None
    speech_s: Seconds
    articulation_s: Seconds | None
    words_per_minute: float | None
    articulation_wpm: float | None
    characters_per_second: float | None
    articulation_cps: float | None


@dataclass(frozen=True, slots=True)
class SegmentPauses:
    """One segment.

    Attributes:
        id: Its number in the transcript.
        rate: Its rate.
        pauses: The pauses inside it.
    """

    id: int
    rate: SpeechRate
    pauses: tuple[Pause, ...]


@dataclass(frozen=True, slots=True)
class ChannelPauses:
    """One channel.

    Attributes:
        channel: Its zero-based number; None in a recording with one.
        rate: Its rate.
        pauses: All its pauses, those between segments included.
    """

    channel: int | None
    rate: SpeechRate
    pauses: tuple[Pause, ...]


@dataclass(frozen=True, slots=True)
class PauseReport:
    """The recording, its channels and its segments.

    Attributes:
        threshold_s: The shortest gap that is a pause, in seconds.
        unit: What the rates count: ``words`` or ``characters``.
        recording: The rate over all channels.
        channels: Only channels on which something was said.
        segments: In the order of the transcript.
    """

    threshold_s: Seconds
    unit: str
    recording: SpeechRate
    channels: tuple[ChannelPauses, ...]
    segments: tuple[SegmentPauses, ...]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON knows it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> PauseReport:
        """Read what ``to_dict`` wrote.

        Raises:
            pydantic.ValidationError: Something else wrote it.
        """
        return _REPORT.validate_python(value)

    @classmethod
    def make_empty(cls) -> PauseReport:
        """A report in which everything is unknown."""
        unknown = SpeechRate(None, None, 0.0, None, None, None, None, None)
        return cls(PAUSE_S, "words", unknown, (), ())


_REPORT = TypeAdapter(PauseReport)


def analyse_pauses(transcript: Transcript) -> PauseReport:
    """Find the pauses and the rates of a recording, of each channel and of each segment."""
    unit = "characters" if transcript.text_language in SPACELESS_LANGUAGES else "words"
    by_channel: dict[int | None, list[Segment]] = {}
    for segment in sorted(transcript.segments, key=lambda segment: segment.start):
        by_channel.setdefault(segment.channel, []).append(segment)
    channels: list[ChannelPauses] = []
    segments: dict[int, SegmentPauses] = {}
    tallies: list[_SpeechTotals] = []
    for channel, members in sorted(by_channel.items(), key=lambda item: -1 if item[0] is None else item[0]):
        spans = [span for span in transcript.meta.speech if channel is None or span.channel == channel]
        for segment in members:
            tally = _sum_speech([segment], spans, unit)
            segments[id(segment)] = SegmentPauses(segment.id, _compute_rate([tally], unit), tally.pauses)
        tallies.append(_sum_speech(members, spans, unit))
        if tallies[-1].count:
            channels.append(ChannelPauses(channel, _compute_rate(tallies[-1:], unit), tallies[-1].pauses))
    return PauseReport(
        threshold_s=PAUSE_S,
        unit=unit,
        recording=_compute_rate(tallies, unit),
        channels=tuple(channels),
        segments=tuple(segments[id(segment)] for segment in transcript.segments),
    )


@dataclass(frozen=True, slots=True)
class _SpeechTotals:
    """Totals of one channel, in words or characters and seconds.

    Attributes:
        count: Words or characters.
        total_s: Seconds from the first word to the last.
        pauses: All pauses.
        timed: Whether all words have timestamps.
    """

    count: int
    total_s: float
    pauses: tuple[Pause, ...]
    timed: bool


def _sum_speech(segments: Sequence[Segment], spans: Sequence[SpeechSpan], unit: str) -> _SpeechTotals:
    count = sum(_count_units(segment.text, unit) for segment in segments)
    said = [
        (word.start, max(word.start, word.end))
        for segment in segments
        for word in (segment.words or (segment,))
        if _count_units(segment.text, unit)
    ]
    if not said:
        return _SpeechTotals(0, 0.0, (), timed=True)
    # Latest end so far: a word that lies inside another one does not start a gap.
    pauses = []
    until = said[0][1]
    for start, end in said[1:]:
        if round((start - until) * 1000) >= round(PAUSE_S * 1000):
            pauses.append(Pause(until, start, while_speaking=_is_within_speech(until, start, spans)))
        until = max(until, end)
    return _SpeechTotals(
        count,
        until - min(start for start, _ in said),
        tuple(pauses),
        timed=all(segment.words for segment in segments if _count_units(segment.text, unit)),
    )


def _is_within_speech(start: float, end: float, spans: Sequence[SpeechSpan]) -> bool:
    """Whether one span of speech covers the whole silence. If no speech spans are known, the silence counts.

    Spans of a channel are sorted and do not overlap, so only the last one that begins before the silence can cover it.
    """
    if not spans:
        return True
    before = bisect_right(spans, start, key=lambda span: span.start)
    return before > 0 and end <= spans[before - 1].end


def _count_units(text: str, unit: str) -> int:
    if unit == "characters":
        return sum(unicodedata.category(character)[0] in "LMN" for character in text)
    return sum(any(character.isalnum() for character in word) for word in text.split())


def _compute_rate(tallies: Iterable[_SpeechTotals], unit: str) -> SpeechRate:
    tallies = list(tallies)
    count = sum(tally.count for tally in tallies)
    listening = sum(pause.duration for tally in tallies for pause in tally.pauses if not pause.while_speaking)
    pausing = sum(pause.duration for tally in tallies for pause in tally.pauses)
    total = sum(tally.total_s for tally in tallies)
    speech_s = round(total - listening, 3)
    articulation_s = round(total - pausing, 3) if all(tally.timed for tally in tallies) else None
    counts_words = unit == "words"
    return SpeechRate(
        words=count if counts_words else None,
        characters=None if counts_words else count,
        speech_s=speech_s,
        articulation_s=articulation_s,
        words_per_minute=_divide(count * 60, speech_s) if counts_words else None,
        articulation_wpm=_divide(count * 60, articulation_s) if counts_words else None,
        characters_per_second=None if counts_words else _divide(count, speech_s),
        articulation_cps=None if counts_words else _divide(count, articulation_s),
    )


def _divide(count: float, seconds: float | None) -> float | None:
    return round(count / seconds, 2) if seconds else None


def _annotate(transcript: Transcript, _: OpenAudio) -> dict[str, Any]:
    return analyse_pauses(transcript).to_dict()


PAUSES = Annotator("pauses", "1", _annotate, shown_if="prosody", value_type=PauseReport)
"""Always run: the page shows rates and pauses whether or not the JSON is to have them."""
