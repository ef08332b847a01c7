"""Adjustments for the next attempt after a pod failure, and the Job that dagster-k8s builds with them."""

from __future__ import annotations

from k8s_run_launcher.pod_failure import FailureCause, PodFailure, diagnose
from k8s_run_launcher.profiles import read_profiles
from k8s_run_launcher.retry import adjust, mark_permanent_at_cap
from tests.k8s_run_launcher.job_manifests import build_job, get_pod_spec
from tests.k8s_run_launcher.recorded_jobs import load_recorded


def make_oom(limit: str) -> PodFailure:
    return PodFailure(FailureCause.OOM_KILLED, "", {"limit": limit})


def test_memory_doubles_after_each_oom_up_to_the_cap_and_the_request_keeps_its_share() -> None:
    profile = read_profiles({"raw": {"cpu_limit": "2", "memory": "512Mi", "memory_limit": "1Gi", "memory_cap": "3Gi"}})[
        "raw"
    ]
    resources = [
        get_pod_spec(build_job(profile, adjust(profile, failures, 2.0)))["containers"][0]["resources"]
        for failures in ([], [make_oom("1Gi")], [make_oom("1Gi"), make_oom("2048Mi")])
    ]
    assert [r["limits"]["memory"] for r in resources] == ["1Gi", "2048Mi", "3072Mi"]
    assert [r["requests"]["memory"] for r in resources] == ["512Mi", "1024Mi", "1536Mi"]
    assert {r["limits"]["cpu"] for r in resources} == {"2"}


def test_after_a_lost_node_the_whole_placement_is_replaced() -> None:
    keys = {
        "spot": True,
        "node_selector": {"class": "spot"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "after_loss": {"node_selector": {"class": "steady"}},
    }
    profile = read_profiles({"raw": keys})["raw"]
    first = get_pod_spec(build_job(profile, adjust(profile, [make_oom("1Gi")], 2.0)))
    assert first["nodeSelector"] == {"class": "spot"}
    adjustments = adjust(profile, [PodFailure(FailureCause.PREEMPTED, "")], 2.0)
    second = get_pod_spec(build_job(profile, adjustments))
    assert second["nodeSelector"] == {"class": "steady"}
    assert not second.get("tolerations")
    assert not second.get("affinity")
    assert adjustments.sentences == ("another node class (class=steady), after it was preempted",)


def test_an_oom_at_the_cap_is_permanent() -> None:
    failure = diagnose(load_recorded("oom"))
    assert failure is not None
    below_cap, at_cap = (
        read_profiles({"raw": {"memory": "64Mi", "memory_limit": "64Mi", "memory_cap": cap}})["raw"]
        for cap in ("65Mi", "64Mi")
    )
    assert not mark_permanent_at_cap(below_cap, failure).is_permanent
    assert mark_permanent_at_cap(at_cap, failure).is_permanent
