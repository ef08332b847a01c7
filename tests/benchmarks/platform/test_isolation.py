"""Which isolation is in force, from what containers, pods and machines of all kinds say of themselves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.files import RefusedError
from benchmarks.platform.cgroups import read_cpu_counters, read_cpu_limit
from benchmarks.platform.host import Host
from benchmarks.platform.isolation import detect_isolation, pin_to_one_core, require_one_cpu
from tests.benchmarks.platform.recorded import GIB, UNLIMITED_V1, linux, mac, v1, v2

POD = "/kubepods/pod7d9c/3f2a"
SERVICE = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
V1_POD = {
    f"cpu,cpuacct{POD}/cpu.cfs_quota_us": "100000",
    f"cpu,cpuacct{POD}/cpu.cfs_period_us": "100000",
    f"memory{POD}/memory.limit_in_bytes": str(2 * GIB),
}

CASES: dict[str, tuple[dict[str, str], dict[str, Any], dict[str, Any]]] = {
    "a machine of its own, version 2": (
        v2(
            "/user.slice/user-0.slice",
            {"user.slice/user-0.slice/cpu.max": "max 100000", "user.slice/memory.max": "max"},
        ),
        {},
        {"one_cpu": False, "cpu_quota": None, "cpu_limit": 4, "cgroup_version": 2, "memory_limit_mb": None, "how": ()},
    ),
    "docker --cpus=1 --memory=2g, version 2": (
        v2("/", {"cpu.max": "100000 100000", "memory.max": str(2 * GIB)}),
        {},
        {"one_cpu": True, "cpu_quota": 1.0, "cpu_limit": 1, "memory_limit_mb": 2048.0, "qos": None},
    ),
    "docker --cpus=1 on a Mac": (
        v2("/", {"cpu.max": "100000 100000"}),
        {"machine": "aarch64"},
        {"one_cpu": True, "cpu_limit": 1, "cgroup_version": 2},
    ),
    "docker --cpus=1.5, version 1 without a namespace": (
        v1(
            "/docker/ab12",
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "150000",
                "cpu,cpuacct/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": UNLIMITED_V1,
            },
            shown="/docker/ab12",
        ),
        {},
        {"one_cpu": False, "cpu_quota": 1.5, "cpu_limit": 1.5, "cgroup_version": 1, "memory_limit_mb": None},
    ),
    "version 1 with a namespace, and mounts made outside of it": (
        v1(
            "/",
            {"cpu,cpuacct/cpu.cfs_quota_us": "100000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            shown="/docker/ab12",
        ),
        {},
        {"one_cpu": True, "cpu_quota": 1.0, "cgroup_version": 1},
    ),
    "a limit of the slice above, tighter than the own": (
        v2("/a.slice/b.service", {"a.slice/b.service/cpu.max": "200000 100000", "a.slice/cpu.max": "50000 100000"}),
        {},
        {"one_cpu": True, "cpu_quota": 0.5, "cpu_limit": 0.5},
    ),
    "both versions mounted, limits in version 1": (
        v1(
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
        v1(POD, V1_POD),
        {"affinity": frozenset({3}), "environment": SERVICE},
        {"one_cpu": True, "qos": "Guaranteed", "pinned": True, "cpus_usable": 1, "memory_limit_mb": 2048.0},
    ),
    "a Guaranteed pod whose namespace hides its name": (
        {**v2("/", {"cpu.max": "100000 100000"}), "/proc/self/oom_score_adj": "-997"},
        {"environment": SERVICE},
        {"one_cpu": True, "qos": "Guaranteed", "pinned": False},
    ),
    "a Burstable pod with a limit of two": (
        {**v2("/", {"cpu.max": "200000 100000"}), "/proc/self/oom_score_adj": "939"},
        {"environment": SERVICE},
        {"one_cpu": False, "qos": "Burstable", "cpu_limit": 2},
    ),
    "a Burstable pod, by its slice": (
        v2("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7.slice", {}),
        {},
        {"one_cpu": False, "qos": "Burstable"},
    ),
    "a BestEffort pod": (
        {**v2("/", {"cpu.max": "max 100000"}), "/proc/self/oom_score_adj": "1000"},
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
        v2("/", {"cpu.max": "800000 100000"}),
        {},
        {"one_cpu": False, "cpu_quota": 8.0, "cpu_limit": 4},
    ),
    "a process outside the mounted part": (
        v2("/../other", {"cpu.max": "100000 100000"}),
        {},
        {"one_cpu": True, "cpu_quota": 1.0},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_in_force(case: str, tmp_path: Path) -> None:
    files, facts, expected = CASES[case]
    host = linux(tmp_path, files, **facts)
    found = detect_isolation(host)
    assert {name: getattr(found, name) for name in expected} == expected
    assert bool(found.how) == (bool(found.cpu_quota) or found.pinned or found.qos is not None)
    if found.one_cpu:
        require_one_cpu(found, host.system)
    else:
        with pytest.raises(RefusedError, match=rf"could use {found.cpu_limit:g} CPUs.*--pin.*--cpus=1.*--unisolated"):
            require_one_cpu(found, host.system)


def test_a_mac_is_not_isolated_and_is_told_of_containers_only(tmp_path: Path) -> None:
    host = mac(tmp_path, "arm64", {})
    found = detect_isolation(host)
    assert (found.cpus_usable, found.one_cpu, found.cgroup_version) == (10, False, None)
    with pytest.raises(RefusedError, match="could use 10 CPUs") as refused:
        require_one_cpu(found, host.system)
    assert "--pin" not in str(refused.value)
    assert "--cpus=1" in str(refused.value)


def test_counters_of_both_versions_have_one_unit(tmp_path: Path) -> None:
    old = linux(
        tmp_path / "1",
        v1(
            POD,
            {**V1_POD, f"cpu,cpuacct{POD}/cpu.stat": "nr_periods 200\nnr_throttled 50\nthrottled_time 2500000000\n"},
        ),
    )
    new = linux(
        tmp_path / "2",
        v2(
            "/",
            {
                "cpu.max": "100000 100000",
                "cpu.stat": "usage_usec 9\nnr_periods 200\nnr_throttled 50\nthrottled_usec 2500000\nnr_bursts 0\n",
            },
        ),
    )
    for host in (old, new):
        counted = read_cpu_counters(host)
        assert counted is not None
        assert (counted.periods, counted.throttled, counted.throttled_s) == (200, 50, 2.5)
        assert counted.share == 0.25
        assert counted.since(counted).periods == 0


def test_counters_are_those_of_the_tightest_limit(tmp_path: Path) -> None:
    stat = "nr_periods {0}\nnr_throttled 0\nthrottled_usec 0\n"
    limits = {
        "a/b/cpu.max": "200000 100000",
        "a/b/cpu.stat": stat.format(1),
        "a/cpu.max": "100000 100000",
        "a/cpu.stat": stat.format(2),
    }
    host = linux(tmp_path, v2("/a/b", limits))
    limit, counted = read_cpu_limit(host), read_cpu_counters(host)
    assert limit is not None
    assert str(limit.group) == "/sys/fs/cgroup/a"
    assert counted is not None
    assert counted.periods == 2


def test_without_a_limit_there_are_no_counters(tmp_path: Path) -> None:
    limits = {"cpu.max": "max 100000", "cpu.stat": "nr_periods 5\nnr_throttled 5\nthrottled_usec 5\n"}
    assert read_cpu_counters(linux(tmp_path, v2("/", limits))) is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_pinning_keeps_the_process_on_one_core_and_gives_the_others_back() -> None:
    before = os.sched_getaffinity(0)
    with pin_to_one_core():
        found = detect_isolation(Host.here(), pinned_by_us=True)
        assert found.cpus_usable == 1
        assert found.one_cpu
        if len(before) > 1:
            assert "set by --pin" in found.how[-1]
    assert os.sched_getaffinity(0) == before
