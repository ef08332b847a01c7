"""What a model cannot do is said before it is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speech.asr.capabilities import UnsupportedOptionError, check_options
from speech.asr.engine import Engine, RecordingIdentity
from speech.models.registry import Weights
from speech.transcript import TranscribeOptions

TRANSLATION = TranscribeOptions(task="translate")


def make_weights(name: str, path: Path = Path("/nonexistent"), revision: str | None = "a" * 40) -> Weights:
    return Weights(name, path, "0" * 64, revision, "local cache")


@pytest.mark.parametrize("name", ["tiny.en", "medium.en", "large-v3-turbo", "distil-large-v3.5"])
def test_a_model_that_was_not_trained_to_translate_says_which_ones_were(name: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=rf"{name} cannot translate.*These can: tiny, base, .*large-v3\."):
        check_options(make_weights(name), TRANSLATION)


def test_an_english_model_refuses_another_language_and_takes_english(tmp_path: Path) -> None:
    for options in (TranscribeOptions(), TranscribeOptions(language="en")):
        check_options(make_weights("tiny.en"), options)
    with pytest.raises(UnsupportedOptionError, match=r"tiny\.en knows English only, and the language vi is forced"):
        check_options(make_weights("tiny.en"), TranscribeOptions(language="vi"))


def test_multilingual_models_can_do_everything() -> None:
    for options in (TRANSLATION, TranscribeOptions(language="vi")):
        check_options(make_weights("base"), options)
    check_options(make_weights("large-v3-turbo"), TranscribeOptions(language="vi"))


@pytest.mark.parametrize(("tokens", "is_multilingual"), [(51_864, False), (51_865, True), (51_866, True)])
@pytest.mark.parametrize("file", ["vocabulary.txt", "vocabulary.json"])
def test_a_folder_of_ones_own_is_judged_by_its_vocabulary(
    tokens: int, is_multilingual: bool, file: str, tmp_path: Path
) -> None:
    words = [f"token{i}" for i in range(tokens)]
    (tmp_path / file).write_text(json.dumps(words) if file.endswith("json") else "".join(f"{w}\n" for w in words))
    weights = make_weights("/models/ours", tmp_path, None)
    if is_multilingual:
        check_options(weights, TRANSLATION)
    else:
        with pytest.raises(UnsupportedOptionError):
            check_options(weights, TRANSLATION)


def test_the_engine_refuses_before_it_reads_anything() -> None:
    with Engine(make_weights("tiny.en")) as engine, pytest.raises(UnsupportedOptionError):
        engine.transcribe(Path("/nonexistent.wav"), RecordingIdentity("x", "5" * 64), TRANSLATION)


def test_codes_that_nobody_or_not_this_model_knows_are_refused() -> None:
    assert TranscribeOptions(language=" AUTO ").language is None
    assert TranscribeOptions(hotwords="  ", initial_prompt="") == TranscribeOptions()
    with pytest.raises(UnsupportedOptionError, match="'xx' is no language code"):
        check_options(make_weights("base"), TranscribeOptions(language="xx"))
    with pytest.raises(UnsupportedOptionError, match="base does not know Cantonese"):
        check_options(make_weights("base"), TranscribeOptions(language="yue"))
    check_options(make_weights("large-v3"), TranscribeOptions(language="yue"))
