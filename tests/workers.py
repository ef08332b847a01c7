"""How tests are spread over worker processes by ``pytest -n auto``, which ``make test`` runs. ``conftest.py`` loads these hooks.

The tests of a file stay on one worker and in order, because they share servers, engines and results of long commands. All tests
that need a cluster stay together too, because there is only one cluster. The slowest files come first, so that no worker starts a
slow file when the others are already finished.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from speech.machine.resources import detect_resources

TESTS = Path(__file__).parent
LONGEST_FIRST = (
    "speech/asr/test_whisper.py",
    "speech/asr/test_model_pool.py",
    "speech/asr/test_chunk_transcriber.py",
    "speech/asr/test_engine.py",
    "hostile/generated/test_generated.py",
    "docs/test_shell_blocks.py",
    "recordings/intake/test_bucket_scan.py",
    "recordings/test_upgrade.py",
    "stt_orchestration/cli/test_two_at_once.py",
    "stt_orchestration/test_capacity_flow.py",
    "hostile/test_machine.py",
    "assets/common/test_checks.py",
    "stt_orchestration/cli/test_run.py",
    "hostile/test_inputs.py",
    "stt_orchestration/cli/test_benchmark.py",
    "stt_orchestration/cli/test_measurement.py",
    "stt_orchestration/cli/test_prepare.py",
    "recordings/steps/test_crashes.py",
    "recordings/steps/test_kills.py",
    "benchmarks/platform/test_stress.py",
)
ON_A_CLUSTER = ("tests/cluster/", "tests/benchmarks/sizing/test_manifests.py")
WORKER_BYTES = 2 * 2**30
"""Peak memory of a worker: one model of its own, and a second one in a command under test."""


class FileScheduling(LoadFileScheduling):
    """A work unit is a file; all files that need a cluster are one unit."""

    def _split_scope(self, nodeid: str) -> str:
        return "cluster" if nodeid.startswith(ON_A_CLUSTER) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker per CPU, as far as memory allows."""
    found = detect_resources()
    return max(1, min(found.cpus, found.memory_bytes // WORKER_BYTES))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """Schedule by file, whatever the command line says."""
    config.option.loadscopereorder = False  # it would start with the files that have most tests, and those are quick
    return FileScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first."""
    ranks = {TESTS / name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))
