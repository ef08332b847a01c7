"""The two places every step works with, opened together: the store that holds bytes and the ledger that holds states."""

from __future__ import annotations

from dataclasses import dataclass

from recordings.ledger.ledger import Ledger
from recordings.storage.base import Store


@dataclass(frozen=True, slots=True)
class Workspace:
    """Store and ledger of one installation."""

    store: Store
    ledger: Ledger
