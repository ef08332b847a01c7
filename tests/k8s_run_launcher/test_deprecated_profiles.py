"""A ``dagster.yaml`` that was deployed with 0.1.0 gives its steps the same resources as then."""

from __future__ import annotations

from k8s_run_launcher.deprecated_profiles import DEPRECATED_PROFILES, list_unstated_steps
from k8s_run_launcher.profiles import StepProfile, read_profiles
from tests.k8s_run_launcher.job_manifests import build_job, get_pod_spec

TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
STEPS = ["raw", "normalized", "transcript", "enriched", "benchmark"]


def test_steps_without_a_profile_get_the_one_of_0_1_0() -> None:
    """The values are those that 0.1.0 resolved."""
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


def test_only_transcript_requests_a_gpu() -> None:
    profiles = read_profiles(DEPRECATED_PROFILES)
    limits = {
        step: get_pod_spec(build_job(profile))["containers"][0]["resources"]["limits"]
        for step, profile in profiles.items()
    }
    assert [step for step, limit in limits.items() if "nvidia.com/gpu" in limit] == ["transcript"]
    transcript = get_pod_spec(build_job(profiles["transcript"]))
    assert transcript["containers"][0]["resources"] == {
        "requests": {"cpu": "4", "memory": "16Gi"},
        "limits": {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"},
    }
    assert transcript["tolerations"] == [TOLERATION]


def test_an_incomplete_profile_is_merged_over_the_deprecated_one() -> None:
    profiles = {"transcript": {"node_selector": {"gpu-type": "a100"}, "cpu": "8", "cpu_limit": "16"}}
    transcript = read_profiles(DEPRECATED_PROFILES, profiles)["transcript"]
    assert (transcript.node_selector, transcript.cpu, transcript.cpu_limit) == ({"gpu-type": "a100"}, "8", "16")
    assert (transcript.gpu, transcript.memory, transcript.memory_limit, transcript.memory_cap) == (
        1,
        "16Gi",
        "32Gi",
        "48Gi",
    )
    # A benchmark's resources can be changed when it is launched.
    assert read_profiles(DEPRECATED_PROFILES, None, {"benchmark": {"cpu": "2"}})["benchmark"].resources() == {
        "requests": {"cpu": "2", "memory": "2Gi"},
        "limits": {"cpu": "2", "memory": "2Gi"},
    }


def test_steps_without_a_complete_profile_are_listed() -> None:
    assert list_unstated_steps(None) == list_unstated_steps({"other": {"cpu": "1"}}) == STEPS
    complete = {step: dict(keys) for step, keys in DEPRECATED_PROFILES.items()}
    assert list_unstated_steps({**complete, "raw": {"cpu": "1"}}) == ["raw"]
    assert list_unstated_steps(complete) == []
