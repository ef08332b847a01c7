"""Finds the files in a folder listing that are new and no longer being written, within the limits of one scan.

Pure; the caller lists and remembers.

A file is settled when two scans found the same size and modification time. Until then a program may still be writing to it. The
cursor keeps the unsettled files and the name where the next scan starts. So the work of one scan is limited, however many files
there are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from recordings.batches import Delivery
from recordings.layout import decode_name
from recordings.storage.base import IgnoredEntry, InputEntry

CURSOR_VERSION = 1


@dataclass(frozen=True, slots=True)
class SettlingLimits:
    """The limits of one scan.

    Attributes:
        max_entries: Directory entries to examine; the next scan continues after the last one.
        max_pending: Unsettled files to remember; bounds the cursor (about 100 bytes each).
    """

    max_entries: int = 20_000
    max_pending: int = 2_000


@dataclass(frozen=True, slots=True)
class SettlingCursor:
    """State kept between two scans: the name to continue after, and the unsettled files with their size and version."""

    after: str = ""
    pending: dict[str, tuple[int, str]] = field(default_factory=dict)

    def dump(self) -> str:
        """As versioned JSON."""
        return json.dumps(
            {"version": CURSOR_VERSION, "after": self.after, "pending": self.pending}, separators=(",", ":")
        )

    @classmethod
    def load(cls, text: str | None) -> SettlingCursor:
        """From JSON. A missing cursor, or one of another version, is replaced by an empty one.

        Files are then noticed one scan later; none is lost.
        """
        try:
            stored = json.loads(text or "null")
            if stored["version"] != CURSOR_VERSION:
                return cls()
            pending = {name: (int(size), str(version)) for name, (size, version) in stored["pending"].items()}
            return cls(after=str(stored["after"]), pending=pending)
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls()


@dataclass(frozen=True, slots=True)
class SettlingResult:
    """The result of one scan.

    Attributes:
        settled: New deliveries, ready to be registered.
        cursor: For the next scan.
        unsettled: Number of new files that are not yet known to be complete.
        ignored: Reason -> number of entries that are not inputs.
        has_more: Whether the listing has more entries than this scan was allowed to read.
    """

    settled: tuple[Delivery, ...]
    cursor: SettlingCursor
    unsettled: int
    ignored: dict[str, int]
    has_more: bool


def find_settled(
    listing: Iterable[InputEntry | IgnoredEntry],
    find_known: Callable[[Sequence[str]], set[str]],
    cursor: SettlingCursor,
    limits: SettlingLimits,
) -> SettlingResult:
    """Find the settled new files in a listing that starts after the name ``cursor.after``.

    Args:
        listing: Entries in the order of their names.
        find_known: Tells which delivery ids have been registered before.
        cursor: State after the last scan.
        limits: Limits of this scan.
    """
    iterator = iter(listing)
    listed = list(islice(iterator, limits.max_entries))
    has_more = next(iterator, None) is not None
    entries = [entry for entry in listed if isinstance(entry, InputEntry)]
    deliveries = {(delivery := to_delivery(entry)).id: delivery for entry in entries}
    registered = find_known(list(deliveries))
    new = [delivery for identity, delivery in deliveries.items() if identity not in registered]
    settled = tuple(d for d in new if cursor.pending.get(d.name) == (d.size, d.version))
    unsettled = [d for d in new if cursor.pending.get(d.name) != (d.size, d.version)]
    names = {entry.name for entry in entries}
    # Files that this scan did not reach keep waiting as they were.
    unvisited = {
        name: state
        for name, state in cursor.pending.items()
        if name not in names and _is_unvisited(name, cursor, listed, has_more)
    }
    pending = unvisited | {
        d.name: (d.size, d.version) for d in unsettled[: max(0, limits.max_pending - len(unvisited))]
    }
    return SettlingResult(
        settled=settled,
        cursor=SettlingCursor(after=listed[-1].name if has_more else "", pending=pending),
        unsettled=len(unsettled),
        ignored=dict(Counter(entry.reason for entry in listed if isinstance(entry, IgnoredEntry))),
        has_more=has_more,
    )


def to_delivery(entry: InputEntry) -> Delivery:
    """Make the delivery of a listed entry."""
    return Delivery(name=entry.name, size=entry.size, version=entry.version)


def _is_unvisited(
    name: str, cursor: SettlingCursor, listed: Sequence[InputEntry | IgnoredEntry], has_more: bool
) -> bool:
    path = decode_name(name)
    return path <= decode_name(cursor.after) or (has_more and path > decode_name(listed[-1].name))
