"""Which answers of an API server may be different a little later, however dagster-k8s wraps them."""

from __future__ import annotations

import pytest
from dagster_k8s.client import DagsterK8sAPIRetryLimitExceeded, DagsterK8sUnrecoverableAPIError
from kubernetes.client.rest import ApiException  # noqa: TID253 - dagster_k8s has imported it already
from urllib3.exceptions import HTTPError

from k8s_run_launcher.api_errors import API_ERRORS, is_transient, parse_api_error
from k8s_run_launcher.cluster import ApiError


def wrapped(cause: Exception) -> Exception:
    return DagsterK8sAPIRetryLimitExceeded(
        "x", k8s_api_exception=cause, max_retries=3, original_exc_info=(type(cause), cause, None)
    )


@pytest.mark.parametrize(
    ("error", "code", "soon"),
    [
        (ApiError("Connection refused"), None, True),
        (ApiError("Forbidden", 403, "Forbidden", "pods is forbidden"), 403, False),
        (HTTPError("Connection refused"), None, True),
        (wrapped(HTTPError("Connection refused")), None, True),
        (ApiException(401, "Unauthorized"), 401, True),
        (ApiException(429, "Too many requests"), 429, True),
        (wrapped(ApiException(500, "Internal error")), 500, True),
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
def test_what_may_be_answered_a_little_later(error: Exception, code: int | None, soon: bool) -> None:
    assert isinstance(error, API_ERRORS)
    found, words = parse_api_error(error)
    assert found == code
    assert words
    assert is_transient(found) is soon
