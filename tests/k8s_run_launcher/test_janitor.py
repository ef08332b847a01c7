"""The janitor removes what nobody waits for, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from k8s_run_launcher.cluster import ApiError
from k8s_run_launcher.janitor import RUN_LABEL, Janitor, Removal, RetentionRules, RunEnd, plan_objects
from tests.k8s_run_launcher.api_server import Answer, ApiServer, Request, refusal

NOW = 1_000_000.0
RULES = RetentionRules(grace_s=600, finished_s=3600)


def at(seconds_ago: float) -> str:
    return datetime.fromtimestamp(NOW - seconds_ago, UTC).isoformat()


def thing(name: str, run: str, age: float, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {RUN_LABEL: run}, "creationTimestamp": at(age)}, **more}


def ended(name: str, age: float, ttl: int | None = None) -> dict[str, Any]:
    condition = {"type": "Complete", "status": "True", "lastTransitionTime": at(age)}
    spec = {} if ttl is None else {"ttlSecondsAfterFinished": ttl}
    return thing(name, "gone", age + 10, spec=spec, status={"conditions": [condition]})


def test_jobs_go_whose_run_ended_or_is_unknown_once_the_grace_is_over() -> None:
    runs = {"live": RunEnd(None), "just": RunEnd(NOW - 60), "over": RunEnd(NOW - 700)}
    jobs = [
        thing("of-a-live-run", "live", 10_000),
        thing("of-one-just-ended", "just", 10_000),
        thing("of-one-long-ended", "over", 10_000),
        thing("of-an-unknown-young", "unknown", 60),
        thing("of-an-unknown-old", "unknown", 601),
    ]
    found = plan_objects(jobs, [], runs, RULES, NOW)
    assert [removal.name for removal in found] == ["of-one-long-ended", "of-an-unknown-old"]
    assert found[0].reason == "its run over ended 12 min ago"
    assert found[1].reason == "Dagster does not know its run unknown"


def test_ended_jobs_are_left_to_their_time_to_live() -> None:
    jobs = [ended("with-ttl", 10_000, ttl=60), ended("fresh", 100), ended("old", 4000)]
    assert [removal.name for removal in plan_objects(jobs, [], {}, RULES, NOW)] == ["old"]


def test_pods_go_with_their_job_and_alone_without_one() -> None:
    owner = {"ownerReferences": [{"kind": "Job", "name": "job"}]}
    pods = [thing("of-the-job", "over", 9000), thing("alone", "over", 9000)]
    pods[0]["metadata"] |= owner
    pods[1]["metadata"] |= {"ownerReferences": [{"kind": "Job", "name": "deleted-long-ago"}]}
    found = plan_objects(
        [thing("job", "live", 9000)], pods, {"live": RunEnd(None), "over": RunEnd(NOW - 9000)}, RULES, NOW
    )
    assert [(removal.kind, removal.name) for removal in found] == [("Pod", "alone")]


Connect = Callable[[Callable[[Request], Answer]], ApiServer]


def test_a_plan_is_made_of_what_the_cluster_lists_and_carried_out_there(connect: Connect) -> None:
    def answer(request: Request) -> Answer:
        if request.method == "DELETE":
            return refusal(404) if request.path.endswith("/alone") else {}
        return {"items": [thing("alone" if "/pods" in request.path else "orphan", "unknown", 9000)]}

    server = connect(answer)
    with dg.DagsterInstance.ephemeral() as instance:
        work = Janitor(instance, "stt", "here", RULES)
        removals = work.plan_removals()
        assert [(removal.kind, removal.name) for removal in removals] == [("Job", "orphan"), ("Pod", "alone")]
        assert list(work.remove(removals)) == removals, "what went by itself is gone, too"
    listed, deleted = server.requests[:2], server.requests[2:]
    assert all(
        request.path.endswith("?labelSelector=dagster%2Frun-id%2Cdagster%2Fcode-location%3Dhere") for request in listed
    )
    assert [request.path for request in deleted] == [
        "/apis/batch/v1/namespaces/stt/jobs/orphan?propagationPolicy=Background",
        "/api/v1/namespaces/stt/pods/alone",
    ]


def test_what_may_not_be_removed_is_an_error(connect: Connect) -> None:
    connect(lambda _: refusal(403))
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(ApiError):
        list(Janitor(instance, "stt", "here", RULES).remove([Removal("Pod", "x", "")]))
