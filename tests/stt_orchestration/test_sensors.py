"""The sensor and the schedule, ticked as the daemon ticks them, on a real instance."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from assets.common.partitions import batches
from assets.common.step import PROCESS_TAG, make_process_tag
from recordings.intake.bucket_scan import BucketScanCursor
from recordings.states import State
from stt_orchestration.definitions import build_defs
from stt_orchestration.jobs import JOB_NAME
from stt_orchestration.runs import LIVE_STATUSES, find_live_runs, prune_runs
from stt_orchestration.schedules import SCHEDULE_NAME
from stt_orchestration.sensors import BUCKET_SENSOR_NAME, SENSOR_NAME
from stt_orchestration.settings import Settings
from tests.servers import BUCKET, S3Server
from tests.stt_orchestration.conftest import Place


def tick(place: Place, cursor: str | None) -> dg.SensorResult:
    definitions = build_defs(place.settings)
    sensor = definitions.get_sensor_def(BUCKET_SENSOR_NAME if place.settings.is_in_bucket else SENSOR_NAME)
    with dg.build_sensor_context(
        instance=place.instance, cursor=cursor, resources={"workspace": definitions.resources["workspace"]}
    ) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    for asked in result.dynamic_partitions_requests or ():
        place.instance.add_dynamic_partitions(asked.partitions_def_name, list(asked.partition_keys))
    return result


def due(place: Place, *, ago: timedelta = timedelta()) -> dg.SkipReason | list[dg.RunRequest]:
    definitions = build_defs(place.settings)
    schedule = definitions.get_schedule_def(SCHEDULE_NAME)
    with dg.build_schedule_context(
        instance=place.instance,
        scheduled_execution_time=datetime.now(UTC) - ago,
        resources={"workspace": definitions.resources["workspace"]},
    ) as context:
        return schedule(context)


def noted_run(
    place: Place, key: str, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED, **tags: str
) -> dg.DagsterRun:
    """A run as Dagster has it in its books: at work, if nothing else is said."""
    job = build_defs(place.settings).resolve_job_def(JOB_NAME)
    return place.instance.create_run_for_job(job, status=status, tags={"dagster/partition": key, **tags})


def gone_process() -> str:
    """The identity of a process that has ended."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    return f"{socket.gethostname()}:{gone.pid}::"


def waiting_batch(place: Place) -> str:
    """A batch that was made an hour ago and never worked on."""
    (place.raw / "a.wav").write_bytes(b"x")
    requested = tick(place, tick(place, None).cursor).run_requests
    assert requested is not None
    with place.workspace.ledger._write() as connection:
        connection.exec_driver_sql("UPDATE batches SET made_at = made_at - 3600")
    return str(requested[0].partition_key)


def asked_for(place: Place) -> list[str]:
    """The run keys that a tick asks for."""
    return [str(request.run_key) for request in tick(place, None).run_requests or ()]


def years_later(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 1e8)


def test_a_new_file_becomes_a_batch_at_the_second_tick_and_is_never_requested_again(place: Place) -> None:
    (place.raw / "a.wav").write_bytes(b"x")
    first = tick(place, None)
    assert first.run_requests == []
    assert "1 new files not settled yet" in str(first.skip_reason)
    second = tick(place, first.cursor)
    assert second.run_requests is not None
    (request,) = second.run_requests
    assert request.run_key == request.partition_key
    assert place.instance.get_dynamic_partitions(batches.name or "") == [request.partition_key]
    third = tick(place, second.cursor)
    assert third.run_requests == []


def test_a_batch_whose_run_was_never_started_is_requested_again_under_the_same_key(place: Place) -> None:
    """The sensor died after it had claimed the recordings and before Dagster had noted the request."""
    (place.raw / "a.wav").write_bytes(b"x")
    lost = tick(place, tick(place, None).cursor)
    assert lost.run_requests is not None
    ledger = place.workspace.ledger
    with ledger._write() as connection:
        connection.exec_driver_sql("UPDATE batches SET made_at = made_at - 3600")
    again = tick(place, lost.cursor)
    assert again.run_requests is not None
    assert [r.run_key for r in again.run_requests] == [r.run_key for r in lost.run_requests]
    noted_run(place, str(lost.run_requests[0].partition_key))
    assert tick(place, again.cursor).run_requests == []


def test_what_the_sensor_ignores_is_counted_with_its_reason(place: Place) -> None:
    (place.raw / ".hidden").write_bytes(b"x")
    (place.raw / "half.part").write_bytes(b"x")
    assert "1 hidden name, 1 temporary name" in str(tick(place, None).skip_reason)


def in_bucket(place: Place, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> tuple[Place, str]:
    """The place with its bytes below a prefix of a real bucket, and the prefix."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    prefix = secrets.token_hex(4)
    monkeypatch.setenv("STT_STORE_URL", f"s3://{BUCKET}/{prefix}")
    return replace(place, settings=Settings.read()), prefix


def test_an_object_in_a_bucket_is_asked_for_at_first_sight_and_once(
    place: Place, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, prefix = in_bucket(place, s3, monkeypatch)
    names = [sensor.name for sensor in build_defs(place.settings).sensors or ()]
    assert [name for name in names if name.startswith("audio_")] == [BUCKET_SENSOR_NAME]
    s3.client.put_object(Bucket=BUCKET, Key=f"{prefix}/raw_audio/a.wav", Body=b"x")
    s3.client.put_object(Bucket=BUCKET, Key=f"{prefix}/raw_audio/b.part", Body=b"x")
    first = tick(place, None)
    (asked,) = first.run_requests or ()
    members = place.workspace.ledger.list_members(str(asked.partition_key))
    assert [m.delivery.name for m in members] == ["a.wav"]
    noted_run(place, str(asked.partition_key))
    second = tick(place, first.cursor)
    assert second.run_requests == []
    assert "seen to its end; ignored: 1 temporary name" in str(second.skip_reason)


def test_the_schedule_takes_what_nobody_writes_to_any_more(place: Place) -> None:
    (place.raw / "old.wav").write_bytes(b"x")
    os.utime(place.raw / "old.wav", (time.time() - 120, time.time() - 120))
    (place.raw / "young.wav").write_bytes(b"x")
    requests = due(place)
    assert isinstance(requests, list)
    (request,) = requests
    members = place.workspace.ledger.list_members(str(request.partition_key))
    assert [m.delivery.name for m in members] == ["old.wav"]
    assert request.partition_key in place.instance.get_dynamic_partitions(batches.name or "")


def test_the_schedule_walks_a_bucket_and_goes_on_where_it_stopped(
    place: Place, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, prefix = in_bucket(place, s3, monkeypatch)
    s3.client.put_object(Bucket=BUCKET, Key=f"{prefix}/raw_audio/a.wav", Body=b"x")
    requests = due(place)
    assert isinstance(requests, list)
    members = place.workspace.ledger.list_members(str(requests[0].partition_key))
    assert [m.delivery.name for m in members] == ["a.wav"]
    assert "seen to its end" in str(due(place))

    # What an earlier tick left over: a walk that has come to "m", and a slow one as well.
    key = f"{SCHEDULE_NAME}/s3://{BUCKET}/{prefix}/"
    kept = place.instance.daemon_cursor_storage
    assert BucketScanCursor.load(kept.get_cursor_values({key})[key]).began_with > 0
    kept.set_cursor_values({key: BucketScanCursor(after="m", reconciled_to="m").dump()})
    for name in ("b.wav", "z.wav"):
        s3.client.put_object(Bucket=BUCKET, Key=f"{prefix}/raw_audio/{name}", Body=name.encode())
    requests = due(place)
    assert isinstance(requests, list)
    members = place.workspace.ledger.list_members(str(requests[0].partition_key))
    assert [m.delivery.name for m in members] == ["z.wav"], "what lies before it is the next walk's"


def test_the_schedule_forbids_itself_while_a_batch_is_at_work(place: Place) -> None:
    run = noted_run(place, "batch-x")
    skipped = due(place)
    assert isinstance(skipped, dg.SkipReason)
    assert run.run_id[:8] in str(skipped.skip_message)


def test_a_run_whose_process_was_killed_blocks_nobody(place: Place) -> None:
    dead = noted_run(place, "batch-x")
    place.instance.add_run_tags(dead.run_id, {PROCESS_TAG: f"{dead.run_id}/{gone_process()}"})
    assert find_live_runs(place.instance) == []
    assert place.instance.get_run_by_id(dead.run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
    alive = noted_run(place, "batch-y")
    place.instance.add_run_tags(alive.run_id, {PROCESS_TAG: make_process_tag(alive.run_id)})
    assert [r.run_id for r in find_live_runs(place.instance)] == [alive.run_id]


def test_a_run_that_repeats_a_killed_one_is_not_taken_for_dead_by_the_tags_it_was_given(place: Place) -> None:
    """Dagster copies the tags of a run to the one that repeats it."""
    dead = noted_run(place, "batch-x", dg.DagsterRunStatus.FAILURE)
    tag = {PROCESS_TAG: f"{dead.run_id}/{gone_process()}"}
    place.instance.add_run_tags(dead.run_id, tag)
    again = noted_run(place, "batch-x", dg.DagsterRunStatus.STARTING, **tag)
    assert [r.run_id for r in find_live_runs(place.instance)] == [again.run_id]


def test_a_batch_whose_run_failed_comes_back_after_a_while_under_a_new_run_key(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = waiting_batch(place)
    assert asked_for(place) == [key]
    failed = noted_run(place, key)
    place.instance.report_run_failed(failed)
    assert asked_for(place) == [], "it has just failed"
    years_later(monkeypatch)
    assert asked_for(place) == [f"{key}-after-{failed.run_id}"]
    assert asked_for(place) == [f"{key}-after-{failed.run_id}"], "the same request, so that Dagster starts one run"
    requests = due(place)
    assert isinstance(requests, list)
    assert [r.run_key for r in requests] == [f"{key}-after-{failed.run_id}"]


# Dagster makes a queued run only for a code server's job; it is one of ALIVE like the others.
NOT_QUEUED = [status for status in LIVE_STATUSES if status is not dg.DagsterRunStatus.QUEUED]


@pytest.mark.parametrize("status", NOT_QUEUED, ids=lambda status: status.value)
def test_a_batch_with_a_run_that_waits_or_is_at_work_is_not_asked_for(
    place: Place, monkeypatch: pytest.MonkeyPatch, status: dg.DagsterRunStatus
) -> None:
    key = waiting_batch(place)
    place.instance.report_run_failed(noted_run(place, key))
    noted_run(place, key, status)
    assert dg.DagsterRunStatus.QUEUED in LIVE_STATUSES
    years_later(monkeypatch)
    assert asked_for(place) == []


def test_a_tick_missed_by_more_than_the_deadline_is_skipped(place: Place) -> None:
    (place.raw / "old.wav").write_bytes(b"x")
    os.utime(place.raw / "old.wav", (0, 0))
    skipped = due(place, ago=timedelta(hours=2))
    assert isinstance(skipped, dg.SkipReason)
    assert "too late" in str(skipped.skip_message)
    assert place.workspace.ledger.count_totals().states[State.RECEIVED] == 0
    assert isinstance(due(place, ago=timedelta(minutes=30)), list)


def test_pruning_keeps_the_newest_runs_of_each_outcome_and_those_at_work(place: Place) -> None:
    job = build_defs(place.settings).resolve_job_def(JOB_NAME)
    runs = {
        status: [place.instance.create_run_for_job(job, status=status).run_id for _ in range(4)]
        for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED)
    }
    assert prune_runs(place.instance, keep=3) == 2
    left = {run.run_id for run in place.instance.get_runs()}
    for status, made in runs.items():
        kept = made if status is dg.DagsterRunStatus.STARTED else made[1:]
        assert left & set(made) == set(kept)
