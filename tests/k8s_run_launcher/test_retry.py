"""What the next attempt gets after a pod failure, up to the Job that dagster-k8s makes of it."""

from __future__ import annotations

from k8s_run_launcher.pod_failure import FailureCause, PodFailure, diagnose
from k8s_run_launcher.profiles import read_profiles
from k8s_run_launcher.retry import adjust, mark_permanent_at_cap
from tests.k8s_run_launcher.made_jobs import job_of, pod_of
from tests.k8s_run_launcher.recorded_jobs import recorded


def oom(limit: str) -> PodFailure:
    return PodFailure(FailureCause.OOM_KILLED, "", {"limit": limit})


def test_memory_doubles_after_each_oom_up_to_the_cap_and_the_request_keeps_its_share() -> None:
    profile = read_profiles({"raw": {"cpu_limit": "2", "memory": "512Mi", "memory_limit": "1Gi", "memory_cap": "3Gi"}})[
        "raw"
    ]
    resources = [
        pod_of(job_of(profile, adjust(profile, deaths, 2.0)))["containers"][0]["resources"]
        for deaths in ([], [oom("1Gi")], [oom("1Gi"), oom("2048Mi")])
    ]
    assert [r["limits"]["memory"] for r in resources] == ["1Gi", "2048Mi", "3072Mi"]
    assert [r["requests"]["memory"] for r in resources] == ["512Mi", "1024Mi", "1536Mi"]
    assert {r["limits"]["cpu"] for r in resources} == {"2"}


def test_after_a_lost_node_nothing_stays_of_the_old_class() -> None:
    spot = {
        "spot": True,
        "node_selector": {"class": "spot"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "after_loss": {"node_selector": {"class": "steady"}},
    }
    profile = read_profiles({"raw": spot})["raw"]
    first = pod_of(job_of(profile, adjust(profile, [oom("1Gi")], 2.0)))
    assert first["nodeSelector"] == {"class": "spot"}
    lessons = adjust(profile, [PodFailure(FailureCause.PREEMPTED, "")], 2.0)
    second = pod_of(job_of(profile, lessons))
    assert second["nodeSelector"] == {"class": "steady"}
    assert not second.get("tolerations")
    assert not second.get("affinity")
    assert lessons.sentences == ("another node class (class=steady), after it was preempted",)


def test_oom_at_the_cap_is_final() -> None:
    found = diagnose(recorded("oom"))
    assert found is not None
    roomy, full = (
        read_profiles({"raw": {"memory": "64Mi", "memory_limit": "64Mi", "memory_cap": cap}})["raw"]
        for cap in ("65Mi", "64Mi")
    )
    assert not mark_permanent_at_cap(roomy, found).is_permanent
    assert mark_permanent_at_cap(full, found).is_permanent
