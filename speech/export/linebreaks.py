"""Line breaks: the units of a segment that no break may split, and the best breaks between them.

It finds unbreakable units, measures text width and chooses line breaks. Cues and their times are in ``speech/export/cues.py``.

Characters are counted as columns: a full-width character (Chinese, Japanese, Korean) takes two.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from speech.enrichment.pauses import PAUSE_S
from speech.sentences import CLOSERS, ends_sentence
from speech.transcript import Segment

# A pause of at least this many seconds is the best place for a break inside a sentence.
LONG_PAUSE_S = 0.5

_CLAUSE_ENDS = frozenset(",;:—–、，；：،؛")


@dataclass(frozen=True, slots=True)
class TextUnit:
    """A piece of text that no line break may split.

    Attributes:
        text: Without any white space.
        start: Seconds.
        end: Seconds.
        has_space_before: Whether a space is before it.
        is_segment_start: Whether it is the first of its segment.
        voice: Who says it: channel and speaker.
    """

    text: str
    start: float
    end: float
    has_space_before: bool
    is_segment_start: bool
    voice: tuple[int | None, str | None]


def split_into_units(segment: Segment, max_width: int) -> Iterator[TextUnit]:
    """Split a segment at its spaces and, in scripts without spaces, at the model's words or, failing them, characters."""
    times, seams = _time_characters(segment)
    voice = (segment.channel, segment.speaker.id if segment.speaker else None)
    position = 0
    for piece in segment.text.split():
        opens_piece = position
        for text in _split_unbreakable(piece, opens_piece, seams, max_width):
            yield TextUnit(
                text=text,
                start=times[position][0],
                end=times[position + len(text) - 1][1],
                has_space_before=position == opens_piece,
                is_segment_start=position == 0,
                voice=voice,
            )
            position += len(text)


def _time_characters(segment: Segment) -> tuple[list[tuple[float, float]], Container[int]]:
    """When each visible character is said, in seconds, and the positions at which one of the model's words begins."""
    visible = "".join(segment.text.split())
    times: list[tuple[float, float]] = []
    seams = set()
    spelled = ""
    for word in segment.words:
        letters = "".join(word.word.split())
        seams.add(len(spelled))
        spelled += letters
        times += _spread_evenly(word.start, word.end, len(letters))
    if spelled == visible:
        return times, frozenset(seams)
    return _spread_evenly(segment.start, segment.end, len(visible)), range(len(visible))


def _spread_evenly(start: float, end: float, count: int) -> list[tuple[float, float]]:
    edges = [start + (max(end, start) - start) * index / max(count, 1) for index in range(count + 1)]
    return list(pairwise(edges))


def _split_unbreakable(piece: str, offset: int, word_starts: Container[int], max_width: int) -> Iterator[str]:
    """Cut a piece without spaces where its script allows a line break.

    It is cut between words; inside a word only if the word is too long for a line.
    """
    breaks = [index for index in range(1, len(piece)) if _may_break(piece[index - 1], piece[index])]
    for start, end in pairwise([0, *(index for index in breaks if offset + index in word_starts), len(piece)]):
        inside = (
            [] if measure_width(piece[start:end]) <= max_width else [index for index in breaks if start < index < end]
        )
        for left, right in pairwise([start, *inside, end]):
            yield piece[left:right]


# Scripts written without spaces: Thai, Lao, Tibetan, Myanmar, Khmer, then Chinese and Japanese with their full-width forms.
_SPACELESS = (
    (0x0E00, 0x0FFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x2E80, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF00, 0xFFEF),
)
# Characters that must not begin a line: small kana, the long mark and the repeat mark; Thai and Lao vowels written behind their
# consonant.
_NEVER_FIRST = frozenset("ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮー々〻ゝゞヽヾะาำๅๆฯະາຳໆ")
# Characters that must not end a line: Thai and Lao vowels written before their consonant, and marks that stack the next consonant.
_NEVER_LAST = frozenset("เแโใไເແໂໃໄ\u1039\u17d2\u200d")


def _may_break(left: str, right: str) -> bool:
    if not (_is_spaceless(left) or _is_spaceless(right)) or left in _NEVER_LAST or right in _NEVER_FIRST:
        return False
    before, after = unicodedata.category(left), unicodedata.category(right)
    return before not in {"Ps", "Pi"} and after[0] != "M" and after not in {"Pe", "Pf", "Po", "Cf"}


def _is_spaceless(character: str) -> bool:
    code = ord(character)
    return code >= 0x20000 or any(first <= code <= last for first, last in _SPACELESS)


def measure_width(text: str) -> int:
    """Columns that a text takes."""
    return len(text) + sum(
        unicodedata.east_asian_width(character) in "WF" for character in text if character > "\u10ff"
    )


class LineLayout:
    """The widths of a run of units and how good a break before each of them would be."""

    def __init__(self, units: Sequence[TextUnit], max_width: int) -> None:
        self.units = units
        self._max_width = max_width
        self._edges = [0, *accumulate(measure_width(unit.text) + unit.has_space_before for unit in units)]
        self.break_costs = [0.0, *(_compute_break_cost(left, right) for left, right in pairwise(units)), 0.0]

    def measure_line(self, first: int, end: int) -> int:
        """Columns of the units from ``first`` up to ``end``, set in one line."""
        return self._edges[end] - self._edges[first] - self.units[first].has_space_before

    def fits(self, first: int, end: int) -> bool:
        """Whether the units fit into one line. A single unit always counts as fitting, because it cannot be split."""
        return self.measure_line(first, end) <= self._max_width or end - first == 1

    def iterate_ends(self, first: int, max_lines: int) -> Iterator[int]:
        """Every end up to which the text from ``first`` on can be set in this many lines."""
        lines, line_first = 1, first
        for end in range(first + 1, len(self.units) + 1):
            if not self.fits(line_first, end):
                lines, line_first = lines + 1, end - 1
            if lines > max_lines:
                return
            yield end

    def wrap(self, first: int, end: int, max_lines: int) -> tuple[float, list[int]] | None:
        """The best line breaks and their cost, or None if the text needs more lines.

        One line where it fits (Netflix), else breaks at punctuation, lines of similar length, the lower one longer.
        """
        if self.fits(first, end):
            return 0.0, []
        best: tuple[float, list[int]] | None = None
        reach = self._edges[first] + self.units[first].has_space_before + self._max_width
        longest = max(first + 1, min(end, bisect_right(self._edges, reach)) - 1)
        for middle in range(longest, first, -1) if max_lines > 1 else ():
            rest = self.wrap(middle, end, max_lines - 1)
            if rest is None:
                break  # an earlier break leaves still more for the lines below
            upper, lower = self.measure_line(first, middle), self.measure_line(middle, rest[1][0] if rest[1] else end)
            uneven = abs(upper - lower) / self._max_width + (0.25 if upper > lower else 0.0)
            if best is not None and max_lines == 2 and upper <= lower and 0.4 + uneven >= best[0]:
                break  # from here on the lengths of the lines only differ more
            cost = 0.4 + 0.8 * self.break_costs[middle] + uneven + rest[0]
            if best is None or cost < best[0]:
                best = cost, [middle, *rest[1]]
        return best

    def wrap_all(self, max_lines: int) -> list[str] | None:
        """All of the text in its lines, or None if it needs more of them."""
        wrapped = self.wrap(0, len(self.units), max_lines)
        if wrapped is None:
            return None
        return [join_units(self.units[a:b]) for a, b in pairwise([0, *wrapped[1], len(self.units)])]


def join_units(units: Sequence[TextUnit]) -> str:
    """The units as one line of text."""
    return "".join((" " if unit.has_space_before and index else "") + unit.text for index, unit in enumerate(units))


def _compute_break_cost(left: TextUnit, right: TextUnit) -> float:
    """How bad a break between two units is: 0 after a sentence, 1 in the middle of a phrase, 1.5 after a short word.

    A word of up to three letters is most often an article, a preposition or a pronoun, in any language written with spaces; Netflix
    asks to keep it with the next word.
    """
    if ends_sentence(left.text):
        return 0.0
    pause = right.start - left.end
    if pause >= LONG_PAUSE_S:
        return 0.2
    if left.text.rstrip(CLOSERS)[-1:] in _CLAUSE_ENDS:
        return 0.35
    if pause >= PAUSE_S:
        return 0.5
    if right.is_segment_start:
        return 0.6
    return 1.5 if right.has_space_before and len(left.text) <= 3 else 1.0
