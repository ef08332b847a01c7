"""Arrivals: settling, bounded looks, cursors that survive anything."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from recordings.arrivals import Cursor, LookLimits, look
from recordings.batches import BatchLimits, Delivery, batch_key, group
from recordings.store import Entry, Ignored

NOTHING_KNOWN = lambda ids: set()  # noqa: E731


def entry(name: str, size: int = 1, version: str = "1") -> Entry:
    return Entry(name, size, version, 0.0)


def behind(entries: Sequence[Entry | Ignored], cursor: Cursor) -> list[Entry | Ignored]:
    return [e for e in entries if e.name > cursor.after]


def test_a_file_arrives_when_two_looks_find_it_the_same() -> None:
    first = look([entry("a")], NOTHING_KNOWN, Cursor(), LookLimits())
    assert (first.settled, first.unsettled) == ((), 1)
    second = look([entry("a")], NOTHING_KNOWN, first.cursor, LookLimits())
    assert second.settled == (Delivery("a", 1, "1"),)


def test_a_growing_file_waits_until_it_stops() -> None:
    cursor = Cursor()
    for size in (1, 2, 3):
        found = look([entry("a", size, str(size))], NOTHING_KNOWN, cursor, LookLimits())
        assert found.settled == ()
        cursor = found.cursor
    assert look([entry("a", 3, "3")], NOTHING_KNOWN, cursor, LookLimits()).settled == (Delivery("a", 3, "3"),)


def test_a_known_file_is_no_arrival() -> None:
    found = look([entry("a")], lambda ids: set(ids), Cursor(), LookLimits())
    assert (found.settled, found.unsettled, found.cursor.pending) == ((), 0, {})


@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 7))
def test_bounded_looks_find_every_file_in_the_end(files: int, entries: int, pending: int) -> None:
    listing = [entry(f"{i:03}") for i in range(files)]
    cursor, arrived = Cursor(), set()
    for _ in range(3 * files * (files // entries + 2)):
        found = look(
            behind(listing, cursor),
            lambda ids: {i for i in ids if i in arrived},
            cursor,
            LookLimits(entries=entries, pending=pending),
        )
        arrived.update(d.id for d in found.settled)
        cursor = Cursor.load(found.cursor.dump())
        assert len(cursor.pending) <= max(pending, 0)
    assert arrived == {Delivery(e.name, e.size, e.version).id for e in listing}


@given(st.text() | st.just('{"version":99}') | st.just('{"version":1,"pending":[1],"after":2}') | st.none())
def test_a_cursor_that_cannot_be_read_begins_anew(text: str | None) -> None:
    assert Cursor.load(text) == Cursor()


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 5), st.integers(1, 60))
def test_every_waiting_delivery_is_in_exactly_one_batch_within_the_limits(
    sizes: list[int], count: int, size: int
) -> None:
    waiting = [Delivery(f"{i}", s, "1") for i, s in enumerate(sizes)]
    limits = BatchLimits(count, size)
    made = list(group(waiting, limits))
    assert [d for members in made for d in members] == waiting
    assert all(len(m) <= count and (len(m) == 1 or sum(d.size for d in m) <= size) for m in made)


def test_a_batch_key_depends_on_members_alone_and_a_retry_is_a_new_batch() -> None:
    a, b = Delivery("a", 1, "1"), Delivery("b", 1, "1")
    assert batch_key([a, b]) == batch_key([b, a])
    assert batch_key([a]) != batch_key([b])
    assert batch_key([a]) != batch_key([Delivery("a", 1, "1", attempt=1)])
