"""Wait for a database server that restarts: opening a connection is retried until a timeout.

A statement that was running when the server stopped fails. Only new connections are retried. This module only opens connections;
the callers handle errors.
"""

from __future__ import annotations

import logging
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_fixed

from recordings.waiting import log_every

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
        engine: The engine that opens the connections.
        timeout_s: How long to wait for a connection, seconds. After that the server's last error is raised.
    """
    if engine.dialect.name != "postgresql":
        return

    def connect(dialect: sa.Dialect, _: Any, arguments: Any, options: dict[str, Any]) -> Any:
        for name, value in _LIBPQ_TIMEOUTS.items():
            options.setdefault(name, value)

        def is_temporary(error: BaseException) -> bool:
            permanent = any(text in str(error) for text in _PERMANENT_ERRORS)
            return isinstance(error, dialect.loaded_dbapi.OperationalError) and not permanent

        def warn(state: RetryCallState) -> None:
            error = state.outcome and state.outcome.exception()
            waited_s = state.seconds_since_start
            log.warning("Waiting for the database (%.0f s of %.0f): %s", waited_s, timeout_s, str(error).strip())

        retrying = Retrying(
            retry=retry_if_exception(is_temporary),
            wait=wait_fixed(_RETRY_INTERVAL_S),
            stop=stop_after_delay(timeout_s),
            before_sleep=log_every(_LOG_INTERVAL_S, warn),
            reraise=True,
        )
        return retrying(dialect.connect, *arguments, **options)

    sa.event.listen(engine, "do_connect", connect)
