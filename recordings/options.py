"""Options that came with one recording, and what they make of the options of everybody. Pure.

A recording is its bytes. Where options of its own came with it, it is the bytes and those options: the same bytes asked for in two
languages are two recordings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from speech.asr.language import LANGUAGES
from speech.transcript import MAX_PROMPT_CHARACTERS, TranscribeOptions

_MAX_EXPLAINED = 5  # wrong options that a message names
_MAX_SHOWN = 40  # characters of a wrong name or value in a message

_Options = TypeVar("_Options", bound=TranscribeOptions)


class InvalidOptionsError(Exception):
    """What came as options of a recording are none. The message says which and what is allowed, as the end of a sentence."""


class RecordingOptions(BaseModel):
    """What may be asked for one recording. What is not given is as the settings say.

    Names are those that people write; ``apply_to`` says which option of the engine each means.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: str = Field(default="auto", description="A Whisper language code, or auto.")
    prompt: str = Field(
        default="", max_length=MAX_PROMPT_CHARACTERS, description="What was said before: names, spelling, style."
    )
    hotwords: str = Field(
        default="",
        max_length=MAX_PROMPT_CHARACTERS,
        description="Words that are likely: a text, or a list of texts.",
    )
    translate: bool = Field(default=False, description="Write English whatever is spoken.")
    speakers: Any = Field(default=None, description="How many speakers, or the names of channels. Not yet.")

    @field_validator("language")
    @classmethod
    def _check_language(cls, value: str) -> str:
        code = value.strip().lower() or "auto"
        if code != "auto" and code not in LANGUAGES:
            raise ValueError(
                f"{shorten(value)!r} is no language code that Whisper knows; write one such as en or vi, or auto"
            )
        return code

    @field_validator("hotwords", mode="before")
    @classmethod
    def _join_words(cls, value: object) -> object:
        is_list = isinstance(value, list) and all(isinstance(word, str) for word in value)
        return ", ".join(word.strip() for word in value if word.strip()) if is_list else value  # type: ignore[attr-defined]

    @field_validator("prompt", "hotwords")
    @classmethod
    def _strip(cls, value: str) -> str:
        return value.strip()

    @field_validator("speakers")
    @classmethod
    def _refuse_speakers(cls, _: object) -> object:
        raise ValueError("speakers cannot be told apart yet; remove this line")

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> RecordingOptions:
        """Read options by their names.

        Args:
            values: As YAML or JSON gives them; numbers and truth values may be text.

        Raises:
            InvalidOptionsError: A name is unknown, or a value is not allowed.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            errors = error.errors()
            more = [f"and {len(errors) - _MAX_EXPLAINED} more"] if len(errors) > _MAX_EXPLAINED else []
            raise InvalidOptionsError("; ".join([*map(_explain, errors[:_MAX_EXPLAINED]), *more])) from error

    def dump(self) -> dict[str, Any]:
        """Those that were given, in canonical form."""
        return self.model_dump(exclude_unset=True)

    def apply_to(self, options: _Options) -> _Options:
        """The given options with these in their place."""
        given = self.dump()
        names = {"language": "language", "prompt": "initial_prompt", "hotwords": "hotwords"}
        update = {names[name]: value for name, value in given.items() if name in names}
        if "translate" in given:
            update["task"] = "translate" if self.translate else "transcribe"
        return type(options)(**{**options.model_dump(), **update})

    def identify(self, bytes_sha256: str) -> str:
        """The identity of a recording: the sha256 of its bytes, or with options of its own of both; 64 hexadecimal digits."""
        given = self.dump()
        if not given:
            return bytes_sha256
        text = json.dumps([bytes_sha256, given], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def shorten(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _explain(error: Any) -> str:
    name = shorten(".".join(str(part) for part in error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"there is no option {name!r}; options are {', '.join(RecordingOptions.model_fields)}"
    if error["type"] == "value_error":
        return f"{name}: {error['ctx']['error']}"
    return f"{name}: {error['msg'][:1].lower()}{error['msg'][1:]}"
