"""Snapshots of a Job, and pods that are kept after they were deleted. The cluster client is a fake."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from k8s_run_launcher import pod_watch
from k8s_run_launcher.cluster import ApiError
from k8s_run_launcher.pod_watch import PodWatch, take_snapshot


def make_pod(uid: str, phase: str, job: str = "step-1", **metadata: Any) -> dict[str, Any]:
    labels = {"job-name": job}
    return {"metadata": {"uid": uid, "name": f"pod-{uid}", "labels": labels, **metadata}, "status": {"phase": phase}}


class FakeCluster:
    """A cluster client. Each connection of the watch yields its events and then breaks; the last one stays open."""

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


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_watch, "_RECONNECT_S", 0.0)
    monkeypatch.setattr(pod_watch, "_FORBIDDEN_S", 0.0)


def test_a_deleted_pod_is_kept_in_its_last_state() -> None:
    last = make_pod("1", "Failed")
    cluster = FakeCluster(
        [
            {"type": "ADDED", "object": make_pod("1", "Running")},
            {"type": "ADDED", "object": make_pod("2", "Running", job="step-2")},
            {"type": "DELETED", "object": last},
        ]
    )
    watch = PodWatch(cluster, "stt", "r")  # type: ignore[arg-type]
    wait_until(lambda: len(cluster.selectors) == 2)
    assert watch.list_pods("step-1") == [last]
    assert cluster.selectors[0] == "dagster/run-id=r"
    assert not watch.is_running("step-2"), "a pod counts as running only after the present connection has shown it"


def test_a_watch_that_breaks_or_is_refused_is_started_again(caplog: pytest.LogCaptureFixture) -> None:
    forbidden = ApiError("(403)", 403, "Forbidden")
    cluster = FakeCluster(
        [ApiError("Connection refused")],
        [ApiError("Expired: too old resource version", 410, "Expired")],
        [ValueError("no JSON")],
        [OSError("reset")],
        [forbidden],
        [forbidden],
        [{"type": "ADDED", "object": make_pod("1", "Running")}],
    )
    watch = PodWatch(cluster, "stt", "r")  # type: ignore[arg-type]
    wait_until(lambda: len(cluster.selectors) == 8)
    assert [p["metadata"]["uid"] for p in watch.list_pods("step-1")] == ["1"]
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned == ["Pods may not be watched (Forbidden): who evicts or preempts one may stay unknown."]


@pytest.mark.parametrize(
    ("pods", "running"),
    [
        ([make_pod("1", "Running")], True),
        ([make_pod("1", "Pending")], False),
        ([make_pod("1", "Running"), make_pod("2", "Failed")], False),
        ([make_pod("1", "Running", deletionTimestamp="2026-01-01T00:00:00Z")], False),
        ([], False),
    ],
)
def test_a_job_runs_if_all_its_pods_run_and_none_is_being_deleted(pods: list[dict[str, Any]], running: bool) -> None:
    reached = threading.Event()

    class OpenConnection(FakeCluster):
        def watch_pods(self, namespace: str, label_selector: str, timeout_s: int) -> Iterator[dict[str, Any]]:
            for event in pods:
                yield {"type": "ADDED", "object": event}
            reached.set()
            threading.Event().wait()

    watch = PodWatch(OpenConnection(), "stt", "r")  # type: ignore[arg-type]
    assert reached.wait(10)
    assert watch.is_running("step-1") is running


def test_a_snapshot_has_the_job_its_present_and_deleted_pods_and_their_events() -> None:
    events = {
        "step-1": [{"reason": "SuccessfulCreate", "message": "Created pod: pod-0", "lastTimestamp": "3"}],
        "pod-0": [{"reason": "Preempted", "eventTime": "1"}],
        "pod-1": [{"reason": "Killing", "firstTimestamp": "2"}],
    }
    old, new = make_pod("1", "Failed", creationTimestamp="1"), make_pod("2", "Running", creationTimestamp="2")
    cluster = FakeCluster([{"type": "DELETED", "object": old}, {"type": "ADDED", "object": make_pod("2", "Pending")}])
    cluster.find_job = lambda namespace, name: {"metadata": {"name": name}}  # type: ignore[attr-defined]
    cluster.list_pods = lambda namespace, selector: [new] if selector == "job-name=step-1" else []  # type: ignore[attr-defined]
    cluster.list_events = lambda namespace, name: list(events.get(name, []))  # type: ignore[attr-defined]
    watch = PodWatch(cluster, "stt", "r")  # type: ignore[arg-type]
    wait_until(lambda: len(cluster.selectors) == 2)
    snapshot = take_snapshot(cluster, "stt", "step-1", watch)  # type: ignore[arg-type]
    assert snapshot.job == {"metadata": {"name": "step-1"}}
    assert snapshot.pods == [old, new], "the present state replaces the one that the watch saw"
    assert [event["reason"] for event in snapshot.events] == ["Preempted", "Killing", "SuccessfulCreate"]
