"""What Dagster keeps of a run, and how it is removed.

Dagster's own ``delete_run`` leaves much behind: compute logs, executions of asset checks, the partition and, on SQLite, a file for
each run. Here all of it goes. What has no function in Dagster's API is read and removed in its tables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    ConcurrencySlotsTable,
    DynamicPartitionsTable,
    PendingStepsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from assets.common.partitions import batches
from recordings.states import Step
from stt_orchestration.runs import PARTITION_TAG

_ROWS = 500
"""Rows of a table that are looked at together."""

_NAMES = 5000
"""Names of a folder that are looked at together: for each part the whole folder is listed."""

_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_TAGGED_EVENTS = (dg.DagsterEventType.ASSET_MATERIALIZATION.value, dg.DagsterEventType.ASSET_OBSERVATION.value)

_OUR_ASSETS = frozenset(dg.AssetKey(step).to_string() for step in Step)


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one look for leftovers found.

    Attributes:
        position: Where the next look goes on; empty: the end was reached.
        removed: How many leftovers were removed.
    """

    position: str
    removed: int


def delete_runs(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """Remove ended runs: their compute logs, their events, and last the runs themselves.

    Runs go last, so that a removal that was interrupted is found again. All of them share a transaction in each database, because a
    flush to the disk costs more than the rest.
    """
    for run_id in run_ids:
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    events, runs = instance.event_log_storage, instance.run_storage
    if not isinstance(events, SqlEventLogStorage) or not isinstance(runs, SqlRunStorage):
        for run_id in run_ids:
            instance.delete_run(run_id)
        return
    with events.index_transaction() as connection:
        _delete_events(connection, run_ids)
    if isinstance(events, SqliteEventLogStorage):
        for run_id in run_ids:
            _remove_event_file(events, run_id)
    with runs.connect() as connection:
        connection.execute(sa.delete(RunTagsTable).where(RunTagsTable.c.run_id.in_(run_ids)))
        connection.execute(sa.delete(RunsTable).where(RunsTable.c.run_id.in_(run_ids)))


def _delete_events(connection: sa.Connection, run_ids: Sequence[str]) -> None:
    """As Dagster deletes those of one run. Its own function opens the run's file on SQLite, and makes it where it is gone."""
    events = SqlEventLogStorageTable.c
    of_runs = events.run_id.in_(run_ids)
    # Asked for with their types, SQLite would read all materializations that there are.
    rows = connection.execute(sa.select(events.id, events.dagster_event_type).where(of_runs)).all()
    tagged = [row.id for row in rows if row.dagster_event_type in _TAGGED_EVENTS]
    connection.execute(sa.delete(AssetEventTagsTable).where(AssetEventTagsTable.c.event_id.in_(tagged)))
    connection.execute(sa.delete(SqlEventLogStorageTable).where(of_runs))
    for table in (ConcurrencySlotsTable, PendingStepsTable):
        connection.execute(sa.delete(table).where(table.c.run_id.in_(run_ids)))


def _remove_event_file(events: SqliteEventLogStorage, run_id: str) -> None:
    path = events.path_for_shard(run_id)
    for name in (f"{path}-wal", f"{path}-shm", path):
        Path(name).unlink(missing_ok=True)


def sweep_partitions(
    instance: dg.DagsterInstance, position: str, before: datetime, pick_needed: Callable[[Sequence[str]], set[str]]
) -> Sweep:
    """Remove batches' partitions that were added before a time, have no run, and are not needed.

    The ledger still knows the batch, and whoever asks for it adds its partition again.

    Args:
        instance: Dagster's.
        position: Of the look before; empty: begin.
        before: Younger partitions stay.
        pick_needed: Given partitions without a run, says which of them stay all the same.
    """
    table, events = DynamicPartitionsTable.c, instance.event_log_storage
    if not isinstance(events, SqlEventLogStorage):
        return Sweep("", 0)
    query = (
        sa.select(table.id, table.partition, table.create_timestamp)
        .where(table.partitions_def_name == batches.name, table.id > int(position or 0))
        .order_by(table.id)
        .limit(_ROWS)
    )
    with events.index_connection() as connection:
        rows = connection.execute(query).all()
    old = [row for row in rows if row.create_timestamp < _without_zone(before)]
    used = _find_used_partitions(instance, [row.partition for row in old])
    unused = {row.partition: row.id for row in old if row.partition not in used}
    needed = pick_needed(list(unused))
    gone = [row_id for key, row_id in unused.items() if key not in needed]
    if gone:
        with events.index_connection() as connection:
            connection.execute(sa.delete(DynamicPartitionsTable).where(table.id.in_(gone)))
    return Sweep(_find_position(rows, before), len(gone))


def _find_position(rows: Sequence[Any], before: datetime) -> str:
    """Where to go on behind rows that lie in the order in which they were made; nowhere, once they are young."""
    has_more = len(rows) == _ROWS and rows[-1].create_timestamp < _without_zone(before)
    return str(rows[-1].id) if has_more else ""


def _find_used_partitions(instance: dg.DagsterInstance, keys: Sequence[str]) -> set[str]:
    """Those of the partitions that a run is of, in whatever state it is."""
    runs, table = instance.run_storage, RunTagsTable.c
    if not keys or not isinstance(runs, SqlRunStorage):
        return set(keys)
    query = sa.select(table.value).where(table.key == PARTITION_TAG, table.value.in_(keys)).distinct()
    with runs.connect() as connection:
        return set(connection.scalars(query))


def sweep_checks(instance: dg.DagsterInstance, position: str, before: datetime) -> Sweep:
    """Remove executions of the steps' checks that are older than a time and whose run is gone."""
    table, events = AssetCheckExecutionsTable.c, instance.event_log_storage
    if not isinstance(events, SqlEventLogStorage):
        return Sweep("", 0)
    query = (
        sa.select(table.id, table.run_id, table.asset_key, table.create_timestamp)
        .where(table.id > int(position or 0))
        .order_by(table.id)
        .limit(_ROWS)
    )
    with events.index_connection() as connection:
        rows = connection.execute(query).all()
    old = [row for row in rows if row.create_timestamp < _without_zone(before)]
    ours = [row for row in old if row.run_id and row.asset_key in _OUR_ASSETS]
    known = _find_known_runs(instance, {row.run_id for row in ours})
    gone = [row.id for row in ours if row.run_id not in known]
    if gone:
        with events.index_connection() as connection:
            connection.execute(sa.delete(AssetCheckExecutionsTable).where(table.id.in_(gone)))
    return Sweep(_find_position(rows, before), len(gone))


def sweep_compute_logs(
    instance: dg.DagsterInstance, position: str, before: datetime, is_over: Callable[[], bool]
) -> Sweep:
    """Remove folders of compute logs that nobody wrote to since a time and whose run is gone.

    For logs in a folder. Those in a bucket need a lifecycle rule of the bucket.

    Args:
        instance: Dagster's.
        position: Of the look before; empty: begin.
        before: Younger ones stay.
        is_over: Whether the time is up.
    """
    logs = instance.compute_log_manager
    if not isinstance(logs, LocalComputeLogManager):
        return Sweep("", 0)
    folder = Path(logs.get_captured_local_path(["run", "compute_logs", "step"], "out")).parents[2]
    return _sweep_folder(
        instance,
        _Folder(folder, "", lambda run_id: logs.delete_logs(prefix=[run_id])),
        position,
        before,
        is_over,
    )


def sweep_event_files(
    instance: dg.DagsterInstance, position: str, before: datetime, is_over: Callable[[], bool]
) -> Sweep:
    """Remove files of events, one for each run on SQLite, that nobody wrote to since a time and whose run is gone.

    The arguments are those of ``sweep_compute_logs``.
    """
    events = instance.event_log_storage
    if not isinstance(events, SqliteEventLogStorage):
        return Sweep("", 0)
    folder = Path(events.path_for_shard("run")).parent
    return _sweep_folder(
        instance, _Folder(folder, ".db", partial(_remove_event_file, events)), position, before, is_over
    )


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder with an entry for each run: what follows the run's id in its name, and how it is removed."""

    path: Path
    suffix: str
    remove: Callable[[str], None]


def _sweep_folder(
    instance: dg.DagsterInstance, folder: _Folder, position: str, before: datetime, is_over: Callable[[], bool]
) -> Sweep:
    names, has_more = _list_names(folder, position)
    known = _find_known_runs(instance, names)
    removed = 0
    for name in names:
        if name in known or not _is_older(folder.path / f"{name}{folder.suffix}", before):
            continue
        if is_over():
            return Sweep(position, removed)
        folder.remove(name)
        removed, position = removed + 1, name
    return Sweep(names[-1] if has_more else "", removed)


def _list_names(folder: _Folder, after: str) -> tuple[list[str], bool]:
    """The next run ids, in order, that names of the folder are made of, and whether there are more."""
    try:
        entries = [entry.name for entry in os.scandir(folder.path)]
    except FileNotFoundError:
        return [], False
    ids = (entry.removesuffix(folder.suffix) for entry in entries if entry.endswith(folder.suffix))
    names = sorted(run_id for run_id in ids if run_id > after and _RUN_ID.fullmatch(run_id))
    return names[:_NAMES], len(names) > _NAMES


def _find_known_runs(instance: dg.DagsterInstance, run_ids: Collection[str]) -> set[str]:
    runs = instance.run_storage
    if not run_ids or not isinstance(runs, SqlRunStorage):
        return set(run_ids)
    with runs.connect() as connection:
        return set(connection.scalars(sa.select(RunsTable.c.run_id).where(RunsTable.c.run_id.in_(list(run_ids)))))


def _is_older(path: Path, before: datetime) -> bool:
    try:
        return path.stat().st_mtime < before.timestamp()
    except FileNotFoundError:
        return False


def _without_zone(moment: datetime) -> datetime:
    """As Dagster's tables have it: UTC, without saying so."""
    return moment.replace(tzinfo=None)
