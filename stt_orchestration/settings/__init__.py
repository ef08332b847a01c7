"""Every setting, in one place: its name in the environment, its meaning, what is allowed.

Read once, in this package, and handed down as arguments. ``STT_X`` beats ``WHISPER_X``; the names of the ConfigMap that users of
slower-whisper have on their clusters are accepted as they are.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from speech.asr.language import LANGUAGES
from speech.models.registry import get_default_cache_dir
from speech.transcript import TranscribeOptions

PROJECT_ROOT = Path(__file__).resolve().parents[2]


class SettingsError(Exception):
    """A setting has a value that is not allowed. The message has a line per setting: name, value, what is allowed."""


def _names(name: str, *others: str) -> AliasChoices:
    return AliasChoices(f"STT_{name}", *others)


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


_OPTION_NAMES = {
    "language": _names("LANGUAGE", "WHISPER_LANGUAGE"),
    "beam_size": _names("BEAM_SIZE", "WHISPER_BEAM_SIZE"),
    "word_timestamps": _names("WORD_TIMESTAMPS", "WHISPER_WORD_TIMESTAMPS"),
    "max_hours": _names("MAX_RECORDING_HOURS"),
    "page": _names("ENRICHMENT", "ENABLE_AUDIO_ENRICHMENT"),
    "prosody": _names("PROSODY", "ENABLE_PROSODY"),
    "emotion": _names("EMOTION", "ENABLE_EMOTION"),
}
"""Names in the environment of options that have another than STT_ and the option's name, or several."""

OptionsT = TypeVar("OptionsT", bound=BaseModel)


class Settings(BaseSettings, TranscribeOptions, NormalizeOptions, EnrichOptions):
    """The settings. Field descriptions say what is allowed; they are shown when a value is invalid.

    The options of the steps are inherited from their models, with limits and descriptions: an option is declared there, once.
    """

    # Defaults are not validated: checking the cron default would import Dagster and add two seconds to every command.
    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True, validate_default=False)

    data_dir: Path = Field(
        default=PROJECT_ROOT / "data",
        validation_alias=_names("DATA_DIR"),
        description="A folder: recordings come in under raw_audio/, everything made from them lies beside it.",
    )
    store_url: str | None = Field(
        default=None,
        validation_alias=_names("STORE_URL"),
        description="Where the bytes live: file:///absolute/path, or s3://bucket/prefix (address and credentials from AWS_... as "
        "boto3 reads them); default: the data folder.",
    )
    ledger_url: str | None = Field(
        default=None,
        validation_alias=_names("LEDGER_URL"),
        description="A SQLAlchemy URL, such as postgresql+psycopg2://user@host/name; default: ledger.db in the data folder.",
    )

    model: str = Field(
        default="base",
        validation_alias=_names("MODEL", "WHISPER_MODEL"),
        description="A model of the catalogue (stt fetch-model --list), or the path of a folder with one.",
    )
    model_dir: Path | None = Field(
        default=None,
        validation_alias=_names("MODEL_DIR"),
        description="A folder with the model's files, or with a folder of the model's name; looked at first.",
    )
    cache_dir: Path = Field(
        default_factory=get_default_cache_dir,
        validation_alias=_names("CACHE_DIR"),
        description="A folder that downloaded models are kept in.",
    )
    device: Annotated[Literal["cpu", "cuda"], BeforeValidator(_lower)] = Field(
        default="cpu",
        validation_alias=_names("DEVICE", "WHISPER_DEVICE"),
        description="cpu or cuda. A GPU that was asked for and is not there is an error, never a run on the CPU.",
    )
    compute_type: str | None = Field(
        default=None,
        validation_alias=_names("COMPUTE_TYPE", "WHISPER_COMPUTE_TYPE"),
        description="int8, int8_float32, int8_float16, int16, float16, bfloat16 or float32; default: int8, on a GPU float16.",
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        le=256,
        validation_alias=_names("WORKERS", "NUM_WORKERS"),
        description="How many batches are decoded at once, 1 to 256; default: the usable cores on a CPU, 1 on a GPU.",
    )
    decode_batch: int | None = Field(
        default=None,
        ge=1,
        le=256,
        validation_alias=_names("DECODE_BATCH", "BATCH_SIZE"),
        description="How many chunks are decoded together, 1 to 256; it changes no text; default: 4, on a GPU 16.",
    )

    pages_url: str = Field(
        default="http://127.0.0.1:3001",
        validation_alias=_names("PAGES_URL"),
        pattern=r"^https?://",
        description="A URL, http or https, where the pages are served; links in the Dagster UI begin with it.",
    )

    max_wer: float | None = Field(
        default=None,
        ge=0,
        le=1,
        validation_alias=_names("MAX_WER"),
        description="A share from 0 to 1, such as 0.15: a batch stops after transcription when its texts differ by more words than "
        "that from the references beside its recordings (NAME.ref.txt); default: the word error rate is only reported.",
    )

    executor: Annotated[Literal["in_process", "kubernetes"], BeforeValidator(_lower)] = Field(
        default="in_process",
        validation_alias=_names("EXECUTOR"),
        description="in_process: the steps of a run share its process; kubernetes: each step is a Job of its own.",
    )
    janitor_run_days: int | None = Field(
        default=None,
        ge=1,
        validation_alias=_names("JANITOR_RUN_DAYS"),
        description="A whole number of days: the janitor on Kubernetes deletes ended runs, with their event logs, after so many; "
        "default: keep all.",
    )

    batch_recordings: int = Field(
        default=200,
        ge=1,
        le=10_000,
        validation_alias=_names("BATCH_RECORDINGS"),
        description="A whole number from 1 to 10000: recordings in a batch at most.",
    )
    batch_bytes: int = Field(
        default=2 * 1024**3,
        ge=1,
        validation_alias=_names("BATCH_BYTES"),
        description="A whole number above 0: bytes in a batch at most; a larger recording is a batch of its own.",
    )

    sensor_enabled: bool = Field(
        default=True,
        validation_alias=_names("SENSOR_ENABLED"),
        description="true or false: whether the sensor on the input folder is on from the start.",
    )
    sensor_interval_s: int = Field(
        default=15,
        ge=5,
        validation_alias=_names("SENSOR_INTERVAL_S"),
        description="A whole number of seconds, 5 or more, between two looks at the input folder; a file settles in two.",
    )
    schedule_enabled: bool = Field(
        default=False,
        validation_alias=_names("SCHEDULE_ENABLED"),
        description="true or false: whether the schedule is on from the start.",
    )
    schedule_cron: str = Field(
        default="0 */6 * * *",
        validation_alias=_names("SCHEDULE_CRON"),
        description="A cron expression of five fields, such as '0 */6 * * *'.",
    )
    schedule_timezone: str = Field(
        default="UTC",
        validation_alias=_names("SCHEDULE_TIMEZONE"),
        description="A time zone's name, such as Europe/Berlin.",
    )
    schedule_deadline_s: int = Field(
        default=3600,
        ge=0,
        validation_alias=_names("SCHEDULE_DEADLINE_S"),
        description="A whole number of seconds: a tick missed by more is skipped (the CronJob's startingDeadlineSeconds).",
    )
    keep_runs: int | None = Field(
        default=None,
        ge=1,
        validation_alias=_names("KEEP_RUNS"),
        description="A whole number: how many ended runs are kept of each outcome, older ones are deleted; default: keep all.",
    )

    size_rps: float | None = Field(
        default=None,
        gt=0,
        validation_alias=_names("SIZE_RPS"),
        description="A number above 0: requests a second that the sizing asset sizes a service for.",
    )
    size_p95_s: float | None = Field(
        default=None,
        gt=0,
        validation_alias=_names("SIZE_P95_S"),
        description="Seconds above 0: 95th percentile of that service's response time at most.",
    )
    size_mean_s: float | None = Field(
        default=None,
        gt=0,
        validation_alias=_names("SIZE_MEAN_S"),
        description="Seconds above 0: mean of that service's response time at most.",
    )
    size_hours_per_day: float | None = Field(
        default=None,
        gt=0,
        validation_alias=_names("SIZE_HOURS_PER_DAY"),
        description="A number above 0: hours of audio a day that the sizing asset sizes a batch for.",
    )
    size_deadline_h: float | None = Field(
        default=None,
        gt=0,
        validation_alias=_names("SIZE_DEADLINE_H"),
        description="Hours above 0 within which that batch is to be done.",
    )
    size_gpu: str | None = Field(
        default=None,
        validation_alias=_names("SIZE_GPU"),
        description="GPUs that the batch is sized for as well: NAME=TIMES_REALTIME, @ORIGIN behind it for where that is from, with "
        "commas between several.",
    )
    size_platform: str | None = Field(
        default=None,
        validation_alias=_names("SIZE_PLATFORM"),
        description="The platform to size for, as its files are called (m4 of m4_base_2024-12-02.json); default: the reference.",
    )
    reference_platform: str | None = Field(
        default=None,
        validation_alias=_names("REFERENCE_PLATFORM"),
        description="The platform that ratios start from; default: the one of the oldest result.",
    )
    cpu_node_price: float | None = Field(
        default=None,
        gt=0,
        validation_alias=_names("CPU_NODE_PRICE"),
        description="A number above 0: price of a CPU-only node an hour, in the price file's currency.",
    )
    prices: Path | None = Field(
        default=None,
        validation_alias=_names("PRICES"),
        description="A price file in the form of benchmarks/sizing/prices.yaml; default: that one.",
    )
    benchmark_monthly: bool = Field(
        default=False,
        validation_alias=_names("BENCHMARK_MONTHLY"),
        description="true or false: whether this machine is measured anew every month.",
    )

    @field_validator("data_dir", "model_dir", "cache_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        # Steps may run in another working directory than the one the setting was made in.
        return value.expanduser().absolute() if value is not None else None

    @field_validator("pages_url")
    @classmethod
    def _whole_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if (
            not parts.hostname or parts.port == 0 or parts.query or parts.fragment
        ):  # the port itself is checked by asking for it
            raise ValueError("no address with a host")
        return value

    @field_validator("language", "task", mode="before")
    @classmethod
    def _lower_case(cls, value: Any) -> Any:
        return _lower(value)

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str | None) -> str | None:
        if value in (None, "auto"):
            return None
        if value not in LANGUAGES:
            raise ValueError("not a language Whisper knows")
        return value

    @field_validator("compute_type")
    @classmethod
    def _known_compute_type(cls, value: str | None) -> str | None:
        if value is not None and value not in COMPUTE_TYPES:
            raise ValueError("not a compute type of CTranslate2")
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

    @property
    def effective_compute_type(self) -> str:
        """The compute type: the one set, or the usual one of the device."""
        return self.compute_type or ("float16" if self.device == "cuda" else "int8")


def _name_options() -> None:
    """Give each inherited option its names in the environment."""
    for name, field in Settings.model_fields.items():
        if field.validation_alias is None:
            field.validation_alias = _OPTION_NAMES.get(name, _names(name.upper()))
    Settings.model_rebuild(force=True)


_name_options()

COMPUTE_TYPES = frozenset(
    {"int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32"}
)


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
