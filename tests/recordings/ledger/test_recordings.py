"""Changes of state: compare-and-set, refused transitions, retries, and the facts of a recording."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from recordings.batches import make_batch_key
from recordings.ledger.ledger import Ledger
from recordings.ledger.recordings import RecordingFacts
from recordings.ledger.schema import recordings
from recordings.options import RecordingOptions
from recordings.states import TRANSITIONS, State, Step
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


def test_the_same_bytes_with_other_options_are_another_recording(ledger: Ledger) -> None:
    plain, vietnamese, again = register(ledger, "plain", "vietnamese", "again")
    options = RecordingOptions(language="vi", translate=True)
    digest = "0" * 64
    first = ledger.assign_recording(plain, digest, 1)
    second = ledger.assign_recording(vietnamese, digest, 1, options)
    third = ledger.assign_recording(again, digest, 1, RecordingOptions(translate=True, language="vi"))
    assert (first.sha256, first.bytes_sha256, first.options) == (digest, digest, {})
    assert (second.bytes_sha256, second.options) == (digest, {"language": "vi", "translate": True})
    assert second.sha256 != digest
    assert third.sha256 == second.sha256, "the same options in another order"
    flags = {member.delivery.name: member.flags for member in ledger.find(digest[:12])}
    assert flags == {"plain": {}, "vietnamese": {}, "again": {"duplicate": "same bytes as vietnamese"}}


def test_what_a_step_found_stays_until_that_step_is_done_again(ledger: Ledger) -> None:
    (delivery,) = register(ledger, "a")
    digest = ledger.assign_recording(delivery, "0" * 64, 1).sha256

    def complete(step: Step, source: State, target: State, **flags: str) -> dict[str, str]:
        assert ledger.complete_step(digest, source, target, step=step, key="k", members=[], flags=flags)
        return read_flags()

    def read_flags() -> dict[str, str]:
        (member,) = ledger.find("a")
        assert member.recording is not None
        return dict(member.recording.flags)

    done = complete(Step.NORMALIZED, State.RECEIVED, State.NORMALIZED, anything="read")
    done = complete(Step.TRANSCRIPT, State.NORMALIZED, State.TRANSCRIBED, no_speech="silent")
    assert done == {"anything": "read", "no_speech": "silent"}
    assert complete(Step.ENRICHED, State.TRANSCRIBED, State.DONE, annotations_missing="x") == {
        "anything": "read",
        "no_speech": "silent",
        "annotations_missing": "x",
    }
    ledger.transition(digest, State.DONE, State.TRANSCRIBED)
    assert read_flags() == {"anything": "read", "no_speech": "silent"}
    ledger.transition(digest, State.TRANSCRIBED, State.NORMALIZED)
    assert read_flags() == {"anything": "read"}
    assert complete(Step.TRANSCRIPT, State.NORMALIZED, State.TRANSCRIBED) == {"anything": "read"}
    ledger.transition(digest, State.TRANSCRIBED, State.RECEIVED)
    assert read_flags() == {}


def test_flags_of_an_older_ledger_belong_to_the_steps_that_found_them(ledger: Ledger) -> None:
    (delivery,) = register(ledger, "a")
    digest = ledger.assign_recording(delivery, "0" * 64, 1).sha256
    flags = {"partial": "cut", "language_mixed": "two", "annotations_missing": "x"}
    with ledger._engine.begin() as connection:
        connection.execute(sa.update(recordings).values(flags=flags, step_flags=None, state=State.DONE))
    ledger.transition(digest, State.DONE, State.NORMALIZED)
    (member,) = ledger.find("a")
    assert member.recording is not None
    assert member.recording.flags == {"partial": "cut"}


def test_facts_are_exactly_the_columns_that_can_change() -> None:
    fixed = {"sha256", "bytes_sha256", "options", "name", "size", "state", "flags", "step_flags", "changed_at"}
    assert set(RecordingFacts.__annotations__) == {column.name for column in recordings.c} - fixed
