"""Access to a Kubernetes cluster: the connection, requests to the API server, and its errors. It knows nothing of Dagster.

No other module of the project imports the Kubernetes client. Objects go in and come out as the plain JSON of the API. The client
takes a second to import, so functions import it, not this module.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

K8sObject = Mapping[str, Any]
"""An object of the API, such as a pod, as its JSON."""

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DEFAULT_NAMESPACE = "default"

_RAW = {"_preload_content": False}
"""The client's option that leaves a response as bytes: converting it to the client's own objects costs more than the request."""

_WATCH_CONNECT_TIMEOUT_S = 5.0
_WATCH_SLACK_S = 20.0
"""If a watch has not ended this many seconds after its timeout, its connection is dead."""


class NoClusterError(Exception):
    """There is no cluster to connect to."""


class ApiError(Exception):
    """The API server refused a request, failed, or could not be reached. The text is the client's own.

    Attributes:
        status: HTTP status of the response, such as 403, 404, 409 or 410; 0: no secure connection; None: no response.
        reason: The status in words, such as ``Forbidden``; empty if there was no response.
        sentence: The message in the response; the reason if it has none; the text if there was no response.
    """

    def __init__(self, text: str, status: int | None = None, reason: str = "", sentence: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.sentence = text if sentence is None else sentence


def connect_to_cluster() -> str:
    """Connect this process to the cluster that it is in, or to that of the kubeconfig.

    Returns:
        The namespace to work in: that of the pod's service account, or of the kubeconfig's current context; else ``default``.

    Raises:
        NoClusterError: There is neither.
    """
    from kubernetes import config
    from kubernetes.config.config_exception import ConfigException

    try:
        config.load_incluster_config()
    except ConfigException:
        try:
            config.load_kube_config()
        except (ConfigException, OSError) as error:
            raise NoClusterError(
                f"No cluster to look at: this is no pod, and there is no usable kubeconfig ({error})."
            ) from error
        _, active = config.list_kube_config_contexts()
        return str(active["context"].get("namespace", _DEFAULT_NAMESPACE))
    stated = _NAMESPACE_FILE.read_text(encoding="utf-8").strip() if _NAMESPACE_FILE.exists() else ""
    return stated or _DEFAULT_NAMESPACE


class ClusterClient:
    """Requests to the API server that this process connected to last, with ``connect_to_cluster`` or by other means.

    Every method raises ``ApiError``. It may be used by several threads.
    """

    def __init__(self) -> None:
        from kubernetes import client

        connection = client.ApiClient()
        self._core = client.CoreV1Api(connection)
        self._batch = client.BatchV1Api(connection)
        self._storage = client.StorageV1Api(connection)
        self._authorization = client.AuthorizationV1Api(connection)

    def find_job(self, namespace: str, name: str) -> K8sObject | None:
        """A Job; None: there is none of that name."""
        try:
            with _raise_api_errors():
                return _parse_object(self._batch.read_namespaced_job(name, namespace, **_RAW))
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def list_jobs(self, namespace: str, label_selector: str) -> list[K8sObject]:
        """The Jobs with these labels."""
        with _raise_api_errors():
            return _parse_items(self._batch.list_namespaced_job(namespace, label_selector=label_selector, **_RAW))

    def create_job(self, namespace: str, job: K8sObject) -> None:
        """Create a Job."""
        with _raise_api_errors():
            self._batch.create_namespaced_job(namespace, job)

    def delete_job(self, namespace: str, name: str) -> None:
        """Delete a Job, and its pods after it."""
        with _raise_api_errors():
            self._batch.delete_namespaced_job(name, namespace, propagation_policy="Background")

    def list_pods(self, namespace: str, label_selector: str) -> list[K8sObject]:
        """The pods with these labels."""
        with _raise_api_errors():
            return _parse_items(self._core.list_namespaced_pod(namespace, label_selector=label_selector, **_RAW))

    def watch_pods(self, namespace: str, label_selector: str, timeout_s: int) -> Iterator[K8sObject]:
        """The pods with these labels, and then every change of them as it happens.

        Args:
            namespace: Of the pods.
            label_selector: Their labels.
            timeout_s: Seconds after which the server ends the watch.

        Yields:
            ``{"type": "ADDED" | "MODIFIED" | "DELETED", "object": pod}``

        Raises:
            ApiError: The watch was refused, or it broke; 410: the server no longer has the changes that come next.
            ValueError: The server sent something that is no JSON.
        """
        with _raise_api_errors():
            response = self._core.list_namespaced_pod(
                namespace,
                label_selector=label_selector,
                watch=True,
                timeout_seconds=timeout_s,
                _request_timeout=(_WATCH_CONNECT_TIMEOUT_S, timeout_s + _WATCH_SLACK_S),
                **_RAW,
            )
            try:
                for line in response:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise _parse_status(event["object"])
                    yield event
            finally:
                response.close()
                response.release_conn()

    def delete_pod(self, namespace: str, name: str) -> None:
        """Delete a pod."""
        with _raise_api_errors():
            self._core.delete_namespaced_pod(name, namespace)

    def list_events(self, namespace: str, name: str) -> list[K8sObject]:
        """The events of the objects of a name, of whatever kind."""
        selector = f"involvedObject.name={name}"
        with _raise_api_errors():
            return _parse_items(self._core.list_namespaced_event(namespace, field_selector=selector, **_RAW))

    def list_resource_quotas(self, namespace: str) -> list[K8sObject]:
        """The quotas of a namespace."""
        with _raise_api_errors():
            return _parse_items(self._core.list_namespaced_resource_quota(namespace, **_RAW))

    def list_volume_claims(self, namespace: str) -> list[K8sObject]:
        """The claims of volumes in a namespace."""
        with _raise_api_errors():
            return _parse_items(self._core.list_namespaced_persistent_volume_claim(namespace, **_RAW))

    def list_storage_classes(self) -> list[K8sObject]:
        """The storage classes of the cluster."""
        with _raise_api_errors():
            return _parse_items(self._storage.list_storage_class(**_RAW))

    def list_nodes(self) -> list[K8sObject]:
        """The nodes of the cluster."""
        with _raise_api_errors():
            return _parse_items(self._core.list_node(**_RAW))

    def is_allowed(self, namespace: str, verb: str, resource: str, group: str = "") -> bool:
        """Whether the account of this process may do something.

        Args:
            namespace: Where.
            verb: What, such as ``list``.
            resource: To what, such as ``pods`` or ``pods/log``.
            group: The API group of the resource, such as ``batch``.
        """
        resource_name, _, subresource = resource.partition("/")
        attributes = {
            "namespace": namespace,
            "verb": verb,
            "group": group,
            "resource": resource_name,
            "subresource": subresource,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        with _raise_api_errors():
            review_result = _parse_object(self._authorization.create_self_subject_access_review(review, **_RAW))
        return bool((review_result.get("status") or {}).get("allowed"))


def load_client_errors() -> tuple[type[Exception], ...]:
    """The exceptions of the Kubernetes client, for calls of libraries that use it, such as dagster-k8s.

    ``to_api_error`` translates them.
    """
    from kubernetes.client.rest import ApiException
    from urllib3.exceptions import HTTPError

    return ApiException, HTTPError


def to_api_error(error: Exception) -> ApiError:
    """Convert an exception of the client to ``ApiError``. Any other exception keeps only its text, as if there was no response."""
    from kubernetes.client.rest import ApiException

    if isinstance(error, ApiError):
        return error
    if not isinstance(error, ApiException):
        return ApiError(str(error))
    try:
        sentence = str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        sentence = str(error.reason or error).strip()
    return ApiError(str(error), error.status, str(error.reason or ""), sentence)


def parse_k8s_quantity(text: str) -> Decimal:
    """Parse a Kubernetes quantity to bytes, cores or other units.

    Raises:
        ValueError: The text is not a quantity.
    """
    from kubernetes.utils import parse_quantity

    value: Decimal = parse_quantity(text)
    return value


@contextmanager
def _raise_api_errors() -> Iterator[None]:
    """Raise what the client raises as ``ApiError``."""
    try:
        yield
    except load_client_errors() as error:
        raise to_api_error(error) from error


def _parse_object(response: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(response.data)
    return parsed


def _parse_items(response: Any) -> list[K8sObject]:
    items: list[K8sObject] = _parse_object(response)["items"]
    return items


def _parse_status(status: K8sObject) -> ApiError:
    """Convert the status object that ends a watch when the server cannot continue it."""
    reason, message = str(status.get("reason", "")), str(status.get("message", ""))
    return ApiError(f"{reason}: {message}", status.get("code"), reason, message)
