"""Wait for a database server that restarts: opening a connection is retried until a timeout.

A statement that was running when the server stopped fails. Only new connections are retried. This module only opens connections;
the callers handle errors.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

log = logging.getLogger("stt")

RECONNECT_TIMEOUT_S = 180.0
"""Kubernetes moves a PostgreSQL pod with its volume to another node within one or two minutes."""

_RETRY_INTERVAL_S = 1.0
_LOG_INTERVAL_S = 30.0

_PERMANENT_ERRORS = ("authentication failed", "does not exist", "no pg_hba.conf entry")

_LIBPQ_TIMEOUTS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""libpq options (seconds; keepalives_count is a number; tcp_user_timeout in ms). When a server's node dies, no packet says so; with
these options it is noticed within a minute. tcp_user_timeout covers data that was sent and not acknowledged: then no keepalives are
sent, and the kernel would repeat the data for 15 minutes."""


def with_reconnect(engine: Engine, timeout_s: float = RECONNECT_TIMEOUT_S) -> None:
    """Retry every new connection of a PostgreSQL engine until it works or the timeout ends. Does nothing for SQLite.

    Args:
        engine: Whose connections.
        timeout_s: How long one waits, seconds. Then the server's last refusal is raised as always.
    """
    if engine.dialect.name != "postgresql":
        return

    def connect(dialect: sa.Dialect, _: Any, arguments: Any, options: dict[str, Any]) -> Any:
        for name, value in _LIBPQ_TIMEOUTS.items():
            options.setdefault(name, value)
        began = time.monotonic()
        said = float("-inf")
        while True:
            try:
                return dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.OperationalError as error:
                waited = time.monotonic() - began
                if waited >= timeout_s or any(words in str(error) for words in _PERMANENT_ERRORS):
                    raise
                if waited - said >= _LOG_INTERVAL_S:
                    log.warning("Waiting for the database (%.0f s of %.0f): %s", waited, timeout_s, str(error).strip())
                    said = waited
                time.sleep(_RETRY_INTERVAL_S)

    sa.event.listen(engine, "do_connect", connect)
