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
    """One of our own: it is killed."""
    with postgres_server() as made:
        yield made


@pytest.fixture
def instance(server: PostgresServer, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    url = server.sqlalchemy_url.render_as_string(hide_password=False)
    named = {"module": "stt_orchestration.storage", "class": "PatientPostgresStorage", "config": {"postgres_url": url}}
    stated = {"telemetry": {"enabled": False}, "storage": {"custom": named}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(stated), encoding="utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


@dg.job
def nothing() -> None:
    """Has no steps."""


def test_runs_are_noted_although_the_server_was_away(server: PostgresServer, instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(nothing)
    server.kill()
    back = threading.Timer(AWAY_S, server.start)
    back.start()
    try:
        instance.report_engine_event("still there", run)
        told = [entry.message for entry in instance.all_logs(run.run_id)]
        assert "still there" in told
        with dg.DagsterInstance.from_ref(instance.get_ref()) as other:  # as the process of a step opens it
            assert other.get_run_by_id(run.run_id) is not None
    finally:
        back.join()


def cut_off_at(server: PostgresServer, table: str, ask: Callable[[], T]) -> T:
    """What a question gives whose connection ends while it waits for a table that somebody else has closed."""
    waits = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    engine = sa.create_engine(server.sqlalchemy_url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with ThreadPoolExecutor(1) as pool, engine.connect() as other:
        with sa.create_engine(server.sqlalchemy_url, poolclass=sa.NullPool).begin() as closing:
            closing.execute(sa.text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
            asked = pool.submit(ask)
            until = time.monotonic() + 30
            while not other.scalar(sa.text(f"SELECT count(*) {waits}")):
                assert time.monotonic() < until, "nobody asks"
                time.sleep(0.05)
            other.execute(sa.text(f"SELECT pg_terminate_backend(pid) {waits}"))
        return asked.result(60)


at_work, may_end = threading.Event(), threading.Event()


@dg.op(retry_policy=dg.RetryPolicy(max_retries=2))
def slow() -> None:
    """Ends when it is told to; its end is then noted by Dagster itself, out of reach of the policy."""
    at_work.set()
    may_end.wait(60)


@dg.job
def something() -> None:
    """Has a step."""
    slow()


def test_a_step_whose_end_cannot_be_noted_at_first_succeeds(
    server: PostgresServer, instance: dg.DagsterInstance
) -> None:
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(something.execute_in_process, instance=instance, raise_on_error=False)
        assert at_work.wait(60)

        def end() -> dg.ExecuteInProcessResult:
            may_end.set()
            return run.result(60)

        result = cut_off_at(server, "event_logs", end)
    assert result.success
    assert result.retry_attempts_for_node("slow") == 0


def test_a_question_that_is_cut_off_is_asked_again(server: PostgresServer, instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(nothing)
    assert cut_off_at(server, "runs", lambda: instance.get_run_by_id(run.run_id)) == run
    assert cut_off_at(server, "event_logs", lambda: instance.all_logs(run.run_id)) == []


@pytest.mark.parametrize("table", ["event_logs", "asset_keys"])
def test_an_event_whose_storing_is_cut_off_is_stored_once(
    server: PostgresServer, instance: dg.DagsterInstance, table: str
) -> None:
    """Before its row is written, and after."""
    key = dg.AssetKey(["cut", table])
    cut_off_at(server, table, lambda: instance.report_runless_asset_event(dg.AssetMaterialization(key)))
    assert len(instance.fetch_materializations(key, limit=5).records) == 1
    assert instance.get_latest_materialization_event(key) is not None
