"""The sensor and the schedule, evaluated as the daemon does it, on a real instance."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
import uuid
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
from stt_orchestration.runs import LIVE_STATUSES, find_live_runs
from stt_orchestration.schedules import SCHEDULE_NAME
from stt_orchestration.sensors import BUCKET_SENSOR_NAME, SENSOR_NAME
from stt_orchestration.settings import Settings
from tests.servers import BUCKET, S3Server
from tests.stt_orchestration.conftest import Installation


def tick(installation: Installation, cursor: str | None) -> dg.SensorResult:
    definitions = build_defs(installation.settings)
    sensor = definitions.get_sensor_def(BUCKET_SENSOR_NAME if installation.settings.is_in_bucket else SENSOR_NAME)
    with dg.build_sensor_context(
        instance=installation.instance, cursor=cursor, resources={"workspace": definitions.resources["workspace"]}
    ) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    for partitions in result.dynamic_partitions_requests or ():
        installation.instance.add_dynamic_partitions(partitions.partitions_def_name, list(partitions.partition_keys))
    return result


def tick_schedule(installation: Installation, *, ago: timedelta = timedelta()) -> dg.SkipReason | list[dg.RunRequest]:
    definitions = build_defs(installation.settings)
    schedule = definitions.get_schedule_def(SCHEDULE_NAME)
    with dg.build_schedule_context(
        instance=installation.instance,
        scheduled_execution_time=datetime.now(UTC) - ago,
        resources={"workspace": definitions.resources["workspace"]},
    ) as context:
        return schedule(context)


def create_run(
    installation: Installation, key: str, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED, **tags: str
) -> dg.DagsterRun:
    """Note a run in Dagster's storage; by default it is at work."""
    run = dg.DagsterRun(
        job_name=JOB_NAME, run_id=str(uuid.uuid4()), status=status, tags={"dagster/partition": key, **tags}
    )
    return installation.instance.add_run(run)


def make_ended_process() -> str:
    """Start a process and wait for its end. Returns its identity as in ``PROCESS_TAG``."""
    process = subprocess.Popen(["true"])
    process.wait()
    return f"{socket.gethostname()}:{process.pid}::"


def make_old_batch(installation: Installation) -> str:
    """Make a batch whose creation lies an hour back. Returns its key."""
    (installation.raw / "a.wav").write_bytes(b"x")
    requested = tick(installation, tick(installation, None).cursor).run_requests
    assert requested is not None
    with installation.workspace.ledger._write() as connection:
        connection.exec_driver_sql("UPDATE batches SET made_at = made_at - 3600")
    return str(requested[0].partition_key)


def list_run_keys(installation: Installation) -> list[str]:
    """Run keys of the requests of one tick."""
    return [str(request.run_key) for request in tick(installation, None).run_requests or ()]


def move_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 1e8)


def test_a_new_file_becomes_a_batch_at_the_second_tick_and_is_never_requested_again(installation: Installation) -> None:
    (installation.raw / "a.wav").write_bytes(b"x")
    first = tick(installation, None)
    assert first.run_requests == []
    assert "1 new files not settled yet" in str(first.skip_reason)
    second = tick(installation, first.cursor)
    assert second.run_requests is not None
    (request,) = second.run_requests
    assert request.run_key == request.partition_key
    assert installation.instance.get_dynamic_partitions(batches.name or "") == [request.partition_key]
    third = tick(installation, second.cursor)
    assert third.run_requests == []


def test_a_request_adds_the_partition_that_dagster_has_forgotten(installation: Installation) -> None:
    key = make_old_batch(installation)
    for request_again in (lambda: list_run_keys(installation), lambda: tick_schedule(installation)):
        installation.instance.delete_dynamic_partition(batches.name or "", key)
        assert request_again()
        assert installation.instance.get_dynamic_partitions(batches.name or "") == [key]


def test_a_batch_whose_run_was_never_started_is_requested_again_under_the_same_key(installation: Installation) -> None:
    """The sensor died after it had claimed the recordings and before Dagster had noted the request."""
    (installation.raw / "a.wav").write_bytes(b"x")
    lost = tick(installation, tick(installation, None).cursor)
    assert lost.run_requests is not None
    ledger = installation.workspace.ledger
    with ledger._write() as connection:
        connection.exec_driver_sql("UPDATE batches SET made_at = made_at - 3600")
    again = tick(installation, lost.cursor)
    assert again.run_requests is not None
    assert [r.run_key for r in again.run_requests] == [r.run_key for r in lost.run_requests]
    create_run(installation, str(lost.run_requests[0].partition_key))
    assert tick(installation, again.cursor).run_requests == []


def test_what_the_sensor_ignores_is_counted_with_its_reason(installation: Installation) -> None:
    (installation.raw / ".hidden").write_bytes(b"x")
    (installation.raw / "half.part").write_bytes(b"x")
    assert "1 hidden name, 1 temporary name" in str(tick(installation, None).skip_reason)


def move_to_bucket(
    installation: Installation, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> tuple[Installation, str]:
    """The installation with its store below a prefix of a real bucket, and the prefix."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    prefix = secrets.token_hex(4)
    monkeypatch.setenv("STT_STORE_URL", f"s3://{BUCKET}/{prefix}")
    return replace(installation, settings=Settings.read()), prefix


def test_an_object_in_a_bucket_is_requested_once_at_the_first_tick(
    installation: Installation, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation, prefix = move_to_bucket(installation, s3, monkeypatch)
    names = [sensor.name for sensor in build_defs(installation.settings).sensors or ()]
    assert [name for name in names if name.startswith("audio_")] == [BUCKET_SENSOR_NAME]
    s3.client.put_object(Bucket=BUCKET, Key=f"{prefix}/raw_audio/a.wav", Body=b"x")
    s3.client.put_object(Bucket=BUCKET, Key=f"{prefix}/raw_audio/b.part", Body=b"x")
    first = tick(installation, None)
    (request,) = first.run_requests or ()
    members = installation.workspace.ledger.list_members(str(request.partition_key))
    assert [m.delivery.name for m in members] == ["a.wav"]
    create_run(installation, str(request.partition_key))
    second = tick(installation, first.cursor)
    assert second.run_requests == []
    assert "seen to its end; ignored: 1 temporary name" in str(second.skip_reason)


def test_the_schedule_takes_files_that_have_settled(installation: Installation) -> None:
    (installation.raw / "old.wav").write_bytes(b"x")
    os.utime(installation.raw / "old.wav", (time.time() - 120, time.time() - 120))
    (installation.raw / "young.wav").write_bytes(b"x")
    requests = tick_schedule(installation)
    assert isinstance(requests, list)
    (request,) = requests
    members = installation.workspace.ledger.list_members(str(request.partition_key))
    assert [m.delivery.name for m in members] == ["old.wav"]
    assert request.partition_key in installation.instance.get_dynamic_partitions(batches.name or "")


def test_the_schedule_scans_a_bucket_and_continues_where_it_stopped(
    installation: Installation, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation, prefix = move_to_bucket(installation, s3, monkeypatch)
    s3.client.put_object(Bucket=BUCKET, Key=f"{prefix}/raw_audio/a.wav", Body=b"x")
    requests = tick_schedule(installation)
    assert isinstance(requests, list)
    members = installation.workspace.ledger.list_members(str(requests[0].partition_key))
    assert [m.delivery.name for m in members] == ["a.wav"]
    assert "seen to its end" in str(tick_schedule(installation))

    # As an earlier tick leaves it: the scan has reached "m", and so has the slow scan of the whole bucket.
    key = f"{SCHEDULE_NAME}/s3://{BUCKET}/{prefix}/"
    cursors = installation.instance.daemon_cursor_storage
    assert BucketScanCursor.load(cursors.get_cursor_values({key})[key]).began_with > 0
    cursors.set_cursor_values({key: BucketScanCursor(after="m", reconciled_to="m").dump()})
    for name in ("b.wav", "z.wav"):
        s3.client.put_object(Bucket=BUCKET, Key=f"{prefix}/raw_audio/{name}", Body=name.encode())
    requests = tick_schedule(installation)
    assert isinstance(requests, list)
    members = installation.workspace.ledger.list_members(str(requests[0].partition_key))
    assert [m.delivery.name for m in members] == ["z.wav"], "what lies before it belongs to the next scan"


def test_the_schedule_is_skipped_while_a_batch_is_at_work(installation: Installation) -> None:
    run = create_run(installation, "batch-x")
    skipped = tick_schedule(installation)
    assert isinstance(skipped, dg.SkipReason)
    assert run.run_id[:8] in str(skipped.skip_message)


def test_runs_of_other_jobs_keep_no_batch_waiting(installation: Installation) -> None:
    run = dg.DagsterRun(job_name="measure_platform", run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.STARTED)
    installation.instance.add_run(run)
    assert find_live_runs(installation.instance) == []


def test_a_run_whose_process_was_killed_counts_as_failed(installation: Installation) -> None:
    dead = create_run(installation, "batch-x")
    installation.instance.add_run_tags(dead.run_id, {PROCESS_TAG: f"{dead.run_id}/{make_ended_process()}"})
    assert find_live_runs(installation.instance) == []
    assert installation.instance.get_run_by_id(dead.run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
    alive = create_run(installation, "batch-y")
    installation.instance.add_run_tags(alive.run_id, {PROCESS_TAG: make_process_tag(alive.run_id)})
    assert [r.run_id for r in find_live_runs(installation.instance)] == [alive.run_id]


def test_a_retry_is_not_taken_for_dead_because_of_the_tags_of_the_killed_run(installation: Installation) -> None:
    """Dagster copies the tags of a run to the one that repeats it."""
    dead = create_run(installation, "batch-x", dg.DagsterRunStatus.FAILURE)
    tag = {PROCESS_TAG: f"{dead.run_id}/{make_ended_process()}"}
    installation.instance.add_run_tags(dead.run_id, tag)
    again = create_run(installation, "batch-x", dg.DagsterRunStatus.STARTING, **tag)
    assert [r.run_id for r in find_live_runs(installation.instance)] == [again.run_id]


def test_a_batch_whose_run_failed_is_requested_later_with_a_new_run_key(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_old_batch(installation)
    assert list_run_keys(installation) == [key]
    failed = create_run(installation, key)
    installation.instance.report_run_failed(failed)
    assert list_run_keys(installation) == [], "it has just failed"
    move_clock(monkeypatch)
    assert list_run_keys(installation) == [f"{key}-after-{failed.run_id}"]
    assert list_run_keys(installation) == [f"{key}-after-{failed.run_id}"], (
        "the same request, so that Dagster starts one run"
    )
    requests = tick_schedule(installation)
    assert isinstance(requests, list)
    assert [r.run_key for r in requests] == [f"{key}-after-{failed.run_id}"]


# Dagster creates a queued run only for a code server's job; LIVE_STATUSES has it too.
NOT_QUEUED = [status for status in LIVE_STATUSES if status is not dg.DagsterRunStatus.QUEUED]


@pytest.mark.parametrize("status", NOT_QUEUED, ids=lambda status: status.value)
def test_a_batch_with_a_live_run_is_not_requested(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, status: dg.DagsterRunStatus
) -> None:
    key = make_old_batch(installation)
    installation.instance.report_run_failed(create_run(installation, key))
    create_run(installation, key, status)
    assert dg.DagsterRunStatus.QUEUED in LIVE_STATUSES
    move_clock(monkeypatch)
    assert list_run_keys(installation) == []


def test_a_tick_missed_by_more_than_the_deadline_is_skipped(installation: Installation) -> None:
    (installation.raw / "old.wav").write_bytes(b"x")
    os.utime(installation.raw / "old.wav", (0, 0))
    skipped = tick_schedule(installation, ago=timedelta(hours=2))
    assert isinstance(skipped, dg.SkipReason)
    assert "too late" in str(skipped.skip_message)
    assert installation.workspace.ledger.count_totals().states[State.RECEIVED] == 0
    assert isinstance(tick_schedule(installation, ago=timedelta(minutes=30)), list)
