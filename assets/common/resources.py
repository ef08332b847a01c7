"""What a step needs from outside, as Dagster resources: the workspace, the engine and the operator's options.

Values come from the settings, in the shell above; nothing here reads the environment. Files and databases are opened only when a
step runs, so loading the definitions touches no disk and no database.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from benchmarks.sizing.options import SizingOptions
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from recordings.steps.transcript import EngineFactory
from recordings.workspace import Workspace
from speech.asr.capabilities import check_options, check_options_of_catalogued
from speech.asr.engine import Engine, join_options
from speech.asr.memory import fit_engine
from speech.asr.model_pool import EngineOptions
from speech.asr.vad import VAD_MODEL
from speech.machine.resources import measure_free_memory
from speech.models.registry import resolve
from speech.transcript import Options, TranscribeOptions

log = logging.getLogger("stt")


class WorkspaceResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where the bytes and the states are."""

    store_url: str
    ledger_url: str
    pages_url: str

    def open(self) -> AbstractContextManager[Workspace]:
        """Open store and ledger; the ledger's connections are closed at the end."""
        return Workspace.open(self.store_url, self.ledger_url)


class EngineResource(TranscribeOptions, EngineOptions, dg.ConfigurableResource):  # type: ignore[type-arg]
    """Which model listens, and how."""

    model: str
    model_dir: str | None
    cache_dir: str

    def make_engine_factory(self) -> EngineFactory:
        """Find and check the weights, and say how to make an engine of them.

        Raises:
            WeightsError: They are wrong or nowhere to be had.
            UnsupportedOptionError: The model cannot do what the options ask for.
        """
        options = self.transcribe_options()
        check_options_of_catalogued(self.model, options)
        model_dir, cache_dir = Path(self.model_dir) if self.model_dir else None, Path(self.cache_dir)
        weights = resolve(self.model, model_dir=model_dir, cache_dir=cache_dir, progress=log.info)
        vad = resolve(VAD_MODEL, kind="vad", model_dir=model_dir, cache_dir=cache_dir, progress=log.info)
        check_options(weights, options)
        fitted = fit_engine(self, weights, measure_free_memory())
        config = fitted.config
        return EngineFactory(weights.sha256, config, options, lambda: Engine(weights, config, vad_weights=vad), fitted)

    def transcribe_options(self) -> TranscribeOptions:
        """How recordings are transcribed."""
        return TranscribeOptions(**_pick(self, TranscribeOptions))

    def key_options(self) -> Options:
        """All options that can change a transcript, except the model weights."""
        return join_options(self.transcribe_options(), self.make_config())


class OptionsResource(NormalizeOptions, EnrichOptions, dg.ConfigurableResource):  # type: ignore[type-arg]
    """What the operator decides about audio and outputs; the steps' options and ``recordings.steps.checks`` say what each means."""

    max_wer: float | None

    def normalize_options(self) -> NormalizeOptions:
        """The options of the ``normalized`` step."""
        return NormalizeOptions(**_pick(self, NormalizeOptions))

    def enrich_options(self) -> EnrichOptions:
        """The options of the ``enriched`` step."""
        return EnrichOptions(**_pick(self, EnrichOptions))


class CapacityResource(SizingOptions, dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where measurements of platforms lie, and what is to be sized.

    Attributes:
        folder: Results of ``stt benchmark``, of this machine and of others, put there by hand or by a job.
        model: Model to size for.
    """

    folder: str
    model: str

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.folder)


def _pick(resource: BaseModel, model: type[BaseModel]) -> dict[str, Any]:
    return {name: getattr(resource, name) for name in model.model_fields}
