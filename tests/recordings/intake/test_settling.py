"""Arrivals: settling, bounded looks, cursors that survive anything."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from recordings.batches import BatchLimits, Delivery, make_batch_key, split_into_batches
from recordings.intake.settling import SettlingCursor, SettlingLimits, find_settled
from recordings.storage.base import IgnoredEntry, InputEntry

NOTHING_KNOWN = lambda ids: set()  # noqa: E731


def entry(name: str, size: int = 1, version: str = "1") -> InputEntry:
    return InputEntry(name, size, version, 0.0)


def behind(entries: Sequence[InputEntry | IgnoredEntry], cursor: SettlingCursor) -> list[InputEntry | IgnoredEntry]:
    return [e for e in entries if e.name > cursor.after]


def test_a_file_arrives_when_two_looks_find_it_the_same() -> None:
    first = find_settled([entry("a")], NOTHING_KNOWN, SettlingCursor(), SettlingLimits())
    assert (first.settled, first.unsettled) == ((), 1)
    second = find_settled([entry("a")], NOTHING_KNOWN, first.cursor, SettlingLimits())
    assert second.settled == (Delivery("a", 1, "1"),)


def test_a_growing_file_waits_until_it_stops() -> None:
    cursor = SettlingCursor()
    for size in (1, 2, 3):
        found = find_settled([entry("a", size, str(size))], NOTHING_KNOWN, cursor, SettlingLimits())
        assert found.settled == ()
        cursor = found.cursor
    assert find_settled([entry("a", 3, "3")], NOTHING_KNOWN, cursor, SettlingLimits()).settled == (
        Delivery("a", 3, "3"),
    )


def test_a_known_file_is_no_arrival() -> None:
    found = find_settled([entry("a")], lambda ids: set(ids), SettlingCursor(), SettlingLimits())
    assert (found.settled, found.unsettled, found.cursor.pending) == ((), 0, {})


@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 7))
def test_bounded_looks_find_every_file_in_the_end(files: int, entries: int, pending: int) -> None:
    listing = [entry(f"{i:03}") for i in range(files)]
    cursor, arrived = SettlingCursor(), set()
    for _ in range(3 * files * (files // entries + 2)):
        found = find_settled(
            behind(listing, cursor),
            lambda ids: {i for i in ids if i in arrived},
            cursor,
            SettlingLimits(max_entries=entries, max_pending=pending),
        )
        arrived.update(d.id for d in found.settled)
        cursor = SettlingCursor.load(found.cursor.dump())
        assert len(cursor.pending) <= max(pending, 0)
    assert arrived == {Delivery(e.name, e.size, e.version).id for e in listing}


@given(st.text() | st.just('{"version":99}') | st.just('{"version":1,"pending":[1],"after":2}') | st.none())
def test_a_cursor_that_cannot_be_read_begins_anew(text: str | None) -> None:
    assert SettlingCursor.load(text) == SettlingCursor()


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 5), st.integers(1, 60))
def test_every_waiting_delivery_is_in_exactly_one_batch_within_the_limits(
    sizes: list[int], count: int, size: int
) -> None:
    waiting = [Delivery(f"{i}", s, "1") for i, s in enumerate(sizes)]
    limits = BatchLimits(count, size)
    made = list(split_into_batches(waiting, limits))
    assert [d for members in made for d in members] == waiting
    assert all(len(m) <= count and (len(m) == 1 or sum(d.size for d in m) <= size) for m in made)


def test_a_batch_key_depends_on_members_alone_and_a_retry_is_a_new_batch() -> None:
    a, b = Delivery("a", 1, "1"), Delivery("b", 1, "1")
    assert make_batch_key([a, b]) == make_batch_key([b, a])
    assert make_batch_key([a]) != make_batch_key([b])
    assert make_batch_key([a]) != make_batch_key([Delivery("a", 1, "1", attempt=1)])
