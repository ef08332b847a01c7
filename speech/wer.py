"""Word error rate: how far a text is from its reference, in words, and how sure a figure over several recordings is.

Counted by jiwer over texts that Whisper's own normalizers made comparable (the English one spells out contractions and numbers
alike; the basic one only takes out case and punctuation), as the Open ASR leaderboard does, so that our figures can stand beside
published ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class WordErrors:
    """What has to change in a text to make it its reference, in words.

    Attributes:
        substitutions: Words heard as others.
        deletions: Words of the reference that are missing.
        insertions: Words that nobody said.
        reference_words: Words of the reference, after normalization.
    """

    substitutions: int
    deletions: int
    insertions: int
    reference_words: int

    @property
    def errors(self) -> int:
        """All three kinds together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors per word of the reference, above 1 where much was invented; None where the reference has no word."""
        return self.errors / self.reference_words if self.reference_words else None


def word_errors(reference: str, text: str, language: str | None, *, keep_parenthesised: bool = False) -> WordErrors:
    """Count the word errors of a text.

    Args:
        reference: What was said.
        text: What was heard.
        language: Whisper's code; ``en`` gets the English normalizer, every other one and None the basic one.
        keep_parenthesised: Words in parentheses in the reference were spoken, as in LJ Speech. Both normalizers take them for
            stage directions and would drop them.
    """
    import jiwer

    normalize = normalizer(language)
    if keep_parenthesised:
        reference = reference.replace("(", " ").replace(")", " ")
    found = jiwer.process_words(normalize(reference), normalize(text))
    return WordErrors(
        found.substitutions, found.deletions, found.insertions, found.hits + found.substitutions + found.deletions
    )


def total(counts: Iterable[WordErrors]) -> WordErrors:
    """The counts of several recordings together: their rate weighs every word alike, not every recording."""
    rows = list(counts)
    return WordErrors(
        sum(row.substitutions for row in rows),
        sum(row.deletions for row in rows),
        sum(row.insertions for row in rows),
        sum(row.reference_words for row in rows),
    )


def confidence_interval(
    counts: Sequence[WordErrors], *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval of the total rate over recordings drawn anew with replacement (Bisani and Ney, ICASSP 2004).

    Words of one recording stand or fall together, so recordings are what is drawn.

    Args:
        counts: One per recording.
        level: Share of the resampled rates inside the interval.
        resamples: How often to draw.
        seed: Of the draws; the same counts and seed give the same interval.

    Returns:
        Lower and upper end, as rates.

    Raises:
        ValueError: No reference has a word, so there is no rate.
    """
    import numpy as np

    rows = np.array([(row.errors, row.reference_words) for row in counts], np.float64).reshape(-1, 2)
    if not rows[:, 1].sum():
        raise ValueError("There is no word error rate without a word in any reference.")
    draws = np.random.default_rng(seed)
    sums = np.array([rows[draws.integers(len(rows), size=len(rows))].sum(axis=0) for _ in range(resamples)])
    sums = sums[sums[:, 1] > 0]
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@lru_cache(maxsize=1)
def _english() -> Callable[[str], str]:
    from whisper_normalizer.english import EnglishTextNormalizer

    normalizer: Callable[[str], str] = EnglishTextNormalizer()
    return normalizer


def normalizer(language: str | None) -> Callable[[str], str]:
    """Whisper's own normalizer for texts of a language: the English one for ``en``, else the basic one."""
    if language == "en":
        return _english()
    from whisper_normalizer.basic import BasicTextNormalizer

    basic: Callable[[str], str] = BasicTextNormalizer()
    return basic
