"""Snapshots of a Job, and pods that are remembered after they are gone. The cluster is a stand-in for the client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from k8s_run_launcher import pod_watch
from k8s_run_launcher.cluster import ApiError
from k8s_run_launcher.pod_watch import PodWatch, take_snapshot


def pod(uid: str, phase: str, job: str = "step-1", **metadata: Any) -> dict[str, Any]:
    labels = {"job-name": job}
    return {"metadata": {"uid": uid, "name": f"pod-{uid}", "labels": labels, **metadata}, "status": {"phase": phase}}


class Cluster:
    """Each connection of the watch gives its events and then breaks, or stays open when it is the last."""

    def __init__(self, *connections: list[dict[str, Any] | Exception]) -> None:
        self.selectors: list[str] = []
        self._connections = iter(connections)

    def watch_pods(self, namespace: str, label_selector: str, timeout_s: int) -> Iterator[dict[str, Any]]:
        self.selectors.append(label_selector)
        events = next(self._connections, None)
        if events is None:
            threading.Event().wait()  # the thread is a daemon
            return
        for event in events:
            if isinstance(event, Exception):
                raise event
            yield event


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_watch, "_RECONNECT_S", 0.0)
    monkeypatch.setattr(pod_watch, "_FORBIDDEN_S", 0.0)


def test_a_pod_that_was_deleted_is_remembered_as_it_was_last_seen() -> None:
    last = pod("1", "Failed")
    cluster = Cluster(
        [
            {"type": "ADDED", "object": pod("1", "Running")},
            {"type": "ADDED", "object": pod("2", "Running", job="step-2")},
            {"type": "DELETED", "object": last},
        ]
    )
    watch = PodWatch(cluster, "stt", "r")  # type: ignore[arg-type]
    eventually(lambda: len(cluster.selectors) == 2)
    assert watch.list_pods("step-1") == [last]
    assert cluster.selectors[0] == "dagster/run-id=r"
    assert not watch.is_running("step-2"), "nothing counts as running that the present connection has not shown"


def test_a_watch_that_breaks_or_is_refused_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    forbidden = ApiError("(403)", 403, "Forbidden")
    cluster = Cluster(
        [ApiError("Connection refused")],
        [ApiError("Expired: too old resource version", 410, "Expired")],
        [ValueError("no JSON")],
        [OSError("reset")],
        [forbidden],
        [forbidden],
        [{"type": "ADDED", "object": pod("1", "Running")}],
    )
    watch = PodWatch(cluster, "stt", "r")  # type: ignore[arg-type]
    eventually(lambda: len(cluster.selectors) == 8)
    assert [p["metadata"]["uid"] for p in watch.list_pods("step-1")] == ["1"]
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned == ["Pods may not be watched (Forbidden): who evicts or preempts one may stay unknown."]


@pytest.mark.parametrize(
    ("shown", "running"),
    [
        ([pod("1", "Running")], True),
        ([pod("1", "Pending")], False),
        ([pod("1", "Running"), pod("2", "Failed")], False),
        ([pod("1", "Running", deletionTimestamp="2026-01-01T00:00:00Z")], False),
        ([], False),
    ],
)
def test_a_job_runs_when_all_its_pods_do_and_none_is_being_deleted(shown: list[dict[str, Any]], running: bool) -> None:
    reached = threading.Event()

    class Open(Cluster):
        def watch_pods(self, namespace: str, label_selector: str, timeout_s: int) -> Iterator[dict[str, Any]]:
            for event in shown:
                yield {"type": "ADDED", "object": event}
            reached.set()
            threading.Event().wait()

    watch = PodWatch(Open(), "stt", "r")  # type: ignore[arg-type]
    assert reached.wait(10)
    assert watch.is_running("step-1") is running


def test_a_snapshot_has_the_job_its_pods_also_those_gone_and_the_events_of_all() -> None:
    events = {
        "step-1": [{"reason": "SuccessfulCreate", "message": "Created pod: pod-0", "lastTimestamp": "3"}],
        "pod-0": [{"reason": "Preempted", "eventTime": "1"}],
        "pod-1": [{"reason": "Killing", "firstTimestamp": "2"}],
    }
    old, new = pod("1", "Failed", creationTimestamp="1"), pod("2", "Running", creationTimestamp="2")
    cluster = Cluster([{"type": "DELETED", "object": old}, {"type": "ADDED", "object": pod("2", "Pending")}])
    cluster.find_job = lambda namespace, name: {"metadata": {"name": name}}  # type: ignore[attr-defined]
    cluster.list_pods = lambda namespace, selector: [new] if selector == "job-name=step-1" else []  # type: ignore[attr-defined]
    cluster.list_events = lambda namespace, name: list(events.get(name, []))  # type: ignore[attr-defined]
    watch = PodWatch(cluster, "stt", "r")  # type: ignore[arg-type]
    eventually(lambda: len(cluster.selectors) == 2)
    found = take_snapshot(cluster, "stt", "step-1", watch)  # type: ignore[arg-type]
    assert found.job == {"metadata": {"name": "step-1"}}
    assert found.pods == [old, new], "what is there now counts more than what was seen"
    assert [event["reason"] for event in found.events] == ["Preempted", "Killing", "SuccessfulCreate"]
