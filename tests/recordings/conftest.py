"""A ledger of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recordings.ledger import Ledger


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = Ledger.open(url)
    yield opened
    opened.close()
