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
    """The bounds of one tick; ``python -m benchmarks arrivals`` measures what they come to.

    Attributes:
        max_recent: Entries that the skim asks the ledger about; so many new objects are taken in a tick at most.
        max_reconciled: Entries of the slow scan.
        margin_s: How much older than the newest known an object may be dated and still be new to the skim, in seconds.
    """

    max_recent: int = 20_000
    max_reconciled: int = 2_500
    margin_s: float = 120.0


@dataclass(frozen=True, slots=True)
class BucketScanCursor:
    """State kept between two ticks.

    Attributes:
        after: The name behind which the skim goes on; empty at the beginning of a scan.
        since: Objects modified before, less the margin, were known to an earlier scan; seconds since the epoch.
        began_with: The newest modification known when this scan began: the next one's ``since``.
        newest: The newest modification known now.
        reconciled_to: The name behind which the slow scan goes on.
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
        """From JSON. A cursor of another version, or none, begins anew: that costs a scan, never an object."""
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
        ignored: Why -> how many entries are no inputs.
        has_more: Whether the scan goes on at the next tick.
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
        cursor: What the last tick left.
        limits: Bounds of this tick.
        now: Seconds since the epoch. A modification date in the future counts as ``now``; otherwise objects before that date would
            not be looked up.
        is_out_of_time: Returns True when the time for listing in this tick is used up.
    """
    cutoff = cursor.since - limits.margin_s
    young: list[InputEntry] = []
    ignored: Counter[str] = Counter()
    last, more = cursor.after, False
    for some in _split_listing(listing):
        last = some[-1].name
        found = [entry for entry in some if entry.modified >= cutoff]
        if len(found) > limits.max_recent - len(young):
            found = found[: limits.max_recent - len(young)]
            more = True
            last = found[-1].name
        young += [entry for entry in found if isinstance(entry, InputEntry)]
        ignored.update(entry.reason for entry in found if isinstance(entry, IgnoredEntry))
        if more or len(young) >= limits.max_recent or is_out_of_time():
            more = True
            break
    newest = max([cursor.newest, *(min(entry.modified, now) for entry in young)])
    if more:
        after = replace(cursor, after=last, newest=newest)
    else:
        after = replace(cursor, after="", since=cursor.began_with, began_with=newest, newest=newest)
    return BucketScanResult(_find_new(young, find_known), after, dict(ignored), more)


def reconcile(
    listing: Listing, find_known: FindKnown, cursor: BucketScanCursor, limits: BucketScanLimits
) -> BucketScanResult:
    """Ask about the next slice of a listing that begins behind ``cursor.reconciled_to``; see ``scan_recent``."""
    some = list(islice(listing, limits.max_reconciled))
    more = len(some) == limits.max_reconciled
    after = replace(cursor, reconciled_to=some[-1].name if more else "")
    return BucketScanResult(
        _find_new([entry for entry in some if isinstance(entry, InputEntry)], find_known), after, {}, more
    )


def _find_new(entries: Sequence[InputEntry], find_known: FindKnown) -> tuple[Delivery, ...]:
    found = {(delivery := to_delivery(entry)).id: delivery for entry in entries}
    registered = find_known(list(found))
    return tuple(delivery for identity, delivery in found.items() if identity not in registered)


def _split_listing(listing: Listing) -> Iterator[list[InputEntry | IgnoredEntry]]:
    entries = iter(listing)
    while some := list(islice(entries, _ENTRIES_PER_CLOCK_CHECK)):
        yield some
