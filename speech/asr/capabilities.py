"""Whether a model can do what is asked of it. Known before the model is loaded."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from speech.asr.language import LANGUAGES
from speech.models.catalogue import load_catalogue
from speech.models.registry import Weights
from speech.transcript import TranscribeOptions

_MULTILINGUAL_VOCABULARY = 51_865
"""Tokens of Whisper's multilingual vocabulary, by which its own code tells the models apart; those for English have 51,864."""


class UnsupportedOptionError(Exception):
    """The model cannot do what the options ask for. Says which option, and which models can."""


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
    if options.language is not None and options.language not in LANGUAGES:
        raise UnsupportedOptionError(f"{options.language!r} is no language code that Whisper knows.")
    pinned = load_catalogue().get(weights.name)
    if pinned:
        is_multilingual, translates = pinned.multilingual, pinned.translates
        knows_cantonese = weights.name.startswith("large-v3")
    else:
        tokens = _count_tokens(weights.path)
        is_multilingual = translates = tokens >= _MULTILINGUAL_VOCABULARY
        knows_cantonese = tokens > _MULTILINGUAL_VOCABULARY
    if not is_multilingual and options.language not in (None, "en"):
        raise UnsupportedOptionError(
            f"{weights.name} knows English only, and the language {options.language} is forced. Use a multilingual model such as "
            "base, or leave the language open."
        )
    if options.language == "yue" and not knows_cantonese:
        raise UnsupportedOptionError(f"{weights.name} does not know Cantonese (yue); large-v3 does. Or force zh.")
    if options.task == "translate" and not translates:
        able = ", ".join(model.name for model in load_catalogue().values() if model.translates)
        raise UnsupportedOptionError(f"{weights.name} cannot translate to English. These can: {able}.")


@functools.cache
def _count_tokens(folder: Path) -> int:
    text = folder / "vocabulary.txt"
    if text.exists():
        return len(text.read_text(encoding="utf-8").rstrip("\n").split("\n"))
    return len(json.loads((folder / "vocabulary.json").read_text(encoding="utf-8")))
