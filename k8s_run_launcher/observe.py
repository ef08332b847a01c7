"""Takes snapshots of Jobs from the API server, and keeps the last state of pods that were deleted since."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from k8s_run_launcher.evidence import Evidence, Object, at

log = logging.getLogger("stt.kubernetes")

_RECONNECT_S, _FORBIDDEN_S = 2.0, 60.0
_CONNECTION_S = 240
"""Seconds after which the watch is reopened, before a proxy between here and the API server closes it as idle."""


class PodWatch:
    """Remembers the last state of every pod of a run.

    A pod that is preempted or evicted through the API is deleted with the reason in its status, often within a second, so only a
    watch sees the reason. Without the right to watch, only pods that still exist are known.
    """

    def __init__(self, namespace: str, run_id: str) -> None:
        self._namespace = namespace
        self._selector = f"dagster/run-id={run_id}"
        self._seen: dict[str, Object] = {}
        self._current: set[str] = set()
        self._thread = threading.Thread(target=self._watch, name="pod-watch", daemon=True)
        self._thread.start()

    def pods(self, job_name: str) -> list[Object]:
        """The pods of a Job, as they were last seen."""
        return [pod for pod in list(self._seen.values()) if at(pod, "metadata", "labels", "job-name") == job_name]

    def sees_running(self, job_name: str) -> bool:
        """Whether all pods of the Job are running and none is being deleted, according to the current watch connection."""
        current = [pod for pod in self.pods(job_name) if at(pod, "metadata", "uid") in self._current]
        return bool(current) and all(
            at(pod, "status", "phase") == "Running" and not at(pod, "metadata", "deletionTimestamp") for pod in current
        )

    def _watch(self) -> None:
        from kubernetes import client, watch
        from kubernetes.client.rest import ApiException
        from urllib3.exceptions import HTTPError

        api = client.CoreV1Api(api_client=client.ApiClient())
        warned = False
        while True:
            pause = _RECONNECT_S
            try:
                stream = watch.Watch().stream(
                    api.list_namespaced_pod,
                    self._namespace,
                    label_selector=self._selector,
                    timeout_seconds=_CONNECTION_S,
                    deserialize=False,
                    _request_timeout=(5, _CONNECTION_S + 20),
                )
                for event in stream:
                    self._note(event)
            except ApiException as error:
                if error.status == 403:
                    # Retry later: an API server that has just started may answer 403 until its roles are loaded.
                    pause = _FORBIDDEN_S
                    if not warned:
                        warned = True
                        log.warning(
                            "Pods may not be watched (%s): who evicts or preempts one may stay unknown.", error.reason
                        )
                log.debug("The watch on pods broke: %s", error)
            except (HTTPError, OSError, ValueError) as error:
                log.debug("The watch on pods broke: %s", error)
            # Changes before the next connection are missed, so no pod counts as current until then.
            self._current.clear()
            time.sleep(pause)

    def _note(self, event: Mapping[str, Any]) -> None:
        pod = event.get("object") or {}
        uid = at(pod, "metadata", "uid")
        if uid is None:
            return
        self._seen[uid] = pod
        if event.get("type") == "DELETED":
            self._current.discard(uid)
        else:
            self._current.add(uid)


def gather(batch_api: Any, core_api: Any, namespace: str, job_name: str, watched: PodWatch | None = None) -> Evidence:
    """Everything that Kubernetes says of a Job now, and of its pods that were seen before.

    Args:
        batch_api: ``kubernetes.client.BatchV1Api``.
        core_api: ``kubernetes.client.CoreV1Api``.
        namespace: Of the Job.
        job_name: Its name.
        watched: Knows pods that were deleted; None: only pods that still exist are included.

    Raises:
        kubernetes.client.rest.ApiException: The API server refuses; but a Job that is not there is evidence.
    """
    from kubernetes.client.rest import ApiException

    try:
        job = _read(batch_api.read_namespaced_job(job_name, namespace, _preload_content=False))
    except ApiException as error:
        if error.status != 404:
            raise
        job = None
    listed = core_api.list_namespaced_pod(namespace, label_selector=f"job-name={job_name}", _preload_content=False)
    pods = {at(pod, "metadata", "uid"): pod for pod in (watched.pods(job_name) if watched else [])}
    pods |= {at(pod, "metadata", "uid"): pod for pod in _read(listed)["items"]}
    oldest_first = sorted(pods.values(), key=lambda pod: at(pod, "metadata", "creationTimestamp") or "")
    events = _events(core_api, namespace, job_name)
    names = {at(pod, "metadata", "name") for pod in oldest_first} | _created(events)
    for name in sorted(names - {None}):
        events += _events(core_api, namespace, name)
    return Evidence(job_name, job, oldest_first, sorted(events, key=_when))


def _read(response: Any) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(response.data)
    return read


def _events(core_api: Any, namespace: str, name: str) -> list[Mapping[str, Any]]:
    selector = f"involvedObject.name={name}"
    found = core_api.list_namespaced_event(namespace, field_selector=selector, _preload_content=False)
    items: list[Mapping[str, Any]] = _read(found)["items"]
    return items


def _created(events: list[Mapping[str, Any]]) -> set[str]:
    """Names of pods that the Job's events speak of: they are known even when the pods are gone."""
    return {str(e["message"]).rsplit(" ", 1)[-1] for e in events if e.get("reason") == "SuccessfulCreate"}


def _when(event: Mapping[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or "")
