"""Fills Dagster's storage with a year of runs, by copying the rows of one real run.

The rows are copied inside the database. So that 200,000 runs fit into 3 GB, copies are smaller than real runs. Of the four assets
two are kept. Their materializations lose metadata and tags, and each has two checks without their events. Events that only the page
of a run shows are left out.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

_KEPT_EVENTS = ("ASSET_MATERIALIZATION", "ASSET_MATERIALIZATION_PLANNED")
_KEPT_ASSETS = ('["transcript"]', '["enriched"]')
_KEPT_CHECKS = 2
_ROWS_AT_ONCE = 20_000
_FAILED_EVERY = 100
"""One run in so many is marked failed."""


@dataclass(frozen=True, slots=True)
class Databases:
    """Where Dagster keeps runs, and where events and partitions; on PostgreSQL both are the same.

    Attributes:
        runs: SQLAlchemy URL.
        events: SQLAlchemy URL.
    """

    runs: str
    events: str


def fill(databases: Databases, count: int, days: float) -> None:
    """Copy the newest run so often, each copy with a run id and a batch of its own.

    Args:
        databases: With one finished run of the batch job.
        count: How many copies.
        days: The copies are spread evenly over so many days before now.
    """
    runs, events = _open(databases.runs), _open(databases.events)
    with runs.connect() as connection:
        old_run = connection.scalar(sa.text("SELECT run_id FROM runs ORDER BY id DESC LIMIT 1"))
        query = sa.text("SELECT value FROM run_tags WHERE run_id = :run AND key = 'dagster/partition'")
        old_key = connection.scalar(query, {"run": old_run})
    old = {"old_run": old_run, "old_key": old_key, "checks": _KEPT_CHECKS, "assets": _KEPT_ASSETS}
    with events.begin() as connection:
        _make_template(connection, old)
    begin = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=days)
    for first in range(0, count, _ROWS_AT_ONCE):
        made: list[dict[str, Any]] = [
            {
                "run": str(uuid.uuid4()),
                "key": f"batch-{uuid.uuid4().hex[:16]}",
                "at": begin + timedelta(days=days * i / count),
                "status": "FAILURE" if i % _FAILED_EVERY == 0 else "SUCCESS",
            }
            for i in range(first, min(first + _ROWS_AT_ONCE, count))
        ]
        with runs.begin() as connection:
            _copy_runs(connection, made, old)
        with events.begin() as connection:
            _copy_events(connection, made, old)
    with runs.begin() as connection:
        # The command that made the real run has looked for leftovers, and the next look would be a day later.
        connection.execute(sa.text("DELETE FROM kvs WHERE key = 'stt/retention'"))
    for engine in {runs, events}:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("DROP TABLE IF EXISTS template"))
            if engine.dialect.name == "postgresql":
                connection.execute(sa.text("VACUUM ANALYZE"))  # autovacuum does it within minutes
        engine.dispose()


def _open(url: str) -> sa.Engine:
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def _make_fast(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
            connection.cursor().execute("PRAGMA cache_size = -400000")
            connection.cursor().execute("PRAGMA synchronous = OFF")

    return engine


def _make_template(connection: sa.Connection, old: dict[str, Any]) -> None:
    """A table with the events to copy, without what is large."""
    query = sa.text(
        """SELECT id, event, dagster_event_type, step_key, asset_key, partition FROM event_logs
        WHERE run_id = :old_run AND dagster_event_type IN :events AND asset_key IN :assets ORDER BY id"""
    ).bindparams(sa.bindparam("events", _KEPT_EVENTS, expanding=True), sa.bindparam("assets", expanding=True))
    rows = [dict(row) for row in connection.execute(query, old).mappings()]
    for row in rows:
        row["event"] = _make_smaller(row["event"])
    for statement in (
        "DROP TABLE IF EXISTS template",
        """CREATE TABLE template AS SELECT id, event, dagster_event_type, step_key, asset_key, partition
        FROM event_logs WHERE id < 0""",
    ):
        connection.execute(sa.text(statement))
    insert = "INSERT INTO template VALUES (:id, :event, :dagster_event_type, :step_key, :asset_key, :partition)"
    connection.execute(sa.text(insert), rows)


def _make_smaller(event: str) -> str:
    parsed = json.loads(event)
    details = (parsed.get("dagster_event") or {}).get("event_specific_data") or {}
    if "materialization" in details:
        details["materialization"] |= {"metadata_entries": [], "tags": {}}
    return json.dumps(parsed)


def _make_list(connection: sa.Connection, made: Sequence[dict[str, Any]]) -> None:
    connection.execute(sa.text("DROP TABLE IF EXISTS made"))
    connection.execute(
        sa.text("CREATE TEMPORARY TABLE made (place INTEGER, run TEXT, key TEXT, at TIMESTAMP, status TEXT)")
    )
    insert = sa.text("INSERT INTO made VALUES (:place, :run, :key, :at, :status)").bindparams(
        sa.bindparam("at", type_=sa.DateTime())
    )
    connection.execute(insert, [{**row, "place": place} for place, row in enumerate(made)])


_SECONDS = {
    "sqlite": "CAST(strftime('%s', at) AS REAL)",
    "postgresql": "CAST(EXTRACT(EPOCH FROM at) AS DOUBLE PRECISION)",
}
"""A date as seconds since 1970."""


def _copy_runs(connection: sa.Connection, made: Sequence[dict[str, Any]], old: dict[str, Any]) -> None:
    _make_list(connection, made)
    copy = """INSERT INTO runs (run_id, snapshot_id, pipeline_name, status, run_body, partition, partition_set, create_timestamp,
          update_timestamp, start_time, end_time)
        SELECT run, snapshot_id, pipeline_name, made.status,
          replace(replace(replace(run_body, :old_run, run), :old_key, key), :old_status, :quote || made.status || :quote),
          key, partition_set, at, at, SECONDS, SECONDS
        FROM made CROSS JOIN runs WHERE runs.run_id = :old_run ORDER BY place"""
    copy_tags = """INSERT INTO run_tags (run_id, key, value)
        SELECT run, run_tags.key, replace(replace(value, :old_run, run), :old_key, made.key)
        FROM made CROSS JOIN run_tags WHERE run_tags.run_id = :old_run ORDER BY place"""
    values = {**old, "old_status": '"SUCCESS"', "quote": '"'}
    for statement in (copy.replace("SECONDS", _SECONDS[connection.dialect.name]), copy_tags):
        connection.execute(sa.text(statement), values)


def _copy_events(connection: sa.Connection, made: Sequence[dict[str, Any]], old: dict[str, Any]) -> None:
    _make_list(connection, made)
    copy = """INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
        SELECT run, replace(replace(event, :old_run, run), :old_key, key), dagster_event_type, at, step_key, asset_key,
          CASE WHEN partition IS NULL THEN NULL ELSE key END
        FROM made CROSS JOIN template ORDER BY place, template.id"""
    copy_checks = """INSERT INTO asset_check_executions (asset_key, check_name, partition, run_id, execution_status,
          evaluation_event_timestamp, create_timestamp)
        SELECT asset_key, check_name, CASE WHEN partition IS NULL THEN NULL ELSE key END, run, execution_status, at, at
        FROM made CROSS JOIN (SELECT * FROM (
            SELECT *, row_number() OVER (PARTITION BY asset_key ORDER BY id) AS number FROM asset_check_executions
            WHERE run_id = :old_run AND asset_key IN :assets) AS numbered WHERE number <= :checks) AS kept
        ORDER BY place"""
    add_partitions = """INSERT INTO dynamic_partitions (partitions_def_name, partition, create_timestamp)
        SELECT 'batches', key, at FROM made ORDER BY place"""
    connection.execute(sa.text(copy), old)
    connection.execute(sa.text(copy_checks).bindparams(sa.bindparam("assets", expanding=True)), old)
    connection.execute(sa.text(add_partitions))
