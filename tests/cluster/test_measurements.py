"""Measurements on a deployment: a platform, by a step of its own, and the speed of launches, by one command."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from benchmarks.lab.cluster.__main__ import main
from benchmarks.platform.result import read_result
from tests.cluster.conftest import Deployment, wait_until

pytestmark = pytest.mark.timeout(600)

LOCATION = 'repositoryLocationName: "stt", repositoryName: "__repository__"'


def test_the_job_measure_platform_measures_in_a_guaranteed_pod(stt: Deployment, tmp_path: Path) -> None:
    """The asset ``benchmark`` through the Kubernetes executor, with the profile of its name."""
    platform = f"node-{uuid.uuid4().hex[:6]}_base"
    added = stt.graphql(
        f'mutation {{ addDynamicPartition(repositorySelector: {{{LOCATION}}}, partitionsDefName: "platform_models", '
        f'partitionKey: "{platform}") {{ __typename }} }}'
    )
    assert added["addDynamicPartition"]["__typename"] == "AddDynamicPartitionSuccess"
    config = json.dumps({"ops": {"benchmark": {"config": {"measure": True, "iterations": 3}}}})
    tag = f'tags: [{{key: "dagster/partition", value: "{platform}"}}]'
    launched = stt.graphql(
        f'mutation {{ launchRun(executionParams: {{selector: {{{LOCATION}, jobName: "measure_platform"}}, '
        f"runConfigData: {json.dumps(config)}, executionMetadata: {{{tag}}}}}) "
        "{ __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"
    )["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]

    def read_end_status() -> str | None:
        status = str(
            stt.graphql(f'{{ runOrError(runId: "{run_id}") {{ ... on Run {{ status }} }} }}')["runOrError"]["status"]
        )
        return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None

    assert wait_until(300, "the end of the measurement", read_end_status) == "SUCCESS"
    (step,) = stt.get("jobs", f"--selector=dagster/run-id={run_id},dagster/op=benchmark")["items"]
    resources = step["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources["requests"] == resources["limits"] == {"cpu": "1", "memory": "2Gi"}
    name = stt.run_in_code_pod("sh", "-c", f"ls /data/benchmarks/{platform}*.json").split()[-1]
    result = tmp_path / Path(name).name
    result.write_text(stt.run_in_code_pod("cat", name), encoding="utf-8")
    isolation = read_result(result).details.isolation
    assert isolation.qos == "Guaranteed"
    assert isolation.one_cpu
    assert not isolation.pinned_by_us


def test_one_command_measures_launches_of_both_projects(stt: Deployment, tmp_path: Path) -> None:
    """Checks that it measures, not the values: a run of each project with four launches, and stages in the right order."""
    report = tmp_path / "cluster.json"
    images = [os.environ["STT_TEST_IMAGE"], os.environ["STT_TEST_POSTGRES_IMAGE"]]
    code = main(["--image", images[0], "--postgres-image", images[1], "--repeats", "1", "--out", str(report)])
    assert code == 0
    timings: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    steps = {"ours": ["raw", "normalized", "transcript", "enriched"], "theirs": ["one", "two", "three", "four"]}
    for project, names in steps.items():
        (run,) = timings[project]
        assert [launch["step"] for launch in run["launches"]] == names
        for launch in run["launches"]:
            assert 0 < launch["reached"] <= launch["loaded"] <= launch["began"] <= launch["at_work"]
        assert run["seconds"] > sum(launch["at_work"] for launch in run["launches"])
    # What the projects add to Dagster is less than a busy machine's noise in one repeat: there the difference may be negative.
    assert set(timings["imports"]) == {"python", "dagster", "theirs", "ours"}
    assert timings["imports"]["dagster"] > timings["imports"]["python"] > 0
