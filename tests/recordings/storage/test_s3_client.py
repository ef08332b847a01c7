"""The S3 client under faults: every read and write succeeds after one fault, in one piece or in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from recordings.layout import Folder
from recordings.storage.base import KeyExistsError
from recordings.storage.errors import StorageUnavailableError, explain
from recordings.storage.s3_client import MultipartConfig
from tests.faulty import Fault, Network, faulty_network
from tests.recordings.backends import BucketBackend, list_names
from tests.recordings.conftest import SHORT_RETRIES
from tests.servers import BUCKET, S3Server

KEY = f"{Folder.TRANSCRIPTS}/x.json"
CONTENT = bytes(range(256)) * 1000
SMALL_PARTS = MultipartConfig(multipart_threshold=6 * 1024**2, multipart_chunksize=5 * 1024**2)
LARGE = CONTENT * 48  # 12 MB: three parts
MakeBucket = Callable[..., BucketBackend]


@pytest.fixture(scope="module")
def shared_network(s3: S3Server) -> Iterator[Network]:
    with faulty_network(s3.url, silence_s=2 * SHORT_RETRIES.read_timeout_s) as network:
        yield network


@pytest.fixture
def network(shared_network: Network) -> Network:
    shared_network.faults.clear()
    return shared_network


@pytest.fixture
def unreliable(network: Network, make_bucket: MakeBucket) -> BucketBackend:
    """A bucket store behind the faulty network; large objects are uploaded in parts."""
    return make_bucket(network.url, sizes=SMALL_PARTS)


def write(backend: BucketBackend, content: bytes, *, if_absent: bool = False) -> None:
    with backend.store.create(KEY, if_absent=if_absent) as path:
        path.write_bytes(content)


def read_object(backend: BucketBackend) -> bytes:
    """Read the object directly from the server."""
    content: bytes = backend.client.get_object(Bucket=BUCKET, Key=f"{backend.prefix}/{KEY}")["Body"].read()
    return content


FAULTS_BEFORE = [Fault.ERROR, Fault.BUSY, Fault.RESET, Fault.SILENT]
FAULTS_AFTER = [Fault.DONE_BUT_ERROR, Fault.DONE_BUT_RESET]


@pytest.mark.parametrize("if_absent", [False, True], ids=["replacing", "first"])
@pytest.mark.parametrize("fault", [*FAULTS_BEFORE, Fault.SPOILED_REQUEST, *FAULTS_AFTER], ids=lambda fault: fault.name)
def test_a_write_succeeds_after_any_single_fault(
    unreliable: BucketBackend, network: Network, fault: Fault, if_absent: bool
) -> None:
    network.inject(fault, "PUT")
    write(unreliable, CONTENT, if_absent=if_absent)
    assert network.faults == []
    assert read_object(unreliable) == CONTENT
    assert unreliable.list_leftovers() == []


@pytest.mark.parametrize("fault", [*FAULTS_BEFORE, Fault.TRUNCATED, Fault.SPOILED], ids=lambda fault: fault.name)
def test_a_read_succeeds_after_any_single_fault(unreliable: BucketBackend, network: Network, fault: Fault) -> None:
    write(unreliable, CONTENT)
    network.inject(fault, "GET", "x.json")
    with unreliable.store.fetch(KEY) as path:
        assert path.read_bytes() == CONTENT
    assert network.faults == []
    assert unreliable.list_leftovers() == []


def test_a_read_that_breaks_repeatedly_continues_where_it_broke(unreliable: BucketBackend, network: Network) -> None:
    """Each time half of the rest arrives. There are more breaks than attempts to read the whole object."""
    write(unreliable, CONTENT)
    network.inject(Fault.TRUNCATED, "GET", "x.json", times=10)
    with unreliable.store.fetch(KEY) as path:
        assert path.read_bytes() == CONTENT
    assert network.faults == []


def test_objects_of_other_programs_are_checked_with_the_checksum_of_the_server(
    unreliable: BucketBackend, network: Network
) -> None:
    unreliable.put(b"x.wav", CONTENT)
    network.inject(Fault.SPOILED, "GET", "x.wav")
    with unreliable.store.fetch(f"{Folder.RAW}/x.wav") as path:
        assert path.read_bytes() == CONTENT
    assert network.faults == []


BEGIN, PART, COMPLETE = ("POST", "uploads"), ("PUT", "partNumber=2"), ("POST", "uploadId")


@pytest.mark.parametrize("fault", [*FAULTS_BEFORE, *FAULTS_AFTER], ids=lambda fault: fault.name)
@pytest.mark.parametrize(("method", "part"), [BEGIN, PART, COMPLETE], ids=["begin", "part", "complete"])
def test_a_multipart_write_succeeds_after_any_single_fault(
    unreliable: BucketBackend, network: Network, method: str, part: str, fault: Fault
) -> None:
    network.inject(fault, method, part)
    network.inject(Fault.SPOILED_REQUEST, "PUT", "partNumber=1")
    write(unreliable, LARGE, if_absent=True)
    assert network.faults == []
    assert read_object(unreliable) == LARGE
    with unreliable.store.fetch(KEY) as path:
        assert path.read_bytes() == LARGE


def test_a_multipart_write_is_all_or_nothing_and_may_be_conditional(
    unreliable: BucketBackend, network: Network
) -> None:
    write(unreliable, b"old")
    with pytest.raises(KeyExistsError):
        write(unreliable, LARGE, if_absent=True)
    assert read_object(unreliable) == b"old"
    assert unreliable.list_leftovers() == []
    network.inject(Fault.ERROR, "PUT", "partNumber=3", times=SHORT_RETRIES.max_attempts)
    with pytest.raises(StorageUnavailableError):
        write(unreliable, LARGE)
    assert read_object(unreliable) == b"old"
    assert unreliable.list_leftovers() == []


def test_a_server_that_stays_broken_is_named_with_path_and_remedy(unreliable: BucketBackend, network: Network) -> None:
    for method, operation in (
        ("PUT", lambda: write(unreliable, b"x")),
        ("GET", lambda: list_names(unreliable.store)),
        ("HEAD", lambda: unreliable.store.exists(KEY)),
    ):
        network.inject(Fault.ERROR, method, times=SHORT_RETRIES.max_attempts)
        with pytest.raises(StorageUnavailableError) as raised:
            operation()
        assert network.faults == []
        sentence = explain(raised.value)
        assert f"s3://{BUCKET}/" in sentence
        assert network.url in sentence
        assert "Check the server" in sentence
        assert "nothing is lost" in sentence
