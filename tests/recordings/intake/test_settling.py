"""Files arrive when they have settled. A scan looks at a limited number, and accepts any stored cursor."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from recordings.batches import Delivery
from recordings.intake.settling import SettlingCursor, SettlingLimits, find_settled
from recordings.storage.base import IgnoredEntry, InputEntry

find_none_known = lambda ids: set()  # noqa: E731


def make_entry(name: str, size: int = 1, version: str = "1") -> InputEntry:
    return InputEntry(name, size, version, 0.0)


def list_after(entries: Sequence[InputEntry | IgnoredEntry], cursor: SettlingCursor) -> list[InputEntry | IgnoredEntry]:
    return [e for e in entries if e.name > cursor.after]


def test_a_file_arrives_when_two_scans_find_it_unchanged() -> None:
    first = find_settled([make_entry("a")], find_none_known, SettlingCursor(), SettlingLimits())
    assert (first.settled, first.unsettled) == ((), 1)
    second = find_settled([make_entry("a")], find_none_known, first.cursor, SettlingLimits())
    assert second.settled == (Delivery("a", 1, "1"),)


def test_a_growing_file_waits_until_it_stops() -> None:
    cursor = SettlingCursor()
    for size in (1, 2, 3):
        result = find_settled([make_entry("a", size, str(size))], find_none_known, cursor, SettlingLimits())
        assert result.settled == ()
        cursor = result.cursor
    assert find_settled([make_entry("a", 3, "3")], find_none_known, cursor, SettlingLimits()).settled == (
        Delivery("a", 3, "3"),
    )


def test_a_known_file_does_not_arrive_again() -> None:
    result = find_settled([make_entry("a")], lambda ids: set(ids), SettlingCursor(), SettlingLimits())
    assert (result.settled, result.unsettled, result.cursor.pending) == ((), 0, {})


@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 7))
def test_limited_scans_find_every_file_in_the_end(files: int, entries: int, pending: int) -> None:
    listing = [make_entry(f"{i:03}") for i in range(files)]
    cursor, arrived = SettlingCursor(), set()
    for _ in range(3 * files * (files // entries + 2)):
        result = find_settled(
            list_after(listing, cursor),
            lambda ids: {i for i in ids if i in arrived},
            cursor,
            SettlingLimits(max_entries=entries, max_pending=pending),
        )
        arrived.update(d.id for d in result.settled)
        cursor = SettlingCursor.load(result.cursor.dump())
        assert len(cursor.pending) <= max(pending, 0)
    assert arrived == {Delivery(e.name, e.size, e.version).id for e in listing}


@given(st.text() | st.just('{"version":99}') | st.just('{"version":1,"pending":[1],"after":2}') | st.none())
def test_a_cursor_that_cannot_be_read_begins_anew(text: str | None) -> None:
    assert SettlingCursor.load(text) == SettlingCursor()
