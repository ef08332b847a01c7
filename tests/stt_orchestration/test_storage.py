"""Dagster's storage, as deploy/ names it, on a real PostgreSQL that is killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml

from tests.servers import PostgresServer, postgres_server

T = TypeVar("T")

AWAY_S = 12.0
"""Twice as long as Dagster's own storage tries."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server for this module alone, because the tests kill it."""
    with postgres_server() as postgres:
        yield postgres


@pytest.fixture
def instance(server: PostgresServer, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    url = server.sqlalchemy_url.render_as_string(hide_password=False)
    storage = {
        "module": "stt_orchestration.storage",
        "class": "PatientPostgresStorage",
        "config": {"postgres_url": url},
    }
    config = {"telemetry": {"enabled": False}, "storage": {"custom": storage}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path)) as dagster_instance:
        yield dagster_instance


@dg.job
def empty_job() -> None:
    """Has no steps."""


def test_events_are_stored_although_the_server_was_away(server: PostgresServer, instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(empty_job)
    server.kill()
    restart = threading.Timer(AWAY_S, server.start)
    restart.start()
    try:
        instance.report_engine_event("still there", run)
        messages = [entry.message for entry in instance.all_logs(run.run_id)]
        assert "still there" in messages
        with dg.DagsterInstance.from_ref(instance.get_ref()) as second_instance:  # as the process of a step opens it
            assert second_instance.get_run_by_id(run.run_id) is not None
    finally:
        restart.join()


def cut_connection_at(server: PostgresServer, table: str, query: Callable[[], T]) -> T:
    """Result of a query whose connection is cut while it waits for a table that another connection has locked."""
    waits = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    engine = sa.create_engine(server.sqlalchemy_url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with ThreadPoolExecutor(1) as pool, engine.connect() as admin:
        with sa.create_engine(server.sqlalchemy_url, poolclass=sa.NullPool).begin() as locking:
            locking.execute(sa.text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
            result = pool.submit(query)
            limit = time.monotonic() + 30
            while not admin.scalar(sa.text(f"SELECT count(*) {waits}")):
                assert time.monotonic() < limit, "no query waits"
                time.sleep(0.05)
            admin.execute(sa.text(f"SELECT pg_terminate_backend(pid) {waits}"))
        return result.result(60)


at_work, may_end = threading.Event(), threading.Event()


@dg.op(retry_policy=dg.RetryPolicy(max_retries=2))
def slow() -> None:
    """Ends when ``may_end`` is set. Dagster stores its end, and the retry policy does not cover that."""
    at_work.set()
    may_end.wait(60)


@dg.job
def job_with_a_step() -> None:
    """Has a step."""
    slow()


def test_a_step_succeeds_although_its_end_cannot_be_stored_at_first(
    server: PostgresServer, instance: dg.DagsterInstance
) -> None:
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(job_with_a_step.execute_in_process, instance=instance, raise_on_error=False)
        assert at_work.wait(60)

        def end() -> dg.ExecuteInProcessResult:
            may_end.set()
            return run.result(60)

        result = cut_connection_at(server, "event_logs", end)
    assert result.success
    assert result.retry_attempts_for_node("slow") == 0


def test_a_query_whose_connection_is_cut_is_repeated(server: PostgresServer, instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(empty_job)
    assert cut_connection_at(server, "runs", lambda: instance.get_run_by_id(run.run_id)) == run
    assert cut_connection_at(server, "event_logs", lambda: instance.all_logs(run.run_id)) == []


@pytest.mark.parametrize("table", ["event_logs", "asset_keys"])
def test_an_event_is_stored_once_although_the_connection_is_cut(
    server: PostgresServer, instance: dg.DagsterInstance, table: str
) -> None:
    """Cut before its row is written, and after."""
    key = dg.AssetKey(["cut", table])
    cut_connection_at(server, table, lambda: instance.report_runless_asset_event(dg.AssetMaterialization(key)))
    assert len(instance.fetch_materializations(key, limit=5).records) == 1
    assert instance.get_latest_materialization_event(key) is not None
