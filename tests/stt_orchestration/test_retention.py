"""What Dagster forgets, and what it keeps: the sensor ``retention``, evaluated as the daemon does it, on a real instance."""

from __future__ import annotations

import os
import secrets
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, DynamicPartitionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from assets.common.partitions import batches
from stt_orchestration.definitions import build_defs
from stt_orchestration.jobs import JOB_NAME
from stt_orchestration.retention import RetentionRules, apply_retention
from stt_orchestration.runs import LIVE_STATUSES, get_past_runs
from stt_orchestration.sensors import RETENTION_SENSOR_NAME
from stt_orchestration.settings import Settings
from tests.stt_orchestration.conftest import Installation

SUCCESS, FAILURE, CANCELED = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED


@dg.asset(name="transcript", partitions_def=batches, check_specs=[dg.AssetCheckSpec("has_words", asset="transcript")])
def stand_in() -> dg.MaterializeResult:  # type: ignore[type-arg]
    """In the place of the asset ``transcript``: it has no work."""
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])


def tick(installation: Installation) -> str:
    """One tick of the sensor; returns what it says."""
    definitions = build_defs(Settings.read())
    with dg.build_sensor_context(
        instance=installation.instance, resources={"workspace": definitions.resources["workspace"]}
    ) as context:
        result = definitions.get_sensor_def(RETENTION_SENSOR_NAME)(context)
    assert isinstance(result, dg.SkipReason)
    return str(result.skip_message)


def execute_run(installation: Installation, key: str) -> str:
    """Execute a run of a batch without any work; returns its id."""
    installation.instance.add_dynamic_partitions(batches.name or "", [key])
    definitions = dg.Definitions(assets=[stand_in], jobs=[dg.define_asset_job(JOB_NAME, [stand_in])])
    job = definitions.resolve_job_def(JOB_NAME)
    return job.execute_in_process(instance=installation.instance, partition_key=key).run_id


def create_runs(
    installation: Installation, status: dg.DagsterRunStatus, days: float, count: int = 1, **tags: str
) -> list[str]:
    """Note runs of the batch job that ended so many days ago, the later ones a second later."""
    made = []
    for place in range(count):
        tagged = {f"dagster/{name}": value for name, value in tags.items()}
        run = dg.DagsterRun(job_name=JOB_NAME, run_id=str(uuid.uuid4()), status=status, tags=tagged)
        made.append(installation.instance.add_run(run).run_id)
        age_run(installation, made[-1], days - place / 86_400)
    return made


def age_run(installation: Installation, run_id: str, days: float) -> None:
    storage = installation.instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    moment = (datetime.now(UTC) - timedelta(days=days)).replace(tzinfo=None)
    with storage.connect() as connection:
        connection.execute(sa.update(RunsTable).where(RunsTable.c.run_id == run_id).values(update_timestamp=moment))


def age_tables(installation: Installation, days: float) -> None:
    """Date all partitions and checks back."""
    events = installation.instance.event_log_storage
    assert isinstance(events, SqlEventLogStorage)
    moment = (datetime.now(UTC) - timedelta(days=days)).replace(tzinfo=None)
    with events.index_connection() as connection:
        for table in (DynamicPartitionsTable, AssetCheckExecutionsTable):
            connection.execute(sa.update(table).values(create_timestamp=moment))


def list_runs(installation: Installation) -> set[str]:
    return {run.run_id for run in installation.instance.get_runs()}


def list_partitions(installation: Installation) -> Sequence[str]:
    return installation.instance.get_dynamic_partitions(batches.name or "")


def list_leavings(run_id: str) -> set[str]:
    """Names below Dagster's home that a run's id is part of."""
    return {path.name for path in Path(os.environ["DAGSTER_HOME"]).rglob("*") if run_id in path.name}


def list_checked(installation: Installation) -> set[str]:
    """The runs whose checks Dagster remembers."""
    key = dg.AssetCheckKey(dg.AssetKey("transcript"), "has_words")
    events = installation.instance.event_log_storage
    return {record.run_id for record in events.get_asset_check_execution_history(key, limit=10)}


def make_unfinished_batch(installation: Installation) -> str:
    """Let the sensor on the input folder make a batch; nothing runs it."""
    from recordings.batches import BatchLimits
    from recordings.intake.intake import run_intake

    (installation.raw / "a.wav").write_bytes(b"x")
    run_intake(installation.workspace, [], BatchLimits(), "test")
    (key,) = installation.workspace.ledger.list_open_batches(float("inf"), 10)
    return key


@pytest.fixture
def on_postgres(installation: Installation, postgres: str, tmp_path: Path) -> Iterator[Installation]:
    """The installation with an instance like a cluster's: PostgreSQL, and compute logs in a folder."""
    name = f"dagster_{secrets.token_hex(4)}"
    url = sa.make_url(postgres).set(drivername="postgresql+psycopg2")
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    storage = {
        "module": "stt_orchestration.storage",
        "class": "RetryingPostgresStorage",
        "config": {"postgres_url": url.set(database=name).render_as_string(hide_password=False)},
    }
    home = tmp_path / "cluster"
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml.safe_dump({"storage": {"custom": storage}}), encoding="utf-8")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield replace(installation, instance=instance)
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.dispose()


def check_that_an_old_run_goes(installation: Installation, folder: Path) -> None:
    """Two runs, the older one past its days: it goes with all, and the other one stays with all.

    Args:
        installation: On either database.
        folder: Holds the files of the instance.
    """

    def list_leavings(run_id: str) -> set[str]:
        return {path.name for path in folder.rglob("*") if run_id in path.name}

    old, young = execute_run(installation, "batch-old"), execute_run(installation, "batch-young")
    leavings = list_leavings(young)
    assert young in leavings, "the folder of compute logs"
    assert {name.replace(young, old) for name in leavings} == list_leavings(old)
    age_run(installation, old, 31)
    age_tables(installation, 31)
    assert tick(installation) == "Deleted: 1 runs, 1 partitions, 1 checks of deleted runs."
    assert list_runs(installation) == {young}
    assert list_partitions(installation) == ["batch-young"]
    assert list_checked(installation) == {young}
    assert (list_leavings(old), list_leavings(young)) == (set(), leavings)
    wanted = dg.AssetRecordsFilter(asset_key=stand_in.key)
    made = installation.instance.fetch_materializations(wanted, limit=10).records
    assert [record.run_id for record in made] == [young]
    assert tick(installation) == "Nothing is old enough."


def test_an_old_run_goes_with_all_that_dagster_keeps_of_it_and_a_young_one_stays(installation: Installation) -> None:
    home = Path(os.environ["DAGSTER_HOME"])
    check_that_an_old_run_goes(installation, home)
    assert len(list((home / "history/runs").glob("*-*.db"))) == 1, "each run has a file of events"


def test_an_old_run_goes_on_postgresql_too(on_postgres: Installation, tmp_path: Path) -> None:
    check_that_an_old_run_goes(on_postgres, tmp_path / "cluster")


@pytest.mark.parametrize(("status", "days"), [(SUCCESS, 30), (FAILURE, 90), (CANCELED, 90)])
def test_failed_and_cancelled_runs_stay_longer(
    installation: Installation, status: dg.DagsterRunStatus, days: int
) -> None:
    create_runs(installation, status, days + 0.1)
    (young,) = create_runs(installation, status, days - 0.1)
    tick(installation)
    assert list_runs(installation) == {young}


def test_what_is_queued_or_at_work_stays_however_old(installation: Installation) -> None:
    live = {create_runs(installation, status, 400)[0] for status in LIVE_STATUSES if status.value != "QUEUED"}
    tick(installation)
    assert list_runs(installation) == live


def test_zero_days_keep_all(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STT_KEEP_SUCCEEDED_DAYS", "STT_KEEP_FAILED_DAYS"):
        monkeypatch.setenv(name, "0")
    kept = {*create_runs(installation, SUCCESS, 4000), *create_runs(installation, FAILURE, 4000)}
    installation.instance.add_dynamic_partitions(batches.name or "", ["batch-x"])
    age_tables(installation, 4000)
    tick(installation)
    assert (list_runs(installation), list_partitions(installation)) == (kept, ["batch-x"])


def test_of_an_unfinished_batch_the_partition_and_the_newest_runs_stay(installation: Installation) -> None:
    """They say when it is asked for again: without them it would be a new batch, and be asked for at once."""
    key = make_unfinished_batch(installation)
    installation.instance.add_dynamic_partitions(batches.name or "", [key])
    runs = create_runs(installation, FAILURE, 200, 14, partition=key)
    age_tables(installation, 200)
    assert tick(installation) == "Deleted: 2 runs."
    assert (list_runs(installation), list_partitions(installation)) == (set(runs[2:]), [key])


def test_needed_runs_do_not_hide_those_that_are_due(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stt_orchestration.retention._RUNS", 2)
    key = make_unfinished_batch(installation)
    needed = create_runs(installation, FAILURE, 200, 5, partition=key)
    create_runs(installation, FAILURE, 100, 5)
    assert tick(installation) == "Deleted: 5 runs."
    assert list_runs(installation) == set(needed)


def test_a_partition_without_a_run_goes_unless_it_is_young_or_its_batch_unfinished(installation: Installation) -> None:
    """As it is between the request for a run and the run, and when a person adds the partition of an old batch."""
    key, name = make_unfinished_batch(installation), batches.name or ""
    installation.instance.add_dynamic_partitions(name, [key, "batch-finished"])
    age_tables(installation, 31)
    installation.instance.add_dynamic_partitions(name, ["batch-asked-for"])
    assert tick(installation) == "Deleted: 1 partitions."
    assert list_partitions(installation) == [key, "batch-asked-for"]


def test_runs_of_other_code_locations_and_of_capacity_assets_stay(installation: Installation) -> None:
    def create(asset: str, location: str) -> str:
        run = dg.DagsterRun(
            job_name="__ASSET_JOB",
            run_id=str(uuid.uuid4()),
            status=SUCCESS,
            tags={".dagster/repository": f"__repository__@{location}"},
            asset_selection=frozenset({dg.AssetKey(asset)}),
        )
        age_run(installation, installation.instance.add_run(run).run_id, 400)
        return run.run_id

    create("transcript", "stt")
    kept = {create("transcript", "theirs"), create("sizing", "stt")}
    tick(installation)
    assert list_runs(installation) == kept


def test_leftovers_of_unknown_runs_are_removed_by_age_once_a_day(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(os.environ["DAGSTER_HOME"])
    logs, files = home / "storage", home / "history" / "runs"

    def leave(days: float) -> str:
        run_id = str(uuid.uuid4())
        (logs / run_id / "compute_logs").mkdir(parents=True)
        (files / f"{run_id}.db").write_bytes(b"")
        moment = time.time() - days * 86_400
        for path in (logs / run_id, files / f"{run_id}.db"):
            os.utime(path, (moment, moment))
        return run_id

    old, young = leave(31), leave(29)
    (known,) = create_runs(installation, FAILURE, 40)
    (logs / known / "compute_logs").mkdir(parents=True)
    (logs / "sizing").mkdir()  # as Dagster stores the value of an asset
    for path in (logs / known, logs / "sizing"):
        os.utime(path, (0, 0))
    assert tick(installation) == "Deleted: 1 compute logs of deleted runs, 1 event files of deleted runs."
    assert (list_leavings(old), list_leavings(young)) == (set(), {young, f"{young}.db"})
    assert {path.name for path in logs.iterdir()} == {young, known, "sizing"}
    later = leave(31)
    tick(installation)
    assert list_leavings(later), "the next look is a day later"
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 86_401)
    tick(installation)
    assert not list_leavings(later)


def test_a_call_ends_when_its_time_is_up_and_the_next_one_goes_on(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stt_orchestration.retention._RUNS", 3)
    create_runs(installation, SUCCESS, 40, 5)
    create_runs(installation, FAILURE, 100)
    rules = RetentionRules(30, 90)

    def apply() -> tuple[int, bool]:
        result = apply_retention(installation.instance, rules, list, seconds=0)
        return result.runs, result.has_more

    assert [apply(), apply(), apply()] == [(3, True), (2, True), (1, True)]
    for _ in range(4):  # partitions, checks, logs, files
        last = apply()
    assert last == (0, False)


def test_as_many_runs_stay_as_the_setting_says(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_KEEP_RUNS", "3")
    key = make_unfinished_batch(installation)
    needed = create_runs(installation, FAILURE, 1, 1, partition=key)
    runs = {
        status: create_runs(installation, status, 0.5, 4) for status in (SUCCESS, FAILURE, dg.DagsterRunStatus.STARTED)
    }
    tick(installation)
    expected = {*needed, *runs[SUCCESS][1:], *runs[FAILURE][1:], *runs[dg.DagsterRunStatus.STARTED]}
    assert list_runs(installation) == expected


def test_past_runs_of_many_batches_cost_as_many_queries_as_those_of_one(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"batch-{number}" for number in range(5)]
    for key in keys:
        create_runs(installation, FAILURE, 1, partition=key)
        create_runs(installation, CANCELED, 0.5, partition=key)
    connections: list[int] = []
    storage = installation.instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    opened = storage.connect

    def connect() -> AbstractContextManager[sa.Connection]:
        connections.append(1)
        return opened()

    monkeypatch.setattr(storage, "connect", connect)
    past = get_past_runs(installation.instance, keys)
    assert len(connections) == 1
    assert {key: (runs.count, runs.cancelled) for key, runs in past.items()} == dict.fromkeys(keys, (2, True))
    assert get_past_runs(installation.instance, ["batch-unknown"]) == {}
