"""Which errors of an API server are transient, also when dagster-k8s wraps them."""

from __future__ import annotations

import pytest
from dagster_k8s.client import DagsterK8sAPIRetryLimitExceeded, DagsterK8sUnrecoverableAPIError
from kubernetes.client.rest import ApiException  # noqa: TID253 - dagster_k8s has imported it already
from urllib3.exceptions import HTTPError

from k8s_run_launcher.api_errors import API_ERRORS, is_transient, parse_api_error
from k8s_run_launcher.cluster import ApiError


def wrap(cause: Exception) -> Exception:
    return DagsterK8sAPIRetryLimitExceeded(
        "x", k8s_api_exception=cause, max_retries=3, original_exc_info=(type(cause), cause, None)
    )


@pytest.mark.parametrize(
    ("error", "code", "transient"),
    [
        (ApiError("Connection refused"), None, True),
        (ApiError("Forbidden", 403, "Forbidden", "pods is forbidden"), 403, False),
        (HTTPError("Connection refused"), None, True),
        (wrap(HTTPError("Connection refused")), None, True),
        (ApiException(401, "Unauthorized"), 401, True),
        (ApiException(429, "Too many requests"), 429, True),
        (wrap(ApiException(500, "Internal error")), 500, True),
        (ApiException(400, "Bad request"), 400, False),
        (ApiException(409, "Conflict"), 409, False),
        (
            DagsterK8sUnrecoverableAPIError(
                "x", k8s_api_exception=ApiException(422, "Invalid"), original_exc_info=(ApiException, None, None)
            ),
            422,
            False,
        ),
    ],
)
def test_the_status_of_an_error_and_whether_it_is_transient(
    error: Exception, code: int | None, transient: bool
) -> None:
    assert isinstance(error, API_ERRORS)
    status, message = parse_api_error(error)
    assert status == code
    assert message
    assert is_transient(status) is transient
