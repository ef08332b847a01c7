"""The project in ``stock/``, in a namespace made for it and removed in the end."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.lab.cluster.kubectl import ClusterError, Namespace, forward_port, kubectl
from benchmarks.lab.cluster.steps import RunTiming, parse_run

PROJECT = Path(__file__).with_name("stock")

_LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_JOB = {"jobName": "chain", "repositoryName": "__repository__", "repositoryLocationName": "project"}


@contextmanager
def create_deployment(image: str, postgres_image: str) -> Iterator[Namespace]:
    """A namespace with PostgreSQL, a webserver and the project.

    Raises:
        ClusterError: It does not come up.
    """
    namespace = f"stock-{secrets.token_hex(3)}"
    kubectl("create", "namespace", namespace)
    try:
        files = [f"--from-file={PROJECT / name}" for name in ("project.py", "dagster.yaml")]
        kubectl("--namespace", namespace, "create", "configmap", "project", *files)
        manifest = (PROJECT / "cluster.yaml").read_text(encoding="utf-8")
        for placeholder, value in (("IMAGE", image), ("POSTGRES", postgres_image), ("PASSWORD", secrets.token_hex(12))):
            manifest = manifest.replace(f"@{placeholder}@", value)
        kubectl("--namespace", namespace, "apply", "--filename=-", stdin=manifest.encode())
        for name in ("postgres", "webserver"):
            kubectl("--namespace", namespace, "rollout", "status", f"deployment/{name}", "--timeout=240s")
        with forward_port(namespace, "deployment/webserver") as forwarded:
            yield forwarded
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")


def time_stock_run(namespace: Namespace) -> RunTiming:
    """Run its four steps."""
    requested_at = time.time()
    params = {"selector": _JOB, "runConfigData": json.dumps({})}
    response = namespace.graphql(_LAUNCH, params=params)["launchRun"]
    if response["__typename"] != "LaunchRunSuccess":
        raise ClusterError(f"The other project's run was not launched: {response}")
    return parse_run(namespace.wait_for_run(response["run"]["runId"]), requested_at)
