"""Changes of state: compare-and-set, refused transitions, retries, and the facts of a recording."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from recordings.batches import make_batch_key
from recordings.ledger.ledger import Ledger
from recordings.ledger.recordings import RecordingFacts
from recordings.ledger.schema import recordings
from recordings.states import TRANSITIONS, State
from tests.recordings.ledger.deliveries import register


def test_exactly_one_of_several_concurrent_transitions_succeeds(ledger: Ledger, url: str) -> None:
    (delivery,) = register(ledger, "a")
    ledger.assign_recording(delivery, "0" * 64, 1)
    ledgers = [Ledger.open(url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        moved = list(
            pool.map(lambda other_ledger: other_ledger.transition("0" * 64, State.RECEIVED, State.NORMALIZED), ledgers)
        )
    assert sorted(moved) == [False] * 7 + [True]
    for other_ledger in ledgers:
        other_ledger.close()


def test_an_unknown_transition_is_refused(ledger: Ledger) -> None:
    assert (State.QUARANTINED, State.DONE) not in TRANSITIONS
    with pytest.raises(ValueError, match="never goes from received to done"):
        ledger.transition("0" * 64, State.RECEIVED, State.DONE)


def test_a_retry_waits_for_a_new_batch(ledger: Ledger) -> None:
    (a,) = register(ledger, "a")
    ledger.claim(make_batch_key([a]), [a], "test")
    ledger.assign_recording(a, "0" * 64, 1)
    ledger.transition("0" * 64, State.RECEIVED, State.QUARANTINED, kind="empty", reason="nothing in it")
    assert ledger.reset_for_retry(ledger.list_broken()) == 1
    (waiting,) = ledger.list_waiting(10)
    assert waiting.attempt == 1
    assert make_batch_key([waiting]) != make_batch_key([a])
    assert ledger.count_totals().states[State.RECEIVED] == 1


def test_facts_are_exactly_the_columns_that_can_change() -> None:
    fixed = {"sha256", "name", "size", "state", "changed_at"}
    assert set(RecordingFacts.__annotations__) == {column.name for column in recordings.c} - fixed
