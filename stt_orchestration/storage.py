"""Dagster's storage in PostgreSQL, with patience: a run does not die of a database that restarts.

Dagster's own gives up after six seconds, and with it the process that watches over a run. ``dagster.yaml`` names this one::

    storage:
      custom:
        module: stt_orchestration.storage
        class: PatientPostgresStorage
        config: {...}  # what stands under ``postgres`` otherwise
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import pg_url_from_config

from recordings.patience import be_patient


class PatientPostgresStorage(DagsterPostgresStorage):
    """``DagsterPostgresStorage`` whose connections wait for the server.

    The webserver makes engines of its own and tells people at once.

    Args:
        postgres_url: Of the database.
        should_autocreate_tables: Whether missing tables are made.
        inst_data: Dagster's.
    """

    def __init__(
        self, postgres_url: str, should_autocreate_tables: bool = True, inst_data: ConfigurableClassData | None = None
    ) -> None:
        first = sa.create_engine(postgres_url, poolclass=sa.NullPool)
        be_patient(first)
        first.connect().close()
        super().__init__(postgres_url, should_autocreate_tables, inst_data)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            be_patient(storage._engine)  # noqa: SLF001 - the only way to its connections

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> PatientPostgresStorage:
        """As Dagster constructs it from ``dagster.yaml``."""
        autocreate = config_value.get("should_autocreate_tables", True)
        return cls(pg_url_from_config(config_value), autocreate, inst_data)
