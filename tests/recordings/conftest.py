"""A ledger of one's own on either database, and stores of both kinds."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from recordings.ledger.ledger import Ledger
from recordings.storage.directory import DirectoryStore
from recordings.storage.s3 import BucketStore
from recordings.storage.s3_client import MultipartConfig, RetryPolicy, S3Client
from tests.recordings.backends import BucketPlace, DirectoryPlace, Place
from tests.servers import BUCKET, S3Server

IMPATIENT = RetryPolicy(connect_timeout_s=2.0, read_timeout_s=1.0, max_attempts=4)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """A database of one's own, named as people write it: without a driver."""
    name = f"ledger_{secrets.token_hex(4)}"
    server = sa.create_engine(sa.make_url(postgres).set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    made = sa.make_url(postgres).set(drivername="postgresql", database=name)
    yield made.render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """A ledger's address, on either database."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = Ledger.open(url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_ledger(sqlite_url: str) -> Iterator[Ledger]:
    opened = Ledger.open(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def bucket_at(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., BucketPlace]:
    """Makes a store in the bucket, reached at an address, which may be that of a network with faults."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    local = tmp_path / "local"
    local.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(local))
    own = f"{secrets.token_hex(4)}/deep er"

    def make(address: str = s3.url, prefix: str = own, sizes: MultipartConfig | None = None) -> BucketPlace:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        store = BucketStore(S3Client(BUCKET, IMPATIENT, sizes), prefix)
        store.prepare()
        return BucketPlace(store, s3.client, prefix, local)

    return make


@pytest.fixture(params=["directory", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A store of either kind."""
    if request.param == "bucket":
        made: BucketPlace = request.getfixturevalue("bucket_at")()
        return made
    store = DirectoryStore(tmp_path / "data")
    store.prepare()
    return DirectoryPlace(store)
