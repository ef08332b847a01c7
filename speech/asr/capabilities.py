"""Whether a model can do what is asked of it. Known before the model is loaded."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from speech.asr.language import LANGUAGES
from speech.models.catalogue import load_catalogue
from speech.models.registry import Weights
from speech.transcript import TranscribeOptions

_MULTILINGUAL_VOCABULARY = 51_865
"""Tokens of Whisper's multilingual vocabulary, by which its own code tells the models apart; those for English have 51,864."""


class UnsupportedOptionError(Exception):
    """The model cannot do what the options ask for. Says which option, and which models can."""


@dataclass(frozen=True, slots=True)
class _Abilities:
    """What a model knows: other languages than English, translating to English, Cantonese."""

    is_multilingual: bool
    translates: bool
    knows_cantonese: bool


def check_options(weights: Weights, options: TranscribeOptions) -> None:
    """Raise if the model cannot transcribe with these options.

    Args:
        weights: Of the model.
        options: How a recording is to be transcribed.

    Raises:
        UnsupportedOptionError: It does not know the language that is forced, or it cannot translate.
    """
    if options.language in (None, "en") and options.task == "transcribe":
        return
    _check(weights.name, _look_up(weights.name) or _read_abilities(weights.path), options)


def check_options_of_catalogued(model: str, options: TranscribeOptions) -> None:
    """The same from the catalogue alone, so that weights that cannot be used are not fetched. A folder of one's own passes.

    Raises:
        UnsupportedOptionError: See ``check_options``.
    """
    abilities = _look_up(model)
    if abilities is not None:
        _check(model, abilities, options)


def is_for_english(weights: Weights) -> bool:
    """Whether the catalogue has the model as one for English, whatever its vocabulary is (distil-large-v3's is multilingual)."""
    abilities = _look_up(weights.name)
    return abilities is not None and not abilities.is_multilingual


def _look_up(model: str) -> _Abilities | None:
    pinned = load_catalogue("whisper").get(model)
    return _Abilities(pinned.multilingual, pinned.translates, model.startswith("large-v3")) if pinned else None


def _read_abilities(folder: Path) -> _Abilities:
    tokens = _count_tokens(folder)
    is_multilingual = tokens >= _MULTILINGUAL_VOCABULARY
    return _Abilities(is_multilingual, is_multilingual, tokens > _MULTILINGUAL_VOCABULARY)


def _check(model: str, abilities: _Abilities, options: TranscribeOptions) -> None:
    if options.language is not None and options.language not in LANGUAGES:
        raise UnsupportedOptionError(f"{options.language!r} is no language code that Whisper knows.")
    if not abilities.is_multilingual and options.language not in (None, "en"):
        raise UnsupportedOptionError(
            f"{model} knows English only, and the language {options.language} is forced. Use a multilingual model such as "
            "base, or leave the language open."
        )
    if options.language == "yue" and not abilities.knows_cantonese:
        raise UnsupportedOptionError(f"{model} does not know Cantonese (yue); large-v3 does. Or force zh.")
    if options.task == "translate" and not abilities.translates:
        able = ", ".join(model.name for model in load_catalogue("whisper").values() if model.translates)
        raise UnsupportedOptionError(f"{model} cannot translate to English. These can: {able}.")


@functools.cache
def _count_tokens(folder: Path) -> int:
    text = folder / "vocabulary.txt"
    if text.exists():
        return len(text.read_text(encoding="utf-8").rstrip("\n").split("\n"))
    return len(json.loads((folder / "vocabulary.json").read_text(encoding="utf-8")))
