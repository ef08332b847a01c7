"""The bucket alone: faults of network and server, parts, what is left over, and errors a person can act on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from recordings.layout import Folder
from recordings.storage.base import IgnoredEntry, InputEntry, KeyExistsError
from recordings.storage.errors import StorageUnavailableError, explain
from recordings.storage.open import open_store
from recordings.storage.s3_client import MultipartConfig
from tests.faulty import Fault, Network, faulty_network
from tests.recordings.backends import BucketPlace, names
from tests.recordings.conftest import IMPATIENT
from tests.servers import BUCKET, S3Server

KEY = f"{Folder.TRANSCRIPTS}/x.json"
CONTENT = bytes(range(256)) * 1000
SMALL_PARTS = MultipartConfig(multipart_threshold=6 * 1024**2, multipart_chunksize=5 * 1024**2)
LARGE = CONTENT * 48  # 12 MB: three parts
Make = Callable[..., BucketPlace]


@pytest.fixture(scope="module")
def one_network(s3: S3Server) -> Iterator[Network]:
    with faulty_network(s3.url, silence_s=2 * IMPATIENT.read_timeout_s) as made:
        yield made


@pytest.fixture
def network(one_network: Network) -> Network:
    one_network.faults.clear()
    return one_network


@pytest.fixture
def far(network: Network, bucket_at: Make) -> BucketPlace:
    """A store behind the network with faults; large objects go in parts."""
    return bucket_at(network.url, sizes=SMALL_PARTS)


def write(place: BucketPlace, content: bytes, *, first: bool = False) -> None:
    with place.store.create(KEY, if_absent=first) as path:
        path.write_bytes(content)


def stored(place: BucketPlace) -> bytes:
    """Past store and faults."""
    got: bytes = place.client.get_object(Bucket=BUCKET, Key=f"{place.prefix}/{KEY}")["Body"].read()
    return got


BEFORE = [Fault.ERROR, Fault.BUSY, Fault.RESET, Fault.SILENT]
AFTER = [Fault.DONE_BUT_ERROR, Fault.DONE_BUT_RESET]


@pytest.mark.parametrize("first", [False, True], ids=["replacing", "first"])
@pytest.mark.parametrize("fault", [*BEFORE, Fault.SPOILED_REQUEST, *AFTER], ids=lambda fault: fault.name)
def test_a_write_gets_through_whatever_happens_once(
    far: BucketPlace, network: Network, fault: Fault, first: bool
) -> None:
    network.inject(fault, "PUT")
    write(far, CONTENT, first=first)
    assert network.faults == []
    assert stored(far) == CONTENT
    assert far.left_over() == []


@pytest.mark.parametrize("fault", [*BEFORE, Fault.TRUNCATED, Fault.SPOILED], ids=lambda fault: fault.name)
def test_a_read_gets_the_bytes_that_were_written_whatever_happens_once(
    far: BucketPlace, network: Network, fault: Fault
) -> None:
    write(far, CONTENT)
    network.inject(fault, "GET", "x.json")
    with far.store.fetch(KEY) as path:
        assert path.read_bytes() == CONTENT
    assert network.faults == []
    assert far.left_over() == []


def test_a_read_that_breaks_again_and_again_goes_on_where_it_broke(far: BucketPlace, network: Network) -> None:
    """Each time half of what is missing comes: more breaks than anybody tries to read the whole."""
    write(far, CONTENT)
    network.inject(Fault.TRUNCATED, "GET", "x.json", times=10)
    with far.store.fetch(KEY) as path:
        assert path.read_bytes() == CONTENT
    assert network.faults == []


def test_bytes_of_others_are_compared_with_the_servers_own_checksum(far: BucketPlace, network: Network) -> None:
    far.put(b"x.wav", CONTENT)
    network.inject(Fault.SPOILED, "GET", "x.wav")
    with far.store.fetch(f"{Folder.RAW}/x.wav") as path:
        assert path.read_bytes() == CONTENT
    assert network.faults == []


BEGIN, PART, COMPLETE = ("POST", "uploads"), ("PUT", "partNumber=2"), ("POST", "uploadId")


@pytest.mark.parametrize("fault", [*BEFORE, *AFTER], ids=lambda fault: fault.name)
@pytest.mark.parametrize(("method", "part"), [BEGIN, PART, COMPLETE], ids=["begin", "part", "complete"])
def test_a_write_in_parts_gets_through_whatever_happens_once(
    far: BucketPlace, network: Network, method: str, part: str, fault: Fault
) -> None:
    network.inject(fault, method, part)
    network.inject(Fault.SPOILED_REQUEST, "PUT", "partNumber=1")
    write(far, LARGE, first=True)
    assert network.faults == []
    assert stored(far) == LARGE
    with far.store.fetch(KEY) as path:
        assert path.read_bytes() == LARGE


def test_parts_are_all_or_nothing_and_first_means_first(far: BucketPlace, network: Network) -> None:
    write(far, b"old")
    with pytest.raises(KeyExistsError):
        write(far, LARGE, first=True)
    assert stored(far) == b"old"
    assert far.left_over() == []
    network.inject(Fault.ERROR, "PUT", "partNumber=3", times=IMPATIENT.max_attempts)
    with pytest.raises(StorageUnavailableError):
        write(far, LARGE)
    assert stored(far) == b"old"
    assert far.left_over() == []


def test_a_server_that_stays_broken_is_named_with_place_and_remedy(far: BucketPlace, network: Network) -> None:
    for method, act in (
        ("PUT", lambda: write(far, b"x")),
        ("GET", lambda: names(far.store)),
        ("HEAD", lambda: far.store.exists(KEY)),
    ):
        network.inject(Fault.ERROR, method, times=IMPATIENT.max_attempts)
        with pytest.raises(StorageUnavailableError) as raised:
            act()
        assert network.faults == []
        sentence = explain(raised.value)
        assert f"s3://{BUCKET}/" in sentence
        assert network.url in sentence
        assert "Check the server" in sentence
        assert "nothing is lost" in sentence


def test_an_upload_that_nobody_completes_is_swept_when_it_is_old(bucket_at: Make) -> None:
    place = bucket_at()
    for key in (f"{place.prefix}/{KEY}", f"{place.prefix} of others/{KEY}"):
        place.client.create_multipart_upload(Bucket=BUCKET, Key=key)
    assert place.store.sweep(3600) == 0
    time.sleep(1.1)  # the server dates to the second
    assert place.store.sweep(0) == 1
    uploads = place.client.list_multipart_uploads(Bucket=BUCKET, Prefix=place.prefix)["Uploads"]
    assert [each["Key"] for each in uploads] == [f"{place.prefix} of others/{KEY}"]


def test_a_listing_has_pages_and_markers_of_folders_are_no_inputs(bucket_at: Make) -> None:
    place = bucket_at()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(place.put, [f"{i:04}.wav".encode() for i in range(1005)]))
    for marker in ("", "folder/"):
        place.client.put_object(Bucket=BUCKET, Key=f"{place.prefix}/{Folder.RAW}/{marker}", Body=b"")
    found = list(place.store.list_inputs())
    assert [entry.name for entry in found if isinstance(entry, InputEntry)] == [f"{i:04}.wav" for i in range(1005)]
    assert [entry for entry in found if isinstance(entry, IgnoredEntry)] == [
        IgnoredEntry("folder/", "stands for a folder")
    ]


def test_what_lies_in_a_hidden_folder_is_no_input(bucket_at: Make) -> None:
    place = bucket_at()
    place.put(b".trash/a/x.wav")
    assert list(place.store.list_inputs()) == [IgnoredEntry(".trash/a/x.wav", "hidden name")]


def test_a_name_that_is_no_utf8_has_no_place(bucket_at: Make) -> None:
    assert "UTF-8" in (bucket_at().store.get_unwritable_reason(f"{Folder.RAW}/caf%E9.wav") or "")


def test_two_prefixes_share_nothing(bucket_at: Make) -> None:
    one, other = bucket_at(), bucket_at(prefix="")
    write(one, b"x")
    one.put(b"x.wav")
    assert not other.store.exists(KEY)
    assert other.store.locate(KEY) == f"s3://{BUCKET}/{KEY}"
    assert one.store.locate(KEY) == f"s3://{BUCKET}/{one.prefix}/{KEY}"
    assert [entry for entry in other.store.list_inputs() if entry.name == "x.wav"] == []


def test_opened_by_its_address(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_page_in_the_bucket_is_one_to_a_browser(bucket_at: Make) -> None:
    place = bucket_at()
    page, other = (f"{Folder.ENRICHED}/{name}.mp3.html" for name in "xy")
    with place.store.create(page) as path:
        path.write_text("<p>")
    place.store.copy(page, other)
    for key in (page, other):
        said = place.client.head_object(Bucket=BUCKET, Key=f"{place.prefix}/{key}")
        assert said["ContentType"] == "text/html; charset=utf-8"
