"""Deliveries for tests of the ledger."""

from __future__ import annotations

from recordings.batches import Delivery
from recordings.ledger.ledger import Ledger


def register(ledger: Ledger, *names: str) -> list[Delivery]:
    """Register a delivery of one byte under each name."""
    deliveries = [Delivery(name, 1, "1") for name in names]
    ledger.register(deliveries)
    return deliveries
