"""Cues: a transcript cut into texts that can be read on a screen, each with its time.

It holds the rules for a cue, the splitting of text into cues and their timing. How a cue is set in lines is in
``speech/export/linebreaks.py``, the files that contain cues in ``speech/export/subtitles.py``. Everything is a pure function of the
transcript: the audio is not used, and no word is changed, added or removed.

Sources of the rules, named at each value:

* Netflix: the Timed Text Style Guide, its General Requirements, its English Template and its Subtitle Timing Guidelines
  (partnerhelp.netflixstudios.com).
* BBC: the BBC Subtitle Guidelines (bbc.co.uk/accessibility/forproducts/guides/subtitles).

Characters are counted as columns: a full-width character (Chinese, Japanese, Korean) takes two. So 42 columns are 21 Chinese
characters, and 17 columns a second are 8.5 of them, near the 9 that Netflix asks for in Chinese.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from itertools import accumulate, pairwise

from speech.export.linebreaks import (
    LONG_PAUSE_S,
    LineLayout,
    TextUnit,
    join_units,
    measure_width,
    split_into_units,
)
from speech.sentences import ends_sentence
from speech.transcript import Transcript

# A silence of at least this many seconds ends a cue; otherwise the text after it would be shown before it is spoken. BBC: a gap
# between subtitles should have at least one second.
_SILENCE_S = 1.0
_DASH = "- "


@dataclass(frozen=True, slots=True)
class CueRules:
    """What a cue may look like. The defaults are those of the published guidelines.

    Attributes:
        max_line_chars: Columns of a line (Netflix, English Template). Only a single longer word may exceed it.
        max_lines: Lines of a cue (Netflix, General Requirements; BBC, 3.3).
        max_cps: Columns a second a reader is asked to read (Netflix, English Template, adult programmes; BBC's 160 to 180 words a
            minute are 15 to 17). This is a target; fast speech can exceed it.
        min_duration_s: Shortest time on the screen, 20 frames at 24 a second (Netflix, General Requirements).
        max_duration_s: Longest time on the screen (Netflix, General Requirements).
        min_gap_s: Least time between two cues, 2 frames at 24 a second (Netflix, General Requirements).
        close_gap_s: A gap this short or shorter is closed down to ``min_gap_s``, since it would only flicker (Netflix, Subtitle
            Timing Guidelines: 12 frames at 24 a second).
        max_linger_s: How long a cue may stay after its last word so that it can be read (BBC, 5).
    """

    max_line_chars: int = 42
    max_lines: int = 2
    max_cps: float = 17.0
    min_duration_s: float = 5 / 6
    max_duration_s: float = 7.0
    min_gap_s: float = 2 / 24
    close_gap_s: float = 0.5
    max_linger_s: float = 1.5

    def __post_init__(self) -> None:
        if self.max_line_chars < 4 or self.max_lines < 1 or self.max_cps <= 0:
            raise ValueError(
                f"no text fits these rules; use at least 4 characters, 1 line and a positive speed: {self}"
            )
        if not 0 <= self.min_duration_s <= self.max_duration_s or self.min_gap_s < 0:
            raise ValueError(f"the shortest duration must not exceed the longest, and no gap is negative: {self}")


@dataclass(frozen=True, slots=True)
class Cue:
    """Text on the screen from ``start_ms`` to ``end_ms``, in milliseconds from the start of the recording."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadingReport:
    """How readable the cues are.

    Attributes:
        cues: How many there are.
        above_max_cps: How many of them must be read faster than ``max_cps``: the speech leaves no more time.
        max_cps: The target, in columns a second.
    """

    cues: int
    above_max_cps: int
    max_cps: float


DEFAULT_RULES = CueRules()


def make_cues(transcript: Transcript, rules: CueRules = DEFAULT_RULES) -> list[Cue]:
    """Cut a transcript into cues, in order of time.

    No two cues overlap, and all lie inside the recording. Between two cues there are at least ``min_gap_s``. Every word is in
    exactly one cue, in the order it was said on its channel. Where two voices speak at once and there is room, they share a cue,
    each on a line of its own behind a dash; otherwise they follow one another.

    A recording too short for its text (which no real one is) gets shorter cues first, and then loses the gaps.

    Args:
        transcript: What was said. Segments are taken in order of their start. A segment whose words do not spell its text, or
            that has none, has its text spread evenly over its time.
        rules: What a cue may look like.
    """
    duration = transcript.meta.audio_duration_sec
    by_channel: dict[int | None, list[TextUnit]] = {}
    for segment in sorted(transcript.segments, key=lambda segment: segment.start):
        by_channel.setdefault(segment.channel, []).extend(split_into_units(segment, rules.max_line_chars))
    drafts = [
        _CueDraft((part,), part[0].start, part[-1].end)
        for channel in by_channel.values()
        for stretch in _split_at_silences(_order_times(channel, duration))
        for part in _cut_into_cues(stretch, rules)
    ]
    return _assign_times(_interleave(drafts, rules), duration, rules)


def compute_reading_speed(cue: Cue) -> float:
    """Columns a second that a reader must read, line ends counted as spaces; infinite for a cue without duration."""
    width = measure_width(" ".join(cue.lines))
    return width * 1000 / (cue.end_ms - cue.start_ms) if cue.end_ms > cue.start_ms else math.inf


def report_reading_speed(cues: Sequence[Cue], rules: CueRules = DEFAULT_RULES) -> ReadingReport:
    """Count the cues that stay faster than the target, because fast or overlapping speech leaves no room."""
    above = sum(compute_reading_speed(cue) > rules.max_cps for cue in cues)
    return ReadingReport(cues=len(cues), above_max_cps=above, max_cps=rules.max_cps)


def _to_ms(seconds: float, rounding: str = ROUND_HALF_UP) -> int:
    """Seconds as whole milliseconds. Decimal, because 1.0005 * 1000 in binary is below the half that is meant."""
    return int((Decimal(repr(float(seconds))) * 1000).to_integral_value(rounding))


def _order_times(units: Sequence[TextUnit], duration: float) -> list[TextUnit]:
    """Make the times of one channel increase and stay inside the recording, in the order of the text."""
    ordered = []
    now = 0.0
    for unit in units:
        now = min(max(unit.start, now), duration)
        ordered.append(replace(unit, start=now, end=min(max(unit.end, now), duration)))
    return ordered


def _split_at_silences(units: Sequence[TextUnit]) -> Iterator[list[TextUnit]]:
    """Runs of one voice without a silence long enough to end a cue by itself."""
    run: list[TextUnit] = []
    for unit in units:
        if run and (unit.voice != run[-1].voice or unit.start - run[-1].end >= _SILENCE_S):
            yield run
            run = []
        run.append(unit)
    if run:
        yield run


def _cut_into_cues(stretch: Sequence[TextUnit], rules: CueRules) -> list[Sequence[TextUnit]]:
    """Split one voice's text into cues at the least total cost, by dynamic programming over the places where a cue may end.

    We chose the weights by reading the result. They balance: few cues, ends at sentences, one sentence to a cue (BBC, 3.2) unless
    it would be too short to read, no pause inside, time on the screen within the limits, no cue of only one or two words.
    """
    layout = LineLayout(stretch, rules.max_line_chars)
    count = len(stretch)
    # Sentence ends and pauses before each unit, summed, so that those inside a cue are one subtraction.
    inner = [
        0.0,
        *accumulate(
            1.5 * ends_sentence(left.text) + 0.6 * (right.start - left.end >= LONG_PAUSE_S)
            for left, right in pairwise(stretch)
        ),
    ]
    best = [0.0] + [math.inf] * count
    origin = [0] * (count + 1)
    for first in range(count):
        start = stretch[first].start
        for end in layout.iterate_ends(first, rules.max_lines):
            cost = best[first] + 1.0 + 2.0 * layout.break_costs[end] + inner[end - 1] - inner[first]
            cost += 0.6 * max(0.0, 1 - layout.measure_line(first, end) / 16)
            cost += 4.0 * max(0.0, stretch[end - 1].end - start - rules.max_duration_s)
            if end < count and stretch[end].start - start < rules.min_duration_s:
                cost += 3.0 * (1 - (stretch[end].start - start) / rules.min_duration_s)
            # Line breaks cost the most to find and never make a cue cheaper, so they are looked for last.
            wrapped = layout.wrap(first, end, rules.max_lines) if cost < best[end] else None
            if wrapped is not None and cost + wrapped[0] < best[end]:
                best[end], origin[end] = cost + wrapped[0], first
    ends = [count]
    while ends[-1]:
        ends.append(origin[ends[-1]])
    return [stretch[first:end] for first, end in pairwise(reversed(ends))]


@dataclass(frozen=True, slots=True)
class _CueDraft:
    """A cue before its final time: what each voice says in it, and when it is said, in seconds."""

    parts: tuple[Sequence[TextUnit], ...]
    start: float
    end: float

    @property
    def width(self) -> int:
        return sum(measure_width(join_units(part)) for part in self.parts)

    def wrap_lines(self, rules: CueRules) -> list[str] | None:
        """Its lines, or None where a dialogue has no room for them."""
        if len(self.parts) == 1:
            return LineLayout(self.parts[0], rules.max_line_chars).wrap_all(rules.max_lines)
        lines: list[str] = []
        room = rules.max_line_chars - len(_DASH)
        for part in self.parts:
            wrapped = LineLayout(part, room).wrap_all(rules.max_lines)
            if wrapped is None or any(measure_width(line) > room for line in wrapped):
                return None
            lines += [_DASH + wrapped[0], *wrapped[1:]]
        return lines if len(lines) <= rules.max_lines else None


def _interleave(drafts: Iterable[_CueDraft], rules: CueRules) -> list[_CueDraft]:
    """Bring the cues of all voices into one order of time; voices that speak at once share a cue or follow one another."""
    merged: list[_CueDraft] = []
    for draft in sorted(drafts, key=lambda draft: draft.start):
        if merged and merged[-1].parts[-1][0].voice != draft.parts[0][0].voice:
            last = merged[-1]
            shared = _CueDraft((*last.parts, *draft.parts), last.start, max(last.end, draft.end))
            if _should_share_cue(last, draft, rules) and shared.wrap_lines(rules) is not None:
                merged[-1] = shared
                continue
            draft = replace(draft, start=_choose_second_start(last, draft, rules))  # noqa: PLW2901 - the same cue, later
        merged.append(draft)
    return merged


def _should_share_cue(last: _CueDraft, draft: _CueDraft, rules: CueRules) -> bool:
    """Whether two voices need a common cue: the first would be too short to read, or half of the shorter one overlaps."""
    if max(last.end, draft.end) - last.start > rules.max_duration_s:
        return False
    overlap = min(last.end, draft.end) - draft.start
    shorter = min(last.end - last.start, draft.end - draft.start)
    return draft.start - last.start < rules.min_duration_s or (overlap > 0 and overlap >= shorter / 2)


def _choose_second_start(last: _CueDraft, draft: _CueDraft, rules: CueRules) -> float:
    """When the second of two overlapping voices is shown.

    Late enough to read the first, but at most at the first one's share of the common time.
    """
    if draft.start >= last.end:
        return draft.start
    needed = max(rules.min_duration_s, last.width / rules.max_cps) + rules.min_gap_s
    share = (max(last.end, draft.end) - last.start) * last.width / (last.width + draft.width)
    return max(draft.start, last.start + min(needed, share))


def _assign_times(drafts: Sequence[_CueDraft], duration: float, rules: CueRules) -> list[Cue]:
    """Give every cue its time in whole milliseconds: a start as spoken, and an end that leaves time to read."""
    if not drafts:
        return []
    total = _to_ms(duration, ROUND_FLOOR)
    gap = _to_ms(rules.min_gap_s, ROUND_CEILING)
    longest = _to_ms(rules.max_duration_s, ROUND_FLOOR)
    shortest = min(_to_ms(rules.min_duration_s, ROUND_CEILING), longest)
    spoken = [min(_to_ms(draft.start), total) for draft in drafts]
    # A cue keeps its start even if the recording ends before it has had its shortest time, down to half of that.
    needs = [min(shortest, max(shortest // 2, total - start)) for start in spoken]
    if sum(needs) + gap * (len(drafts) - 1) > total:
        share = (total - gap * (len(drafts) - 1)) // len(drafts)
        gap, share = (gap, share) if share > 0 else (0, total // len(drafts))
        needs = [share] * len(drafts)
    starts = _compute_starts(spoken, needs, gap, total)
    limits = [*(start - gap for start in starts[1:]), total]
    result = []
    for draft, start, limit in zip(drafts, starts, limits, strict=True):
        lines = draft.wrap_lines(rules)
        assert lines is not None, "a draft is only made of what fits"  # noqa: S101
        said = _to_ms(draft.end)
        to_read = start + math.ceil(sum(map(measure_width, lines), len(lines) - 1) * 1000 / rules.max_cps)
        end = max(said, start + shortest, min(to_read, said + _to_ms(rules.max_linger_s)))
        if limit - end <= _to_ms(rules.close_gap_s) - gap and limit < total:
            end = limit
        result.append(Cue(start, min(end, limit, start + longest), tuple(lines)))
    return result


def _compute_starts(spoken: Sequence[int], needs: Sequence[int], gap: int, total: int) -> list[int]:
    """As spoken, but late enough for the cue before and early enough for all that follow; milliseconds."""
    latest = total + gap
    bounds = []
    for need in reversed(needs):
        latest -= need + gap
        bounds.append(latest)
    starts: list[int] = []
    for index, (start, bound) in enumerate(zip(spoken, reversed(bounds), strict=True)):
        earliest = starts[-1] + needs[index - 1] + gap if starts else 0
        starts.append(min(max(start, earliest), bound))
    return starts
