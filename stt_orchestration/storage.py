"""Dagster's PostgreSQL storage with retries: a database restart does not fail a run.

Dagster's own storage gives up after six seconds, and the run's process fails. Queries that were interrupted by the restart are not
repeated at all; in the process of a step that is a failure which no retry policy covers, as it is not the asset's. ``dagster.yaml``
names this one::

    storage:
      custom:
        module: stt_orchestration.storage
        class: PatientPostgresStorage
        config: {...}  # what stands under ``postgres`` otherwise
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import isfunction
from itertools import count
from typing import Any

import sqlalchemy as sa
from dagster import EventLogEntry
from dagster._core.storage.event_log import EventLogStorage, SqlEventLogStorageTable
from dagster._core.storage.runs import RunStorage
from dagster._core.storage.schedules import ScheduleStorage
from dagster._serdes import ConfigurableClassData, serialize_value
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import pg_url_from_config
from tenacity import Retrying, retry_if_exception, stop_after_attempt

from recordings.ledger.reconnect import with_reconnect

_MAX_ATTEMPTS = 3
"""Attempts per query. Each attempt waits until the server is reachable, so only a server that fails repeatedly uses all of them."""


class RetryingPostgresStorage(DagsterPostgresStorage):
    """``DagsterPostgresStorage`` whose connections wait for the server, and that repeats interrupted queries.

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
        with_reconnect(first)
        first.connect().close()
        super().__init__(postgres_url, should_autocreate_tables, inst_data)
        for storage, interface in (
            (self._run_storage, RunStorage),
            (self._event_log_storage, EventLogStorage),
            (self._schedule_storage, ScheduleStorage),
        ):
            with_reconnect(storage._engine)  # noqa: SLF001 - the only way to its connections
            _add_retries(storage, interface)
        forget = self._delete_events
        self._event_log_storage.store_event = _with_retries(  # type: ignore[method-assign]
            self._event_log_storage.store_event, lambda event: forget([event])
        )
        self._event_log_storage.store_event_batch = _with_retries(  # type: ignore[method-assign]
            self._event_log_storage.store_event_batch, forget
        )

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> RetryingPostgresStorage:
        """As Dagster constructs it from ``dagster.yaml``."""
        autocreate = config_value.get("should_autocreate_tables", True)
        return cls(pg_url_from_config(config_value), autocreate, inst_data)

    def _delete_events(self, events: Sequence[EventLogEntry]) -> None:
        """Remove what a cut off attempt may have stored of events: Dagster must not see the end of a step twice."""
        log = SqlEventLogStorageTable.c
        with self._event_log_storage.index_connection() as connection:
            for event in events:
                same = (log.run_id == event.run_id) & (log.event == serialize_value(event))
                connection.execute(SqlEventLogStorageTable.delete().where(same))


def _add_retries(storage: object, interface: type) -> None:
    """Add retries to every method of a storage's interface, but those that store events."""
    for name in dir(interface):
        if not name.startswith("_") and isfunction(getattr(interface, name)) and not name.startswith("store_event"):
            setattr(storage, name, _with_retries(getattr(storage, name)))


def _with_retries(call: Callable[..., Any], undo: Callable[..., None] | None = None) -> Callable[..., Any]:
    """Wrap a call so that it is repeated if the connection is lost during it.

    Args:
        call: The call. All but storing events may be repeated as they are.
        undo: Given the same arguments, removes what an interrupted attempt may have stored, so that the call can be repeated.
    """

    @wraps(call)
    def with_retries(*arguments: Any, **options: Any) -> Any:
        attempts = count()

        def attempt() -> Any:
            if next(attempts) and undo is not None:
                undo(*arguments, **options)
            return call(*arguments, **options)

        retrying = Retrying(
            retry=retry_if_exception(_is_interrupted), stop=stop_after_attempt(_MAX_ATTEMPTS), reraise=True
        )
        return retrying(attempt)

    return with_retries


def _is_interrupted(error: BaseException) -> bool:
    return isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated


PatientPostgresStorage = RetryingPostgresStorage
"""The name until 0.2.0. Deployed ``dagster.yaml`` files have it; it stays until 0.3.0."""
