"""Which language is spoken, from the model's answers at several places of the speech. Pure: the engine does the asking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from speech.transcript import LanguageGuess

_CODES = """
af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is it ja jw ka kk
km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te
tg th tk tl tr tt uk ur uz vi yi yo yue zh
"""
LANGUAGES = frozenset(_CODES.split())
"""Whisper's language codes: the 99 of its first vocabulary, and yue, which large-v3 added."""

WINDOWS = 3
"""Places asked. One is what peers do, and a foreign greeting or a jingle at the start then decides for the whole recording."""

LOW_CONFIDENCE = 0.5
"""Below it, half of the evidence speaks for other languages, and the transcript says so."""

_ALTERNATIVES = 3
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LanguageVerdict:
    """The language, its mean probability over all places asked, and the runners-up."""

    language: str
    probability: float
    alternatives: tuple[LanguageGuess, ...]

    @property
    def flags(self) -> dict[str, str]:
        """A flag with its reason when the verdict is not to be relied on."""
        if self.probability >= LOW_CONFIDENCE:
            return {}
        others = ", ".join(f"{guess.language} {guess.probability:.0%}" for guess in self.alternatives)
        return {"language_uncertain": f"{self.language} with only {self.probability:.0%}; also {others}"}


def spread(items: Sequence[T], count: int = WINDOWS) -> list[T]:
    """Up to ``count`` items, evenly spread from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def decide(answers: Sequence[Mapping[str, float]]) -> LanguageVerdict:
    """Average the answers, each a probability per language, and name the likeliest.

    Raises:
        ValueError: No answers: there was no speech to ask about.
    """
    if not answers:
        raise ValueError("No answers to decide a language from.")
    total: Counter[str] = Counter()
    for answer in answers:
        total.update(answer)
    # Ties by name, so that the same answers always give the same verdict.
    ranked = sorted(total.items(), key=lambda item: (-item[1], item[0]))
    guesses = [LanguageGuess(language=code, probability=round(sum_ / len(answers), 4)) for code, sum_ in ranked]
    return LanguageVerdict(guesses[0].language, guesses[0].probability, tuple(guesses[1 : 1 + _ALTERNATIVES]))
