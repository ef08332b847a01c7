"""What is asked at every tick and command costs what is open, not what was ever done; what is counted stays true."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from recordings.batches import BatchLimits, Delivery
from recordings.intake.history_timing import fill
from recordings.intake.intake import find_unattended_batches, form_batches
from recordings.intake.reprocess import CurrentOptions, plan
from recordings.ledger.ledger import Ledger
from recordings.ledger.rows import Member
from recordings.states import PIPELINE, State, Step
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from recordings.storage.directory import DirectoryStore
from recordings.workspace import Workspace
from speech.transcript import Options

CURRENT = CurrentOptions(NormalizeOptions(), "0" * 64, Options(language="en"), EnrichOptions())


def make_questions(ledger: Ledger, folder: Path) -> dict[str, Callable[[], Any]]:
    workspace = Workspace(DirectoryStore(folder), ledger)
    return {
        "form batches": lambda: form_batches(workspace, BatchLimits(), "test", 20),
        "unattended": lambda: find_unattended_batches(workspace, (), lambda _: {}, 5),
        "totals": ledger.count_totals,
        "waiting": ledger.count_waiting,
        "open": ledger.count_open_batches,
        "newest": lambda: ledger.list_newest(5),
        "broken": lambda: ledger.list_broken(5),
        "outdated": lambda: plan(workspace, CURRENT, BatchLimits(), "test"),
        "exact": lambda: ledger.find("2026/01/01/call-00007919.mp3"),
        "nothing": lambda: ledger.find("no such name"),
        "register": lambda: ledger.register([Delivery("new", 1, "1")]),
        "next recordings": lambda: ledger.list_recordings_after("8", 20),
        "next names": lambda: ledger.list_names_after("2026/01/01/call-5", 20),
        "transition": lambda: ledger.transition("0" * 64, State.RECEIVED, State.NORMALIZED),
    }


@pytest.fixture
def count_steps() -> Callable[[Ledger, Callable[[], Any]], int]:
    """Counts what SQLite's machine does for a call, in hundreds of its instructions: the same on every processor."""

    def count(ledger: Ledger, call: Callable[[], Any]) -> int:
        steps = [0]

        def tick() -> None:
            steps[0] += 1

        @sa.event.listens_for(ledger._engine, "checkout")
        def watch(connection: Any, *_: Any) -> None:
            connection.set_progress_handler(tick, 100)

        call()
        sa.event.remove(ledger._engine, "checkout", watch)
        return steps[0]

    return count


def test_no_question_of_a_tick_or_a_command_costs_more_with_a_longer_history(
    tmp_path: Path, count_steps: Callable[[Ledger, Callable[[], Any]], int]
) -> None:
    costs: list[dict[str, int]] = []
    for rows in (4_000, 12_000):  # more than the newest that a search looks at one by one
        ledger = Ledger.open(f"sqlite:///{tmp_path / f'{rows}.db'}")
        fill(ledger, rows, CURRENT.recipes)
        questions = make_questions(ledger, tmp_path / "data")
        costs.append({name: count_steps(ledger, ask) for name, ask in questions.items()})
        ledger.close()
    shorter, longer = costs
    grown = {name: (shorter[name], longer[name]) for name in shorter if longer[name] > 1.2 * shorter[name] + 10}
    assert grown == {}, "hundreds of instructions with 4,000 and with 12,000 deliveries"


def test_a_long_history_is_filled_as_the_ledger_would(url: str) -> None:
    """Or the figures of the benchmark would be those of another ledger."""
    ledger = Ledger.open(url)
    fill(ledger, 1_300, CURRENT.recipes)
    audit = ledger.audit_counts()
    assert (audit.looked_at, audit.wrong) == (1_300, 0), audit.sentence
    assert ledger.count_open_batches() == 21, "640 deliveries at work; the first batch of them has older ones too"
    names, recordings = [""], [("", State.DONE)]
    while page := ledger.list_names_after(names[-1], 500):
        names += page
    while part := ledger.list_recordings_after(recordings[-1][0], 500):
        recordings += part
    assert len(set(names)) == len(set(recordings)) == 1_301
    assert {state for _, state in recordings} == {State.DONE, State.QUARANTINED, State.NORMALIZED}
    ledger.close()


class _Life:
    """Random changes of a ledger by its public methods."""

    def __init__(self, ledger: Ledger, seed: int) -> None:
        self.ledger = ledger
        self.seed = seed
        self.random = random.Random(seed)  # noqa: S311
        self.version = 0
        self.batches = 0

    def step(self) -> None:
        self.random.choice([self.arrive, self.claim, self.work, self.work, self.work, self.retry, self.lose])()

    def pick(self) -> Member | None:
        members = self.ledger.list_newest(100)
        return self.random.choice(members) if members else None

    def arrive(self) -> None:
        """New ones, newer ones of the same name, and those that were there before."""
        arrivals = [
            Delivery(f"name-{self.random.randrange(6)}", 1, str(self.random.randrange(self.version + 1)))
            for _ in range(self.random.randrange(1, 4))
        ]
        self.version += 1
        self.ledger.register(dict.fromkeys(arrivals))

    def claim(self) -> None:
        if waiting := self.ledger.list_waiting(3):
            self.batches += 1
            self.ledger.claim(f"batch-{self.seed}-{self.batches}", waiting, "test")

    def work(self) -> None:
        member = self.pick()
        if member is None:
            return
        if member.recording is None:
            if self.random.random() < 0.2:
                self.ledger.reject(member.delivery, "changed", "It changed.")
            else:
                self.ledger.assign_recording(member.delivery, str(self.random.randrange(4)) * 64, 1)
            return
        recording = member.recording
        if recording.state not in PIPELINE or self.random.random() < 0.1:
            if recording.state in PIPELINE[:-1]:
                self.ledger.transition(recording.sha256, recording.state, State.QUARANTINED, kind="x", reason="X.")
            return
        place = PIPELINE.index(recording.state)
        if place == len(PIPELINE) - 1:
            if self.random.random() < 0.5:
                self.ledger.record_outputs(Step.ENRICHED, recording.enriched_key or "", [member])
            else:
                self.ledger.transition(recording.sha256, State.DONE, self.random.choice(PIPELINE[:-1]))
            return
        step, key = list(Step)[place + 1], str(self.random.randrange(2)) * 64
        names = self.random.sample([member, *self.ledger.list_current(recording.sha256)], 1)
        facts: Any = {f"{step}_key": key}
        target = PIPELINE[place + 1]
        self.ledger.complete_step(recording.sha256, recording.state, target, step=step, key=key, members=names, **facts)

    def retry(self) -> None:
        broken = self.ledger.list_broken()
        self.ledger.reset_for_retry(self.random.sample(broken, min(len(broken), 2)))

    def lose(self) -> None:
        member = self.pick()
        if member is not None and member.state is State.DONE:
            self.ledger.reset_outputs(member, [Step.RAW])


@pytest.mark.parametrize("seed", range(2))
def test_counts_and_open_work_stay_those_of_the_rows_whatever_happens(ledger: Ledger, seed: int) -> None:
    life = _Life(ledger, seed)
    for _ in range(120):
        life.step()
    audit = ledger.audit_counts()
    assert audit.wrong == 0, audit.sentence
    assert ledger.count_totals().is_consistent
    assert audit.looked_at == ledger.count_totals().inputs > 0


def test_counts_stay_true_when_several_change_the_same_recordings_at_once(postgres_url: str) -> None:
    ledger = Ledger.open(postgres_url)

    def live(seed: int) -> None:
        life = _Life(ledger, seed)
        for _ in range(60):
            life.step()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(live, (10, 11, 12)))
    audit = ledger.audit_counts()
    assert audit.wrong == 0, audit.sentence
    ledger.close()


def test_the_audit_corrects_what_another_program_broke_and_says_so(ledger: Ledger) -> None:
    ledger.register([Delivery(name, 1, "1") for name in "abc"])
    with ledger._write() as connection:
        connection.execute(sa.text("UPDATE counts SET deliveries = 7 WHERE name = 'done'"))
        connection.execute(sa.text("UPDATE deliveries SET state = 'failed', open = NOT open WHERE name = 'a'"))
    audit = ledger.audit_counts()
    assert audit.sentence == (
        "of 3 deliveries 1 showed another state than they should, +7 were counted in done; the ledger was corrected"
    )
    assert ledger.list_audits() == [audit]
    assert ledger.count_totals().states == {**dict.fromkeys(State, 0), State.RECEIVED: 3}
    again = ledger.audit_counts()
    assert again.wrong == 0
    assert ledger.list_audits() == [again]


def test_parts_of_names_are_found_however_old_they_are(ledger: Ledger) -> None:
    ledger.register([Delivery("old/Besprechung 会議録音 50%.wav", 1, "1"), Delivery('a"b', 1, "1")])
    ledger.register([Delivery(f"new/call-{i:05}.wav", 1, "1") for i in range(3_100)])
    for text in ("Besprechung", "besprech", "会議録", "50%.w", "old/Besp", "old/Besprechung 会議録音 50%.wav"):
        assert [m.delivery.name for m in ledger.find(text)] == ["old/Besprechung 会議録音 50%.wav"], text
    assert [m.delivery.name for m in ledger.find('a"b')] == ['a"b']
    assert ledger.find("50_.w") == []
    assert [m.delivery.name for m in ledger.find("call", limit=2)] == ["new/call-03099.wav", "new/call-03098.wav"]
