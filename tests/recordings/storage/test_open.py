"""Opening a store by its address."""

from __future__ import annotations

import pytest

from recordings.layout import Folder
from recordings.storage.errors import StorageUnavailableError, explain
from recordings.storage.open import open_store
from tests.servers import BUCKET, S3Server


def test_an_unknown_scheme_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="file:///"):
        open_store("ftp://somewhere")


KEY = f"{Folder.TRANSCRIPTS}/x.json"


def test_a_bucket_is_opened_by_its_address(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{BUCKET}/a%20b/")
    assert store.locate(KEY) == f"s3://{BUCKET}/a b/{KEY}"
    with pytest.raises(StorageUnavailableError, match="no bucket s3://nowhere-at-all") as raised:
        open_store("s3://nowhere-at-all/x")
    assert "STT_STORE_URL" in explain(raised.value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(StorageUnavailableError) as raised:
        open_store(f"s3://{BUCKET}/x")
    assert "Check the credentials" in explain(raised.value)
