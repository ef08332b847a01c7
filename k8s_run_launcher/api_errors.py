"""Exceptions of API requests, and how to read status and message from them.

Only the modules that load dagster-k8s anyway import this one.
"""

from __future__ import annotations

from dagster_k8s.client import DagsterK8sAPIRetryLimitExceeded, DagsterK8sUnrecoverableAPIError

from k8s_run_launcher.cluster import ApiError, load_client_errors, to_api_error

API_ERRORS: tuple[type[Exception], ...] = (
    ApiError,
    *load_client_errors(),
    DagsterK8sUnrecoverableAPIError,
    DagsterK8sAPIRetryLimitExceeded,
)
"""The API server refused a request, failed, or could not be reached. This covers our own requests and those of dagster-k8s, which
raises some of the client's exceptions as they are and wraps the others."""


def parse_api_error(error: Exception) -> tuple[int | None, str]:
    """Status and sentence of the API server's answer.

    Returns:
        None and the error's own words where there was no answer.
    """
    cause = to_api_error(getattr(error, "k8s_api_exception", None) or error)
    return cause.status, cause.sentence


def is_transient(status: int | None) -> bool:
    """Whether the request can succeed later: an API server that starts or moves answers with these statuses, or not at all."""
    return status is None or status in (401, 408, 429) or status >= 500
