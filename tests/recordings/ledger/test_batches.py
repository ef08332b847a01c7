"""Deliveries and batches: who registers, who claims, and that nobody blocks anybody."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from recordings.batches import Delivery, make_batch_key
from recordings.ledger.ledger import Ledger
from tests.recordings.ledger.deliveries import register


def test_of_many_claimers_exactly_one_gets_the_batch(ledger: Ledger, url: str) -> None:
    members = register(ledger, "a", "b", "c")
    others = [Ledger.open(url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda i: others[i].claim(f"{make_batch_key(members)}-{i}", members, "test"), range(8)))
    assert sorted(claimed) == [False] * 7 + [True]
    assert ledger.list_waiting(10) == []
    assert len(ledger.list_open_batches(time.time() + 1, 10)) == 1
    for each in others:
        each.close()


def test_a_claim_that_misses_one_member_takes_none(ledger: Ledger) -> None:
    a, b = register(ledger, "a", "b")
    assert ledger.claim("first", [a], "test")
    assert not ledger.claim("second", [a, b], "test")
    assert ledger.list_waiting(10) == [b]


def test_more_deliveries_than_a_statement_has_variables_are_registered_and_known(ledger: Ledger) -> None:
    many = [Delivery(f"{i}", 1, "1") for i in range(5000)]
    assert ledger.register(many) == 5000
    assert ledger.register(many) == 0
    assert ledger.find_known([d.id for d in many]) == {d.id for d in many}
    assert ledger.claim("batch", ledger.list_waiting(5000), "test")
    assert len(ledger.list_members("batch")) == 5000


def test_registrars_and_claimers_of_the_same_in_any_order_never_block_each_other(ledger: Ledger, url: str) -> None:
    """PostgreSQL ends one of two transactions that wait for each other; none may."""
    many = [Delivery(f"{i}", 1, "1") for i in range(600)]
    orders = [many[i * 100 :] + many[: i * 100] for i in range(5)] + [many[::-1]]
    others = [Ledger.open(url) for _ in orders]
    with ThreadPoolExecutor(len(orders)) as pool:
        new = list(pool.map(lambda i: others[i].register(orders[i]), range(len(orders))))
        claimed = list(pool.map(lambda i: others[i].claim(f"batch-{i}", orders[i], "test"), range(len(orders))))
    assert sum(new) == len(many)
    assert sorted(claimed) == [False] * 5 + [True]
    for each in others:
        each.close()
