"""Measures ticks and pages of a Dagster instance, and lets it delete what is old."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from benchmarks.lab.dagster_history.fill import Databases

PROJECT = Path(__file__).resolve().parents[3]

_TICKS = """
import json, statistics, sys, time, warnings
from datetime import UTC, datetime
import dagster as dg
from stt_orchestration.definitions import build_defs
from stt_orchestration.schedules import SCHEDULE_NAME
from stt_orchestration.sensors import SENSOR_NAME
from stt_orchestration.settings import Settings
warnings.simplefilter("ignore")
definitions = build_defs(Settings.read())
resources = {"workspace": definitions.resources["workspace"]}

def tick_sensor(instance, name):
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        return definitions.get_sensor_def(name)(context)

def tick_schedule(instance):
    with dg.build_schedule_context(
        instance=instance, resources=resources, scheduled_execution_time=datetime.now(UTC)
    ) as context:
        return definitions.get_schedule_def(SCHEDULE_NAME)(context)

def take(work):
    began, began_work = time.perf_counter(), time.process_time()
    said = work()
    return time.perf_counter() - began, time.process_time() - began_work, said

def take_often(work):
    return [statistics.median(times) for times in zip(*(take(work)[:2] for _ in range(5)))]

with dg.DagsterInstance.get() as instance:
    if sys.argv[1] == "ticks":
        works = {
            "tick of the sensor": lambda: tick_sensor(instance, SENSOR_NAME),
            "tick of the schedule": lambda: tick_schedule(instance),
        }
        print(json.dumps({name: take_often(work) for name, work in works.items()}))
    else:
        while True:
            seconds, work_seconds, said = take(lambda: tick_sensor(instance, "retention"))
            print(json.dumps({"times": [seconds, work_seconds], "said": said.skip_message}), flush=True)
            if "next tick" not in said.skip_message:
                break
"""

_QUERIES = {
    "asset: counts of partitions": """{assetNodeOrError(assetKey: ASSET) {... on AssetNode {
        partitionStats {numMaterialized numPartitions numFailed numMaterializing}}}}""",
    "asset: partitions tab, and the list to launch from": """{assetNodeOrError(assetKey: ASSET) {... on AssetNode {
        partitionKeysByDimension {name partitionKeys}
        assetPartitionStatuses {... on DefaultPartitionStatuses {
            materializedPartitions failedPartitions unmaterializedPartitions materializingPartitions}}}}}""",
    "asset: newest materializations": """{assetOrError(assetKey: ASSET) {... on Asset {
        assetMaterializations(limit: 50) {runId partition timestamp}}}}""",
    "runs page": """{pipelineRunsOrError(limit: 26, filter: {}) {... on Runs {
        results {runId status tags {key value} startTime endTime}}}}""",
    "runs page: how many runs": """{runsFeedCountOrError(view: RUNS) {... on RunsFeedCount {count}}}""",
}
"""What pages of the UI ask, in short."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took.

    Attributes:
        wall: Seconds by the clock.
        work: Seconds of processor time of the process that did it. SQLite works in that process, PostgreSQL does not.
    """

    wall: float
    work: float


@dataclass(frozen=True, slots=True)
class Measured:
    """An instance as it is now.

    Attributes:
        counts: What is in it -> how many.
        megabytes: Of its databases.
        times: What was done -> how long it took: the first time for a page, the median of five for a tick.
        again: The same of each page, the median of three later times.
    """

    counts: Mapping[str, int]
    megabytes: float
    times: Mapping[str, Times]
    again: Mapping[str, Times]


def measure(databases: Databases, environment: Mapping[str, str]) -> Measured:
    """Count, weigh, tick, and ask what pages ask."""
    counts = {name: _count(*where) for name, where in _list_tables(databases).items()}
    process = _run(environment, "ticks")
    times = {name: Times(*taken) for name, taken in json.loads(process.splitlines()[-1]).items()}
    again: dict[str, Times] = {}
    with _webserver(environment) as (url, server):
        for name, query in _QUERIES.items():
            taken = [_take(url, query, server) for _ in range(4)]
            times[name], later = taken[0], taken[1:]
            again[name] = Times(
                statistics.median(each.wall for each in later), statistics.median(each.work for each in later)
            )
    return Measured(counts, weigh(databases), times, again)


def delete_old(environment: Mapping[str, str]) -> list[Times]:
    """Tick the sensor ``retention`` until nothing is left to do; returns how long each tick took."""
    said = [json.loads(line) for line in _run(environment, "retention").splitlines()]
    return [Times(*tick["times"]) for tick in said]


def weigh(databases: Databases) -> float:
    """Megabytes of the databases."""
    if databases.runs.startswith("sqlite"):
        return (
            sum(Path(sa.make_url(url).database or "").stat().st_size for url in (databases.runs, databases.events))
            / 1e6
        )
    engine = sa.create_engine(databases.runs)
    with engine.connect() as connection:
        size = connection.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0
    engine.dispose()
    return float(size) / 1e6


def _list_tables(databases: Databases) -> dict[str, tuple[str, str]]:
    return {
        "runs": (databases.runs, "runs"),
        "partitions": (databases.events, "dynamic_partitions"),
        "events": (databases.events, "event_logs"),
        "executions of checks": (databases.events, "asset_check_executions"),
    }


def _count(url: str, table: str) -> int:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        count = connection.scalar(sa.select(sa.func.count()).select_from(sa.table(table)))
    engine.dispose()
    return count or 0


def _run(environment: Mapping[str, str], what: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", _TICKS, what]
    return subprocess.run(
        command, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@contextmanager
def _webserver(environment: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "dagster_webserver", "-w", str(PROJECT / "workspace.yaml"), "-p", str(port)]
    with subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            url = f"http://127.0.0.1:{port}/graphql"
            _wait(url)
            yield url, server.pid
        finally:
            server.terminate()


def _wait(url: str, seconds: float = 600.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            _ask(url, "{version}")
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)
        else:
            return


def _take(url: str, query: str, server: int) -> Times:
    began, began_work = time.perf_counter(), _read_work(server)
    _ask(url, query)
    return Times(time.perf_counter() - began, _read_work(server) - began_work)


def _read_work(process: int) -> float:
    """Seconds of processor time that a process has used (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ask(url: str, query: str) -> None:
    """Ask, and wait for the answer.

    Raises:
        RuntimeError: The answer has errors.
    """
    query = query.replace("ASSET", '{path: ["transcript"]}')
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})  # noqa: S310 - http
    with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310 - http
        errors = json.loads(answer.read()).get("errors")
    if errors:
        raise RuntimeError(str(errors)[:500])
