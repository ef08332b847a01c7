"""The ledger alone: compare-and-set, claims, retries, migrations, and errors a person can act on."""

from __future__ import annotations

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from recordings.batches import Delivery, make_batch_key
from recordings.ledger import ledger as ledger_module
from recordings.ledger.ledger import Ledger, LedgerError
from recordings.ledger.schema import metadata
from recordings.states import PIPELINE, TRANSITIONS, State


def deliver(ledger: Ledger, *names: str) -> list[Delivery]:
    made = [Delivery(name, 1, "1") for name in names]
    ledger.register(made)
    return made


def test_of_many_movers_exactly_one_makes_the_move(ledger: Ledger, url: str) -> None:
    (delivery,) = deliver(ledger, "a")
    ledger.assign_recording(delivery, "0" * 64, 1)
    others = [Ledger.open(url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        moved = list(pool.map(lambda each: each.transition("0" * 64, State.RECEIVED, State.NORMALIZED), others))
    assert sorted(moved) == [False] * 7 + [True]
    for each in others:
        each.close()


def test_of_many_claimers_exactly_one_gets_the_batch(ledger: Ledger, url: str) -> None:
    members = deliver(ledger, "a", "b", "c")
    others = [Ledger.open(url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda i: others[i].claim(f"{make_batch_key(members)}-{i}", members, "test"), range(8)))
    assert sorted(claimed) == [False] * 7 + [True]
    assert ledger.list_waiting(10) == []
    assert len(ledger.list_open_batches(time.time() + 1, 10)) == 1
    for each in others:
        each.close()


def test_a_claim_that_misses_one_member_takes_none(ledger: Ledger) -> None:
    a, b = deliver(ledger, "a", "b")
    assert ledger.claim("first", [a], "test")
    assert not ledger.claim("second", [a, b], "test")
    assert ledger.list_waiting(10) == [b]


def test_a_move_that_the_states_do_not_know_is_refused(ledger: Ledger) -> None:
    assert (State.QUARANTINED, State.DONE) not in TRANSITIONS
    with pytest.raises(ValueError, match="never goes from received to done"):
        ledger.transition("0" * 64, State.RECEIVED, State.DONE)


def test_every_good_state_leads_to_done_and_every_end_can_be_armed_again() -> None:
    for here, following in pairwise(PIPELINE):
        assert (here, following) in TRANSITIONS
    for end in (State.QUARANTINED, State.FAILED):
        assert {target for source, target in TRANSITIONS if source is end} == {State.RECEIVED}


def test_the_counts_add_up_whatever_the_deliveries_have_become(ledger: Ledger) -> None:
    a, b, c, d = deliver(ledger, "a", "b", "c", "d")
    ledger.assign_recording(a, "0" * 64, 1)
    ledger.assign_recording(b, "0" * 64, 1)
    ledger.reject(c, "changed", "it was replaced")
    ledger.transition("0" * 64, State.RECEIVED, State.NORMALIZED)
    counts = ledger.counts()
    assert counts[State.NORMALIZED] == 2
    assert counts[State.QUARANTINED] == 1
    assert counts[State.RECEIVED] == 1
    assert sum(counts.values()) == ledger.size() == 4
    assert {m.delivery for m in ledger.list_broken()} == {c}
    assert d in [m.delivery for m in ledger.list_newest(10)]


def test_a_retry_waits_for_a_batch_of_its_own(ledger: Ledger) -> None:
    (a,) = deliver(ledger, "a")
    ledger.claim(make_batch_key([a]), [a], "test")
    ledger.assign_recording(a, "0" * 64, 1)
    ledger.transition("0" * 64, State.RECEIVED, State.QUARANTINED, kind="empty", reason="nothing in it")
    assert ledger.reset_for_retry(ledger.list_broken()) == 1
    (waiting,) = ledger.list_waiting(10)
    assert waiting.attempt == 1
    assert make_batch_key([waiting]) != make_batch_key([a])
    assert ledger.counts()[State.RECEIVED] == 1


def test_the_migrations_make_the_tables_that_the_code_describes(ledger: Ledger) -> None:
    with ledger._read() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
        version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    # Columns are explained where readers of the code find it; the databases are not told.
    assert [each for each in found if not (isinstance(each, list) and each[0][0] == "modify_comment")] == []
    assert version == ledger_module._HEAD


@pytest.mark.parametrize("version", ["9999", "0000", "16e3655b4d9b"])
def test_a_ledger_of_a_newer_release_or_of_another_program_is_refused(ledger: Ledger, url: str, version: str) -> None:
    """Dagster's own databases have such a version too, and an address is soon mistyped."""
    with ledger._write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :version"), {"version": version})
    with pytest.raises(LedgerError, match=rf"has version {version}.*use the release that wrote it"):
        Ledger.open(url)


def test_a_ledger_locked_by_another_process_says_so(
    sqlite_ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "_BUSY_SECONDS", 0.1)
    impatient = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    holder = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match=r"Another process held it.*nothing is lost"):
        impatient.register([Delivery("a", 1, "1")])
    holder.execute("ROLLBACK")
    assert impatient.register([Delivery("a", 1, "1")]) == 1
    holder.close()
    impatient.close()


def test_names_are_found_by_part_and_wildcards_mean_themselves(ledger: Ledger) -> None:
    deliver(ledger, "a/100%.wav", "a/1000.wav", "a/x_y.wav", "a/xzy.wav")
    assert [m.delivery.name for m in ledger.find("100%")] == ["a/100%.wav"]
    assert [m.delivery.name for m in ledger.find("x_y")] == ["a/x_y.wav"]


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


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(LedgerError, match="Check that it is reachable") as raised:
        Ledger.open("postgresql://stt:secret@127.0.0.1:1/ledger")
    assert "secret" not in str(raised.value)
