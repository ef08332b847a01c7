"""Isolation, detected from recorded files of containers, pods and machines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.files import RefusedError
from benchmarks.platform.isolation import detect_isolation, pin_to_one_core, require_one_cpu
from speech.machine.host import Host
from tests.speech.machine.recorded import GIB, UNLIMITED_V1, make_cgroup_v1, make_cgroup_v2, make_linux, make_mac

POD = "/kubepods/pod7d9c/3f2a"
SERVICE = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
V1_POD = {
    f"cpu,cpuacct{POD}/cpu.cfs_quota_us": "100000",
    f"cpu,cpuacct{POD}/cpu.cfs_period_us": "100000",
    f"memory{POD}/memory.limit_in_bytes": str(2 * GIB),
}
CASES: dict[str, tuple[dict[str, str], dict[str, Any], dict[str, Any]]] = {
    "a machine of its own, version 2": (
        make_cgroup_v2(
            "/user.slice/user-0.slice",
            {"user.slice/user-0.slice/cpu.max": "max 100000", "user.slice/memory.max": "max"},
        ),
        {},
        {"one_cpu": False, "cpu_quota": None, "cpu_limit": 4, "cgroup_version": 2, "memory_limit_mb": None, "how": ()},
    ),
    "docker --cpus=1 --memory=2g, version 2": (
        make_cgroup_v2("/", {"cpu.max": "100000 100000", "memory.max": str(2 * GIB)}),
        {},
        {"one_cpu": True, "cpu_quota": 1.0, "cpu_limit": 1, "memory_limit_mb": 2048.0, "qos": None},
    ),
    "docker --cpus=1 on a Mac": (
        make_cgroup_v2("/", {"cpu.max": "100000 100000"}),
        {"machine": "aarch64"},
        {"one_cpu": True, "cpu_limit": 1, "cgroup_version": 2},
    ),
    "docker --cpus=1.5, version 1 without a namespace": (
        make_cgroup_v1(
            "/docker/ab12",
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "150000",
                "cpu,cpuacct/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": UNLIMITED_V1,
            },
            root_of_mount="/docker/ab12",
        ),
        {},
        {"one_cpu": False, "cpu_quota": 1.5, "cpu_limit": 1.5, "cgroup_version": 1, "memory_limit_mb": None},
    ),
    "version 1 with a namespace, and mounts made outside of it": (
        make_cgroup_v1(
            "/",
            {"cpu,cpuacct/cpu.cfs_quota_us": "100000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            root_of_mount="/docker/ab12",
        ),
        {},
        {"one_cpu": True, "cpu_quota": 1.0, "cgroup_version": 1},
    ),
    "a limit of the slice above, tighter than the own": (
        make_cgroup_v2(
            "/a.slice/b.service", {"a.slice/b.service/cpu.max": "200000 100000", "a.slice/cpu.max": "50000 100000"}
        ),
        {},
        {"one_cpu": True, "cpu_quota": 0.5, "cpu_limit": 0.5},
    ),
    "both versions mounted, limits in version 1": (
        make_cgroup_v1(
            "/x",
            {
                "cpu,cpuacct/x/cpu.cfs_quota_us": "-1",
                "cpu,cpuacct/x/cpu.cfs_period_us": "100000",
                "unified/cpu.max": "1 1",
            },
        ),
        {},
        {"one_cpu": False, "cpu_quota": None, "cgroup_version": 1},
    ),
    "a Guaranteed pod on a node with static CPUs, version 1": (
        make_cgroup_v1(POD, V1_POD),
        {"affinity": frozenset({3}), "environment": SERVICE},
        {"one_cpu": True, "qos": "Guaranteed", "pinned": True, "cpus_usable": 1, "memory_limit_mb": 2048.0},
    ),
    "a Guaranteed pod whose namespace hides its name": (
        {**make_cgroup_v2("/", {"cpu.max": "100000 100000"}), "/proc/self/oom_score_adj": "-997"},
        {"environment": SERVICE},
        {"one_cpu": True, "qos": "Guaranteed", "pinned": False},
    ),
    "a Burstable pod with a limit of two": (
        {**make_cgroup_v2("/", {"cpu.max": "200000 100000"}), "/proc/self/oom_score_adj": "939"},
        {"environment": SERVICE},
        {"one_cpu": False, "qos": "Burstable", "cpu_limit": 2},
    ),
    "a Burstable pod, by its slice": (
        make_cgroup_v2("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7.slice", {}),
        {},
        {"one_cpu": False, "qos": "Burstable"},
    ),
    "a BestEffort pod": (
        {**make_cgroup_v2("/", {"cpu.max": "max 100000"}), "/proc/self/oom_score_adj": "1000"},
        {"environment": SERVICE},
        {"one_cpu": False, "qos": "BestEffort"},
    ),
    "taskset on ARM, no control groups": (
        {},
        {"machine": "aarch64", "affinity": frozenset({2})},
        {"one_cpu": True, "pinned": True, "cpu_limit": 1, "cgroup_version": None},
    ),
    "a machine of one core": ({}, {"cores": 1, "affinity": frozenset({0})}, {"one_cpu": True, "pinned": False}),
    "more quota than cores": (
        make_cgroup_v2("/", {"cpu.max": "800000 100000"}),
        {},
        {"one_cpu": False, "cpu_quota": 8.0, "cpu_limit": 4},
    ),
    "a process outside the mounted part": (
        make_cgroup_v2("/../other", {"cpu.max": "100000 100000"}),
        {},
        {"one_cpu": True, "cpu_quota": 1.0},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_isolation_is_detected(case: str, tmp_path: Path) -> None:
    files, facts, expected = CASES[case]
    host = make_linux(tmp_path, files, **facts)
    isolation = detect_isolation(host)
    assert {name: getattr(isolation, name) for name in expected} == expected
    assert bool(isolation.how) == (bool(isolation.cpu_quota) or isolation.pinned or isolation.qos is not None)
    if isolation.one_cpu:
        require_one_cpu(isolation, host.system)
    else:
        with pytest.raises(
            RefusedError, match=rf"could use {isolation.cpu_limit:g} CPUs.*--pin.*--cpus=1.*--unisolated"
        ):
            require_one_cpu(isolation, host.system)


def test_a_mac_is_not_isolated_and_containers_are_the_only_remedy(tmp_path: Path) -> None:
    host = make_mac(tmp_path, "arm64", {})
    isolation = detect_isolation(host)
    assert (isolation.cpus_usable, isolation.one_cpu, isolation.cgroup_version) == (10, False, None)
    with pytest.raises(RefusedError, match="could use 10 CPUs") as refused:
        require_one_cpu(isolation, host.system)
    assert "--pin" not in str(refused.value)
    assert "--cpus=1" in str(refused.value)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_pinning_uses_one_core_and_restores_the_others() -> None:
    usable_cores = os.sched_getaffinity(0)
    with pin_to_one_core():
        isolation = detect_isolation(Host.here(), pinned_by_us=True)
        assert isolation.cpus_usable == 1
        assert isolation.one_cpu
        if len(usable_cores) > 1:
            assert "set by --pin" in isolation.how[-1]
    assert os.sched_getaffinity(0) == usable_cores
