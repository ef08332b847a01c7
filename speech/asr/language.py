"""Decides the language from the model's language probabilities at several places of the recording.

Pure functions; the engine calls the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from speech.asr.chunks import Chunk
from speech.transcript import LanguageGuess, LanguageWindow

_CODES = """
af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is it ja jw ka kk
km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te
tg th tk tl tr tt uk ur uz vi yi yo yue zh
"""
LANGUAGES = frozenset(_CODES.split())
"""Whisper's language codes: the 99 of its first vocabulary, and yue, which large-v3 added."""

LANGUAGE_DETECTION_SEGMENTS = 5
"""How many chunks are used to detect the language.

Other programs use one, so that a foreign greeting or a jingle at the start decides for the whole recording. More cost almost
nothing: their encoding is reused for the text if the language is that of the recording."""

LANGUAGE_DETECTION_THRESHOLD = 0.5
"""Below this probability, more than half of the evidence is for other languages, and the transcript gets the flag
``language_uncertain``."""

MIXED_LANGUAGE_THRESHOLD = 0.7
"""A place with another language at this probability or more sets the flag ``language_mixed``, if it is long enough."""

MIXED_LANGUAGE_MIN_S = 3.0
"""Shorter places, in seconds, do not set ``language_mixed``: a single word is often taken for another language."""

_ALTERNATIVES = 3
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SampledWindow:
    """One place at which the language was detected, and its seconds of speech."""

    window: LanguageWindow
    seconds: float


@dataclass(frozen=True, slots=True)
class LanguageDetection:
    """The language, its mean probability over all places, and the next most probable languages."""

    language: str
    probability: float
    alternatives: tuple[LanguageGuess, ...]
    windows: tuple[SampledWindow, ...] = ()

    @property
    def flags(self) -> dict[str, str]:
        """Flags and reasons if the language is uncertain or differs between places."""
        flags = {}
        if self.probability < LANGUAGE_DETECTION_THRESHOLD:
            guesses = ", ".join(f"{guess.language} {guess.probability:.0%}" for guess in self.alternatives)
            flags["language_uncertain"] = f"{self.language} with only {self.probability:.0%}; also {guesses}"
        places = ", ".join(
            f"{place.language} {place.probability:.0%} at {place.start:.0f} s" for place in self.other_language_windows
        )
        if places:
            flags["language_mixed"] = (
                f"Heard as {self.language} throughout, but some places sound like another language: {places}. "
                "Their text is not to be relied on; cut the recording there, or force each part's language."
            )
        return flags

    @property
    def other_language_windows(self) -> tuple[LanguageWindow, ...]:
        """Places with a high probability of another language."""
        return tuple(
            place.window
            for place in self.windows
            if place.window.language != self.language
            and place.window.probability >= MIXED_LANGUAGE_THRESHOLD
            and place.seconds >= MIXED_LANGUAGE_MIN_S
        )


def pick_evenly(items: Sequence[T], count: int = LANGUAGE_DETECTION_SEGMENTS) -> list[T]:
    """Up to ``count`` items, evenly spread from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def decide_language(chunk_probabilities: Sequence[tuple[Chunk, Mapping[str, float]]]) -> LanguageDetection:
    """Average the probabilities, weighted by seconds of speech, and return the most probable language.

    Args:
        chunk_probabilities: The chunks, and for each the probability (0 to 1) of each language.

    Raises:
        ValueError: There are no chunks, because there was no speech.
    """
    if not chunk_probabilities:
        raise ValueError("No answers to decide a language from.")
    total: Counter[str] = Counter()
    for chunk, probabilities in chunk_probabilities:
        total.update({code: probability * chunk.seconds for code, probability in probabilities.items()})
    seconds = sum(chunk.seconds for chunk, _ in chunk_probabilities)
    guesses = [
        LanguageGuess(language=code, probability=round(min(1.0, weighted_sum / seconds), 4))
        for code, weighted_sum in _rank_languages(total)
    ]
    places = tuple(
        _make_window(chunk, *_rank_languages(probabilities)[0]) for chunk, probabilities in chunk_probabilities
    )
    return LanguageDetection(guesses[0].language, guesses[0].probability, tuple(guesses[1 : 1 + _ALTERNATIVES]), places)


def get_likeliest_language(probabilities: Mapping[str, float]) -> str:
    """The language with the highest probability."""
    return _rank_languages(probabilities)[0][0]


def _rank_languages(probabilities: Mapping[str, float]) -> list[tuple[str, float]]:
    # Equal probabilities are sorted by code, so that the result is always the same.
    return sorted(probabilities.items(), key=lambda item: (-item[1], item[0]))


def _make_window(chunk: Chunk, language: str, probability: float) -> SampledWindow:
    start = round(chunk.pieces[0][0], 3)
    window = LanguageWindow(
        start=start, channel=chunk.channel, language=language, probability=round(min(1.0, probability), 4)
    )
    return SampledWindow(window, chunk.seconds)
