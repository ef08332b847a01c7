"""Measuring on a cluster: in a Guaranteed pod with a CPU of its own, and throttling found in a pod that is limited, only there.

Needs KUBECONFIG and STT_TEST_IMAGE, and no deployment: on a node that pins CPUs nearly nothing else has room.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.platform.result import BenchmarkResult, read_result
from benchmarks.platform.stress import StressReport, read_stress

PROJECT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(400)


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    result = subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"kubectl {' '.join(arguments)}: {result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def image() -> str:
    missing = [name for name in ("KUBECONFIG", "STT_TEST_IMAGE") if not os.environ.get(name)]
    if missing or shutil.which("kubectl") is None:
        pytest.skip(f"needs a cluster and an image on it: {', '.join(missing) or 'kubectl'} is not there")
    return os.environ["STT_TEST_IMAGE"]


@pytest.fixture(scope="module")
def namespace(image: str) -> Iterator[str]:
    name = f"stt-capacity-{uuid.uuid4().hex[:6]}"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def result(image: str, namespace: str, tmp_path_factory: pytest.TempPathFactory) -> BenchmarkResult:
    """The result file that `deploy/benchmark` copies from the cluster, validated as every result is."""
    path = tmp_path_factory.mktemp("benchmark") / "node_base.json"
    command = [str(PROJECT / "deploy" / "benchmark"), image, str(path), "--iterations", "3", "--warmup", "1"]
    result = subprocess.run(
        command, env={**os.environ, "NAMESPACE": namespace}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return read_result(path)


def test_the_result_says_that_it_comes_from_a_guaranteed_pod_with_one_cpu(result: BenchmarkResult) -> None:
    isolation = result.details.isolation
    assert isolation.qos == "Guaranteed"
    assert isolation.one_cpu
    assert result.cpu_limit == 1
    assert isolation.memory_limit_mb == 2048
    assert not isolation.pinned_by_us


def test_a_node_that_pins_gives_it_a_cpu_of_its_own(result: BenchmarkResult) -> None:
    node = kubectl("get", "nodes", "--output=jsonpath={.items[0].metadata.name}")
    config = json.loads(kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/configz"))
    policy = config["kubeletconfig"]["cpuManagerPolicy"]
    isolation = result.details.isolation
    if policy != "static":
        # Only the quota isolates it, and the result must not claim more.
        assert not isolation.pinned
        assert isolation.cpu_quota == 1
        pytest.skip(f"this node pins no CPU: its kubelet's cpuManagerPolicy is {policy!r}")
    assert isolation.pinned
    assert isolation.cpus_usable == 1
    assert "static CPU manager" in "; ".join(isolation.how)


def run_stress(
    namespace: str, image: str, name: str, limits: dict[str, str], tmp_path: Path, *options: str
) -> StressReport:
    """Run `stt stress` in a pod with these limits. Returns its report."""
    command = f"stt stress --threads 1,2 --iterations 3 --output /tmp/r.json {' '.join(options)} >/tmp/output 2>&1"
    container = {
        "name": "stress",
        "image": image,
        "command": ["sh", "-c", f"{command} || {{ cat /tmp/output; exit 1; }}; cat /tmp/r.json"],
        # Burstable, so that no node pins it. It requests the CPU, because busy neighbours would keep it below its limit otherwise.
        "resources": {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": limits},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"restartPolicy": "Never", "securityContext": security, "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    kubectl("--namespace", namespace, "create", "--filename=-", stdin=json.dumps(pod))
    end = time.monotonic() + 300
    while (phase := kubectl("--namespace", namespace, "get", "pod", name, "--output=jsonpath={.status.phase}")) not in (
        "Succeeded",
        "Failed",
    ):
        assert time.monotonic() < end, kubectl("--namespace", namespace, "describe", "pod", name)
        time.sleep(1)
    log = kubectl("--namespace", namespace, "logs", name)
    assert phase == "Succeeded", log
    report = tmp_path / "stress.json"
    report.write_text(log, encoding="utf-8")
    return read_stress(report)


def get_row(report: StressReport, threads: int) -> Any:
    return next(row for row in report.rows if row.threads == threads)


def test_stress_finds_throttling_in_a_pod_that_is_limited_to_one_cpu(
    image: str, namespace: str, tmp_path: Path
) -> None:
    limits = {"cpu": "1", "memory": "2Gi"}
    report = run_stress(namespace, image, "limited", limits, tmp_path)
    assert report.cpu_limit == 1
    two = get_row(report, 2)
    assert two.verdict == "throttled"
    assert two.throttling.throttled > 0
    assert two.throttling.throttled_s > 0
    assert "Throttled with 2 threads" in report.verdict


def test_stress_is_silent_in_a_pod_without_a_limit(image: str, namespace: str, tmp_path: Path) -> None:
    report = run_stress(namespace, image, "unlimited", {"memory": "2Gi"}, tmp_path, "--unisolated")
    assert [row.verdict for row in report.rows if row.verdict == "throttled"] == []
    assert all(row.throttling is None for row in report.rows)
    assert "Throttled" not in report.verdict
