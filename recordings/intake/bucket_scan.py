"""Which objects of a bucket have arrived. Pure; the caller lists, knows the time and remembers.

An object is whole when it is listed, so one scan is enough; what costs is asking the ledger about a million known ones. Two scans
of the listing share the work. Each has a limit per tick and continues at the next tick where it stopped:

* **skim** passes over everything as fast as the listing comes, and asks only about objects that were modified since the newest one
  that was known when the previous scan began, with a margin. Objects written behind the current position of the earlier scan are
  newer than that time, so they are found.
* **reconcile** asks about everything, a slice a tick, and so finally finds objects whose date is misleading: objects that were
  listed late, uploads in parts (S3 dates them by their beginning), an older version that was put back, clocks that disagree.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice

from recordings.batches import Delivery
from recordings.intake.settling import to_delivery
from recordings.storage.base import IgnoredEntry, InputEntry

CURSOR_VERSION = 1
_ENTRIES_PER_CLOCK_CHECK = 5_000  # entries between two looks at the clock; a server lists 1,000 at a time


@dataclass(frozen=True, slots=True)
class BucketScanLimits:
    """The limits of one tick; ``python -m benchmarks arrivals`` measures how long such a tick takes.

    Attributes:
        max_recent: Most entries that the skim asks the ledger about, and so most new objects that it registers in a tick.
        max_reconciled: Entries of the slow scan.
        margin_s: Seconds by which an object's date may be older than the newest known one and the skim still asks about it.
    """

    max_recent: int = 20_000
    max_reconciled: int = 2_500
    margin_s: float = 120.0


@dataclass(frozen=True, slots=True)
class BucketScanCursor:
    """State kept between two ticks.

    Attributes:
        after: The name behind which the skim continues; empty at the beginning of a scan.
        since: An earlier scan has found the objects modified before this time, less the margin; seconds since the epoch.
        began_with: The newest modification known when this scan began: ``since`` of the next scan.
        newest: The newest modification known now.
        reconciled_to: The name behind which the slow scan continues.
    """

    after: str = ""
    since: float = 0.0
    began_with: float = 0.0
    newest: float = 0.0
    reconciled_to: str = ""

    def dump(self) -> str:
        """As versioned JSON."""
        return json.dumps({"version": CURSOR_VERSION, **asdict(self)}, separators=(",", ":"))

    @classmethod
    def load(cls, text: str | None) -> BucketScanCursor:
        """From JSON. A missing cursor, or one of another version, is replaced by an empty one.

        The scan then starts again; no object is lost.
        """
        try:
            stored = json.loads(text or "null")
            if stored.pop("version") != CURSOR_VERSION:
                return cls()
            return cls(**{name: type(getattr(_EMPTY_CURSOR, name))(value) for name, value in stored.items()})
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls()


_EMPTY_CURSOR = BucketScanCursor()


@dataclass(frozen=True, slots=True)
class BucketScanResult:
    """What one scan found in its part of the listing.

    Attributes:
        arrived: New deliveries, ready to be registered.
        cursor: For the next tick.
        ignored: Reason -> number of entries that are not inputs.
        has_more: Whether the scan continues at the next tick.
    """

    arrived: tuple[Delivery, ...]
    cursor: BucketScanCursor
    ignored: dict[str, int]
    has_more: bool


Listing = Iterable[InputEntry | IgnoredEntry]
FindKnown = Callable[[Sequence[str]], set[str]]


def scan_recent(
    listing: Listing,
    find_known: FindKnown,
    cursor: BucketScanCursor,
    limits: BucketScanLimits,
    now: float,
    is_out_of_time: Callable[[], bool],
) -> BucketScanResult:
    """Continue the scan of a listing that begins behind ``cursor.after``.

    Args:
        listing: Entries in the store's order.
        find_known: Tells which delivery ids have been registered before.
        cursor: State after the last tick.
        limits: Limits of this tick.
        now: Seconds since the epoch. A modification date in the future counts as ``now``; otherwise objects before that date would
            not be looked up.
        is_out_of_time: Returns True when the time for listing in this tick is used up.
    """
    cutoff = min(cursor.since, now) - limits.margin_s  # a clock that was set back has left a time that is still to come
    young: list[InputEntry] = []
    ignored: Counter[str] = Counter()
    last_name, has_more = cursor.after, False
    for page in _split_listing(listing):
        last_name = page[-1].name
        recent = [entry for entry in page if entry.modified >= cutoff]
        if len(recent) > limits.max_recent - len(young):
            recent = recent[: limits.max_recent - len(young)]
            has_more = True
            last_name = recent[-1].name
        young += [entry for entry in recent if isinstance(entry, InputEntry)]
        ignored.update(entry.reason for entry in recent if isinstance(entry, IgnoredEntry))
        if has_more or len(young) >= limits.max_recent or is_out_of_time():
            has_more = True
            break
    newest = max([min(cursor.newest, now), *(min(entry.modified, now) for entry in young)])
    if has_more:
        next_cursor = replace(cursor, after=last_name, newest=newest)
    else:
        next_cursor = replace(cursor, after="", since=cursor.began_with, began_with=newest, newest=newest)
    return BucketScanResult(_find_new(young, find_known), next_cursor, dict(ignored), has_more)


def reconcile(
    listing: Listing, find_known: FindKnown, cursor: BucketScanCursor, limits: BucketScanLimits
) -> BucketScanResult:
    """Ask about the next slice of a listing that begins behind ``cursor.reconciled_to``; see ``scan_recent``."""
    page = list(islice(listing, limits.max_reconciled))
    has_more = len(page) == limits.max_reconciled
    next_cursor = replace(cursor, reconciled_to=page[-1].name if has_more else "")
    return BucketScanResult(
        _find_new([entry for entry in page if isinstance(entry, InputEntry)], find_known), next_cursor, {}, has_more
    )


def _find_new(entries: Sequence[InputEntry], find_known: FindKnown) -> tuple[Delivery, ...]:
    deliveries = {(delivery := to_delivery(entry)).id: delivery for entry in entries}
    registered = find_known(list(deliveries))
    return tuple(delivery for identity, delivery in deliveries.items() if identity not in registered)


def _split_listing(listing: Listing) -> Iterator[list[InputEntry | IgnoredEntry]]:
    entries = iter(listing)
    while page := list(islice(entries, _ENTRIES_PER_CLOCK_CHECK)):
        yield page
