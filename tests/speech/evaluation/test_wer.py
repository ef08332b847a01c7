"""Word error rate: what counts as an error, and the confidence interval over recordings."""

from __future__ import annotations

import pytest

from speech.evaluation.wer import WordErrors, compute_confidence_interval, count_word_errors, sum_word_errors

REFERENCE = "(the second capital of the State) in being a printed book"


def test_substitutions_deletions_and_insertions_are_counted_separately() -> None:
    errors = count_word_errors(
        "ask not what your country can do", "ask not what the country can really do for you", "en"
    )
    assert errors == WordErrors(substitutions=1, deletions=0, insertions=3, reference_words=7)
    assert errors.rate == pytest.approx(4 / 7)
    assert count_word_errors("one two three four", "one four", "de") == WordErrors(0, 2, 0, 4)


def test_case_punctuation_spelling_and_numbers_are_not_errors_in_english() -> None:
    reference = "Mister Quilter's colour cost twenty dollars, and he isn't sorry."
    assert count_word_errors(reference, "Mr. Quilter's color cost $20 and he is not sorry", "en").errors == 0


def test_other_languages_keep_their_words_unchanged() -> None:
    """The English rules would turn words into numbers and drop fillers. Vietnamese diacritics carry meaning."""
    assert count_word_errors("Xin chào, các bạn!", "xin chào các bạn", "vi") == WordErrors(0, 0, 0, 4)
    assert count_word_errors("Xin chào các bạn", "xin chao cac ban", "vi").errors == 3
    assert count_word_errors("numero ultimo", "número, último", "es").errors == 2
    assert count_word_errors("numero ultimo", "número, último", "es", ignore_accents=True).errors == 0
    assert count_word_errors("um two of them", "two of them", "en").errors == 0
    assert count_word_errors("um two of them", "two of them", "de").errors == 1


def test_words_in_parentheses_count_only_when_they_were_spoken() -> None:
    hypothesis = "the second capital of the state in being a printed book"
    assert count_word_errors(REFERENCE, hypothesis, "en").insertions == 6
    assert count_word_errors(REFERENCE, hypothesis, "en", keep_parenthesised=True) == WordErrors(0, 0, 0, 11)


def test_a_reference_without_words_has_errors_and_no_rate() -> None:
    invented = count_word_errors("", "Thanks for watching!", "en")
    assert (invented.errors, invented.insertions, invented.rate) == (3, 3, None)
    assert count_word_errors("", "", None) == WordErrors(0, 0, 0, 0)
    assert count_word_errors("said", "", "en").rate == 1.0


def test_a_total_weighs_by_words_and_not_by_recordings() -> None:
    long, short = WordErrors(1, 1, 0, 98), WordErrors(0, 0, 2, 2)
    assert sum_word_errors([long, short]) == WordErrors(1, 1, 2, 100)
    assert sum_word_errors([]) == WordErrors(0, 0, 0, 0)


def test_the_interval_contains_the_rate_grows_with_the_spread_and_is_reproducible() -> None:
    even = [WordErrors(1, 0, 0, 10)] * 50
    assert compute_confidence_interval(even, resamples=200) == (0.1, 0.1)
    uneven = [WordErrors(2, 0, 0, 10), WordErrors(0, 0, 0, 10)] * 25
    low, high = compute_confidence_interval(uneven, resamples=2_000)
    # The mean of 50 draws with deviation 0.1, two standard errors to each side: 0.1 +- 0.028.
    assert (low, high) == pytest.approx((0.072, 0.128), abs=0.006)
    assert (low, high) == compute_confidence_interval(uneven, resamples=2_000)
    narrow = compute_confidence_interval(uneven, resamples=2_000, level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_there_is_no_interval_without_a_word_in_any_reference() -> None:
    with pytest.raises(ValueError, match="without a word"):
        compute_confidence_interval([WordErrors(0, 0, 1, 0)])
    with pytest.raises(ValueError, match="without a word"):
        compute_confidence_interval([])
