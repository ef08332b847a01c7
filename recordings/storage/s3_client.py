"""Client for one S3 bucket: reads and writes complete objects, verifies checksums, and retries when network or server fail.

Only this module calls boto3. ``recordings.storage.s3`` decides what the keys mean.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from recordings.storage.base import BLOCK_BYTES, InvalidRangeError, ObjectStat, RangeStream
from recordings.storage.errors import StorageUnavailableError

_MAX_ATTEMPTS = 8  # attempts for errors that botocore does not retry itself
T = TypeVar("T")
_MOST_PARTS = 10_000  # S3's limit
_DIGEST = "sha256"  # our metadata key: sha256 of the bytes, set at upload
_MD5 = re.compile("[0-9a-f]{32}")

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_OUT_OF_RANGE = frozenset({"416", "InvalidRange"})
_NOT_FOUND_CODES = frozenset({"404", "NoSuchKey", "NotFound"})
_PRECONDITION_CODES = frozenset({"412", "PreconditionFailed"})
_CORRUPT_TRANSFER_CODES = frozenset({"BadDigest", "XAmzContentChecksumMismatch", "IncompleteBody", "InvalidDigest"})
_CONFLICT_CODES = frozenset({"409", "ConditionalRequestConflict", "OperationAborted"})
_REDIRECT_CODES = frozenset({"301", "307", "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"})
_ACCESS_DENIED_CODES = frozenset(
    {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Timeouts and number of attempts for requests to the server.

    A request is repeated on 5xx, throttling, and connections that are refused, reset or silent, after a random time that doubles
    from 1 s up to 20 s (botocore's ``standard`` mode). A download continues where it broke off.

    Attributes:
        connect_timeout_s: Timeout for opening a connection, seconds.
        read_timeout_s: Timeout for reading: seconds without any data.
        max_attempts: How often a request is made in all.
    """

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 30.0
    max_attempts: int = 6


@dataclass(frozen=True, slots=True)
class MultipartConfig:
    """Multipart upload: the object size above which it is used, and the size of a part, in bytes. One part is held in memory."""

    multipart_threshold: int = 64 * 1024**2
    multipart_chunksize: int = 16 * 1024**2


class InvalidKeyError(Exception):
    """The server does not accept this key."""


class PreconditionFailedError(Exception):
    """The object already exists, and ``if_absent`` was given."""


def get_client(retry_policy: RetryPolicy) -> Any:
    """Return a boto3 client, cached per ``AWS_*`` environment because creating one takes about 0.25 s.

    Endpoint, region and credentials come from where boto3 always looks (``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID``, profiles,
    roles).
    """
    environment = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    return _create_client(retry_policy, environment)


@cache
def _create_client(retry_policy: RetryPolicy, _: tuple[tuple[str, str], ...]) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=retry_policy.connect_timeout_s,
        read_timeout=retry_policy.read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": retry_policy.max_attempts},
        tcp_keepalive=True,
        max_pool_connections=32,
    )
    # A session of our own: the default one is not safe to use from several threads.
    return boto3.session.Session().client("s3", config=config)


class S3Client:
    """One bucket. Safe to use from several threads.

    Errors that are not named below are ``StorageUnavailableError``, an ``OSError``.
    """

    def __init__(
        self, bucket: str, retry_policy: RetryPolicy | None = None, sizes: MultipartConfig | None = None
    ) -> None:
        self.bucket = bucket
        self._retry_policy = retry_policy or RetryPolicy()
        self._sizes = sizes or MultipartConfig()
        self._s3 = get_client(self._retry_policy)

    def check_bucket(self) -> None:
        """Check that the bucket exists and can be reached."""
        try:
            with self._translate_errors(""):
                self._s3.head_bucket(Bucket=self.bucket)
        except FileNotFoundError:
            raise StorageUnavailableError(
                f"There is no bucket s3://{self.bucket} at {self._get_endpoint()}.", _REMEDY_BUCKET
            ) from None

    def stat(self, key: str) -> ObjectStat | None:
        """What the server says of an object; None when there is none."""
        head = self._head(key)
        if head is None:
            return None
        return ObjectStat(key, head["ContentLength"], head["ETag"].strip('"'), head["LastModified"].timestamp())

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectStat]:
        """Objects whose keys begin with ``prefix``, behind the key ``after``, in the server's order: by bytes on S3 itself.

        Each page is requested with the last key seen (StartAfter), so a caller can continue from any key.
        """
        while True:
            with self._translate_errors(prefix):
                start_after = {"StartAfter": after} if after else {}
                page = self._s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix, **start_after)
            items = page.get("Contents", ())
            for item in items:
                yield ObjectStat(item["Key"], item["Size"], item["ETag"].strip('"'), item["LastModified"].timestamp())
            if not page.get("IsTruncated") or not items:
                return
            if items[-1]["Key"] == after:
                raise StorageUnavailableError(
                    f"{self._uri(prefix)} is listed in circles behind {after!r}.", _REMEDY_SERVER
                )
            after = items[-1]["Key"]

    def download(self, key: str, target: Path) -> None:
        """Download an object to a file and verify it: all bytes come from one version, and length and checksum are right.

        The bytes are compared with the sha256 that ``upload`` stored, else with the MD5 that most servers give as ETag. Objects
        with neither (uploaded in parts, or encrypted) are compared with the checksum that the server sends, if there is one. After
        a broken connection a new one asks for the missing bytes.

        Raises:
            FileNotFoundError: No such object.
        """
        from botocore.exceptions import FlexibleChecksumError

        with target.open("wb") as file:
            download = _Download(self._uri(key), file)
            resuming = _Resuming(self._uri(key))
            while True:
                size_before = file.tell()
                try:
                    with self._translate_errors(key):
                        response = self._s3.get_object(Bucket=self.bucket, Key=key, **download.make_range_args())
                    download.receive(response)
                except _list_connection_errors() as error:
                    failure: Exception = error
                    if file.tell() > size_before:
                        resuming.note_progress()
                except (_TransferError, FlexibleChecksumError, PreconditionFailedError) as error:
                    # The checksum is wrong, or the object was replaced while it was being read: start again.
                    failure = error
                    download.restart()
                else:
                    return
                resuming.wait_after(failure)

    def open_range(self, key: str, byte_range: str | None = None) -> RangeStream:
        """Begin to read an object, or a range of it, without a local copy; all bytes come from one version.

        Args:
            key: Which object.
            byte_range: One range as HTTP writes it, such as ``bytes=100-``; None: everything.

        Raises:
            FileNotFoundError: No such object.
            InvalidRangeError: The range lies behind its end.
        """
        from botocore.exceptions import ClientError

        range_args = {"Range": byte_range} if byte_range else {}
        try:
            with self._translate_errors(key):
                response = self._s3.get_object(Bucket=self.bucket, Key=key, **range_args)
        except StorageUnavailableError as error:
            cause = error.__cause__
            if isinstance(cause, ClientError) and cause.response.get("Error", {}).get("Code") in _OUT_OF_RANGE:
                stat = self.stat(key)
                raise InvalidRangeError(stat.size if stat else 0) from error
            raise
        length = response["ContentLength"]
        content_range = _CONTENT_RANGE.fullmatch(response.get("ContentRange") or "")
        first, size = (int(content_range[1]), int(content_range[2])) if content_range else (0, length)
        etag = response["ETag"]
        blocks = self._stream_blocks(key, response["Body"], etag, first, first + length)
        modified = response["LastModified"].timestamp()
        return RangeStream(size, first, length, content_range is not None, etag.strip('"'), modified, blocks)

    def _stream_blocks(self, key: str, body: Any, etag: str, position: int, end: int) -> Iterator[bytes]:
        """The bytes from ``position`` up to, but not including, ``end``; if a connection breaks, a new one reads the rest.

        Connections break often: an audio player reads a few seconds and then pauses.
        """
        resuming = _Resuming(self._uri(key))
        while True:
            failure: Exception = EOFError()
            with closing(body):
                try:
                    while block := body.read(min(BLOCK_BYTES, end - position)):
                        position += len(block)
                        resuming.note_progress()
                        yield block
                except _list_connection_errors() as error:
                    failure = error
            if position == end:
                return
            resuming.wait_after(failure)
            missing_range = f"bytes={position}-{end - 1}"
            with self._translate_errors(key):
                body = self._s3.get_object(Bucket=self.bucket, Key=key, Range=missing_range, IfMatch=etag)["Body"]

    def upload(self, source: Path, key: str, *, if_absent: bool = False) -> None:
        """Upload a file as one object, all or nothing; the server checks the bytes against their sha256.

        Args:
            source: The file; nobody may write to it meanwhile.
            key: The object's key; an existing object is replaced.
            if_absent: Do not replace an existing object.

        Raises:
            PreconditionFailedError: ``if_absent`` was asked for and the object is there with other bytes.
            InvalidKeyError: No object can have that key.
        """
        size = source.stat().st_size
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            try:
                if size > self._sizes.multipart_threshold:
                    self._upload_parts(file, size, key, digest.hexdigest(), condition)
                else:
                    self._upload_whole(file, key, digest.digest(), condition)
            except PreconditionFailedError:
                # The existing object may be ours: the first response was lost and botocore repeated the request.
                if not self._has_digest(key, digest.hexdigest()):
                    raise

    def _upload_whole(self, file: IO[bytes], key: str, digest: bytes, condition: Mapping[str, str]) -> None:
        def put() -> None:
            file.seek(0)
            with self._translate_errors(key):
                self._s3.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=file,
                    ChecksumSHA256=b64encode(digest).decode(),
                    ContentType=_content_type(key),
                    Metadata={_DIGEST: digest.hex()},
                    **condition,
                )

        _retry_transfer(put)

    def _upload_parts(self, file: IO[bytes], size: int, key: str, digest: str, condition: Mapping[str, str]) -> None:
        with self._translate_errors(key):
            response = self._s3.create_multipart_upload(
                Bucket=self.bucket,
                Key=key,
                ChecksumAlgorithm="SHA256",
                ContentType=_content_type(key),
                Metadata={_DIGEST: digest},
            )
        upload = {"Bucket": self.bucket, "Key": key, "UploadId": response["UploadId"]}
        try:
            file.seek(0)
            length = max(self._sizes.multipart_chunksize, -(-size // _MOST_PARTS))
            parts: list[dict[str, Any]] = []
            while block := file.read(length):
                parts.append(self._upload_part(upload, len(parts) + 1, block))
            try:
                with self._translate_errors(key):
                    self._s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **condition)
            except FileNotFoundError:
                # The upload no longer exists: it was completed, but the response got lost.
                if not self._has_digest(key, digest):
                    raise StorageUnavailableError(
                        f"The upload of {self._uri(key)} was aborted by somebody else.", _REMEDY_SERVER
                    ) from None
        except BaseException:
            with suppress(Exception):  # an upload that could not be aborted is removed later by ``sweep``
                self._s3.abort_multipart_upload(**upload)
            raise

    def _upload_part(self, upload: Mapping[str, str], number: int, block: bytes) -> dict[str, Any]:
        checksum = b64encode(hashlib.sha256(block).digest()).decode()

        def put() -> Any:
            with self._translate_errors(upload["Key"]):
                return self._s3.upload_part(**upload, PartNumber=number, Body=block, ChecksumSHA256=checksum)

        return {"PartNumber": number, "ETag": _retry_transfer(put)["ETag"], "ChecksumSHA256": checksum}

    def copy(self, source: str, target: str) -> None:
        """Copy ``source`` to ``target`` on the server.

        Raises:
            FileNotFoundError: No such source.
            InvalidKeyError: No object can have the key ``target``.
        """
        from boto3.s3.transfer import TransferConfig

        head = self._head(source)
        if head is None:
            raise FileNotFoundError(f"There is no {self._uri(source)}.")
        # A large object is copied in parts, and then the metadata is only kept if it is given here.
        with self._translate_errors(target):
            self._s3.copy(
                {"Bucket": self.bucket, "Key": source},
                self.bucket,
                target,
                ExtraArgs={
                    "ContentType": _content_type(target),
                    "Metadata": head["Metadata"],
                    "MetadataDirective": "REPLACE",
                    "CopySourceIfMatch": head["ETag"],
                },
                Config=TransferConfig(multipart_threshold=1024**3, multipart_chunksize=256 * 1024**2),
            )

    def remove(self, key: str) -> None:
        """Remove an object; does nothing when there is none."""
        with self._translate_errors(key):
            self._s3.delete_object(Bucket=self.bucket, Key=key)

    def abort_uploads(self, prefix: str, begun_before: float) -> int:
        """Abort multipart uploads that were begun before a time (seconds since the epoch); returns how many."""
        oldest = datetime.fromtimestamp(begun_before, UTC)
        aborted = 0
        with self._translate_errors(prefix):
            for page in self._s3.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix):
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < oldest:
                        with suppress(FileNotFoundError), self._translate_errors(upload["Key"]):
                            self._s3.abort_multipart_upload(
                                Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                            )
                            aborted += 1
        return aborted

    def _head(self, key: str) -> dict[str, Any] | None:
        try:
            with self._translate_errors(key):
                head: dict[str, Any] = self._s3.head_object(Bucket=self.bucket, Key=key)
        except (FileNotFoundError, InvalidKeyError):
            return None
        return head

    def _has_digest(self, key: str, digest: str) -> bool:
        head = self._head(key)
        return head is not None and head["Metadata"].get(_DIGEST) == digest

    def _uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def _get_endpoint(self) -> str:
        return str(self._s3.meta.endpoint_url)

    @contextmanager
    def _translate_errors(self, key: str) -> Iterator[None]:
        """Translate what boto3 raises.

        Raises:
            FileNotFoundError, PreconditionFailedError, InvalidKeyError, _TransferError, StorageUnavailableError: By its code.
        """
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            raise self._map_client_error(error, key) from error
        except (BotoCoreError, Boto3Error) as error:
            raise StorageUnavailableError(
                f"{self._uri(key)} at {self._get_endpoint()} cannot be reached: {_short(error)}.", _REMEDY_REACH
            ) from error

    def _map_client_error(self, error: Any, key: str) -> Exception:
        code = str(error.response.get("Error", {}).get("Code", ""))
        message = str(error.response.get("Error", {}).get("Message", "")) or code
        place = self._uri(key)
        if code in _NOT_FOUND_CODES or code == "NoSuchUpload":
            return FileNotFoundError(f"There is no {place}.")
        if code in _PRECONDITION_CODES:
            return PreconditionFailedError(f"{place} is there already.")
        if code in ("KeyTooLongError", "InvalidObjectName", "InvalidURI"):
            return InvalidKeyError(f"the server refuses such a key ({message.rstrip('.')})")
        if code in _CORRUPT_TRANSFER_CODES | _CONFLICT_CODES:
            return _TransferError(
                f"{place} at {self._get_endpoint()}: {code} {message}".rstrip(". ") + ".", _REMEDY_SERVER
            )
        remedy = _REMEDY_SERVER
        if code == "NoSuchBucket":
            remedy = _REMEDY_BUCKET
        elif code in _REDIRECT_CODES:
            remedy = _REMEDY_REACH
        elif code in _ACCESS_DENIED_CODES:
            remedy = _REMEDY_RIGHTS
        return StorageUnavailableError(
            f"{place} at {self._get_endpoint()}: {code} {message}".rstrip(". ") + ".", remedy
        )


_REMEDY_BUCKET = "Make the bucket, or correct STT_STORE_URL"
_REMEDY_RIGHTS = "Check the credentials (AWS_ACCESS_KEY_ID) and that they may list, read, write and delete there"
_REMEDY_REACH = "Check the address (AWS_ENDPOINT_URL), the region and the network"
_REMEDY_SERVER = "Check the server or wait until it is well"


def _list_connection_errors() -> tuple[type[Exception], ...]:
    """What botocore raises when a connection breaks while a response body is read."""
    from botocore import exceptions as of

    return of.ConnectionError, of.HTTPClientError, of.IncompleteReadError, of.ResponseStreamingError


class _TransferError(StorageUnavailableError):
    """Damaged transfer, or two writers at the same time. A retry helps, and botocore does not retry these errors."""


def _retry_transfer(write: Callable[[], T]) -> T:
    retrying = Retrying(
        retry=retry_if_exception_type(_TransferError), stop=stop_after_attempt(_MAX_ATTEMPTS), reraise=True
    )
    return retrying(write)


class _Resuming:
    """Counts failed connections of one read. The read is given up after ``_MAX_ATTEMPTS`` connections in a row without a byte."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._failures = 0

    def note_progress(self) -> None:
        """Note that bytes were received."""
        self._failures = 0

    def wait_after(self, error: Exception) -> None:
        """Wait 0.2 s after the first failure, twice as long after each further one, at most 5 s.

        Raises:
            StorageUnavailableError: That was the last attempt.
        """
        self._failures += 1
        if self._failures == _MAX_ATTEMPTS:
            raise StorageUnavailableError(
                f"{self._place} could not be read in {_MAX_ATTEMPTS} tries: {_short(error)}.", _REMEDY_SERVER
            ) from error
        time.sleep(min(5.0, 0.1 * 2**self._failures))


class _Download:
    """Writes the bytes of an object to a file and checks them."""

    def __init__(self, place: str, file: IO[bytes]) -> None:
        self._place = place
        self._file = file
        self.restart()

    def restart(self) -> None:
        """Discard the bytes received so far and start again."""
        self._file.seek(0)
        self._file.truncate()
        self._expected_size = 0
        self._etag = ""
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)

    def make_range_args(self) -> dict[str, str]:
        """Request arguments for the next attempt.

        Empty for the whole object; else the range of missing bytes, with the ETag of the version already begun.
        """
        if not self._etag:
            return {}
        return {"Range": f"bytes={self._file.tell()}-", "IfMatch": self._etag} if self._file.tell() else {}

    def receive(self, response: Mapping[str, Any]) -> None:
        """Write the bytes of a response to the file and verify them at the end.

        Raises:
            _TransferError: Bytes are missing, or differ from those that were written.
            Exception: The connection broke; the bytes received until then stay in the file.
        """
        offset = self._file.tell()
        if not offset:
            self._etag, self._expected_size = response["ETag"], response["ContentLength"]
        for block in iter(lambda: response["Body"].read(BLOCK_BYTES), b""):
            self._file.write(block)
            self._sha256.update(block)
            self._md5.update(block)
        if self._file.tell() != self._expected_size:
            raise self._make_transfer_error(f"{self._file.tell()} bytes came of {self._expected_size}")
        expected_sha256, etag = response["Metadata"].get(_DIGEST), self._etag.strip('"')
        if expected_sha256 is not None and expected_sha256 != self._sha256.hexdigest():
            raise self._make_transfer_error("the bytes are not those that were written (sha256)")
        if expected_sha256 is None and _etag_is_md5(response) and etag != self._md5.hexdigest():
            raise self._make_transfer_error("the bytes are not those that the server was given (MD5)")

    def _make_transfer_error(self, problem: str) -> _TransferError:
        return _TransferError(f"{self._place}: {problem}.", _REMEDY_SERVER)


def _etag_is_md5(response: Mapping[str, Any]) -> bool:
    encrypted = response.get("SSECustomerAlgorithm") or response.get("ServerSideEncryption", "AES256") != "AES256"
    return not encrypted and _MD5.fullmatch(response["ETag"].strip('"')) is not None


def _content_type(key: str) -> str:
    """Content type for browsers that open the object directly from the bucket."""
    guess = mimetypes.guess_type(key)[0] or "application/octet-stream"
    return f"{guess}; charset=utf-8" if guess.startswith("text/") else guess


def _short(error: Exception | None) -> str:
    return (str(error) or type(error).__name__).strip().rstrip(".")
