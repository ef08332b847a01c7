"""A ``dagster.yaml`` that was deployed with 0.1.0 gives its steps what it gave them then."""

from __future__ import annotations

from k8s_run_launcher.deprecated_profiles import DEPRECATED_PROFILES, list_unstated_steps
from k8s_run_launcher.profiles import StepProfile, read_profiles
from tests.k8s_run_launcher.made_jobs import job_of, pod_of

TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
STEPS = ["raw", "normalized", "transcript", "enriched", "benchmark"]


def test_steps_that_nobody_stated_keep_what_they_had() -> None:
    """As 0.1.0 resolved them."""
    small = {"memory": "512Mi", "memory_limit": "1Gi", "memory_cap": "4Gi"}
    assert read_profiles(DEPRECATED_PROFILES, None) == {
        "raw": StepProfile(cpu="500m", cpu_limit="2", **small),
        "normalized": StepProfile(cpu="1", cpu_limit="4", **small),
        "transcript": StepProfile(
            cpu="4",
            cpu_limit="8",
            memory="16Gi",
            memory_limit="32Gi",
            memory_cap="48Gi",
            gpu=1,
            tolerations=[TOLERATION],
        ),
        "enriched": StepProfile(cpu="500m", cpu_limit="2", **small),
        "benchmark": StepProfile(cpu="1", memory="2Gi", memory_cap="8Gi", guaranteed=True),
        "default": StepProfile(cpu="250m", cpu_limit="1", memory="512Mi", memory_limit="512Mi", memory_cap="2Gi"),
    }


def test_the_gpu_is_asked_for_by_transcript_alone() -> None:
    profiles = read_profiles(DEPRECATED_PROFILES)
    limits = {
        step: pod_of(job_of(profile))["containers"][0]["resources"]["limits"] for step, profile in profiles.items()
    }
    assert [step for step, limit in limits.items() if "nvidia.com/gpu" in limit] == ["transcript"]
    transcript = pod_of(job_of(profiles["transcript"]))
    assert transcript["containers"][0]["resources"] == {
        "requests": {"cpu": "4", "memory": "16Gi"},
        "limits": {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"},
    }
    assert transcript["tolerations"] == [TOLERATION]


def test_what_is_stated_in_part_lies_over_them() -> None:
    stated = {"transcript": {"node_selector": {"gpu-type": "a100"}, "cpu": "8", "cpu_limit": "16"}}
    found = read_profiles(DEPRECATED_PROFILES, stated)["transcript"]
    assert (found.node_selector, found.cpu, found.cpu_limit) == ({"gpu-type": "a100"}, "8", "16")
    assert (found.gpu, found.memory, found.memory_limit, found.memory_cap) == (1, "16Gi", "32Gi", "48Gi")
    # What a benchmark may be asked for when it is launched.
    assert read_profiles(DEPRECATED_PROFILES, None, {"benchmark": {"cpu": "2"}})["benchmark"].resources() == {
        "requests": {"cpu": "2", "memory": "2Gi"},
        "limits": {"cpu": "2", "memory": "2Gi"},
    }


def test_steps_that_would_change_without_them_are_known() -> None:
    assert list_unstated_steps(None) == list_unstated_steps({"other": {"cpu": "1"}}) == STEPS
    whole = {step: dict(keys) for step, keys in DEPRECATED_PROFILES.items()}
    assert list_unstated_steps({**whole, "raw": {"cpu": "1"}}) == ["raw"]
    assert list_unstated_steps(whole) == []
