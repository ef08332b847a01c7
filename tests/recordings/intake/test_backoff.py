"""When a failed batch is requested again, as a function of its past runs."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from recordings.intake.backoff import (
    FIRST_DELAY_S,
    LONGEST_DELAY_S,
    PastRuns,
    compute_delay_s,
    is_due,
    make_run_key,
)


def test_the_delay_grows_with_every_run_until_it_reaches_the_longest() -> None:
    delays = [compute_delay_s(PastRuns(count, "r", 0.0)) for count in range(1, 10_000)]
    assert delays[:3] == [FIRST_DELAY_S, 2 * FIRST_DELAY_S, 4 * FIRST_DELAY_S]
    assert delays[-1] == max(delays) == LONGEST_DELAY_S
    assert all(delay <= next_delay for delay, next_delay in pairwise(delays))


def test_a_batch_without_a_run_is_due_at_once_and_a_cancelled_one_after_the_longest_delay() -> None:
    assert is_due(PastRuns(), now=0.0)
    assert compute_delay_s(PastRuns(1, "r", 0.0, cancelled=True)) == LONGEST_DELAY_S


@given(st.integers(1, 100), st.floats(0, 2e9), st.booleans())
def test_a_batch_is_due_after_its_delay_and_not_before(count: int, ended: float, cancelled: bool) -> None:
    past = PastRuns(count, "r", ended, cancelled)
    assert not is_due(past, ended + compute_delay_s(past) - 1)
    assert is_due(past, ended + compute_delay_s(past) + 1)


def test_a_run_that_seems_to_end_in_the_future_delays_nothing() -> None:
    """The clock was set back after it; a few minutes may be the clocks of two machines."""
    assert is_due(PastRuns(1, "r", 86_400.0), now=0.0)
    assert not is_due(PastRuns(1, "r", 60.0), now=0.0)


def test_each_past_run_gives_a_new_run_key() -> None:
    keys = [make_run_key("batch-x", past) for past in (PastRuns(), PastRuns(1, "a", 0.0), PastRuns(2, "b", 0.0))]
    assert keys[0] == "batch-x"
    assert len(set(keys)) == 3
