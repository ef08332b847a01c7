"""Every setting, in one place: its name in the environment, its meaning, what is allowed. ``groups`` declares the fields.

Read once, in this package, and handed down as arguments. ``STT_X`` beats ``WHISPER_X``; the names of the ConfigMap that users of
slower-whisper have on their clusters are accepted as they are.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import AliasChoices, BaseModel, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from benchmarks.sizing.options import SizingOptions
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from speech.asr.language import LANGUAGES
from speech.asr.model_pool import EngineOptions
from speech.transcript import TranscribeOptions
from stt_orchestration.settings.groups import (
    PROJECT_ROOT,
    BatchSettings,
    CapacitySettings,
    CheckSettings,
    KubernetesSettings,
    ModelSettings,
    PageSettings,
    RetentionSettings,
    StorageSettings,
    TriggerSettings,
    make_aliases,
    to_lower_case,
)

__all__ = [
    "PROJECT_ROOT",
    "Settings",
    "SettingsError",
    "find_misspelled",
    "list_environment_names",
]


class SettingsError(Exception):
    """A setting has a value that is not allowed. The message has a line per setting: name, value, what is allowed."""


_OPTION_NAMES = {
    "language": make_aliases("LANGUAGE", "WHISPER_LANGUAGE"),
    "beam_size": make_aliases("BEAM_SIZE", "WHISPER_BEAM_SIZE"),
    "word_timestamps": make_aliases("WORD_TIMESTAMPS", "WHISPER_WORD_TIMESTAMPS"),
    "max_hours": make_aliases("MAX_RECORDING_HOURS"),
    "page": make_aliases("ENRICHMENT", "ENABLE_AUDIO_ENRICHMENT"),
    "prosody": make_aliases("PROSODY", "ENABLE_PROSODY"),
    "emotion": make_aliases("EMOTION", "ENABLE_EMOTION"),
    "device": make_aliases("DEVICE", "WHISPER_DEVICE"),
    "compute_type": make_aliases("COMPUTE_TYPE", "WHISPER_COMPUTE_TYPE"),
    "workers": make_aliases("WORKERS", "NUM_WORKERS"),
    "batch": make_aliases("DECODE_BATCH", "BATCH_SIZE"),
    "rps": make_aliases("SIZE_RPS"),
    "p95_s": make_aliases("SIZE_P95_S"),
    "mean_s": make_aliases("SIZE_MEAN_S"),
    "hours_per_day": make_aliases("SIZE_HOURS_PER_DAY"),
    "deadline_h": make_aliases("SIZE_DEADLINE_H"),
    "gpus": make_aliases("SIZE_GPU"),
    "platform": make_aliases("SIZE_PLATFORM"),
    "reference": make_aliases("REFERENCE_PLATFORM"),
}
"""Names in the environment of options that have another than STT_ and the option's name, or several."""

OptionsT = TypeVar("OptionsT", bound=BaseModel)


class Settings(
    BaseSettings,
    CapacitySettings,
    SizingOptions,
    RetentionSettings,
    TriggerSettings,
    BatchSettings,
    KubernetesSettings,
    CheckSettings,
    PageSettings,
    EngineOptions,
    ModelSettings,
    StorageSettings,
    TranscribeOptions,
    NormalizeOptions,
    EnrichOptions,
):
    """The settings. Field descriptions say what is allowed; they are shown when a value is invalid.

    All fields are inherited, with limits and descriptions. The options of the steps come from the steps' models, where an option is
    declared once; the others come from the models in ``groups``.
    """

    # Defaults are not validated: checking the cron default would import Dagster and add two seconds to every command.
    # Lists are text with commas in the environment, which their models split.
    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", frozen=True, validate_default=False, enable_decoding=False
    )

    @field_validator("data_dir", "model_dir", "cache_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        # Steps may run in another working directory than the one the setting was made in.
        try:
            return value.expanduser().absolute() if value is not None else None
        except RuntimeError as error:
            raise ValueError("~ stands for a home folder, and this user has none: write the whole path") from error

    @field_validator("pages_url")
    @classmethod
    def _whole_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if (
            not parts.hostname or parts.port == 0 or parts.query or parts.fragment
        ):  # the port itself is checked by asking for it
            raise ValueError("no address with a host")
        return value

    @field_validator("language", "task", "speed", mode="before")
    @classmethod
    def _lower_case(cls, value: Any) -> Any:
        return to_lower_case(value)

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str | None) -> str | None:
        if value in (None, "auto"):
            return None
        if value not in LANGUAGES:
            raise ValueError("not a language Whisper knows")
        return value

    @field_validator("schedule_cron")
    @classmethod
    def _valid_cron(cls, value: str) -> str:
        from dagster._utils.schedules import is_valid_cron_string

        if not is_valid_cron_string(value):
            raise ValueError("not a cron expression")
        return value

    @field_validator("schedule_timezone")
    @classmethod
    def _valid_timezone(cls, value: str) -> str:
        from zoneinfo import available_timezones

        if value not in available_timezones():
            raise ValueError("not a time zone's name")
        return value

    @classmethod
    def read(cls) -> Settings:
        """Read the environment.

        Raises:
            SettingsError: A value is not allowed.
        """
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError("\n".join(_sentence(dict(problem)) for problem in error.errors())) from None

    @property
    def store(self) -> str:
        """URL of the store."""
        return self.store_url or self.data_dir.absolute().as_uri()

    @property
    def is_in_bucket(self) -> bool:
        """Whether the bytes live in a bucket."""
        return self.store.startswith("s3://")

    @property
    def pages_path(self) -> str:
        """The path that pages' addresses begin with, without a slash at the end."""
        return urlsplit(self.pages_url).path.rstrip("/")

    @property
    def ledger(self) -> str:
        """URL of the ledger."""
        return self.ledger_url or f"sqlite:///{self.data_dir.absolute() / 'ledger.db'}"

    @property
    def capacity_dir(self) -> Path:
        """Where results of benchmarks come together."""
        return self.data_dir.absolute() / "benchmarks"

    def pick(self, model: type[OptionsT]) -> OptionsT:
        """The options of a model, such as ``TranscribeOptions``."""
        return model(**self.list_values(model))

    def list_values(self, model: type[BaseModel]) -> dict[str, Any]:
        """Name -> value of each field that a model and the settings have in common."""
        return {name: getattr(self, name) for name in model.model_fields if name in type(self).model_fields}


def _name_options() -> None:
    """Give each inherited option its names in the environment."""
    for name, field in Settings.model_fields.items():
        if field.validation_alias is None:
            field.validation_alias = _OPTION_NAMES.get(name, make_aliases(name.upper()))
    Settings.model_rebuild(force=True)


_name_options()


def list_environment_names() -> dict[str, str]:
    """Every accepted environment variable -> the field it sets."""
    names: dict[str, str] = {}
    for field_name, field in Settings.model_fields.items():
        if isinstance(field.validation_alias, AliasChoices):
            names.update({str(choice): field_name for choice in field.validation_alias.choices})
    return names


def find_misspelled(environment: Mapping[str, str] = os.environ) -> list[str]:
    """A sentence for every ``STT_`` variable that sets nothing: it is most likely misspelled."""
    known = list_environment_names()
    sentences = []
    for name in sorted(environment):
        if name.startswith("STT_") and not name.startswith("STT_TEST_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            sentences.append(f"{name} sets nothing." + (f" Did you mean {near[0]}?" if near else ""))
    return sentences


def _sentence(problem: Mapping[str, Any]) -> str:
    names = list_environment_names()
    field_name = names.get(str(problem["loc"][0]), str(problem["loc"][0]))
    field = Settings.model_fields[field_name]
    # Pydantic names the first alias; the one that is set is the one to mend.
    name = next((alias for alias, sets in names.items() if sets == field_name and os.environ.get(alias)), field_name)
    why = problem["msg"].removeprefix("Value error, ")
    return f"{name}={problem['input']!r} is not allowed ({why}). Allowed: {field.description}"
