"""``stt prepare`` creates folders and tables before several processes start; only one process at a time may create them.

On a cluster it is the init container of every long-lived pod: they all start at once, and usually before their database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from recordings.ledger.engine import LedgerError
from recordings.ledger.ledger import Ledger
from recordings.ledger.locks import AdvisoryLock, hold_lock
from recordings.storage.open import open_store
from stt_orchestration.instance import open_instance
from stt_orchestration.settings import Settings

STORAGE_LOCK_NAME = "stt dagster storage"
"""Name of the lock in the ledger's database."""

_RETRY_INTERVAL_S = 2.0


def prepare_storage(settings: Settings, timeout_s: float, on_wait: Callable[[str], None]) -> None:
    """Make the store's folders and the tables of ledger and Dagster, as far as they are missing.

    Args:
        settings: Which store and ledger.
        timeout_s: How long to wait for a database that does not answer yet, seconds.
        on_wait: Told what is waited for.

    Raises:
        LedgerError: The database still does not answer.
        InstanceUnusableError: Dagster's storage cannot be opened.
        OSError: The store's folders cannot be made.
    """
    open_store(settings.store)
    _wait_for_ledger(settings.ledger, timeout_s, on_wait)
    # Dagster does not lock while it creates its tables; see ``stt_orchestration.instance``.
    with _storage_lock(settings.ledger, on_wait), open_instance():
        pass


def _wait_for_ledger(url: str, timeout_s: float, on_wait: Callable[[str], None]) -> None:
    def report(state: RetryCallState) -> None:
        on_wait(f"Waiting for the ledger: {state.outcome and state.outcome.exception()}")

    retrying = Retrying(
        retry=retry_if_exception_type(LedgerError),
        wait=wait_fixed(_RETRY_INTERVAL_S),
        stop=stop_after_delay(timeout_s),
        before_sleep=report,
        reraise=True,
    )
    retrying(lambda: Ledger.open(url).close())


@contextmanager
def _storage_lock(url: str, on_wait: Callable[[str], None]) -> Iterator[None]:
    if sa.make_url(url).get_backend_name() == "sqlite":
        yield  # one machine: the instance's own file lock is enough
        return
    engine = sa.create_engine(url)
    try:
        with hold_lock(AdvisoryLock(engine, STORAGE_LOCK_NAME), "Dagster's storage", on_wait):
            yield
    finally:
        engine.dispose()
