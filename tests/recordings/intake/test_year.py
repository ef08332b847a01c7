"""A load of many days, in short: what arrives ends, is counted right, and costs no more after many days."""

from __future__ import annotations

import time

import pytest

from recordings.intake.year import measure
from recordings.intake.year_load import Clock, LoadPlan
from recordings.states import State

SHORT = LoadPlan(days=8, per_day=2500, listed_per_day=60, own_calls=2, ticks_per_day=1, trouble=12)
"""20,000 recordings, with far more trouble than usual, so that all of it happens."""
SHORTER = LoadPlan(days=3, per_day=150, listed_per_day=30, own_calls=1, ticks_per_day=1, trouble=12)
ALWAYS = {"retried", "batches asked for again", "settings changed", "by the ledger's calls"}
OFTEN = {
    "runs that died",
    "outputs deleted",
    "replaced",
    "written again",
    "under a second name",
    "replaced and put back",
}


@pytest.mark.parametrize(
    ("database", "load", "expected"), [("sqlite", SHORT, ALWAYS | OFTEN), ("postgres", SHORTER, ALWAYS)]
)
def test_after_many_days_of_trouble_nothing_is_lost_or_left_and_counts_are_right(
    database: str,
    load: LoadPlan,
    expected: set[str],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = str(request.getfixturevalue(f"{database}_url"))
    clock = Clock()
    monkeypatch.setattr(time, "time", clock.read)
    result = measure(load, url, clock, samples=2)

    assert [audit["sentence"] for audit in result["audits"] if audit["wrong"]] == []
    assert all(sample["is_consistent"] for sample in result["samples"])
    end = result["end"]
    assert end["is_consistent"]
    assert (end["drained"], end["open_batches"], end["waiting"]) == (True, 0, 0)
    assert sum(end["states"].values()) == end["inputs"] == end["listed"] >= load.days * load.per_day
    assert end["names"] == end["names_listed"] >= load.days * load.per_day
    assert {state for state, number in end["states"].items() if number} <= {State.DONE, State.QUARANTINED, State.FAILED}
    happened = {event for event, times in result["events"].items() if times}
    assert expected - happened == set()

    earlier, later = (result["samples"][i]["work"] for i in (0, -1))
    grown = {
        name: (earlier[name], later[name]) for name in later if (later[name] or 0) > 1.5 * (earlier[name] or 0) + 60
    }
    assert grown == {}, "tens of SQLite's instructions after half of the days and after all"
