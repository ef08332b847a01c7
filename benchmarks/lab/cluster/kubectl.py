"""kubectl as a subprocess, and Dagster's GraphQL through one of its port-forwards."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_LOGS = """query ($run: ID!) {
  runOrError(runId: $run) { ... on Run { status creationTime startTime endTime } }
  logsForRun(runId: $run, limit: 1000) { ... on EventConnection { events {
    __typename ... on MessageEvent { timestamp stepKey eventType message } } } } }"""
_ENDED_STATUSES = ("SUCCESS", "FAILURE", "CANCELED")
_LOOK_S = 0.5


class ClusterError(Exception):
    """The cluster did not do what was asked of it. The message names the command, with its error output, or what did not come."""


class Namespace:
    """A namespace with a Dagster in it.

    Args:
        name: Its name.
        url: Where its webserver is forwarded to.
    """

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._url = url

    def kubectl(self, *arguments: str, given: bytes | None = None) -> str:
        """See ``kubectl``."""
        return kubectl("--namespace", self.name, *arguments, given=given)

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask the webserver.

        Raises:
            ClusterError: It refuses, or does not answer.
        """
        body = json.dumps({"query": query, "variables": variables}).encode()
        asked = urllib.request.Request(f"{self._url}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310 - an address of ours
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            raise ClusterError(f"Dagster in {self.name} refuses: {error.read().decode(errors='replace')}") from error
        except OSError as error:
            raise ClusterError(f"Dagster in {self.name} does not answer: {error}") from error
        if "errors" in told:
            raise ClusterError(f"Dagster in {self.name} refuses: {told['errors']}")
        data: dict[str, Any] = told["data"]
        return data

    def wait_for_run(self, run_id: str, seconds: float = 300.0) -> dict[str, Any]:
        """Wait for a run's success; its times and events as GraphQL gives them."""

        def look() -> dict[str, Any] | None:
            told = self.graphql(_LOGS, run=run_id)
            found = {**told["runOrError"], "events": told["logsForRun"]["events"]}
            return found if found["status"] in _ENDED_STATUSES else None

        run = wait_until(seconds, f"the end of run {run_id} in {self.name}", look)
        if run["status"] != "SUCCESS":
            told = "\n".join(str(event.get("message")) for event in run["events"][-5:])
            raise ClusterError(f"Run {run_id} in {self.name} ended with {run['status']}:\n{told}")
        return run


def kubectl(*arguments: str, given: bytes | None = None) -> str:
    """Run it; what it prints.

    Raises:
        ClusterError: It is not there, or it failed.
    """
    try:
        done = subprocess.run(["kubectl", *arguments], input=given, capture_output=True, check=True, timeout=600)  # noqa: S607
    except FileNotFoundError as error:
        raise ClusterError("There is no kubectl on the PATH.") from error
    except subprocess.CalledProcessError as error:
        raise ClusterError(f"kubectl {' '.join(arguments)}: {error.stderr.decode(errors='replace').strip()}") from error
    return done.stdout.decode()


def wait_until(seconds: float, what: str, poll: Callable[[], T | None]) -> T:
    """Poll twice a second until a value is returned.

    Raises:
        ClusterError: There was none in time.
    """
    end = time.monotonic() + seconds
    while (found := poll()) is None:
        if time.monotonic() > end:
            raise ClusterError(f"{what}: not within {seconds:.0f} s.")
        time.sleep(_LOOK_S)
    return found


@contextmanager
def forward_port(namespace: str, target: str) -> Iterator[Namespace]:
    """Port 3000 of a pod, Deployment or Service as a port of this machine, while the block lasts."""
    command = ["kubectl", "--namespace", namespace, "port-forward", target, "--address=127.0.0.1", ":3000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as forward:
        assert forward.stdout is not None and forward.stderr is not None  # noqa: S101, PT018 - asked for above
        try:
            line = forward.stdout.readline()  # Forwarding from 127.0.0.1:41234 -> 3000
            if not line:
                raise ClusterError(f"{' '.join(command)}: {forward.stderr.read().strip()}")
            yield Namespace(namespace, f"http://{line.split()[2]}")
        finally:
            forward.terminate()
