"""Ledgers on both databases, stores of both kinds, and a data folder for the steps."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from recordings.ledger.ledger import Ledger
from recordings.storage.directory import DirectoryStore
from recordings.storage.s3 import BucketStore
from recordings.storage.s3_client import MultipartConfig, RetryPolicy, S3Client
from recordings.workspace import Workspace
from tests.recordings.backends import BucketBackend, DirectoryBackend, StoreBackend
from tests.recordings.step_pipeline import StepPipeline
from tests.servers import BUCKET, S3Server

SHORT_RETRIES = RetryPolicy(connect_timeout_s=2.0, read_timeout_s=1.0, max_attempts=4)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """Address of a new database, without a driver, as users write it."""
    name = f"ledger_{secrets.token_hex(4)}"
    server = sa.create_engine(sa.make_url(postgres).set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    database = sa.make_url(postgres).set(drivername="postgresql", database=name)
    yield database.render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Address of a new ledger, on either database."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    ledger = Ledger.open(url)
    yield ledger
    ledger.close()


@pytest.fixture
def sqlite_ledger(sqlite_url: str) -> Iterator[Ledger]:
    ledger = Ledger.open(sqlite_url)
    yield ledger
    ledger.close()


@pytest.fixture
def make_bucket(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., BucketBackend]:
    """Makes stores in the bucket. ``address`` can be that of a faulty network in front of the server."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    local = tmp_path / "local"
    local.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(local))
    unique_prefix = f"{secrets.token_hex(4)}/deep er"

    def make(address: str = s3.url, prefix: str = unique_prefix, sizes: MultipartConfig | None = None) -> BucketBackend:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        store = BucketStore(S3Client(BUCKET, SHORT_RETRIES, sizes), prefix)
        store.prepare()
        return BucketBackend(store, s3.client, prefix, local)

    return make


@pytest.fixture(params=["directory", "bucket"])
def backend(request: pytest.FixtureRequest) -> StoreBackend:
    """A store of either kind, a directory and a bucket in turn."""
    kind = "directory" if request.param == "directory" else "make_bucket"
    fixture: Any = request.getfixturevalue(kind)
    backend: StoreBackend = fixture if request.param == "directory" else fixture()
    return backend


@pytest.fixture
def directory(tmp_path: Path) -> DirectoryBackend:
    """A store on a directory."""
    store = DirectoryStore(tmp_path / "data")
    store.prepare()
    return DirectoryBackend(store)


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[StepPipeline]:
    """An empty data folder over which the steps can be run."""
    store = DirectoryStore(tmp_path / "data")
    store.prepare()
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield StepPipeline(tmp_path / "data", Workspace(store, ledger))
    ledger.close()
