"""The language of a recording: the mean over several windows, the same for the same answers, flagged if it is uncertain."""

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
    decide_language,
    pick_evenly,
)

CODES = ["de", "en", "nl", "vi", "zh"]
EIGHTHS = st.integers(0, 8).map(lambda n: n / 8)  # sums of these are exact in any order
ANSWERS = st.lists(st.dictionaries(st.sampled_from(CODES), EIGHTHS, min_size=1), min_size=1, max_size=5)


def decide(answers: list[Mapping[str, float]], seconds: float = 5.0) -> LanguageDetection:
    """Decide from windows of this many seconds, a minute apart."""
    windows = [(Chunk(0, ((60.0 * i, 60.0 * i + seconds),)), answer) for i, answer in enumerate(answers)]
    return decide_language(windows)


def to_tuple(detection: LanguageDetection) -> tuple[object, ...]:
    return detection.language, detection.probability, detection.alternatives


def test_a_foreign_greeting_does_not_decide_the_language_of_the_recording() -> None:
    detection = decide([{"fr": 0.9, "en": 0.1}, {"en": 0.98, "fr": 0.02}, {"en": 0.97, "fr": 0.03}])
    assert detection.language == "en"
    assert detection.probability == pytest.approx((0.1 + 0.98 + 0.97) / 3, abs=1e-4)
    assert [(guess.language, guess.probability) for guess in detection.alternatives] == [("fr", 0.3167)]


@given(ANSWERS)
def test_the_language_has_the_largest_mean_and_alternatives_follow_it(answers: list[Mapping[str, float]]) -> None:
    """A language that a window does not name counts as 0 there."""
    detection = decide(answers)
    means = {code: sum(answer.get(code, 0.0) for answer in answers) / len(answers) for code in set().union(*answers)}
    ranked = [
        (detection.language, detection.probability),
        *((g.language, g.probability) for g in detection.alternatives),
    ]
    assert [probability for _, probability in ranked] == sorted((p for _, p in ranked), reverse=True)
    assert detection.probability == pytest.approx(max(means.values()), abs=1e-4)
    assert all(probability == pytest.approx(means[code], abs=1e-4) for code, probability in ranked)
    assert len(ranked) == min(4, len(means))


@given(ANSWERS, st.randoms())
def test_the_order_of_the_answers_does_not_matter(answers: list[Mapping[str, float]], random: object) -> None:
    """Workers answer in any order; the same input must give the same transcript."""
    shuffled = [dict(sorted(answer.items(), key=lambda _: random.random())) for answer in answers]  # type: ignore[attr-defined]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert to_tuple(decide(shuffled)) == to_tuple(decide(answers))


def test_a_tie_goes_to_the_first_code() -> None:
    for answer in ({"en": 0.5, "de": 0.5}, {"de": 0.5, "en": 0.5}):
        detection = decide([answer])
        assert (detection.language, detection.alternatives[0].language) == ("de", "en")


def test_an_uncertain_language_is_flagged_with_its_alternatives() -> None:
    detection = decide([{"nl": 0.42, "de": 0.35, "en": 0.2, "af": 0.03}])
    assert detection.flags == {"language_uncertain": "nl with only 42%; also de 35%, en 20%, af 3%"}


@pytest.mark.parametrize(
    ("probability", "flagged"),
    [(LANGUAGE_DETECTION_THRESHOLD - 0.001, True), (LANGUAGE_DETECTION_THRESHOLD, False), (1.0, False)],
)
def test_a_language_is_uncertain_below_the_threshold(probability: float, flagged: bool) -> None:
    assert bool(decide([{"en": probability, "de": 0.0}]).flags) is flagged


def test_without_answers_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="No answers"):
        decide([])


def test_two_languages_in_one_recording_are_flagged_with_their_times() -> None:
    """The text of the foreign part is a translation or nonsense, and readers must know that."""
    detection = decide([{"en": 0.99}, {"en": 0.95}, {"vi": 0.9, "en": 0.1}])
    assert detection.language == "en"
    assert [window.window.language for window in detection.windows] == ["en", "en", "vi"]
    assert set(detection.flags) == {"language_mixed"}
    assert "vi 90% at 120 s" in detection.flags["language_mixed"]


@pytest.mark.parametrize(
    ("probability", "seconds", "flagged"),
    [(MIXED_LANGUAGE_THRESHOLD, 3.0, True), (MIXED_LANGUAGE_THRESHOLD - 0.01, 3.0, False), (1.0, 2.9, False)],
)
def test_a_short_or_uncertain_window_does_not_count_as_a_second_language(
    probability: float, seconds: float, flagged: bool
) -> None:
    """A single word is often detected as another language."""
    detection = decide([{"en": 1.0}, {"en": 1.0}, {"pt": probability}], seconds)
    assert ("language_mixed" in detection.flags) is flagged


@given(st.lists(st.integers(), unique=True), st.integers(2, 6))
def test_windows_are_spread_from_the_first_to_the_last(items: list[int], count: int) -> None:
    picked = pick_evenly(items, count)
    assert len(picked) == min(len(items), count)
    indices = [items.index(item) for item in picked]
    assert indices == sorted(set(indices)), "in order, none twice"
    if items:
        assert (picked[0], picked[-1]) == (items[0], items[-1])
        steps = [after - before for before, after in pairwise(indices)]
        assert not steps or max(steps) - min(steps) <= 1


def test_an_hour_is_sampled_at_its_start_middle_and_end() -> None:
    assert LANGUAGE_DETECTION_SEGMENTS == 5
    assert pick_evenly(range(121)) == [0, 30, 60, 90, 120]


def test_the_codes_are_those_of_the_tokenizer() -> None:
    """An unknown code would be accepted as a setting and fail in the middle of a batch."""
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    assert set(_LANGUAGE_CODES) == LANGUAGES
