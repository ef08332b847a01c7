"""How the tests are spread over worker processes with ``pytest -n auto``, which the test command is. ``conftest`` has these hooks.

A file's tests stay together and in order, because they share servers, engines and the outcome of long commands. So do all tests
that need a cluster: there is one, and they deploy on it. The files that take longest come first, so that at the end no worker
sits with a long one while the others are done.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from benchmarks.platform.host import Host
from speech.asr.runtime.affinity import get_usable_cores

TESTS = Path(__file__).parent
LONGEST_FIRST = (
    "speech/asr/test_engine.py",
    "speech/asr/test_whisper.py",
    "recordings/intake/test_bucket_scan.py",
    "stt_orchestration/cli/test_two_at_once.py",
    "stt_orchestration/test_capacity_flow.py",
    "hostile/test_machine.py",
    "stt_orchestration/test_checks.py",
    "stt_orchestration/cli/test_run.py",
    "hostile/test_inputs.py",
    "stt_orchestration/cli/test_benchmark.py",
    "stt_orchestration/cli/test_prepare.py",
    "recordings/steps/test_crashes.py",
    "recordings/steps/test_kills.py",
    "benchmarks/platform/test_throttling.py",
)
ON_A_CLUSTER = ("tests/cluster/", "tests/benchmarks/sizing/test_sizing.py")
WORKER_BYTES = 2 * 2**30
"""What a worker may take at its peak: a model of its own, and a command under test with another."""


class ByFile(LoadFileScheduling):
    """A work unit is a file, but all files that need a cluster are one."""

    def _split_scope(self, nodeid: str) -> str:
        return "a cluster" if nodeid.startswith(ON_A_CLUSTER) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A worker for each core that is ours, as far as memory goes."""
    return max(1, min(len(get_usable_cores()), Host.here().memory_bytes // WORKER_BYTES))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """By file, however the command line has it."""
    config.option.loadscopereorder = False  # it would put the files with most tests first: theirs are the short ones
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first."""
    places = {TESTS / name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
