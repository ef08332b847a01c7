"""The name and the identity of a machine, from recorded facts of Linux and macOS on both architectures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.platform.machine import describe_machine, read_cpu_model, read_steal_seconds
from benchmarks.platform.memory import peak_memory_mb
from speech.machine.host import Host
from tests.speech.machine.recorded import APPLE_VM_CPUINFO, GRAVITON_CPUINFO, XEON_CPUINFO, make_linux, make_mac


def test_a_xeon_is_described(tmp_path: Path) -> None:
    machine = describe_machine(make_linux(tmp_path, {"/proc/cpuinfo": XEON_CPUINFO, "/etc/machine-id": "abc\n"}))
    assert (machine.architecture, machine.cpu_model) == ("x86_64", "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz")
    assert machine.instruction_sets == ("sse4_1", "avx", "f16c", "fma", "avx2", "avx512f", "avx512_vnni")
    assert (machine.cores, machine.memory_mb, machine.system) == (4, 16384.0, "Linux 6.1.0")


@pytest.mark.parametrize(
    ("cpuinfo", "name", "sets"),
    [
        (GRAVITON_CPUINFO, "Neoverse-N1", ("asimd", "asimdhp", "asimddp")),
        (APPLE_VM_CPUINFO, "Apple Silicon (part 0x000)", ("asimd", "asimdhp", "asimddp", "i8mm", "bf16")),
        (GRAVITON_CPUINFO.replace("0xd0c", "0xfff"), "aarch64 processor, implementer 0x41, part 0xfff", None),
        ("", "aarch64 processor", ()),
    ],
)
def test_arm_processors_on_linux_are_described(
    tmp_path: Path, cpuinfo: str, name: str, sets: tuple[str, ...] | None
) -> None:
    machine = describe_machine(make_linux(tmp_path, {"/proc/cpuinfo": cpuinfo}, machine="aarch64"))
    assert (machine.architecture, machine.cpu_model) == ("ARM64", name)
    assert sets is None or machine.instruction_sets == sets


def test_the_name_of_a_board_is_read(tmp_path: Path) -> None:
    files = {"/proc/cpuinfo": "CPU part\t: 0xfff\n", "/proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"}
    assert read_cpu_model(make_linux(tmp_path, files, machine="aarch64")) == "Raspberry Pi 5 Model B Rev 1.0"


def test_macs_are_described(tmp_path: Path) -> None:
    m4 = describe_machine(
        make_mac(
            tmp_path,
            "arm64",
            {
                "machdep.cpu.brand_string": "Apple M4",
                "hw.optional.AdvSIMD": "1",
                "hw.optional.arm.FEAT_I8MM": "1",
                "hw.optional.arm.FEAT_BF16": "0",
                "kern.bootsessionuuid": "2C5E",
            },
        )
    )
    assert (m4.architecture, m4.cpu_model, m4.instruction_sets) == ("ARM64", "Apple M4", ("asimd", "i8mm"))
    assert len(m4.ids) == 1
    intel = make_mac(
        tmp_path, "x86_64", {"machdep.cpu.brand_string": "Intel(R) Core(TM) i7", "hw.optional.avx2_0": "1"}
    )
    assert (describe_machine(intel).architecture, describe_machine(intel).instruction_sets) == ("x86_64", ("avx2",))
    translated = make_mac(tmp_path, "x86_64", {"machdep.cpu.brand_string": "Apple M4", "sysctl.proc_translated": "1"})
    assert "Rosetta" in read_cpu_model(translated)


def test_a_container_is_identified_by_the_boot_of_its_machine_and_not_by_its_image(tmp_path: Path) -> None:
    boot = {"/proc/sys/kernel/random/boot_id": "11-22\n"}
    native = describe_machine(make_linux(tmp_path / "a", {**boot, "/etc/machine-id": "abc\n"}))
    container = describe_machine(make_linux(tmp_path / "b", {**boot, "/etc/machine-id": "image\n", "/.dockerenv": ""}))
    other_machine = describe_machine(
        make_linux(
            tmp_path / "c",
            {"/proc/sys/kernel/random/boot_id": "33\n", "/etc/machine-id": "image\n", "/.dockerenv": ""},
        )
    )
    assert set(native.ids) & set(container.ids)
    assert not set(container.ids) & set(other_machine.ids)
    assert "11-22" not in str(native.ids)


def test_steal_time_is_counted_on_the_cpus_in_use(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    stat = (
        f"cpu  1 1 1 1 1 1 1 {9 * ticks} 0 0\ncpu0 1 1 1 1 1 1 1 {7 * ticks} 0 0\ncpu1 1 1 1 1 1 1 1 {2 * ticks} 0 0\n"
    )
    assert read_steal_seconds(make_linux(tmp_path, {"/proc/stat": stat}, affinity=frozenset({1}))) == 2.0
    assert read_steal_seconds(make_mac(tmp_path / "mac", "arm64", {})) is None


def test_this_machine_can_be_described() -> None:
    machine = describe_machine(Host.here())
    assert machine.cpu_model
    assert machine.cores >= 1
    assert peak_memory_mb() > 10
