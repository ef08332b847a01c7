"""Options of one recording: their canonical form, the identity they give, and what they make of the settings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recordings.options import InvalidOptionsError, RecordingOptions
from speech.transcript import Options, TranscribeOptions

DIGEST = "ab" * 32

GIVEN = st.fixed_dictionaries(
    {},
    optional={
        "language": st.sampled_from(["en", "vi", "auto", " FR "]),
        "prompt": st.text(max_size=20),
        "hotwords": st.text(max_size=20),
        "translate": st.booleans(),
    },
)


def test_no_options_leave_identity_and_settings_as_they_are() -> None:
    settings = Options(language="fr", initial_prompt="Paris", device="cuda", compute_type="float16")
    assert RecordingOptions().identify(DIGEST) == DIGEST
    assert RecordingOptions().apply_to(settings) == settings


@given(GIVEN, GIVEN)
def test_two_identities_are_equal_exactly_when_the_options_are(
    first: dict[str, object], second: dict[str, object]
) -> None:
    one, two = RecordingOptions.parse(first), RecordingOptions.parse(second)
    assert (one.identify(DIGEST) == two.identify(DIGEST)) == (one.dump() == two.dump())
    assert RecordingOptions(**one.dump()).identify(DIGEST) == one.identify(DIGEST), "what the ledger keeps is canonical"


@given(GIVEN)
def test_what_is_given_wins_and_the_rest_stays(given_options: dict[str, object]) -> None:
    settings = Options(language="de", initial_prompt="Bonn", hotwords="Rhein", task="translate", beam_size=2)
    applied = RecordingOptions.parse(given_options).apply_to(settings)
    for name, target in {"language": "language", "prompt": "initial_prompt", "hotwords": "hotwords"}.items():
        if name not in given_options:
            assert getattr(applied, target) == getattr(settings, target)
    if "translate" in given_options:
        assert applied.task == ("translate" if given_options["translate"] else "transcribe")
    else:
        assert applied.task == "translate"
    assert (applied.beam_size, type(applied)) == (2, Options)


def test_a_setting_can_be_taken_back() -> None:
    settings = TranscribeOptions(language="de", initial_prompt="Bonn", task="translate")
    own = RecordingOptions.parse({"language": "auto", "prompt": "", "translate": "no"})
    assert own.dump() == {"language": "auto", "prompt": "", "translate": False}
    assert own.apply_to(settings) == TranscribeOptions()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lang": "en"}, "there is no option 'lang'; options are language, prompt, hotwords, translate, speakers"),
        ({"language": "english"}, "language: 'english' is no language code that Whisper knows; write one such as en"),
        ({"language": ["en"]}, "language: input should be a valid string"),
        ({"translate": "maybe"}, "translate: input should be a valid boolean"),
        ({"prompt": "x" * 2001}, "prompt: string should have at most 2000 characters"),
        ({"hotwords": ["x" * 1500, "y" * 1500]}, "hotwords: string should have at most 2000 characters"),
        ({"hotwords": [["nested"]]}, "hotwords: input should be a valid string"),
        ({"speakers": {"count": "2"}}, "speakers: speakers cannot be told apart yet"),
        ({"speakers": ""}, "speakers: speakers cannot be told apart yet"),
    ],
)
def test_an_error_names_the_option_and_what_is_allowed(values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidOptionsError) as raised:
        RecordingOptions.parse(values)
    assert message in str(raised.value)
    assert len(str(raised.value)) < 200, "a long value is not repeated"


def test_empty_hotwords_of_a_list_are_left_out() -> None:
    assert RecordingOptions.parse({"hotwords": ["a", " ", "", "b"]}).hotwords == "a, b"


def test_every_error_is_named_at_once() -> None:
    with pytest.raises(InvalidOptionsError, match=r"language: .*; translate: .*; there is no option 'x'"):
        RecordingOptions.parse({"language": "??", "translate": "?", "x": "1"})
