"""Which language is spoken: the mean of several places, the same for the same answers, and honest when in doubt."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech.asr.chunks import Chunk
from speech.asr.language import (
    LANGUAGE_DETECTION_SEGMENTS,
    LANGUAGE_DETECTION_THRESHOLD,
    LANGUAGES,
    MIXED_LANGUAGE_THRESHOLD,
    LanguageDetection,
    pick_evenly,
)
from speech.asr.language import decide_language as decide_places

CODES = ["de", "en", "nl", "vi", "zh"]
EIGHTHS = st.integers(0, 8).map(lambda n: n / 8)  # sums of these are exact in any order
ANSWERS = st.lists(st.dictionaries(st.sampled_from(CODES), EIGHTHS, min_size=1), min_size=1, max_size=5)


def decide(answers: list[Mapping[str, float]], seconds: float = 5.0) -> LanguageDetection:
    """Places of so many seconds, a minute apart."""
    places = [(Chunk(0, ((60.0 * i, 60.0 * i + seconds),)), answer) for i, answer in enumerate(answers)]
    return decide_places(places)


def verdict_of(verdict: LanguageDetection) -> tuple[object, ...]:
    return verdict.language, verdict.probability, verdict.alternatives


def test_a_foreign_greeting_does_not_decide_for_the_whole_recording() -> None:
    verdict = decide([{"fr": 0.9, "en": 0.1}, {"en": 0.98, "fr": 0.02}, {"en": 0.97, "fr": 0.03}])
    assert verdict.language == "en"
    assert verdict.probability == pytest.approx((0.1 + 0.98 + 0.97) / 3, abs=1e-4)
    assert [(guess.language, guess.probability) for guess in verdict.alternatives] == [("fr", 0.3167)]


@given(ANSWERS)
def test_the_verdict_is_the_largest_mean_and_alternatives_follow_it(answers: list[Mapping[str, float]]) -> None:
    """A place that does not name a language gives it nothing."""
    verdict = decide(answers)
    means = {code: sum(answer.get(code, 0.0) for answer in answers) / len(answers) for code in set().union(*answers)}
    ranked = [(verdict.language, verdict.probability), *((g.language, g.probability) for g in verdict.alternatives)]
    assert [probability for _, probability in ranked] == sorted((p for _, p in ranked), reverse=True)
    assert verdict.probability == pytest.approx(max(means.values()), abs=1e-4)
    assert all(probability == pytest.approx(means[code], abs=1e-4) for code, probability in ranked)
    assert len(ranked) == min(4, len(means))


@given(ANSWERS, st.randoms())
def test_the_order_of_the_answers_changes_nothing(answers: list[Mapping[str, float]], random: object) -> None:
    """Workers answer in any order; equal inputs must give an equal transcript."""
    shuffled = [dict(sorted(answer.items(), key=lambda _: random.random())) for answer in answers]  # type: ignore[attr-defined]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert verdict_of(decide(shuffled)) == verdict_of(decide(answers))


def test_a_tie_goes_to_the_first_name() -> None:
    for answer in ({"en": 0.5, "de": 0.5}, {"de": 0.5, "en": 0.5}):
        verdict = decide([answer])
        assert (verdict.language, verdict.alternatives[0].language) == ("de", "en")


def test_a_doubtful_language_is_flagged_with_its_rivals() -> None:
    verdict = decide([{"nl": 0.42, "de": 0.35, "en": 0.2, "af": 0.03}])
    assert verdict.flags == {"language_uncertain": "nl with only 42%; also de 35%, en 20%, af 3%"}


@pytest.mark.parametrize(
    ("probability", "flagged"),
    [(LANGUAGE_DETECTION_THRESHOLD - 0.001, True), (LANGUAGE_DETECTION_THRESHOLD, False), (1.0, False)],
)
def test_doubt_begins_below_half(probability: float, flagged: bool) -> None:
    assert bool(decide([{"en": probability, "de": 0.0}]).flags) is flagged


def test_no_answers_are_no_verdict() -> None:
    with pytest.raises(ValueError, match="No answers"):
        decide([])


def test_two_languages_in_one_recording_are_reported_with_their_places() -> None:
    """The text of the foreign part is a translation or nonsense; whoever reads it must know."""
    verdict = decide([{"en": 0.99}, {"en": 0.95}, {"vi": 0.9, "en": 0.1}])
    assert verdict.language == "en"
    assert [place.window.language for place in verdict.windows] == ["en", "en", "vi"]
    assert set(verdict.flags) == {"language_mixed"}
    assert "vi 90% at 120 s" in verdict.flags["language_mixed"]


@pytest.mark.parametrize(
    ("probability", "seconds", "reported"),
    [(MIXED_LANGUAGE_THRESHOLD, 3.0, True), (MIXED_LANGUAGE_THRESHOLD - 0.01, 3.0, False), (1.0, 2.9, False)],
)
def test_a_short_or_doubtful_place_speaks_for_no_second_language(
    probability: float, seconds: float, reported: bool
) -> None:
    """A single word is often taken for another language."""
    verdict = decide([{"en": 1.0}, {"en": 1.0}, {"pt": probability}], seconds)
    assert ("language_mixed" in verdict.flags) is reported


@given(st.lists(st.integers(), unique=True), st.integers(2, 6))
def test_places_are_spread_from_the_first_to_the_last(items: list[int], count: int) -> None:
    asked = pick_evenly(items, count)
    assert len(asked) == min(len(items), count)
    places = [items.index(item) for item in asked]
    assert places == sorted(set(places)), "in order, none twice"
    if items:
        assert (asked[0], asked[-1]) == (items[0], items[-1])
        steps = [after - before for before, after in pairwise(places)]
        assert not steps or max(steps) - min(steps) <= 1


def test_an_hour_is_asked_at_its_start_its_middle_and_its_end() -> None:
    assert LANGUAGE_DETECTION_SEGMENTS == 5
    assert pick_evenly(range(121)) == [0, 30, 60, 90, 120]


def test_the_codes_are_those_of_the_models_vocabulary() -> None:
    """A code the tokenizer does not know would be accepted as a setting and fail in the middle of a batch."""
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    assert set(_LANGUAGE_CODES) == LANGUAGES
