"""A database server that restarts is waited for, by whoever has spoken with it before."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from recordings.batches import Delivery
from recordings.ledger.ledger import Ledger
from recordings.ledger.reconnect import with_reconnect
from tests.servers import PostgresServer, postgres_server

pytestmark = pytest.mark.timeout(120)

AWAY_S = 3.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One of our own: it is killed."""
    with postgres_server() as made:
        yield made


@pytest.fixture
def url(server: PostgresServer) -> str:
    """As a driver is named for SQLAlchemy itself."""
    return server.sqlalchemy_url.render_as_string(hide_password=False)


def killed_for_a_while(server: PostgresServer) -> threading.Timer:
    """Dead at once; alive again later."""
    server.kill()
    back = threading.Timer(AWAY_S, server.start)
    back.start()
    return back


def test_the_ledger_waits_for_its_server(server: PostgresServer) -> None:
    ledger = Ledger.open(server.url)
    before = ledger.register([Delivery("before.wav", 1, "1")])
    back = killed_for_a_while(server)
    try:
        after = ledger.register([Delivery("after.wav", 1, "1")])
        assert (before, after) == (1, 1)
        assert ledger.count_totals().is_consistent
    finally:
        back.join()
        ledger.close()


def test_work_under_a_lock_goes_on_when_its_server_restarts_and_the_lock_is_free_afterwards(
    server: PostgresServer,
) -> None:
    ledger = Ledger.open(server.url)
    said: list[str] = []
    with ledger.lock_batch("batch-x", said.append):
        killed_for_a_while(server).join()
        assert ledger.count_totals().inputs >= 0
    with ledger.lock_batch("batch-x", said.append):
        pass
    ledger.close()
    assert said == []


def test_patience_ends(server: PostgresServer, url: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with_reconnect(engine, timeout_s=1.5)
    server.kill()
    try:
        with pytest.raises(sa.exc.OperationalError):
            engine.connect()
    finally:
        server.start()
    engine.connect().close()


def test_what_no_waiting_mends_is_told_at_once(url: str) -> None:
    engine = sa.create_engine(sa.make_url(url).set(database="nowhere"), poolclass=sa.NullPool)
    with_reconnect(engine, timeout_s=3600)
    with pytest.raises(sa.exc.OperationalError, match='"nowhere" does not exist'):
        engine.connect()


def test_a_server_that_vanishes_under_a_question_is_noticed_within_minutes(url: str) -> None:
    """The kernel would repeat the question for a quarter of an hour; keepalives are silent meanwhile."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with_reconnect(engine)
    with engine.connect() as connection:
        asked = connection.connection.dbapi_connection.get_dsn_parameters()  # type: ignore[union-attr]
    assert int(asked["tcp_user_timeout"]) <= 120_000
