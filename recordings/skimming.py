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

from recordings.arrivals import delivery_of
from recordings.batches import Delivery
from recordings.store import Entry, Ignored

CURSOR_VERSION = 1
_AT_ONCE = 5_000  # entries between two looks at the clock; a server lists 1,000 at a time


@dataclass(frozen=True, slots=True)
class SkimLimits:
    """The bounds of one tick; ``python -m benchmarks arrivals`` measures what they come to.

    Attributes:
        asked: Entries that the skim asks the ledger about; so many new objects are taken in a tick at most.
        reconciled: Entries of the slow scan.
        margin_s: How much older than the newest known an object may be dated and still be new to the skim, in seconds.
    """

    asked: int = 20_000
    reconciled: int = 2_500
    margin_s: float = 120.0


@dataclass(frozen=True, slots=True)
class SkimCursor:
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
    def load(cls, text: str | None) -> SkimCursor:
        """From JSON. A cursor of another version, or none, begins anew: that costs a scan, never an object."""
        try:
            stored = json.loads(text or "null")
            if stored.pop("version") != CURSOR_VERSION:
                return cls()
            return cls(**{name: type(getattr(_FRESH, name))(value) for name, value in stored.items()})
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls()


_FRESH = SkimCursor()


@dataclass(frozen=True, slots=True)
class Skimmed:
    """What one scan found in its part of the listing.

    Attributes:
        arrived: New deliveries, ready to be registered.
        cursor: For the next tick.
        ignored: Why -> how many entries are no inputs.
        more: Whether the scan goes on at the next tick.
    """

    arrived: tuple[Delivery, ...]
    cursor: SkimCursor
    ignored: dict[str, int]
    more: bool


Listing = Iterable[Entry | Ignored]
Known = Callable[[Sequence[str]], set[str]]


def skim(
    listing: Listing, known: Known, cursor: SkimCursor, limits: SkimLimits, now: float, tired: Callable[[], bool]
) -> Skimmed:
    """Continue the scan of a listing that begins behind ``cursor.after``.

    Args:
        listing: Entries in the store's order.
        known: Tells which delivery ids have been registered before.
        cursor: What the last tick left.
        limits: Bounds of this tick.
        now: Seconds since the epoch. A modification date in the future counts as ``now``; otherwise objects before that date would
            not be looked up.
        tired: Returns True when the time for listing in this tick is used up.
    """
    cutoff = cursor.since - limits.margin_s
    young: list[Entry] = []
    ignored: Counter[str] = Counter()
    last, more = cursor.after, False
    for some in _in_parts(listing):
        last = some[-1].name
        found = [entry for entry in some if entry.modified >= cutoff]
        if len(found) > limits.asked - len(young):
            found = found[: limits.asked - len(young)]
            more = True
            last = found[-1].name
        young += [entry for entry in found if isinstance(entry, Entry)]
        ignored.update(entry.why for entry in found if isinstance(entry, Ignored))
        if more or len(young) >= limits.asked or tired():
            more = True
            break
    newest = max([cursor.newest, *(min(entry.modified, now) for entry in young)])
    if more:
        after = replace(cursor, after=last, newest=newest)
    else:
        after = replace(cursor, after="", since=cursor.began_with, began_with=newest, newest=newest)
    return Skimmed(_new(young, known), after, dict(ignored), more)


def reconcile(listing: Listing, known: Known, cursor: SkimCursor, limits: SkimLimits) -> Skimmed:
    """Ask about the next slice of a listing that begins behind ``cursor.reconciled_to``; see ``skim``."""
    some = list(islice(listing, limits.reconciled))
    more = len(some) == limits.reconciled
    after = replace(cursor, reconciled_to=some[-1].name if more else "")
    return Skimmed(_new([entry for entry in some if isinstance(entry, Entry)], known), after, {}, more)


def _new(entries: Sequence[Entry], known: Known) -> tuple[Delivery, ...]:
    found = {(delivery := delivery_of(entry)).id: delivery for entry in entries}
    registered = known(list(found))
    return tuple(delivery for identity, delivery in found.items() if identity not in registered)


def _in_parts(listing: Listing) -> Iterator[list[Entry | Ignored]]:
    entries = iter(listing)
    while some := list(islice(entries, _AT_ONCE)):
        yield some
