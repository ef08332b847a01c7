"""A namespace on a real cluster in which steps fail on purpose, and helpers to launch runs, break them and read their logs."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent / "project"

_LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_TERMINATE = "mutation ($run: String!) { terminateRun(runId: $run) { __typename } }"
_LOGS = """query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } }
  logsForRun(runId: $run, limit: 1000) { ... on EventConnection { events {
    __typename ... on MessageEvent { message stepKey eventType }
    ... on ExecutionStepFailureEvent { error { message } failureMetadata { description label } }
    ... on ExecutionStepUpForRetryEvent { error { message } }
    ... on EngineEvent { metadataEntries {
      label ... on TextMetadataEntry { text } ... on IntMetadataEntry { intValue } } } } } } }"""


@dataclass(frozen=True)
class Log:
    """The event log of a run."""

    status: str
    events: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("eventType") == kind]

    def find_engine_event(self, *words: str) -> dict[str, Any] | None:
        """The first engine event whose message has all the words."""
        return next((e for e in self.of("ENGINE_EVENT") if all(word in e["message"] for word in words)), None)

    def find_cause(self, cause: str) -> dict[str, Any] | None:
        """The metadata of the first engine event with this cause of death."""
        for event in self.of("ENGINE_EVENT"):
            metadata = {
                entry["label"]: entry.get("text") or entry.get("intValue") for entry in event["metadataEntries"]
            }
            if metadata.get("cause") == cause:
                return metadata
        return None

    def __str__(self) -> str:
        lines = [f"{e.get('eventType')} {e.get('stepKey') or ''}: {e.get('message', '')[:400]}" for e in self.events]
        return "\n".join([self.status, *lines])


class Faults:
    """The namespace.

    Args:
        namespace: Its name.
        url: Of the webserver in it.
    """

    def __init__(self, namespace: str, url: str) -> None:
        self.namespace = namespace
        self._url = url

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        command = ["kubectl", "-n", self.namespace, *arguments]
        result = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if check and result.returncode:
            raise AssertionError(f"{' '.join(command)}: {result.stderr}")
        return result.stdout

    def objects(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-l", selector, "-o", "json"))["items"]
        return items

    def apply(self, manifest: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self._url}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                content = json.load(response)
        except urllib.error.HTTPError as error:
            content = json.loads(error.read())
        assert "errors" not in content, content
        data: dict[str, Any] = content["data"]
        return data

    def launch(self, job: str, steps: dict[str, Any] | None = None, execution: dict[str, Any] | None = None) -> str:
        ops = {name: {"config": config} for name, config in (steps or {}).items()}
        selector = {"jobName": job, "repositoryName": "__repository__", "repositoryLocationName": "faults"}
        run_config = {"ops": ops, "execution": {"config": execution or {}}}
        params = {"selector": selector, "runConfigData": json.dumps(run_config)}
        launched = self.graphql(_LAUNCH, params=params)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def terminate(self, run_id: str) -> None:
        self.graphql(_TERMINATE, run=run_id)

    def log(self, run_id: str) -> Log:
        content = self.graphql(_LOGS, run=run_id)
        return Log(content["runOrError"]["status"], content["logsForRun"]["events"])

    def wait_until(self, run_id: str, description: str, condition: Callable[[Log], Any], seconds: float = 180.0) -> Log:
        """Wait until the log of a run meets a condition."""
        end = time.monotonic() + seconds
        while True:
            log = self.log(run_id)
            if condition(log):
                return log
            has_ended = log.status in ("SUCCESS", "FAILURE", "CANCELED") or time.monotonic() > end
            assert not has_ended, f"never {description}:\n{log}\n{self.describe(run_id)}"
            time.sleep(1)

    def wait_for_end(self, run_id: str, status: str, seconds: float = 240.0) -> Log:
        return self.wait_until(run_id, status, lambda log: log.status == status, seconds)

    def wait_at_work(self, run_id: str) -> dict[str, Any]:
        """The pod of the run's step, once the step's own code runs in it."""
        self.wait_until(
            run_id, "at work", lambda log: any("at work" in event.get("message", "") for event in log.events)
        )
        return self.step_pods(run_id)[-1]

    def step_pods(self, run_id: str) -> list[dict[str, Any]]:
        pods = self.objects("pods", f"dagster/run-id={run_id},app.kubernetes.io/component=step_worker")
        return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def describe(self, run_id: str) -> str:
        return self.kubectl("get", "jobs,pods", "-l", f"dagster/run-id={run_id}", "-o", "wide")

    def wait_until_gone(self, run_id: str, seconds: float = 60.0) -> None:
        """No pod of the run is alive; Jobs that ended by themselves stay for a while."""
        self._wait_for_none(run_id, lambda: self._live_pods(run_id), seconds)

    def wait_until_removed(self, run_id: str, seconds: float = 60.0) -> None:
        """No pod of a step is there any more. One that has just ended is still listed for a moment."""
        self._wait_for_none(run_id, lambda: self.step_pods(run_id), seconds)

    def _live_pods(self, run_id: str) -> list[dict[str, Any]]:
        pods = self.objects("pods", f"dagster/run-id={run_id}")
        return [pod for pod in pods if pod["status"]["phase"] in ("Pending", "Running")]

    def _wait_for_none(self, run_id: str, list_pods: Callable[[], list[dict[str, Any]]], seconds: float) -> None:
        end = time.monotonic() + seconds
        while list_pods():
            assert time.monotonic() < end, f"left over:\n{self.describe(run_id)}"
            time.sleep(1)


@contextmanager
def make_faults(namespace: str, image: str) -> Iterator[Faults]:
    """Make the namespace, and remove it in the end."""

    def kubectl(*arguments: str, stdin: str | None = None) -> str:
        return subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True, check=True).stdout

    kubectl("create", "namespace", namespace)
    try:
        files = [f"--from-file={PROJECT / name}" for name in ("faults.py", "dagster.yaml")]
        kubectl("-n", namespace, "create", "configmap", "faults", *files)
        manifest = (PROJECT / "cluster.yaml").read_text(encoding="utf-8").replace("@IMAGE@", image)
        kubectl("-n", namespace, "apply", "-f", "-", stdin=manifest)
        kubectl("-n", namespace, "rollout", "status", "deployment/webserver", "--timeout=180s")
        with _forwarded(namespace) as url:
            yield Faults(namespace, url)
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")


@contextmanager
def _forwarded(namespace: str) -> Iterator[str]:
    command = ["kubectl", "-n", namespace, "port-forward", "deployment/webserver", "--address=127.0.0.1", ":3000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        assert forward.stdout is not None
        try:
            line = forward.stdout.readline()  # Forwarding from 127.0.0.1:41234 -> 3000
            yield f"http://{line.split()[2]}"
        finally:
            forward.terminate()
