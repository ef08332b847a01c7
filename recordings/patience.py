"""Patience with a database server that restarts: a connection that it refuses is asked for again, for a while.

What was under way when the server went is lost and fails as always; whoever asks next, waits. Here belongs how connections are
made; whether an error is the machine's is decided where it is caught.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

log = logging.getLogger("stt")

PATIENCE_S = 180.0
"""A pod that is moved to another node is back within a minute or two, its volume with it."""

_EVERY_S = 1.0
_SAY_EVERY_S = 30.0

_NO_WAITING_MENDS = ("authentication failed", "does not exist", "no pg_hba.conf entry")

_NOTICED = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""For libpq, seconds, a count and milliseconds: a server that vanished with its node never says so, and is noticed within a minute.
The last counts where a question was on its way: keepalives then say nothing, and the kernel repeats it for a quarter of an hour."""


def be_patient(engine: Engine, patience_s: float = PATIENCE_S) -> None:
    """Let every new connection of an engine wait for its server; of one on PostgreSQL, SQLite has no server.

    Args:
        engine: Whose connections.
        patience_s: How long one waits, seconds. Then the server's last refusal is raised as always.
    """
    if engine.dialect.name != "postgresql":
        return

    def connect(dialect: sa.Dialect, _: Any, arguments: Any, options: dict[str, Any]) -> Any:
        for name, value in _NOTICED.items():
            options.setdefault(name, value)
        began = time.monotonic()
        said = float("-inf")
        while True:
            try:
                return dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.OperationalError as error:
                waited = time.monotonic() - began
                if waited >= patience_s or any(words in str(error) for words in _NO_WAITING_MENDS):
                    raise
                if waited - said >= _SAY_EVERY_S:
                    log.warning("Waiting for the database (%.0f s of %.0f): %s", waited, patience_s, str(error).strip())
                    said = waited
                time.sleep(_EVERY_S)

    sa.event.listen(engine, "do_connect", connect)
