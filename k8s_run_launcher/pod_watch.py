"""Takes snapshots of Jobs from the API server, and keeps the last state of pods that were deleted since."""

from __future__ import annotations

import logging
import threading
import time

from k8s_run_launcher.cluster import ApiError, ClusterClient, K8sObject
from k8s_run_launcher.job_snapshot import JobSnapshot, get_nested

log = logging.getLogger("stt.kubernetes")

_RECONNECT_S, _FORBIDDEN_S = 2.0, 60.0
_WATCH_TIMEOUT_S = 240
"""Seconds after which the watch is reopened, before a proxy between here and the API server closes it as idle."""


class PodWatch:
    """Remembers the last state of every pod of a run.

    A pod that is preempted or evicted through the API is deleted with the reason in its status, often within a second, so only a
    watch sees the reason. Without the right to watch, only pods that still exist are known.
    """

    def __init__(self, cluster: ClusterClient, namespace: str, run_id: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._selector = f"dagster/run-id={run_id}"
        self._last_states: dict[str, K8sObject] = {}
        self._current_uids: set[str] = set()
        self._thread = threading.Thread(target=self._watch, name="pod-watch", daemon=True)
        self._thread.start()

    def list_pods(self, job_name: str) -> list[K8sObject]:
        """The pods of a Job, as they were last seen."""
        return [
            pod
            for pod in list(self._last_states.values())
            if get_nested(pod, "metadata", "labels", "job-name") == job_name
        ]

    def is_running(self, job_name: str) -> bool:
        """Whether all pods of the Job are running and none is being deleted, according to the current watch connection."""
        current = [pod for pod in self.list_pods(job_name) if get_nested(pod, "metadata", "uid") in self._current_uids]
        return bool(current) and all(
            get_nested(pod, "status", "phase") == "Running" and not get_nested(pod, "metadata", "deletionTimestamp")
            for pod in current
        )

    def _watch(self) -> None:
        warned = False
        while True:
            pause = _RECONNECT_S
            try:
                for event in self._cluster.watch_pods(self._namespace, self._selector, _WATCH_TIMEOUT_S):
                    self._record_event(event)
            except ApiError as error:
                if error.status == 403:
                    # Retry later: an API server that has just started may answer 403 until its roles are loaded.
                    pause = _FORBIDDEN_S
                    if not warned:
                        warned = True
                        log.warning(
                            "Pods may not be watched (%s): who evicts or preempts one may stay unknown.", error.reason
                        )
                log.debug("The watch on pods broke: %s", error)
            except (OSError, ValueError) as error:
                log.debug("The watch on pods broke: %s", error)
            # Changes before the next connection are missed, so no pod counts as current until then.
            self._current_uids.clear()
            time.sleep(pause)

    def _record_event(self, event: K8sObject) -> None:
        pod = event.get("object") or {}
        uid = get_nested(pod, "metadata", "uid")
        if uid is None:
            return
        self._last_states[uid] = pod
        if event.get("type") == "DELETED":
            self._current_uids.discard(uid)
        else:
            self._current_uids.add(uid)


def take_snapshot(
    cluster: ClusterClient, namespace: str, job_name: str, pod_watch: PodWatch | None = None
) -> JobSnapshot:
    """Everything that Kubernetes says of a Job now, and of its pods that were seen before.

    Args:
        cluster: Where the Job is.
        namespace: Of the Job.
        job_name: Its name.
        pod_watch: Knows pods that were deleted; None: only pods that still exist are included.

    Raises:
        ApiError: The API server refuses or cannot be reached; but a Job that is not there is evidence.
    """
    job = cluster.find_job(namespace, job_name)
    listed = cluster.list_pods(namespace, f"job-name={job_name}")
    pods = {get_nested(pod, "metadata", "uid"): pod for pod in (pod_watch.list_pods(job_name) if pod_watch else [])}
    pods |= {get_nested(pod, "metadata", "uid"): pod for pod in listed}
    oldest_first = sorted(pods.values(), key=lambda pod: get_nested(pod, "metadata", "creationTimestamp") or "")
    events = cluster.list_events(namespace, job_name)
    names = {get_nested(pod, "metadata", "name") for pod in oldest_first} | _parse_created_pod_names(events)
    for name in sorted(names - {None}):
        events += cluster.list_events(namespace, name)
    return JobSnapshot(job_name, job, oldest_first, sorted(events, key=_get_event_time))


def _parse_created_pod_names(events: list[K8sObject]) -> set[str]:
    """Names of pods that the Job's events speak of: they are known even when the pods are gone."""
    return {str(e["message"]).rsplit(" ", 1)[-1] for e in events if e.get("reason") == "SuccessfulCreate"}


def _get_event_time(event: K8sObject) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or "")
