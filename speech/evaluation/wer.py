"""Word error rate of a text against its reference, and its confidence interval over several recordings.

Counted by jiwer over texts that Whisper's own normalizers made comparable (the English one spells out contractions and numbers
alike; the basic one only takes out case and punctuation), as the Open ASR leaderboard does, so that our figures can be compared
with published ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class WordErrors:
    """The word changes that turn a text into its reference.

    Attributes:
        substitutions: Words of the reference that were replaced by another word.
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
        """Errors per word of the reference, above 1 if there are many insertions; None if the reference has no word."""
        return self.errors / self.reference_words if self.reference_words else None


def count_word_errors(
    reference: str,
    text: str,
    language: str | None,
    *,
    keep_parenthesised: bool = False,
    ignore_accents: bool = False,
) -> WordErrors:
    """Count the word errors of a text.

    Args:
        reference: What was said.
        text: The text to be scored.
        language: Whisper's code; ``en`` gets the English normalizer, every other one and None the basic one.
        keep_parenthesised: Words in parentheses in the reference were spoken, as in LJ Speech. Both normalizers take them for
            stage directions and would drop them.
        ignore_accents: Letters with and without accents are the same, for references that were typed without. The English
            normalizer always takes accents out.
    """
    import jiwer

    normalize = get_normalizer(language, ignore_accents=ignore_accents)
    if keep_parenthesised:
        reference = reference.replace("(", " ").replace(")", " ")
    alignment = jiwer.process_words(normalize(reference), normalize(text))
    return WordErrors(
        alignment.substitutions,
        alignment.deletions,
        alignment.insertions,
        alignment.hits + alignment.substitutions + alignment.deletions,
    )


def sum_word_errors(counts: Iterable[WordErrors]) -> WordErrors:
    """The counts of several recordings together: their rate weighs every word alike, not every recording."""
    rows = list(counts)
    return WordErrors(
        sum(row.substitutions for row in rows),
        sum(row.deletions for row in rows),
        sum(row.insertions for row in rows),
        sum(row.reference_words for row in rows),
    )


def compute_confidence_interval(
    counts: Sequence[WordErrors], *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval of the total rate over recordings drawn anew with replacement (Bisani and Ney, ICASSP 2004).

    Errors within a recording are correlated, so whole recordings are resampled.

    Args:
        counts: One per recording.
        level: Share of the resampled rates inside the interval.
        resamples: How often to draw.
        seed: Seed of the draws; the same counts and seed give the same interval.

    Returns:
        Lower and upper end, as rates.

    Raises:
        ValueError: No reference has a word, so there is no rate.
    """
    import numpy as np

    # ``rows``: (recordings, 2) float64, errors and reference words; ``sums``: (resamples, 2), their totals per resample.
    rows = np.array([(row.errors, row.reference_words) for row in counts], np.float64).reshape(-1, 2)
    if not rows[:, 1].sum():
        raise ValueError("There is no word error rate without a word in any reference.")
    draws = np.random.default_rng(seed)
    sums = np.array([rows[draws.integers(len(rows), size=len(rows))].sum(axis=0) for _ in range(resamples)])
    sums = sums[sums[:, 1] > 0]
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@lru_cache(maxsize=1)
def _load_english_normalizer() -> Callable[[str], str]:
    from whisper_normalizer.english import EnglishTextNormalizer

    normalizer: Callable[[str], str] = EnglishTextNormalizer()
    return normalizer


def get_normalizer(language: str | None, *, ignore_accents: bool = False) -> Callable[[str], str]:
    """Whisper's own normalizer for texts of a language: the English one for ``en``, else the basic one."""
    if language == "en":
        return _load_english_normalizer()
    from whisper_normalizer.basic import BasicTextNormalizer

    basic: Callable[[str], str] = BasicTextNormalizer(remove_diacritics=ignore_accents)
    return basic
