"""Changes of state: compare-and-set, refused transitions, retries, and which facts may be noted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from recordings.batches import make_batch_key
from recordings.ledger.ledger import Ledger
from recordings.ledger.recordings import RecordingFacts
from recordings.ledger.schema import recordings
from recordings.states import TRANSITIONS, State
from tests.recordings.ledger.deliveries import register


def test_of_many_movers_exactly_one_makes_the_move(ledger: Ledger, url: str) -> None:
    (delivery,) = register(ledger, "a")
    ledger.assign_recording(delivery, "0" * 64, 1)
    others = [Ledger.open(url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        moved = list(pool.map(lambda each: each.transition("0" * 64, State.RECEIVED, State.NORMALIZED), others))
    assert sorted(moved) == [False] * 7 + [True]
    for each in others:
        each.close()


def test_a_move_that_the_states_do_not_know_is_refused(ledger: Ledger) -> None:
    assert (State.QUARANTINED, State.DONE) not in TRANSITIONS
    with pytest.raises(ValueError, match="never goes from received to done"):
        ledger.transition("0" * 64, State.RECEIVED, State.DONE)


def test_a_retry_waits_for_a_batch_of_its_own(ledger: Ledger) -> None:
    (a,) = register(ledger, "a")
    ledger.claim(make_batch_key([a]), [a], "test")
    ledger.assign_recording(a, "0" * 64, 1)
    ledger.transition("0" * 64, State.RECEIVED, State.QUARANTINED, kind="empty", reason="nothing in it")
    assert ledger.reset_for_retry(ledger.list_broken()) == 1
    (waiting,) = ledger.list_waiting(10)
    assert waiting.attempt == 1
    assert make_batch_key([waiting]) != make_batch_key([a])
    assert ledger.count_totals().states[State.RECEIVED] == 1


def test_every_fact_is_a_column_and_every_column_that_changes_is_a_fact() -> None:
    fixed = {"sha256", "name", "size", "state", "changed_at"}
    assert set(RecordingFacts.__annotations__) == {column.name for column in recordings.c} - fixed
