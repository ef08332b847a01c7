"""Profiles, and the Jobs that dagster-k8s builds from them."""

from __future__ import annotations

from typing import Any

import pytest

from k8s_run_launcher.profiles import (
    ProfileError,
    StepProfile,
    read_pending_timeouts,
    read_profiles,
)
from speech.machine.resources import CPU_REQUEST_ENV_VAR
from tests.k8s_run_launcher.job_manifests import build_job, get_pod_spec

NEUTRAL = StepProfile(cpu="250m", cpu_limit="1", memory="512Mi", memory_limit="512Mi", memory_cap="2Gi")


def test_without_configuration_all_steps_have_the_default_profile() -> None:
    assert read_profiles() == read_profiles(None, {}) == {"default": NEUTRAL}
    assert get_pod_spec(build_job(NEUTRAL))["containers"][0]["resources"] == {
        "requests": {"cpu": "250m", "memory": "512Mi"},
        "limits": {"cpu": "1", "memory": "512Mi"},
    }


def test_a_guaranteed_step_has_limits_equal_to_its_requests() -> None:
    keys = {"cpu": "2", "memory": "1Gi", "guaranteed": True}
    for profiles in (read_profiles({"new": keys}), read_profiles({"new": {**keys, "cpu": "1"}}, {"new": {"cpu": "2"}})):
        assert profiles["new"] == StepProfile(cpu="2", memory="1Gi", memory_cap="2Gi", guaranteed=True)
        resources = profiles["new"].resources()
        assert resources["requests"] == resources["limits"] == {"cpu": "2", "memory": "1Gi"}
    with pytest.raises(ProfileError, match="whole CPUs"):
        read_profiles({"new": {"cpu": "1", "cpu_limit": "2"}}, {"new": {"guaranteed": True}})


def test_a_profile_replaces_the_launchers_placement_and_adds_to_its_mounts() -> None:
    keys = {
        "cpu": "1",
        "cpu_limit": "2",
        "memory": "1Gi",
        "memory_limit": "1Gi",
        "node_selector": {"pool": "gpu"},
        "affinity": {"node_affinity": {"preferred_during_scheduling_ignored_during_execution": []}},
        "priority_class": "stt-batch",
        "model_cache": "models",
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "volume_mounts": [{"name": "scratch", "mountPath": "/scratch"}],
        "env": {"OMP_NUM_THREADS": "1"},
        "deadline_s": 50,
        "ttl_s": 400,
    }
    job = build_job(read_profiles({"raw": keys})["raw"])
    pod, container = get_pod_spec(job), get_pod_spec(job)["containers"][0]
    assert pod["nodeSelector"] == {"pool": "gpu"}, "it replaces the launcher's selector"
    assert "preferredDuringSchedulingIgnoredDuringExecution" in pod["affinity"]["nodeAffinity"]
    assert pod["priorityClassName"] == "stt-batch"
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/data", "/scratch", "/cache/huggingface"]
    assert {volume["name"] for volume in pod["volumes"]} == {"data", "scratch", "model-cache"}
    assert {"name": "OMP_NUM_THREADS", "value": "1"} in container["env"]
    requested = {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}
    assert {"name": CPU_REQUEST_ENV_VAR, "valueFrom": requested} in container["env"]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "1Gi"}, "they replace the launcher's limits"
    assert pod["securityContext"] == {"runAsNonRoot": True}
    assert pod["automountServiceAccountToken"] is False
    assert pod["activeDeadlineSeconds"] == 50
    assert {key: job["spec"][key] for key in ("backoffLimit", "ttlSecondsAfterFinished", "activeDeadlineSeconds")} == {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": 400,
        "activeDeadlineSeconds": 150,
    }


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"memory": "2Gi"}, "memory 2Gi is above memory_limit 512Mi"),
        ({"memory": "much"}, "raw: memory"),
        ({"memory_cap": "256Mi"}, "above memory_cap 256Mi"),
        ({"spot": True}, "after_loss"),
        ({"guaranteed": True}, "whole CPUs"),
        ({"gpus": 1}, "raw: gpus: Extra inputs"),
        ({"ttl_s": 10}, "ttl_s"),
        ({"cpu": "0"}, "not above 0"),
    ],
)
def test_an_invalid_profile_is_refused_with_step_key_and_value(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ProfileError, match="step_profiles: raw") as refused:
        read_profiles({"raw": keys})
    assert message in str(refused.value)


def test_later_layers_override_single_keys_and_unknown_steps_start_from_the_default() -> None:
    limits = {"raw": {"cpu_limit": "2", "memory_limit": "1Gi"}}
    profiles = read_profiles(limits, {"raw": {"cpu": "1"}, "new": {"cpu": "100m"}}, None, {"raw": {"memory": "1Gi"}})
    assert (profiles["raw"].cpu, profiles["raw"].memory, profiles["raw"].cpu_limit) == ("1", "1Gi", "2")
    assert profiles["new"] == NEUTRAL.model_copy(update={"cpu": "100m"})
    assert list(profiles) == ["raw", "new", "default"]


def test_pending_timeouts_are_validated() -> None:
    assert read_pending_timeouts({"quota_s": 5}, {"image_s": 6}).quota_s == 5
    with pytest.raises(ProfileError, match="step_patience: quotas"):
        read_pending_timeouts({"quotas": 5})
