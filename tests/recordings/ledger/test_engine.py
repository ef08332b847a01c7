"""Opening a ledger: migrations, other versions, and errors with a remedy."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from recordings.batches import Delivery
from recordings.ledger import engine
from recordings.ledger.engine import LedgerError
from recordings.ledger.ledger import Ledger
from recordings.ledger.schema import metadata


def test_the_migrations_make_the_tables_of_the_schema(ledger: Ledger) -> None:
    with ledger._read() as connection:
        # The index of names is made of what SQLAlchemy cannot describe.
        indescribable = ("delivery_names", "ix_deliveries_name_parts")
        options = {"include_name": lambda name, *_: not (name or "").startswith(indescribable)}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    # Comments of columns are only in the code, not in the databases.
    assert [
        difference
        for difference in differences
        if not (isinstance(difference, list) and difference[0][0] == "modify_comment")
    ] == []
    assert version == engine._HEAD


@pytest.mark.parametrize("version", ["9999", "0000", "16e3655b4d9b"])
def test_a_ledger_of_a_newer_release_or_of_another_program_is_refused(ledger: Ledger, url: str, version: str) -> None:
    """A mistyped URL may be that of Dagster's database, which has a version too."""
    with ledger._write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :version"), {"version": version})
    with pytest.raises(LedgerError, match=rf"has version {version}.*use the release that wrote it"):
        Ledger.open(url)


def test_a_ledger_locked_by_another_process_raises_an_error_that_says_so(
    sqlite_ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_BUSY_SECONDS", 0.1)
    waiting_ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    holder = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match=r"Another process held it.*nothing is lost"):
        waiting_ledger.register([Delivery("a", 1, "1")])
    holder.execute("ROLLBACK")
    assert waiting_ledger.register([Delivery("a", 1, "1")]) == 1
    holder.close()
    waiting_ledger.close()


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(LedgerError, match="Check that it is reachable") as raised:
        Ledger.open("postgresql://stt:secret@127.0.0.1:1/ledger")
    assert "secret" not in str(raised.value)
