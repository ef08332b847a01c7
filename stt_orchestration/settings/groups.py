"""The settings that are no option of a step, one model for each group, and the list of all groups.

Here belong fields with their names in the environment, limits and descriptions. Here does not belong how they are read and checked:
that is ``stt_orchestration.settings``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field

from benchmarks.sizing.options import SizingOptions
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from speech.asr.model_pool import EngineOptions
from speech.models.registry import get_default_cache_dir
from speech.transcript import TranscribeOptions

PROJECT_ROOT = Path(__file__).resolve().parents[2]


def make_aliases(name: str, *others: str) -> AliasChoices:
    """The names of a setting in the environment: ``STT_`` and its name, then the others. The first one that is set counts."""
    return AliasChoices(f"STT_{name}", *others)


def to_lower_case(value: Any) -> Any:
    """A text without spaces at its ends and in lower case; anything else as it is."""
    return value.strip().lower() if isinstance(value, str) else value


class StorageSettings(BaseModel):
    """Where recordings, outputs and the ledger lie."""

    data_dir: Path = Field(
        default=PROJECT_ROOT / "data",
        validation_alias=make_aliases("DATA_DIR"),
        description="A folder: recordings come in under raw_audio/, everything made from them lies beside it.",
    )
    store_url: str | None = Field(
        default=None,
        validation_alias=make_aliases("STORE_URL"),
        description="Where the bytes live: file:///absolute/path, or s3://bucket/prefix (address and credentials from AWS_... as "
        "boto3 reads them); default: the data folder.",
    )
    ledger_url: str | None = Field(
        default=None,
        validation_alias=make_aliases("LEDGER_URL"),
        description="A SQLAlchemy URL, such as postgresql+psycopg2://user@host/name; default: ledger.db in the data folder.",
    )


class ModelSettings(BaseModel):
    """Which model runs, and where its files are."""

    model: str = Field(
        default="base",
        validation_alias=make_aliases("MODEL", "WHISPER_MODEL"),
        description="A model of the catalogue (stt fetch-model --list), or the path of a folder with one.",
    )
    model_dir: Path | None = Field(
        default=None,
        validation_alias=make_aliases("MODEL_DIR"),
        description="A folder with the model's files, or with a folder of the model's name; looked at first.",
    )
    cache_dir: Path = Field(
        default_factory=get_default_cache_dir,
        validation_alias=make_aliases("CACHE_DIR"),
        description="A folder that downloaded models are kept in.",
    )


class PageSettings(BaseModel):
    """Where the pages are served."""

    pages_url: str = Field(
        default="http://127.0.0.1:3001",
        validation_alias=make_aliases("PAGES_URL"),
        pattern=r"^https?://",
        description="A URL, http or https, where the pages are served; links in the Dagster UI begin with it.",
    )


class CheckSettings(BaseModel):
    """Which checks of a batch become gates."""

    max_wer: float | None = Field(
        default=None,
        ge=0,
        le=1,
        validation_alias=make_aliases("MAX_WER"),
        description="A share from 0 to 1, such as 0.15: a batch stops after transcription when its texts differ by more words than "
        "that from the references beside its recordings (NAME.ref.txt); default: the word error rate is only reported.",
    )


class KubernetesSettings(BaseModel):
    """Where the steps of a run work, and what is cleaned up on a cluster."""

    executor: Annotated[Literal["in_process", "kubernetes"], BeforeValidator(to_lower_case)] = Field(
        default="in_process",
        validation_alias=make_aliases("EXECUTOR"),
        description="in_process: the steps of a run share its process; kubernetes: each step is a Job of its own.",
    )
    janitor_run_days: int | None = Field(
        default=None,
        ge=1,
        validation_alias=make_aliases("JANITOR_RUN_DAYS"),
        description="A whole number of days: the janitor on Kubernetes deletes ended runs, with their event logs, after so many; "
        "default: keep all.",
    )


class BatchSettings(BaseModel):
    """How large a batch may become."""

    batch_recordings: int = Field(
        default=200,
        ge=1,
        le=10_000,
        validation_alias=make_aliases("BATCH_RECORDINGS"),
        description="A whole number from 1 to 10000: recordings in a batch at most.",
    )
    batch_bytes: int = Field(
        default=2 * 1024**3,
        ge=1,
        validation_alias=make_aliases("BATCH_BYTES"),
        description="A whole number above 0: bytes in a batch at most; a larger recording is a batch of its own.",
    )


class TriggerSettings(BaseModel):
    """What starts runs by itself: the sensor on the input folder and the schedule."""

    sensor_enabled: bool = Field(
        default=True,
        validation_alias=make_aliases("SENSOR_ENABLED"),
        description="true or false: whether the sensor on the input folder is on from the start.",
    )
    sensor_interval_s: int = Field(
        default=15,
        ge=5,
        validation_alias=make_aliases("SENSOR_INTERVAL_S"),
        description="A whole number of seconds, 5 or more, between two looks at the input folder; a file settles in two.",
    )
    schedule_enabled: bool = Field(
        default=False,
        validation_alias=make_aliases("SCHEDULE_ENABLED"),
        description="true or false: whether the schedule is on from the start.",
    )
    schedule_cron: str = Field(
        default="0 */6 * * *",
        validation_alias=make_aliases("SCHEDULE_CRON"),
        description="A cron expression of five fields, such as '0 */6 * * *'.",
    )
    schedule_timezone: str = Field(
        default="UTC",
        validation_alias=make_aliases("SCHEDULE_TIMEZONE"),
        description="A time zone's name, such as Europe/Berlin.",
    )
    schedule_deadline_s: int = Field(
        default=3600,
        ge=0,
        validation_alias=make_aliases("SCHEDULE_DEADLINE_S"),
        description="A whole number of seconds: a tick missed by more is skipped (the CronJob's startingDeadlineSeconds).",
    )


class RetentionSettings(BaseModel):
    """How long Dagster remembers ended runs."""

    keep_succeeded_days: int = Field(
        default=30,
        ge=0,
        validation_alias=make_aliases("KEEP_SUCCEEDED_DAYS"),
        description="A whole number of days: runs that succeeded are deleted after so many, with their events, compute logs and "
        "partitions; 0: never.",
    )
    keep_failed_days: int = Field(
        default=90,
        ge=0,
        validation_alias=make_aliases("KEEP_FAILED_DAYS"),
        description="A whole number of days: runs that failed or were cancelled are deleted after so many; 0: never.",
    )
    keep_runs: int | None = Field(
        default=None,
        ge=1,
        validation_alias=make_aliases("KEEP_RUNS"),
        description="A whole number: how many ended runs are kept of each outcome, older ones are deleted; default: as many as "
        "their age allows.",
    )


class CapacitySettings(BaseModel):
    """The monthly measurement."""

    benchmark_monthly: bool = Field(
        default=False,
        validation_alias=make_aliases("BENCHMARK_MONTHLY"),
        description="true or false: whether this machine is measured anew every month.",
    )


@dataclass(frozen=True, slots=True)
class SettingsGroup:
    """Settings that belong together, as the documentation shows them.

    Attributes:
        title: The heading.
        about: What they have in common, as sentences.
        models: Their fields are the settings of the group.
    """

    title: str
    about: str
    models: tuple[type[BaseModel], ...]


GROUPS = (
    SettingsGroup("Where things lie", "Recordings, outputs and the ledger.", (StorageSettings,)),
    SettingsGroup(
        "Model and engine",
        "The model, its files and the device. After a change of model, device or compute type `stt run` transcribes finished "
        "recordings again. Workers and batch size change no text.",
        (ModelSettings, EngineOptions),
    ),
    SettingsGroup(
        "Transcription",
        "How a recording is transcribed. After a changed value `stt run` transcribes finished recordings again.",
        (TranscribeOptions,),
    ),
    SettingsGroup(
        "Audio",
        "How a recording is read. After a changed value `stt run` does finished recordings again from the step `normalized` on.",
        (NormalizeOptions,),
    ),
    SettingsGroup(
        "Outputs",
        "What is made of a transcript. After a changed value `stt run` makes the outputs of finished recordings again. It loads no "
        "model for that.",
        (EnrichOptions,),
    ),
    SettingsGroup("Pages", "Where the pages of recordings are served.", (PageSettings,)),
    SettingsGroup("Checks", "Which check of a batch becomes a gate.", (CheckSettings,)),
    SettingsGroup("Batches", "How large a batch may become.", (BatchSettings,)),
    SettingsGroup("Sensor and schedule", "What starts runs by itself.", (TriggerSettings,)),
    SettingsGroup(
        "Retention",
        "How long Dagster remembers ended runs. Transcripts, and what the ledger knows of recordings, stay.",
        (RetentionSettings,),
    ),
    SettingsGroup(
        "Kubernetes", "Where the steps of a run work, and what is removed afterwards.", (KubernetesSettings,)
    ),
    SettingsGroup(
        "Capacity",
        "The load that the asset `sizing` sizes for, prices, and the monthly measurement.",
        (SizingOptions, CapacitySettings),
    ),
)
"""Every setting is in one of them. A field that is added to one of the models stands in the documentation by itself."""
