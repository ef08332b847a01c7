"""Exceptions of API requests, and how to read status and message from them.

Only the modules that load dagster-k8s anyway import this one.
"""

from __future__ import annotations

import json

from dagster_k8s.client import DagsterK8sAPIRetryLimitExceeded, DagsterK8sUnrecoverableAPIError
from kubernetes.client.rest import ApiException  # noqa: TID253 - dagster_k8s has imported it already
from urllib3.exceptions import HTTPError

API_ERRORS = (ApiException, HTTPError, DagsterK8sUnrecoverableAPIError, DagsterK8sAPIRetryLimitExceeded)
"""It refused, failed, or could not be reached."""


def parse_api_error(error: Exception) -> tuple[int | None, str]:
    """Status and sentence of the API server's answer.

    Returns:
        None and the error's own words where there was no answer.
    """
    cause = getattr(error, "k8s_api_exception", None) or error
    if not isinstance(cause, ApiException):
        return None, str(cause)
    try:
        return cause.status, str(json.loads(cause.body)["message"])
    except (ValueError, KeyError, TypeError):
        return cause.status, str(cause.reason or cause).strip()


def is_transient(status: int | None) -> bool:
    """Whether the request can succeed later: an API server that starts or moves answers with these statuses, or not at all."""
    return status is None or status in (401, 408, 429) or status >= 500
