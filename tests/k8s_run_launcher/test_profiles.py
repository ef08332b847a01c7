"""Profiles become the Jobs that dagster-k8s makes, through the very coercion that the launcher uses."""

from __future__ import annotations

from typing import Any

import pytest

from k8s_run_launcher.profiles import (
    ProfileError,
    StepProfile,
    read_pending_timeouts,
    read_profiles,
)
from tests.k8s_run_launcher.made_jobs import job_of, pod_of

NEUTRAL = StepProfile(cpu="250m", cpu_limit="1", memory="512Mi", memory_limit="512Mi", memory_cap="2Gi")


def test_where_nothing_is_stated_there_is_one_profile_for_every_step() -> None:
    assert read_profiles() == read_profiles(None, {}) == {"default": NEUTRAL}
    assert pod_of(job_of(NEUTRAL))["containers"][0]["resources"] == {
        "requests": {"cpu": "250m", "memory": "512Mi"},
        "limits": {"cpu": "1", "memory": "512Mi"},
    }


def test_a_guaranteed_step_has_its_requests_for_limits() -> None:
    keys = {"cpu": "2", "memory": "1Gi", "guaranteed": True}
    for profiles in (read_profiles({"new": keys}), read_profiles({"new": {**keys, "cpu": "1"}}, {"new": {"cpu": "2"}})):
        assert profiles["new"] == StepProfile(cpu="2", memory="1Gi", memory_cap="2Gi", guaranteed=True)
        resources = profiles["new"].resources()
        assert resources["requests"] == resources["limits"] == {"cpu": "2", "memory": "1Gi"}
    with pytest.raises(ProfileError, match="whole CPUs"):
        read_profiles({"new": {"cpu": "1", "cpu_limit": "2"}}, {"new": {"guaranteed": True}})


def test_a_profile_replaces_what_the_launcher_places_and_adds_to_what_it_mounts() -> None:
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
    job = job_of(read_profiles({"raw": keys})["raw"])
    pod, container = pod_of(job), pod_of(job)["containers"][0]
    assert pod["nodeSelector"] == {"pool": "gpu"}, "both selectors together match no node"
    assert "preferredDuringSchedulingIgnoredDuringExecution" in pod["affinity"]["nodeAffinity"]
    assert pod["priorityClassName"] == "stt-batch"
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/data", "/scratch", "/cache/huggingface"]
    assert {volume["name"] for volume in pod["volumes"]} == {"data", "scratch", "model-cache"}
    assert {"name": "OMP_NUM_THREADS", "value": "1"} in container["env"]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "1Gi"}, "nothing stays of the launcher's"
    assert pod["securityContext"] == {"runAsNonRoot": True}
    assert pod["automountServiceAccountToken"] is False
    assert pod["activeDeadlineSeconds"] == 50
    assert {key: job["spec"][key] for key in ("backoffLimit", "ttlSecondsAfterFinished", "activeDeadlineSeconds")} == {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": 400,
        "activeDeadlineSeconds": 150,
    }


@pytest.mark.parametrize(
    ("keys", "words"),
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
def test_a_profile_that_cannot_be_meant_is_refused_with_step_key_and_value(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ProfileError, match="step_profiles: raw") as refused:
        read_profiles({"raw": keys})
    assert words in str(refused.value)


def test_later_layers_win_key_by_key_and_unknown_steps_start_from_the_default() -> None:
    limits = {"raw": {"cpu_limit": "2", "memory_limit": "1Gi"}}
    profiles = read_profiles(limits, {"raw": {"cpu": "1"}, "new": {"cpu": "100m"}}, None, {"raw": {"memory": "1Gi"}})
    assert (profiles["raw"].cpu, profiles["raw"].memory, profiles["raw"].cpu_limit) == ("1", "1Gi", "2")
    assert profiles["new"] == NEUTRAL.model_copy(update={"cpu": "100m"})
    assert list(profiles) == ["raw", "new", "default"]


def test_patience_is_checked_too() -> None:
    assert read_pending_timeouts({"quota_s": 5}, {"image_s": 6}).quota_s == 5
    with pytest.raises(ProfileError, match="step_patience: quotas"):
        read_pending_timeouts({"quotas": 5})
