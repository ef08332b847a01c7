"""Deliveries and batches: identities and how waiting deliveries are grouped. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Delivery:
    """One arrival of bytes under a name. If the size or the version of the file under that name changes, it is a new delivery.

    Attributes:
        name: Name below the input folder (see ``recordings.layout``).
        size: Bytes.
        version: mtime in nanoseconds, or ETag: what changes when the content may have.
        attempt: How often it was reset for a retry (``stt retry``).
    """

    name: str
    size: int
    version: str
    attempt: int = 0

    @property
    def id(self) -> str:
        """32 hex digits from name, size and version; a re-armed delivery keeps its own."""
        return _digest(f"{self.name}\0{self.size}\0{self.version}")


OPTIONS_MARK = "+"


def split_version(version: str) -> tuple[str, str]:
    """The version of a recording's bytes, and that of the file of options beside them; empty when there is none."""
    of_bytes, _, of_options = version.partition(OPTIONS_MARK)
    return of_bytes, of_options


class Arrival(Protocol):
    """A delivery, or an entry of a listing that may become one."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def version(self) -> str:
        """What changes when the content may have."""


def has_same_bytes(first: Arrival, second: Arrival) -> bool:
    """Whether two arrivals under one name have the same bytes, as far as size and version tell; their options may differ."""
    return (first.size, split_version(first.version)[0]) == (second.size, split_version(second.version)[0])


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large a batch may become. A single recording may exceed the bytes: it is a batch of its own.

    The defaults keep a batch near an hour of work on the two cores we measure on: 200 recordings of a call centre, or 2 GiB of
    compressed speech at most. The limit is in bytes because the length of the audio is not known before it is read.
    """

    max_recordings: int = 200
    max_bytes: int = 2 * 1024**3


def make_batch_key(members: Sequence[Delivery]) -> str:
    """The key of a batch: the same members, in any order, give the same key; a re-armed member gives another."""
    identities = sorted(f"{member.id}:{member.attempt}" for member in members)
    return "batch-" + _digest("\0".join(identities))[:16]


def split_into_batches(waiting: Sequence[Delivery], limits: BatchLimits) -> Iterator[tuple[Delivery, ...]]:
    """Cut waiting deliveries into batches within the limits, in their order. Every delivery is in exactly one."""
    batch: list[Delivery] = []
    size = 0
    for delivery in waiting:
        if batch and (len(batch) >= limits.max_recordings or size + delivery.size > limits.max_bytes):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(delivery)
        size += delivery.size
    if batch:
        yield tuple(batch)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()[:32]
