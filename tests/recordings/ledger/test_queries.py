"""Totals and searches."""

from __future__ import annotations

from itertools import pairwise

from recordings.ledger.ledger import Ledger
from recordings.states import State
from tests.recordings.ledger.deliveries import register


def test_the_counts_add_up_for_deliveries_in_all_states(ledger: Ledger) -> None:
    a, b, c, d = register(ledger, "a", "b", "c", "d")
    ledger.assign_recording(a, "0" * 64, 1)
    ledger.assign_recording(b, "0" * 64, 1)
    ledger.reject(c, "changed", "it was replaced")
    ledger.transition("0" * 64, State.RECEIVED, State.NORMALIZED)
    counts = ledger.count_totals().states
    assert counts[State.NORMALIZED] == 2
    assert counts[State.QUARANTINED] == 1
    assert counts[State.RECEIVED] == 1
    assert sum(counts.values()) == ledger.count_totals().inputs == 4
    assert {m.delivery for m in ledger.list_broken()} == {c}
    assert d in [m.delivery for m in ledger.list_newest(10)]


def test_names_are_found_by_a_part_and_wildcards_are_literal(ledger: Ledger) -> None:
    register(ledger, "a/100%.wav", "a/1000.wav", "a/x_y.wav", "a/xzy.wav")
    assert [m.delivery.name for m in ledger.find("100%")] == ["a/100%.wav"]
    assert [m.delivery.name for m in ledger.find("x_y")] == ["a/x_y.wav"]


def test_finished_recordings_are_found_by_name_and_by_folder_in_any_collation(ledger: Ledger) -> None:
    names = ("a/1", "a/b/2", "a-b/3", "A/4", "a0/5", "a", "ä/6", "a%/7")
    sha256 = {d.name: f"{i:064}" for i, d in enumerate(register(ledger, *names, "unfinished"))}
    for delivery in ledger.list_waiting(100):
        ledger.assign_recording(delivery, sha256[delivery.name], 1)
        states = (State.RECEIVED, State.NORMALIZED, State.TRANSCRIBED, State.DONE)
        for source, target in pairwise(states) if delivery.name != "unfinished" else ():
            assert ledger.transition(sha256[delivery.name], source, target)

    def find(*names: str, folders: tuple[str, ...] = ()) -> list[str]:
        found = ledger.list_finished_named(names, folders)
        return sorted(name for name, each in sha256.items() if each in found)

    assert find("a", "a/1", "unfinished", "none") == ["a", "a/1"]
    assert find(folders=("a/",)) == ["a/1", "a/b/2"]
    assert find("A/4", folders=("a%/", "ä/")) == ["A/4", "a%/7", "ä/6"]
    assert find(folders=("",)) == sorted(names)
    assert find() == []
