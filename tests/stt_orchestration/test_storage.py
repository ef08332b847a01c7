"""Dagster's storage, as deploy/ names it, on a real PostgreSQL that is killed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml

from tests.servers import PostgresServer, postgres_server

AWAY_S = 12.0
"""Twice as long as Dagster's own storage tries."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One of our own: it is killed."""
    with postgres_server() as made:
        yield made


@pytest.fixture
def instance(server: PostgresServer, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    url = sa.make_url(server.url).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
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
