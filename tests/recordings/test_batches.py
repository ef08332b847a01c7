"""Batches: how waiting deliveries are split, and their keys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recordings.batches import BatchLimits, Delivery, make_batch_key, split_into_batches


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 5), st.integers(1, 60))
def test_every_waiting_delivery_is_in_exactly_one_batch_within_the_limits(
    sizes: list[int], count: int, size: int
) -> None:
    waiting = [Delivery(f"{i}", s, "1") for i, s in enumerate(sizes)]
    limits = BatchLimits(count, size)
    batches = list(split_into_batches(waiting, limits))
    assert [d for members in batches for d in members] == waiting
    assert all(len(m) <= count and (len(m) == 1 or sum(d.size for d in m) <= size) for m in batches)


def test_a_batch_key_depends_only_on_its_members_and_a_retry_is_a_new_batch() -> None:
    a, b = Delivery("a", 1, "1"), Delivery("b", 1, "1")
    assert make_batch_key([a, b]) == make_batch_key([b, a])
    assert make_batch_key([a]) != make_batch_key([b])
    assert make_batch_key([a]) != make_batch_key([Delivery("a", 1, "1", attempt=1)])
