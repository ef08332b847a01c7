"""The janitor removes left-over Jobs and pods, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from k8s_run_launcher.cluster import ApiError
from k8s_run_launcher.janitor import RUN_LABEL, Janitor, Removal, RetentionRules, RunEnd, plan_objects
from tests.k8s_run_launcher.api_server import ApiServer, Request, Response, make_status

NOW = 1_000_000.0
RULES = RetentionRules(grace_s=600, finished_s=3600)


def format_time(seconds_ago: float) -> str:
    return datetime.fromtimestamp(NOW - seconds_ago, UTC).isoformat()


def make_object(name: str, run: str, age_s: float, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {RUN_LABEL: run}, "creationTimestamp": format_time(age_s)}, **fields}


def make_ended_job(name: str, age_s: float, ttl: int | None = None) -> dict[str, Any]:
    condition = {"type": "Complete", "status": "True", "lastTransitionTime": format_time(age_s)}
    spec = {} if ttl is None else {"ttlSecondsAfterFinished": ttl}
    return make_object(name, "gone", age_s + 10, spec=spec, status={"conditions": [condition]})


def test_jobs_of_ended_and_unknown_runs_are_removed_after_the_grace_period() -> None:
    runs = {"live": RunEnd(None), "just": RunEnd(NOW - 60), "over": RunEnd(NOW - 700)}
    jobs = [
        make_object("of-a-live-run", "live", 10_000),
        make_object("of-one-just-ended", "just", 10_000),
        make_object("of-one-long-ended", "over", 10_000),
        make_object("of-an-unknown-young", "unknown", 60),
        make_object("of-an-unknown-old", "unknown", 601),
    ]
    removals = plan_objects(jobs, [], runs, RULES, NOW)
    assert [removal.name for removal in removals] == ["of-one-long-ended", "of-an-unknown-old"]
    assert removals[0].reason == "its run over ended 12 min ago"
    assert removals[1].reason == "Dagster does not know its run unknown"


def test_ended_jobs_with_a_time_to_live_are_left_to_kubernetes() -> None:
    jobs = [make_ended_job("with-ttl", 10_000, ttl=60), make_ended_job("fresh", 100), make_ended_job("old", 4000)]
    assert [removal.name for removal in plan_objects(jobs, [], {}, RULES, NOW)] == ["old"]


def test_only_pods_without_a_job_are_removed_by_themselves() -> None:
    owner = {"ownerReferences": [{"kind": "Job", "name": "job"}]}
    pods = [make_object("of-the-job", "over", 9000), make_object("alone", "over", 9000)]
    pods[0]["metadata"] |= owner
    pods[1]["metadata"] |= {"ownerReferences": [{"kind": "Job", "name": "deleted-long-ago"}]}
    removals = plan_objects(
        [make_object("job", "live", 9000)], pods, {"live": RunEnd(None), "over": RunEnd(NOW - 9000)}, RULES, NOW
    )
    assert [(removal.kind, removal.name) for removal in removals] == [("Pod", "alone")]


Connect = Callable[[Callable[[Request], Response]], ApiServer]


def test_a_plan_is_made_from_the_objects_of_the_cluster_and_carried_out(connect: Connect) -> None:
    def respond(request: Request) -> Response:
        if request.method == "DELETE":
            return make_status(404) if request.path.endswith("/alone") else {}
        return {"items": [make_object("alone" if "/pods" in request.path else "orphan", "unknown", 9000)]}

    server = connect(respond)
    with dg.DagsterInstance.ephemeral() as instance:
        janitor = Janitor(instance, "stt", "here", RULES)
        removals = janitor.plan_removals()
        assert [(removal.kind, removal.name) for removal in removals] == [("Job", "orphan"), ("Pod", "alone")]
        assert list(janitor.remove(removals)) == removals, "an object that is already gone counts as removed"
    listed, deleted = server.requests[:2], server.requests[2:]
    assert all(
        request.path.endswith("?labelSelector=dagster%2Frun-id%2Cdagster%2Fcode-location%3Dhere") for request in listed
    )
    assert [request.path for request in deleted] == [
        "/apis/batch/v1/namespaces/stt/jobs/orphan?propagationPolicy=Background",
        "/api/v1/namespaces/stt/pods/alone",
    ]


def test_a_removal_that_is_forbidden_is_an_error(connect: Connect) -> None:
    connect(lambda _: make_status(403))
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(ApiError):
        list(Janitor(instance, "stt", "here", RULES).remove([Removal("Pod", "x", "")]))
