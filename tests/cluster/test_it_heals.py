"""Runs succeed although the API server, the database or the daemon goes away in the middle of them."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.cluster.conftest import PROJECT, Deployment, wait_until

pytestmark = pytest.mark.timeout(600)

SPEECH = PROJECT / "samples" / "nested" / "lj-long.flac"
STEPS = {"raw", "normalized", "transcript", "enriched"}
OVER = ("SUCCESS", "FAILURE", "CANCELED")


@dataclass(frozen=True)
class Delivery:
    """Two new recordings in their own folder."""

    stt: Deployment
    folder: str

    def find_batch(self) -> str:
        """Key of the batch of these recordings; empty if there is none yet."""
        condition = f"name LIKE '{self.folder}/%' AND batch_key IS NOT NULL"
        return self.stt.sql("ledger", f"SELECT DISTINCT batch_key FROM deliveries WHERE {condition}")  # noqa: S608

    def wait_for_run(self) -> str:
        """Wait for the first run of these recordings. Returns its id."""
        batch = wait_until(120, "their batch", self.find_batch)
        return str(wait_until(120, "their run", lambda: self.stt.runs(batch))[-1]["runId"])

    def wait_for_success(self) -> list[dict[str, Any]]:
        """Wait until their newest run has succeeded. Returns their runs."""

        def find_successful_runs() -> list[dict[str, Any]] | None:
            runs = self.stt.runs(self.find_batch())
            return runs if runs and runs[0]["status"] == "SUCCESS" else None

        try:
            runs = wait_until(400, f"a run of {self.folder} that ends well", find_successful_runs)
        except pytest.fail.Exception as error:
            pytest.fail(f"{error}\n{self.stt.describe_runs(self.find_batch())}")
        assert all(run["status"] in OVER for run in runs), runs
        return runs

    def check_done_once(self) -> None:
        """Everything was done once, all outputs exist, and no pod is left."""
        condition = f"batch_key = '{self.find_batch()}'"
        transcribed = self.stt.sql("ledger", f"SELECT step, recordings FROM runs WHERE {condition}")  # noqa: S608
        assert transcribed == "transcript|2", "each recording is transcribed exactly once"
        outputs = self.stt.run_in_code_pod("sh", "-c", f"cd /data/transcripts/{self.folder} && ls").split()
        assert len([name for name in outputs if name.endswith(".json")]) == 2
        status = self.stt.status()
        assert sum(status["states"].values()) == status["inputs"]
        assert set(self.states()) == {"done"}
        wait_until(60, "the end of all pods of runs", lambda: not self.list_alive())

    def states(self) -> list[str]:
        joined = "deliveries JOIN recordings USING (sha256)"
        is_ours = f"deliveries.name LIKE '{self.folder}/%'"
        states = self.stt.sql("ledger", f"SELECT recordings.state FROM {joined} WHERE {is_ours}")  # noqa: S608
        return states.splitlines()

    def list_alive(self) -> list[str]:
        """Pods of any run that have not ended."""
        pods = self.stt.get("pods", "--selector=dagster/run-id")["items"]
        return [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] in ("Pending", "Running")]


@pytest.fixture
def deliver(stt: Deployment, tmp_path: Path) -> Callable[[], Delivery]:
    """Uploads two pieces of speech with noise, so that their bytes are new."""

    def upload() -> Delivery:
        speech, rate = soundfile.read(SPEECH)
        noise = np.random.default_rng(uuid.uuid4().int)
        files = []
        for name, begin in (("one.flac", 0), ("two.flac", 20)):
            piece = speech[begin * rate : (begin + 10) * rate]
            files.append(tmp_path / name)
            soundfile.write(files[-1], piece + noise.normal(0, 1e-4, len(piece)), rate)
        folder = f"heals-{uuid.uuid4().hex[:8]}"
        stt.upload(*files, into=folder)
        return Delivery(stt, folder)

    return upload


def wait_at_work(stt: Deployment, run_id: str, step: str) -> None:
    """Wait until the pod of a step runs."""

    def is_running() -> bool:
        pods = stt.get("pods", f"--selector=dagster/run-id={run_id},dagster/op={step}")["items"]
        return any(pod["status"]["phase"] in ("Running", "Succeeded") for pod in pods)

    wait_until(180, f"the {step} step at work", is_running)


def test_a_run_survives_two_restarts_of_the_api_server(stt: Deployment, deliver: Callable[[], Delivery]) -> None:
    """Once before another step is to be launched, once while one is at work."""
    command = os.environ.get("STT_TEST_RESTART_APISERVER")
    if not command:
        pytest.skip("needs a command that kills the API server and starts it again: STT_TEST_RESTART_APISERVER")
    delivered = deliver()
    run_id = delivered.wait_for_run()
    for step in ("raw", "transcript"):
        wait_at_work(stt, run_id, step)
        subprocess.run(shlex.split(command), check=True, timeout=60)
        wait_until(60, "the API server", lambda: stt.kubectl("get", "--raw=/readyz", check=False) == "ok")
    assert [run["runId"] for run in delivered.wait_for_success()] == [run_id], "no other run was needed"
    delivered.check_done_once()
    jobs = stt.get("jobs", f"--selector=dagster/run-id={run_id},app.kubernetes.io/component=step_worker")["items"]
    assert sorted(job["metadata"]["labels"]["dagster/op"] for job in jobs) == sorted(STEPS)


def test_a_run_survives_that_the_database_is_killed_and_away_for_a_while(
    stt: Deployment, deliver: Callable[[], Delivery]
) -> None:
    delivered = deliver()
    wait_at_work(stt, delivered.wait_for_run(), "transcript")
    stt.kubectl("scale", "statefulset/stt-postgres", "--replicas=0")
    stt.kubectl("delete", "pod", "stt-postgres-0", "--grace-period=0", "--force", check=False)
    time.sleep(20)
    stt.kubectl("scale", "statefulset/stt-postgres", "--replicas=1")
    stt.kubectl("rollout", "status", "statefulset/stt-postgres", "--timeout=120s")
    delivered.wait_for_success()
    delivered.check_done_once()


@contextmanager
def lock_table(stt: Deployment, database: str, table: str) -> Iterator[Callable[[], bool]]:
    """Lock a table against writes. Yields a function that returns whether a connection waits to write."""
    name = f"locks-{uuid.uuid4().hex[:8]}"
    statement = f"BEGIN; LOCK TABLE {table} IN SHARE MODE; SELECT pg_sleep(600)"
    psql = ["psql", "--host=/tmp", "--username=stt", f"--dbname={database}", f"--command={statement}"]
    command = ["kubectl", "--namespace=stt", "exec", "stt-postgres-0", "--", "env", f"PGAPPNAME={name}", *psql]
    waiting = "wait_event_type = 'Lock' AND datname = current_database()"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        try:
            yield lambda: stt.sql(database, f"SELECT count(*) FROM pg_stat_activity WHERE {waiting}") != "0"  # noqa: S608
        finally:
            condition = f"application_name = '{name}'"
            stt.sql("postgres", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {condition}")  # noqa: S608


@pytest.mark.parametrize(
    ("database", "table"),
    [
        pytest.param("ledger", "deliveries", id="before it has taken in what arrived"),
        pytest.param("dagster", "runs", id="before it has noted the run it asks for"),
    ],
)
def test_a_batch_has_one_run_although_the_daemon_is_killed_in_a_tick(
    stt: Deployment, deliver: Callable[[], Delivery], database: str, table: str
) -> None:
    """The tick waits for a locked table, and is killed there."""
    with lock_table(stt, database, table) as is_waiting:
        delivered = deliver()
        wait_until(120, f"a tick that waits to write to {table}", is_waiting)
        daemons = "--selector=app.kubernetes.io/component=daemon"
        stt.kubectl("delete", "pod", daemons, "--grace-period=0", "--force")
    stt.kubectl("rollout", "status", "deployment/stt-daemon", "--timeout=120s")
    wait_until(120, "their batch", delivered.find_batch)
    assert len(delivered.wait_for_success()) == 1, "the batch has one run"
    delivered.check_done_once()
