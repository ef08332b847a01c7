"""A deployment of the local overlay on the cluster that KUBECONFIG names, shared by all tests of a session.

    KUBECONFIG               a cluster that may be used for this: the namespace stt is made, and deleted at the end
    STT_TEST_IMAGE           the project's image, as that cluster's nodes know it
    STT_TEST_POSTGRES_IMAGE  PostgreSQL's

A namespace that is there already is used as it is and left there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests

PROJECT = Path(__file__).resolve().parents[2]
UI = "http://127.0.0.1:30300"
PAGES = "http://127.0.0.1:30301"

T = TypeVar("T")


class Deployment:
    """The deployment, and the operations that tests use."""

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        command = ["kubectl", "--namespace", "stt", *arguments]
        result = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=300)
        assert result.returncode == 0 or not check, f"{' '.join(command)}:\n{result.stdout}\n{result.stderr}"
        return result.stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        return dict(json.loads(self.kubectl("get", *arguments, "--output=json")))

    def run_in_code_pod(self, *command: str) -> str:
        """Run a command in the code location's pod, which has the data volume and the settings."""
        return self.kubectl("exec", "deployment/stt-code", "--container=code", "--", *command)

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.run_in_code_pod("stt", "status", "--json")))

    def graphql(self, query: str) -> dict[str, Any]:
        """Send a query to the UI. Returns the data of its response.

        Raises:
            requests.RequestException: There is no response, or one without data; see ``wait_until``.
        """
        response = requests.post(f"{UI}/graphql", json={"query": query}, timeout=60)
        response.raise_for_status()
        content = response.json()
        if "errors" in content:
            raise requests.RequestException(str(content["errors"]))
        return dict(content["data"])

    def runs(self, batch: str | None = None) -> list[dict[str, Any]]:
        """The newest runs, the newest first, or those of one batch: id and status."""
        run_filter = f', filter: {{tags: [{{key: "dagster/partition", value: "{batch}"}}]}}' if batch else ""
        fields = "{ ... on Runs { results { runId status } } ... on PythonError { message } }"
        result = self.graphql(f"{{ runsOrError(limit: 20{run_filter}) {fields} }}")["runsOrError"]
        if "results" not in result:
            raise requests.RequestException(result["message"])
        return list(result["results"])

    def describe_runs(self, batch: str) -> str:
        """Events of the runs of a batch, and all pods: for the message when a run does not end."""
        message = "left(event::json->'dagster_event'->>'message', 300)"
        of_batch = f"run_id IN (SELECT run_id FROM runs WHERE partition = '{batch}')"  # noqa: S608
        kinds = "dagster_event_type ~ '^(PIPELINE|STEP|ENGINE)' AND dagster_event_type !~ 'PUT$'"
        events = f"SELECT left(run_id, 8), timestamp, dagster_event_type, step_key, {message} FROM event_logs"  # noqa: S608
        lines = self.sql("dagster", f"{events} WHERE {of_batch} AND {kinds} ORDER BY id")
        return f"{lines}\n{self.kubectl('get', 'pods', '--output=wide')}"

    def sql(self, database: str, statement: str) -> str:
        """Run a statement in PostgreSQL. Returns rows as lines, with bars between columns."""
        plain = ("--host=/tmp", "--username=stt", f"--dbname={database}", "--tuples-only", "--no-align", "--quiet")
        return self.kubectl("exec", "stt-postgres-0", "--", "psql", *plain, f"--command={statement}").strip()

    def apply(self, overlay: str) -> None:
        """Apply an overlay with the images under test."""
        manifests = self.kubectl("kustomize", str(PROJECT / "deploy" / "overlays" / overlay))
        manifests = manifests.replace("localhost/stt:dev", os.environ["STT_TEST_IMAGE"])
        manifests = manifests.replace("localhost/stt-postgres:dev", os.environ["STT_TEST_POSTGRES_IMAGE"])
        self.kubectl("apply", "--filename=-", stdin=manifests)

    def wait_ready(self) -> None:
        """Wait until everything is rolled out, and UI and pages respond on this machine."""
        for name in (
            "statefulset/stt-postgres",
            "deployment/stt-code",
            "deployment/stt-daemon",
            "deployment/stt-webserver",
        ):
            self.kubectl("rollout", "status", name, "--timeout=240s")
        # A pod is ready a moment before the node's proxy knows its address.
        wait_until(60, "the UI's NodePort", lambda: requests.get(UI, timeout=10).ok)
        wait_until(60, "the pages' NodePort", lambda: requests.get(PAGES, timeout=10).status_code)

    def upload(self, *files: Path, into: str) -> None:
        """Copy files into the input folder of the volume, as docs/operations/kubernetes.md says.

        In one archive: with a command for each file a look of the sensor between two of them would make two batches.
        """
        self.run_in_code_pod("mkdir", "-p", f"/data/raw_audio/{into}")
        names = [argument for file in files for argument in ("-C", str(file.parent), file.name)]
        archive = subprocess.run(["tar", "-c", *names], capture_output=True, check=True).stdout
        command = ["kubectl", "-n", "stt", "exec", "-i", "deployment/stt-code", "-c", "code", "--"]
        subprocess.run([*command, "tar", "-C", f"/data/raw_audio/{into}", "-x"], input=archive, check=True, timeout=60)


def wait_until(seconds: float, description: str, condition: Callable[[], T]) -> T:
    """Call ``condition`` every two seconds until its result is true. An error of an HTTP request counts as false."""
    end = time.monotonic() + seconds
    while True:
        try:
            result, problem = condition(), ""
        except requests.RequestException as error:
            result, problem = None, str(error)
        if result:
            return result
        if time.monotonic() >= end:
            pytest.fail(f"{description}: not within {seconds:.0f} s. {problem}")
        time.sleep(2)


@pytest.fixture(scope="session")
def stt() -> Iterator[Deployment]:
    missing = [name for name in ("KUBECONFIG", "STT_TEST_IMAGE", "STT_TEST_POSTGRES_IMAGE") if not os.environ.get(name)]
    if missing:
        pytest.skip(f"needs a cluster and images on it: set {', '.join(missing)}")
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    deployment = Deployment()
    existed = bool(deployment.kubectl("get", "namespace", "stt", "--ignore-not-found"))
    deployed = bool(existed and deployment.kubectl("get", "deployment", "stt-code", "--ignore-not-found"))
    if not deployed:
        subprocess.run([str(PROJECT / "deploy" / "secrets")], check=True, timeout=60)
        deployment.apply("local")
    deployment.wait_ready()
    yield deployment
    if not existed:
        deployment.kubectl("delete", "namespace", "stt", "--timeout=120s")
