"""The bucket store: pages of a listing, names that are not inputs, prefixes, left-over uploads, and types of contents."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from recordings.layout import Folder
from recordings.storage.base import IgnoredEntry, InputEntry
from tests.recordings.backends import BucketBackend
from tests.servers import BUCKET

KEY = f"{Folder.TRANSCRIPTS}/x.json"
MakeBucket = Callable[..., BucketBackend]


def write(backend: BucketBackend, content: bytes, *, if_absent: bool = False) -> None:
    with backend.store.create(KEY, if_absent=if_absent) as path:
        path.write_bytes(content)


def test_an_old_unfinished_upload_is_swept(make_bucket: MakeBucket) -> None:
    backend = make_bucket()
    for key in (f"{backend.prefix}/{KEY}", f"{backend.prefix} of others/{KEY}"):
        backend.client.create_multipart_upload(Bucket=BUCKET, Key=key)
    assert backend.store.sweep(3600) == 0
    time.sleep(1.1)  # the server's times are whole seconds
    assert backend.store.sweep(0) == 1
    uploads = backend.client.list_multipart_uploads(Bucket=BUCKET, Prefix=backend.prefix)["Uploads"]
    assert [upload["Key"] for upload in uploads] == [f"{backend.prefix} of others/{KEY}"]


def test_a_listing_spans_pages_and_folder_markers_are_not_inputs(make_bucket: MakeBucket) -> None:
    backend = make_bucket()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(backend.put, [f"{i:04}.wav".encode() for i in range(1005)]))
    for marker in ("", "folder/"):
        backend.client.put_object(Bucket=BUCKET, Key=f"{backend.prefix}/{Folder.RAW}/{marker}", Body=b"")
    entries = list(backend.store.list_inputs())
    assert [entry.name for entry in entries if isinstance(entry, InputEntry)] == [f"{i:04}.wav" for i in range(1005)]
    assert [entry for entry in entries if isinstance(entry, IgnoredEntry)] == [
        IgnoredEntry("folder/", "stands for a folder")
    ]


def test_a_file_in_a_hidden_folder_is_not_an_input(make_bucket: MakeBucket) -> None:
    backend = make_bucket()
    backend.put(b".trash/a/x.wav")
    assert list(backend.store.list_inputs()) == [IgnoredEntry(".trash/a/x.wav", "hidden name")]


def test_a_name_that_is_not_utf8_cannot_be_written(make_bucket: MakeBucket) -> None:
    assert "UTF-8" in (make_bucket().store.get_unwritable_reason(f"{Folder.RAW}/caf%E9.wav") or "")


def test_two_prefixes_share_nothing(make_bucket: MakeBucket) -> None:
    first, second = make_bucket(), make_bucket(prefix="")
    write(first, b"x")
    first.put(b"x.wav")
    assert not second.store.exists(KEY)
    assert second.store.locate(KEY) == f"s3://{BUCKET}/{KEY}"
    assert first.store.locate(KEY) == f"s3://{BUCKET}/{first.prefix}/{KEY}"
    assert [entry for entry in second.store.list_inputs() if entry.name == "x.wav"] == []


def test_a_page_in_the_bucket_has_the_content_type_of_html(make_bucket: MakeBucket) -> None:
    backend = make_bucket()
    page, copy = (f"{Folder.ENRICHED}/{name}.mp3.html" for name in "xy")
    with backend.store.create(page) as path:
        path.write_text("<p>")
    backend.store.copy(page, copy)
    for key in (page, copy):
        response = backend.client.head_object(Bucket=BUCKET, Key=f"{backend.prefix}/{key}")
        assert response["ContentType"] == "text/html; charset=utf-8"
