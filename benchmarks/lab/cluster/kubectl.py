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
_POLL_INTERVAL_S = 0.5


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

    def kubectl(self, *arguments: str, stdin: bytes | None = None) -> str:
        """See ``kubectl``."""
        return kubectl("--namespace", self.name, *arguments, stdin=stdin)

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Send a GraphQL query to the webserver and return its ``data``.

        Raises:
            ClusterError: The webserver refuses the query or does not answer.
        """
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self._url}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - an address of ours
                reply = json.load(response)
        except urllib.error.HTTPError as error:
            raise ClusterError(f"Dagster in {self.name} refuses: {error.read().decode(errors='replace')}") from error
        except OSError as error:
            raise ClusterError(f"Dagster in {self.name} does not answer: {error}") from error
        if "errors" in reply:
            raise ClusterError(f"Dagster in {self.name} refuses: {reply['errors']}")
        data: dict[str, Any] = reply["data"]
        return data

    def wait_for_run(self, run_id: str, seconds: float = 300.0) -> dict[str, Any]:
        """Wait until a run has succeeded; returns its times and events as GraphQL gives them.

        Raises:
            ClusterError: It failed, or did not end in time.
        """

        def find_ended_run() -> dict[str, Any] | None:
            reply = self.graphql(_LOGS, run=run_id)
            run_info = {**reply["runOrError"], "events": reply["logsForRun"]["events"]}
            return run_info if run_info["status"] in _ENDED_STATUSES else None

        run = wait_until(seconds, f"the end of run {run_id} in {self.name}", find_ended_run)
        if run["status"] != "SUCCESS":
            messages = "\n".join(str(event.get("message")) for event in run["events"][-5:])
            raise ClusterError(f"Run {run_id} in {self.name} ended with {run['status']}:\n{messages}")
        return run


def kubectl(*arguments: str, stdin: bytes | None = None) -> str:
    """Run kubectl and return what it prints.

    Args:
        arguments: Its arguments.
        stdin: Its standard input.

    Raises:
        ClusterError: There is no kubectl, or it failed.
    """
    try:
        process = subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, check=True, timeout=600)  # noqa: S607
    except FileNotFoundError as error:
        raise ClusterError("There is no kubectl on the PATH.") from error
    except subprocess.CalledProcessError as error:
        raise ClusterError(f"kubectl {' '.join(arguments)}: {error.stderr.decode(errors='replace').strip()}") from error
    return process.stdout.decode()


def wait_until(seconds: float, awaited: str, poll: Callable[[], T | None]) -> T:
    """Poll twice a second until ``poll`` returns a value.

    Args:
        seconds: The time limit.
        awaited: What is waited for, for the error.
        poll: Returns None as long as there is no value.

    Raises:
        ClusterError: There was no value in time.
    """
    deadline = time.monotonic() + seconds
    while (value := poll()) is None:
        if time.monotonic() > deadline:
            raise ClusterError(f"{awaited}: not within {seconds:.0f} s.")
        time.sleep(_POLL_INTERVAL_S)
    return value


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
