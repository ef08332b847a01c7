"""Which language is spoken, from the model's answers at several places of the speech. Pure: the engine does the asking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from speech.chunks import Chunk
from speech.transcript import LanguageGuess, LanguageWindow

_CODES = """
af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is it ja jw ka kk
km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te
tg th tk tl tr tt uk ur uz vi yi yo yue zh
"""
LANGUAGES = frozenset(_CODES.split())
"""Whisper's language codes: the 99 of its first vocabulary, and yue, which large-v3 added."""

WINDOWS = 5
"""Places asked.

One is what peers do, and a foreign greeting or a jingle at the start then decides for the whole recording. They cost
next to nothing: the same encoding serves for the text, where the language turns out to be the recording's."""

LOW_CONFIDENCE = 0.5
"""Below it, half of the evidence speaks for other languages, and the transcript says so."""

MIXED_CONFIDENCE = 0.7
"""A place that is surer than this of another language than the recording's speaks for two languages..."""

MIXED_LEAST_S = 3.0
"""... if it is at least so long: a single word is often taken for another language."""

_ALTERNATIVES = 3
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """One place asked, and how many seconds of speech it has."""

    heard: LanguageWindow
    seconds: float


@dataclass(frozen=True, slots=True)
class LanguageVerdict:
    """The language, its mean probability over all places asked, and the runners-up."""

    language: str
    probability: float
    alternatives: tuple[LanguageGuess, ...]
    places: tuple[Place, ...] = ()

    @property
    def flags(self) -> dict[str, str]:
        """Flags with their reasons when the verdict is not to be relied on, or is not true of all places."""
        flags = {}
        if self.probability < LOW_CONFIDENCE:
            others = ", ".join(f"{guess.language} {guess.probability:.0%}" for guess in self.alternatives)
            flags["language_uncertain"] = f"{self.language} with only {self.probability:.0%}; also {others}"
        others = ", ".join(
            f"{place.language} {place.probability:.0%} at {place.start:.0f} s" for place in self.elsewhere
        )
        if others:
            flags["language_mixed"] = (
                f"Heard as {self.language} throughout, but some places sound like another language: {others}. "
                "Their text is not to be relied on; cut the recording there, or force each part's language."
            )
        return flags

    @property
    def elsewhere(self) -> tuple[LanguageWindow, ...]:
        """Places that are sure of another language."""
        return tuple(
            place.heard
            for place in self.places
            if place.heard.language != self.language
            and place.heard.probability >= MIXED_CONFIDENCE
            and place.seconds >= MIXED_LEAST_S
        )


def spread(items: Sequence[T], count: int = WINDOWS) -> list[T]:
    """Up to ``count`` items, evenly spread from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def decide(answers: Sequence[tuple[Chunk, Mapping[str, float]]]) -> LanguageVerdict:
    """Average the answers, each with the weight of its seconds, and name the likeliest language.

    Args:
        answers: Places asked, and the probability of each language there.

    Raises:
        ValueError: No answers: there was no speech to ask about.
    """
    if not answers:
        raise ValueError("No answers to decide a language from.")
    total: Counter[str] = Counter()
    for chunk, answer in answers:
        total.update({code: probability * chunk.seconds for code, probability in answer.items()})
    seconds = sum(chunk.seconds for chunk, _ in answers)
    guesses = [
        LanguageGuess(language=code, probability=round(min(1.0, sum_ / seconds), 4)) for code, sum_ in _ranked(total)
    ]
    places = tuple(_place(chunk, *_ranked(answer)[0]) for chunk, answer in answers)
    return LanguageVerdict(guesses[0].language, guesses[0].probability, tuple(guesses[1 : 1 + _ALTERNATIVES]), places)


def likeliest(answer: Mapping[str, float]) -> str:
    """The language of the highest probability."""
    return _ranked(answer)[0][0]


def _ranked(answer: Mapping[str, float]) -> list[tuple[str, float]]:
    # Ties by name, so that the same answers always give the same verdict.
    return sorted(answer.items(), key=lambda item: (-item[1], item[0]))


def _place(chunk: Chunk, language: str, probability: float) -> Place:
    start = round(chunk.pieces[0][0], 3)
    heard = LanguageWindow(
        start=start, channel=chunk.channel, language=language, probability=round(min(1.0, probability), 4)
    )
    return Place(heard, chunk.seconds)
