"""A temporary installation for each test: data folder, ledger, Dagster instance and environment variables."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from recordings.ledger.ledger import Ledger
from recordings.storage.open import open_store
from recordings.workspace import Workspace
from speech.models.registry import Weights
from stt_orchestration.settings import Settings, list_environment_names

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Installation:
    """A temporary installation, opened in the process of the test."""

    data: Path
    settings: Settings
    workspace: Workspace
    instance: dg.DagsterInstance

    @property
    def raw(self) -> Path:
        """The input folder."""
        return self.data / "raw_audio"


@pytest.fixture(scope="session")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of Dagster with its empty databases. To make them takes more than a second, and to copy them no time."""
    home = tmp_path_factory.mktemp("dagster")
    (home / "dagster.yaml").write_bytes((PROJECT / "dagster.yaml").read_bytes())
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs(limit=1)
    return home


@pytest.fixture
def installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base_weights: Weights, made_home: Path
) -> Iterator[Installation]:
    for name in list_environment_names():
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "dagster"
    shutil.copytree(made_home, home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("STT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("STT_MODEL_DIR", str(base_weights.path))
    settings = Settings.read()
    ledger = Ledger.open(settings.ledger)
    with dg.DagsterInstance.get() as instance:
        yield Installation(tmp_path / "data", settings, Workspace(open_store(settings.store), ledger), instance)
    ledger.close()


@pytest.fixture
def capacity_folder(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of benchmark results. The settings have a load and a price to size for."""
    monkeypatch.setenv("STT_SIZE_RPS", "5")
    monkeypatch.setenv("STT_CPU_NODE_PRICE", "0.19")
    folder: Path = Settings.read().capacity_dir
    return folder
