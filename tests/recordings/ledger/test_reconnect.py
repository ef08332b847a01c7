"""A ledger that was connected once waits for its database server to restart."""

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
    """A server for this module alone, because the tests kill it."""
    with postgres_server() as postgres:
        yield postgres


@pytest.fixture
def url(server: PostgresServer) -> str:
    """The server's URL with the driver, as SQLAlchemy needs it."""
    return server.sqlalchemy_url.render_as_string(hide_password=False)


def kill_for_a_while(server: PostgresServer) -> threading.Timer:
    """Kill the server. Returns the started timer that starts it again."""
    server.kill()
    restart = threading.Timer(AWAY_S, server.start)
    restart.start()
    return restart


def test_the_ledger_waits_for_its_server(server: PostgresServer) -> None:
    ledger = Ledger.open(server.url)
    count_before = ledger.register([Delivery("before.wav", 1, "1")])
    restart = kill_for_a_while(server)
    try:
        count_after = ledger.register([Delivery("after.wav", 1, "1")])
        assert (count_before, count_after) == (1, 1)
        assert ledger.count_totals().is_consistent
    finally:
        restart.join()
        ledger.close()


def test_work_under_a_lock_continues_after_a_restart_and_the_lock_is_free_afterwards(
    server: PostgresServer,
) -> None:
    ledger = Ledger.open(server.url)
    messages: list[str] = []
    with ledger.lock_batch("batch-x", messages.append):
        kill_for_a_while(server).join()
        assert ledger.count_totals().inputs >= 0
    with ledger.lock_batch("batch-x", messages.append):
        pass
    ledger.close()
    assert messages == []


def test_reconnecting_ends_after_the_timeout(server: PostgresServer, url: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with_reconnect(engine, timeout_s=1.5)
    server.kill()
    try:
        with pytest.raises(sa.exc.OperationalError):
            engine.connect()
    finally:
        server.start()
    engine.connect().close()


def test_an_error_that_waiting_cannot_solve_is_raised_at_once(url: str) -> None:
    engine = sa.create_engine(sa.make_url(url).set(database="nowhere"), poolclass=sa.NullPool)
    with_reconnect(engine, timeout_s=3600)
    with pytest.raises(sa.exc.OperationalError, match='"nowhere" does not exist'):
        engine.connect()


def test_a_server_that_vanishes_during_a_query_is_noticed_within_minutes(url: str) -> None:
    """Without ``tcp_user_timeout``, the kernel would send the query again for about 15 minutes."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with_reconnect(engine)
    with engine.connect() as connection:
        parameters = connection.connection.dbapi_connection.get_dsn_parameters()  # type: ignore[union-attr]
    assert int(parameters["tcp_user_timeout"]) <= 120_000
