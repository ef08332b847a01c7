"""Store and ledger opened together, and the ledger closed whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recordings.ledger.ledger import Ledger
from recordings.storage.base import UnknownStoreError
from recordings.workspace import Workspace


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[Ledger]:
    """The ledgers that were closed."""
    seen: list[Ledger] = []
    close: Callable[[Ledger], None] = Ledger.close

    def noting(ledger: Ledger) -> None:
        seen.append(ledger)
        close(ledger)

    monkeypatch.setattr(Ledger, "close", noting)
    return seen


def test_a_workspace_has_both_and_its_ledger_is_closed_at_the_end(
    tmp_path: Path, sqlite_url: str, closed: list[Ledger]
) -> None:
    with Workspace.open((tmp_path / "data").as_uri(), sqlite_url) as workspace:
        assert (tmp_path / "data" / "raw_audio").is_dir()
        assert workspace.ledger.count_totals().inputs == 0
        assert closed == []
    assert closed == [workspace.ledger]


def test_the_ledger_is_closed_after_an_error_and_where_the_store_cannot_be_opened(
    tmp_path: Path, sqlite_url: str, closed: list[Ledger]
) -> None:
    with pytest.raises(RuntimeError, match="inside"), Workspace.open(tmp_path.as_uri(), sqlite_url):
        raise RuntimeError("inside")
    assert len(closed) == 1
    with pytest.raises(UnknownStoreError), Workspace.open("ftp://x", sqlite_url):
        pytest.fail("it was opened")
    assert len(closed) == 2
