"""Deliveries and batches: concurrent registrations and claims."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from recordings.batches import Delivery, make_batch_key
from recordings.ledger.ledger import Ledger
from tests.recordings.ledger.deliveries import register


def test_exactly_one_of_several_concurrent_claims_gets_the_batch(ledger: Ledger, url: str) -> None:
    members = register(ledger, "a", "b", "c")
    ledgers = [Ledger.open(url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        claimed = list(
            pool.map(lambda i: ledgers[i].claim(f"{make_batch_key(members)}-{i}", members, "test"), range(8))
        )
    assert sorted(claimed) == [False] * 7 + [True]
    assert ledger.list_waiting(10) == []
    assert len(ledger.list_open_batches(time.time() + 1, 10)) == 1
    for other_ledger in ledgers:
        other_ledger.close()


def test_after_a_clock_was_set_back_the_newest_delivery_of_a_name_still_counts(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time.time()
    first, second = Delivery("a", 1, "1"), Delivery("a", 1, "2")
    ledger.register([first])
    ledger.claim("before", [first], "test")
    monkeypatch.setattr(time, "time", lambda: clock - 86_400)
    assert ledger.register([second, Delivery("b", 1, "1")]) == 2
    assert ledger.find_known([first.id, second.id]) == {second.id}
    assert ledger.list_open_batches(time.time() - 60, 10) == ["before"], "it seems to be made tomorrow"
    assert ledger.register([first]) == 1, "the first bytes are back"
    assert ledger.find_known([first.id, second.id]) == {first.id}


def test_a_claim_that_cannot_get_one_member_gets_none(ledger: Ledger) -> None:
    a, b = register(ledger, "a", "b")
    assert ledger.claim("first", [a], "test")
    assert not ledger.claim("second", [a, b], "test")
    assert ledger.list_waiting(10) == [b]


def test_more_deliveries_than_a_statement_allows_variables_are_registered_and_known(ledger: Ledger) -> None:
    deliveries = [Delivery(f"{i}", 1, "1") for i in range(5000)]
    assert ledger.register(deliveries) == 5000
    assert ledger.register(deliveries) == 0
    assert ledger.find_known([d.id for d in deliveries]) == {d.id for d in deliveries}
    assert ledger.claim("batch", ledger.list_waiting(5000), "test")
    assert len(ledger.list_members("batch")) == 5000


def test_concurrent_registrations_and_claims_in_any_order_do_not_deadlock(ledger: Ledger, url: str) -> None:
    """PostgreSQL ends one of two transactions that wait for each other."""
    deliveries = [Delivery(f"{i}", 1, "1") for i in range(600)]
    orders = [deliveries[i * 100 :] + deliveries[: i * 100] for i in range(5)] + [deliveries[::-1]]
    ledgers = [Ledger.open(url) for _ in orders]
    with ThreadPoolExecutor(len(orders)) as pool:
        new = list(pool.map(lambda i: ledgers[i].register(orders[i]), range(len(orders))))
        claimed = list(pool.map(lambda i: ledgers[i].claim(f"batch-{i}", orders[i], "test"), range(len(orders))))
    assert sum(new) == len(deliveries)
    assert sorted(claimed) == [False] * 5 + [True]
    for other_ledger in ledgers:
        other_ledger.close()
