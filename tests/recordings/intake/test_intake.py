"""Intake: new files are taken in once and without waiting, and unfinished batches are requested again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recordings.batches import BatchLimits
from recordings.intake import intake
from recordings.intake.backoff import PastRuns
from recordings.intake.bucket_scan import BucketScanCursor, BucketScanLimits, scan_recent
from recordings.intake.intake import (
    find_unattended_batches,
    register_old_enough,
    run_intake,
    scan_bucket_repeatedly,
)
from recordings.ledger.ledger import Ledger
from recordings.storage.base import InputEntry
from recordings.workspace import Workspace
from tests.recordings.backends import BucketBackend
from tests.recordings.step_pipeline import (
    StepPipeline,
)


def test_intake_takes_the_given_paths_and_the_files_in_the_input_folder(
    pipeline: StepPipeline, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call is enough: the user does not wait for two scans of a sensor."""
    monkeypatch.setattr(intake, "_SETTLE_S", 0)
    pipeline.write_silence("here.wav")
    result = run_intake(pipeline.workspace, [inbox / "calls"], BatchLimits(max_recordings=2), "test")
    assert (result.unsettled, result.refused) == (0, ())
    batches = pipeline.workspace.ledger.list_open_batches(2e9, 10)
    members = [sorted(pipeline.get_states(key)) for key in batches]
    assert sorted(name for names in members for name in names) == ["calls/1.wav", "calls/monday/1.wav", "here.wav"]
    assert max(map(len, members)) == 2
    run_intake(pipeline.workspace, [inbox / "calls"], BatchLimits(), "test")
    assert pipeline.workspace.ledger.count_totals().inputs == 3


def test_files_that_have_not_changed_for_long_are_registered_at_once(pipeline: StepPipeline) -> None:
    pipeline.write_silence("old.wav")
    pipeline.write_silence("young.wav")
    os.utime(pipeline.raw / "old.wav", (1_000_000_000, 1_000_000_000))
    assert register_old_enough(pipeline.workspace, 60) == 1
    assert [delivery.name for delivery in pipeline.workspace.ledger.list_waiting(10)] == ["old.wav"]
    assert register_old_enough(pipeline.workspace, 0) == 0
    assert register_old_enough(pipeline.workspace, 1e6) == 0, "it is known already"


def test_a_date_in_the_future_keeps_no_file_from_being_taken(pipeline: StepPipeline) -> None:
    """A copy brings its date with it, and the clock of a file server may differ from ours."""
    tomorrow = time.time() + 86_400
    pipeline.write_silence("tomorrow.wav", "soon.wav", "young.wav")
    os.utime(pipeline.raw / "tomorrow.wav", (tomorrow, tomorrow))
    os.utime(pipeline.raw / "soon.wav", (time.time() + 90, time.time() + 90))
    assert register_old_enough(pipeline.workspace, 60) == 1
    assert {delivery.name for delivery in pipeline.workspace.ledger.list_waiting(10)} == {"tomorrow.wav", "soon.wav"}


@pytest.mark.parametrize("ahead_s", [300, -300])
def test_a_file_that_is_being_written_waits_whatever_its_date_is(
    pipeline: StepPipeline, ahead_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of the file server is five minutes ahead of ours, or behind."""
    pipeline.write_silence("growing.wav")
    path = pipeline.raw / "growing.wav"

    def go_on_writing(_: float) -> None:
        with path.open("ab") as file:
            file.write(b"more")
        os.utime(path, (time.time() + ahead_s, time.time() + ahead_s))

    os.utime(path, (time.time() + ahead_s, time.time() + ahead_s))
    monkeypatch.setattr(intake.time, "sleep", go_on_writing)
    assert register_old_enough(pipeline.workspace, 60) == 1
    assert pipeline.workspace.ledger.list_waiting(10) == []


def test_a_clock_that_was_set_back_hides_no_new_object_from_the_skim(sqlite_ledger: Ledger) -> None:
    now = time.time()
    cursor = BucketScanCursor(since=now + 86_400, began_with=now + 86_400, newest=now + 86_400)
    new = InputEntry("new.wav", 1, "1", now - 1)
    found = scan_recent([new], sqlite_ledger.find_known, cursor, BucketScanLimits(), now, lambda: False)
    assert [delivery.name for delivery in found.arrived] == ["new.wav"]
    assert found.cursor.newest <= now


def test_options_that_come_later_are_seen_by_the_scan_of_a_bucket(
    make_bucket: Callable[..., BucketBackend], sqlite_ledger: Ledger
) -> None:
    """The skim looks at what changed lately alone, and the recording itself did not."""
    backend = make_bucket()
    cursor = BucketScanCursor()

    def skim() -> list[str]:
        nonlocal cursor
        listing = backend.store.list_inputs(cursor.after)
        limits = BucketScanLimits(margin_s=0)
        result = scan_recent(listing, sqlite_ledger.find_known, cursor, limits, time.time(), lambda: False)
        sqlite_ledger.register(result.arrived)
        cursor = result.cursor
        return [delivery.name for delivery in result.arrived]

    backend.put(b"x.wav")
    time.sleep(1.1)  # dates of a bucket have whole seconds
    backend.put(b"later.wav")
    assert [skim(), skim(), skim()] == [["later.wav", "x.wav"], [], []]
    time.sleep(1.1)
    backend.put(b"x.wav.options.yaml", b"language: vi")
    assert [skim(), skim()] == [["x.wav"], []]


def test_only_unfinished_batches_without_a_run_are_requested_again(
    pipeline: StepPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    for name in ("a.wav", "b.wav", "c.wav"):
        pipeline.write_silence(name)
        keys.append(pipeline.form_batch())
    pipeline.run(keys[0])

    def never_run(_: object) -> dict[str, PastRuns]:
        return {}

    assert find_unattended_batches(pipeline.workspace, (), never_run, 10) == {}, (
        "the process that formed them may be about to request a run"
    )
    monkeypatch.setattr(intake, "_ORPHANED_AFTER_S", -1)
    assert find_unattended_batches(pipeline.workspace, (), never_run, 10) == {key: key for key in keys[1:]}
    assert find_unattended_batches(pipeline.workspace, {keys[1]}, never_run, 10) == {keys[2]: keys[2]}
    assert find_unattended_batches(pipeline.workspace, (), never_run, 1) == {keys[1]: keys[1]}
    assert find_unattended_batches(pipeline.workspace, (), never_run, -1) == {}
    failed = {keys[1]: PastRuns(1, "just", time.time()), keys[2]: PastRuns(1, "long-ago", 0.0)}
    assert find_unattended_batches(pipeline.workspace, (), lambda _: failed, 1) == {
        keys[2]: f"{keys[2]}-after-long-ago"
    }


SAMPLES = Path(__file__).resolve().parents[3] / "samples"


def test_intake_uploads_into_the_bucket_and_forms_batches_of_all_its_inputs(
    make_bucket: Callable[..., BucketBackend], tmp_path: Path
) -> None:
    backend = make_bucket()
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    workspace = Workspace(backend.store, ledger)
    backend.put(b"there.wav", b"x")
    result = run_intake(workspace, [SAMPLES / "jfk.opus"], BatchLimits(), "test")
    assert (result.unsettled, result.refused) == (0, ())
    (key,) = ledger.list_open_batches(float("inf"), 10)
    assert sorted(member.delivery.name for member in ledger.list_members(key)) == ["jfk.opus", "there.wav"]
    ledger.close()


LIMITS = BucketScanLimits(max_recent=3, max_reconciled=2, margin_s=10.0)


def test_a_scan_takes_everything_or_returns_where_the_next_one_continues(
    make_bucket: Callable[..., BucketBackend], sqlite_ledger: Ledger
) -> None:
    backend = make_bucket()
    for i in range(7):
        backend.put(f"{i}.wav".encode())
    workspace = Workspace(backend.store, sqlite_ledger)
    scan = scan_bucket_repeatedly(workspace, BucketScanCursor(), LIMITS, max_scan_s=0.0)
    assert scan.has_more
    assert sqlite_ledger.count_totals().inputs < 7
    scan = scan_bucket_repeatedly(workspace, BucketScanCursor.load(scan.cursor.dump()), LIMITS, max_scan_s=60.0)
    assert not scan.has_more
    assert sqlite_ledger.count_totals().inputs == 7
