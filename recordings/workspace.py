"""The two places every step works with, opened together: the store that holds bytes and the ledger that holds states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from recordings.ledger.ledger import Ledger
from recordings.storage.base import Store
from recordings.storage.open import open_store


@dataclass(frozen=True, slots=True)
class Workspace:
    """Store and ledger of one installation."""

    store: Store
    ledger: Ledger

    @classmethod
    @contextmanager
    def open(cls, store_url: str, ledger_url: str) -> Iterator[Self]:
        """Open store and ledger; the ledger's connections are closed at the end.

        Args:
            store_url: As ``recordings.storage.open.open_store`` reads it.
            ledger_url: A database as ``recordings.ledger.ledger.Ledger.open`` reads it.

        Raises:
            LedgerError: The ledger cannot be opened.
            UnknownStoreError: The address of the store is of no known kind.
            OSError: The store's folders cannot be made, or its server is not available.
        """
        ledger = Ledger.open(ledger_url)
        try:
            yield cls(open_store(store_url), ledger)
        finally:
            ledger.close()
