"""Control groups: the counters of throttling, in both versions."""

from __future__ import annotations

from pathlib import Path

from speech.machine.cgroups import read_cpu_counters, read_cpu_limit
from tests.speech.machine.recorded import GIB, make_cgroup_v1, make_cgroup_v2, make_linux

POD = "/kubepods/pod7d9c/3f2a"
V1_POD = {
    f"cpu,cpuacct{POD}/cpu.cfs_quota_us": "100000",
    f"cpu,cpuacct{POD}/cpu.cfs_period_us": "100000",
    f"memory{POD}/memory.limit_in_bytes": str(2 * GIB),
}


def test_counters_of_both_versions_have_the_same_unit(tmp_path: Path) -> None:
    old = make_linux(
        tmp_path / "1",
        make_cgroup_v1(
            POD,
            {**V1_POD, f"cpu,cpuacct{POD}/cpu.stat": "nr_periods 200\nnr_throttled 50\nthrottled_time 2500000000\n"},
        ),
    )
    new = make_linux(
        tmp_path / "2",
        make_cgroup_v2(
            "/",
            {
                "cpu.max": "100000 100000",
                "cpu.stat": "usage_usec 9\nnr_periods 200\nnr_throttled 50\nthrottled_usec 2500000\nnr_bursts 0\n",
            },
        ),
    )
    for host in (old, new):
        counters = read_cpu_counters(host)
        assert counters is not None
        assert (counters.periods, counters.throttled, counters.throttled_s) == (200, 50, 2.5)
        assert counters.share == 0.25
        assert counters.since(counters).periods == 0


def test_counters_are_those_of_the_tightest_limit(tmp_path: Path) -> None:
    stat = "nr_periods {0}\nnr_throttled 0\nthrottled_usec 0\n"
    limits = {
        "a/b/cpu.max": "200000 100000",
        "a/b/cpu.stat": stat.format(1),
        "a/cpu.max": "100000 100000",
        "a/cpu.stat": stat.format(2),
    }
    host = make_linux(tmp_path, make_cgroup_v2("/a/b", limits))
    limit, counters = read_cpu_limit(host), read_cpu_counters(host)
    assert limit is not None
    assert str(limit.group) == "/sys/fs/cgroup/a"
    assert counters is not None
    assert counters.periods == 2


def test_without_a_limit_there_are_no_counters(tmp_path: Path) -> None:
    limits = {"cpu.max": "max 100000", "cpu.stat": "nr_periods 5\nnr_throttled 5\nthrottled_usec 5\n"}
    assert read_cpu_counters(make_linux(tmp_path, make_cgroup_v2("/", limits))) is None
