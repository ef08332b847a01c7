"""How many CPUs and how much memory a process has: from recorded control groups, and in a real one."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from speech.asr.model_pool import EngineOptions
from speech.machine.host import Host
from speech.machine.resources import CPU_REQUEST_ENV_VAR, detect_resources, measure_free_memory
from tests.speech.machine.control_group import control_group, memory_group, run_in
from tests.speech.machine.recorded import GIB, UNLIMITED_V1, make_cgroup_v1, make_cgroup_v2, make_linux, make_mac

PROJECT = Path(__file__).resolve().parents[3]
POD = "/kubepods/burstable/pod7d9c/3f2a"


def make_node(root: Path, files: Mapping[str, str], **facts: object) -> Host:
    """A node of 64 cores and 256 GiB with these files."""
    return make_linux(root, files, **{"cores": 64, "affinity": None, "memory_bytes": 256 * GIB, **facts})


@pytest.mark.parametrize(
    ("quota", "cpus", "sentence"),
    [
        ("400000 100000", 4, "4 CPUs: the quota of the cgroup; 64 on the node."),
        ("250000 100000", 2, "2 CPUs: the quota of the cgroup, 2.5; 64 on the node."),
        ("20000 50000", 1, "1 CPU: the quota of the cgroup, 0.4; 64 on the node."),
        ("12800000 100000", 64, "64 CPUs: all of the machine."),
        ("max 100000", 64, "64 CPUs: all of the machine."),
        ("nonsense", 64, "64 CPUs: all of the machine."),
    ],
)
def test_a_quota_is_rounded_down_and_is_at_least_one_cpu(tmp_path: Path, quota: str, cpus: int, sentence: str) -> None:
    found = detect_resources(make_node(tmp_path, make_cgroup_v2("/", {"cpu.max": quota})))
    assert found.cpus == cpus
    assert found.sentence.startswith(sentence)


def test_the_smallest_quota_of_all_groups_above_counts(tmp_path: Path) -> None:
    nested = {"a/b/c/cpu.max": "max 100000", "a/b/cpu.max": "800000 100000", "a/cpu.max": "300000 100000"}
    assert detect_resources(make_node(tmp_path / "2", make_cgroup_v2("/a/b/c", nested))).cpus == 3
    pod = "cpu,cpuacct/kubepods/burstable/pod7d9c"
    old = {
        f"{pod}/3f2a/cpu.cfs_quota_us": "-1",
        f"{pod}/3f2a/cpu.cfs_period_us": "100000",
        f"{pod}/cpu.cfs_quota_us": "200000",
        f"{pod}/cpu.cfs_period_us": "100000",
    }
    assert detect_resources(make_node(tmp_path / "1", make_cgroup_v1(POD, old))).cpus == 2


@pytest.mark.parametrize("own", ["/", POD, "/../3f2a"])
def test_a_container_may_see_only_its_own_group(tmp_path: Path, own: str) -> None:
    """With a namespace of its own its group is "/". Without one it has the full path, and the mount shows only the end of it."""
    new = make_cgroup_v2(own, {"cpu.max": "200000 100000", "memory.max": str(GIB)}, inside="/" if own == "/" else POD)
    found = detect_resources(make_node(tmp_path / "2", new))
    assert (found.cpus, found.memory_bytes) == (2, GIB)
    limits = {
        "cpu,cpuacct/cpu.cfs_quota_us": "200000",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": str(GIB),
    }
    found = detect_resources(make_node(tmp_path / "1", make_cgroup_v1(own, limits, root_of_mount=POD)))
    assert (found.cpus, found.memory_bytes) == (2, GIB)


def test_memory_is_the_limit_or_that_of_the_machine(tmp_path: Path) -> None:
    limits = {"a/b/memory.max": str(8 * GIB), "a/memory.max": str(2 * GIB), "a/b/cpu.max": "100000 100000"}
    found = detect_resources(make_node(tmp_path / "2", make_cgroup_v2("/a/b", limits)))
    assert found.memory_bytes == 2 * GIB
    assert found.sentence.endswith("2.0 GiB of memory: the limit of the cgroup; 256.0 GiB on the node.")
    unlimited = make_cgroup_v1("/", {"memory/memory.limit_in_bytes": UNLIMITED_V1})
    assert detect_resources(make_node(tmp_path / "1", unlimited)).memory_bytes == 256 * GIB


MEMINFO = {"/proc/meminfo": "MemTotal: 268435456 kB\nMemFree: 1 kB\nMemAvailable: 209715200 kB\n"}


def test_free_is_what_is_below_the_limit_and_files_that_can_be_dropped_are_free(tmp_path: Path) -> None:
    new = {
        "a/memory.max": str(4 * GIB),
        "a/memory.current": str(3 * GIB),
        "a/memory.stat": f"anon {GIB}\ninactive_file {GIB}\nactive_file {GIB}\nfile_mapped {GIB // 2}",
        "memory.max": str(16 * GIB),
        "memory.current": str(4 * GIB),
    }
    found = measure_free_memory(make_node(tmp_path / "2", {**make_cgroup_v2("/a", new), **MEMINFO}))
    assert (found.total_bytes, found.free_bytes, found.source) == (4 * GIB, 2.5 * GIB, "the limit of the cgroup")
    old = {
        "memory/memory.limit_in_bytes": str(4 * GIB),
        "memory/memory.usage_in_bytes": str(3 * GIB),
        "memory/memory.stat": f"inactive_file 5\ntotal_inactive_file {GIB}\ntotal_active_file 0\ntotal_mapped_file 0",
    }
    found = measure_free_memory(make_node(tmp_path / "1", make_cgroup_v1("/", old)))
    assert found.sentence == "2.0 GiB of 4.0 GiB of memory are free (the limit of the cgroup)."
    assert found.usable_bytes < found.free_bytes


def test_of_several_groups_the_one_with_the_least_left_counts(tmp_path: Path) -> None:
    """Another container of the pod may use up what the pod has."""
    groups = {
        "a/b/memory.max": str(4 * GIB),
        "a/b/memory.current": str(GIB),
        "a/memory.max": str(6 * GIB),
        "a/memory.current": str(7 * GIB),
    }
    found = measure_free_memory(make_node(tmp_path, make_cgroup_v2("/a/b", groups)))
    assert (found.total_bytes, found.free_bytes) == (6 * GIB, 0)


def test_without_a_limit_what_the_machine_has_available_is_free(tmp_path: Path) -> None:
    found = measure_free_memory(make_node(tmp_path / "1", MEMINFO))
    assert (found.total_bytes, found.free_bytes, found.source) == (256 * GIB, 200 * GIB, "all of the machine")
    loose = make_cgroup_v2("/", {"memory.max": str(255 * GIB), "memory.current": str(GIB)})
    assert measure_free_memory(make_node(tmp_path / "2", {**loose, **MEMINFO})).free_bytes == 200 * GIB
    unreadable = {**make_cgroup_v2("/", {"memory.max": str(GIB)}), "/proc/meminfo": "MemAvailable: much\n"}
    assert measure_free_memory(make_node(tmp_path / "3", unreadable)).free_bytes == 256 * GIB
    mac = measure_free_memory(make_mac(tmp_path, "arm64", {}))
    assert mac.free_bytes == mac.total_bytes


def test_the_least_of_affinity_and_quota_counts(tmp_path: Path) -> None:
    eight = make_cgroup_v2("/", {"cpu.max": "800000 100000"})
    pinned = detect_resources(make_node(tmp_path, eight, affinity=frozenset({3, 5})))
    assert pinned.sentence.startswith("2 CPUs: the affinity of the process; 64 on the node.")
    assert detect_resources(make_node(tmp_path, eight, affinity=frozenset(range(16)))).cpus == 8


@pytest.mark.parametrize(("millicores", "cpus"), [("4000", 4), ("2500", 2), ("250", 1), ("0", 64), ("4 cores", 64)])
def test_without_a_quota_the_request_of_the_pod_counts(tmp_path: Path, millicores: str, cpus: int) -> None:
    requested = {CPU_REQUEST_ENV_VAR: millicores}
    found = detect_resources(make_node(tmp_path / "free", {}, environment=requested))
    assert found.cpus == cpus
    assert ("the CPU request of the pod" in found.sentence) == (cpus < 64)
    limited = make_cgroup_v2("/", {"cpu.max": "800000 100000"})
    assert detect_resources(make_node(tmp_path / "limited", limited, environment=requested)).cpus == 8


def test_where_nothing_can_be_read_the_machine_is_the_answer(tmp_path: Path) -> None:
    unreadable = make_cgroup_v2("/", {"cpu.max/is a folder": "", "memory.max/is a folder": ""})
    for files in ({}, {"/proc/self/cgroup": "", "/proc/self/mountinfo": "damaged\n"}, unreadable):
        root = tmp_path / str(len(files))
        assert detect_resources(make_node(root, files)).cpus == 64
    assert detect_resources(make_mac(tmp_path, "arm64", {})).cpus == 10


def test_in_a_real_control_group_threads_follow_its_quota_and_a_setting_wins() -> None:
    code = (
        "from speech.asr.model_pool import EngineOptions\nfrom speech.machine.resources import detect_resources\n"
        "print(EngineOptions().make_config().workers, EngineOptions(workers=7).make_config().workers)\n"
        "print(detect_resources().sentence)"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with control_group(0.5) as group:
        inner = group / "inner"
        inner.mkdir()
        try:
            for own in (group, inner):
                result = run_in(own, [sys.executable, "-c", code], env=environment, timeout=60)
                assert result.returncode == 0, result.stderr
                workers, sentence = result.stdout.splitlines()
                assert workers == "1 7"
                assert sentence.startswith("1 CPU: the quota of the cgroup, 0.5; ")
        finally:
            inner.rmdir()
    assert EngineOptions().make_config().workers == detect_resources().cpus


def test_in_a_real_control_group_workers_follow_the_memory_that_is_left() -> None:
    code = (
        "from speech.asr.memory import ModelShape, fit_engine\n"
        "import speech.asr.memory as memory\n"
        "from speech.asr.model_pool import EngineOptions\n"
        "from speech.machine.resources import measure_free_memory\n"
        "from speech.models.registry import Weights\n"
        "from pathlib import Path\n"
        "memory.read_shape = lambda file: ModelShape(6, 512, 8, 72_603_145, 26_554_880, 145_217_532)\n"
        "used = b'1' * 2**26\n"
        "free = measure_free_memory()\n"
        "fitted = fit_engine(EngineOptions(), Weights('base', Path('.'), '', None, 'model directory'), free)\n"
        "print(free.total_bytes, free.free_bytes, fitted.config.workers, fitted.config.batch_size, fitted.warning)"
    )
    with memory_group(400 * 2**20) as group:
        result = run_in(group, [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(PROJECT)}, timeout=60)
    assert result.returncode == 0, result.stderr
    total, free, workers, batch_size, warning = result.stdout.split(maxsplit=4)
    assert int(total) == 400 * 2**20
    assert 200 * 2**20 < int(free) < 336 * 2**20
    assert (workers, batch_size) == ("1", "1")
    assert warning.startswith("base with 1 worker with batches of 1 needs about ")
