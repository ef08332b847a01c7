"""Sizing: from a result to pods, nodes, report and manifests; and what cannot be sized."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict

from benchmarks.files import RefusedError
from benchmarks.platform.ratio import RatioConfig, compute_ratio
from benchmarks.sizing.basis import Basis, load_basis
from benchmarks.sizing.batch import BatchLoad, GpuFigure, parse_gpu_figure, size_on_cpus, size_on_gpus
from benchmarks.sizing.manifests import patch_deployment, patch_hpa
from benchmarks.sizing.plan import make_plan
from benchmarks.sizing.prices import Prices, read_prices
from benchmarks.sizing.service import (
    MAX_UTILIZATION,
    Target,
    compute_memory_mib,
    is_within_target,
    predict_at_load,
    size_fleet,
)
from benchmarks.sizing.write import SizingOutput, write_sizing
from tests.benchmarks.results import make_result

NOISE = [2400.0 + 60 * math.sin(i) for i in range(50)]
OF_A_SERVICE = {"sizing_report.md", "sizing.json", "latency.png", "load.png", "deployment.yaml", "hpa.yaml"}


@pytest.fixture
def found() -> Basis:
    return load_basis(Path("here_base.json"), make_result(NOISE), None)


@pytest.fixture
def prices() -> Prices:
    return read_prices()


def test_the_ordered_pods_meet_the_target_and_one_that_is_far_smaller_does_not(found: Basis) -> None:
    target = Target(10.0, p95_s=8.0)
    size = size_fleet(found, target, 2)
    slow = found.service_s(target.variation, found.high)
    assert is_within_target(predict_at_load(slow, 2, size.pods, target.rps * 1.1, "service"), target)
    assert not is_within_target(predict_at_load(slow, 2, size.pods * 3 // 4, target.rps * 1.1, "service"), target)
    assert size.pods_interval[0] <= size.pods_mean <= size.pods
    assert size.least <= size.pods <= size.most
    assert size.expected.p95_s < size.worst.p95_s <= 8.0


def test_what_the_autoscaler_holds_is_within_the_target_at_every_load_between_its_ends(found: Basis) -> None:
    target = Target(10.0, p95_s=8.0, dispatch="queue")
    size = size_fleet(found, target, 1)
    for pods in range(size.least, size.most + 1, 7):
        rate = pods * size.hpa_percent / 100 / found.mean_s
        assert is_within_target(predict_at_load(found.service_s(target.variation), 1, pods, rate, "queue"), target)


def test_one_line_needs_fewer_pods_than_lots_drawn_by_a_service(found: Basis) -> None:
    alone, pooled = (size_fleet(found, Target(10.0, p95_s=8.0, dispatch=way), 1).pods for way in ("service", "queue"))
    assert pooled < alone


def test_without_a_target_latency_pods_are_kept_below_the_utilization_of_the_requirement(found: Basis) -> None:
    size = size_fleet(found, Target(10.0), 1)
    assert size.worst.utilization <= MAX_UTILIZATION
    assert size.pods >= math.ceil(10 * found.mean_s / MAX_UTILIZATION)


def test_an_uncertain_measurement_gives_a_wider_interval_of_pods() -> None:
    noisy = [2400.0 + 1500 * math.sin(i) for i in range(10)]
    sure, unsure = (load_basis(Path("x_base.json"), make_result(values), None) for values in (NOISE, noisy))
    low, high = size_fleet(unsure, Target(10.0, p95_s=10.0), 1).pods_interval
    lower, higher = size_fleet(sure, Target(10.0, p95_s=10.0), 1).pods_interval
    assert high - low > 2 * (higher - lower)


def test_a_ratio_carries_a_result_and_its_uncertainty_to_a_platform_never_measured() -> None:
    here, there = make_result(NOISE), make_result([2 * value for value in NOISE], cpu_model="Xeon", ids=("two",))
    config = RatioConfig(
        timestamp="2024-12-02T10:30:00Z", ratios=(compute_ratio(("m4_base", here), ("xeon_base", there)),)
    )
    small = make_result([3 * value for value in NOISE], model="small")
    carried = load_basis(Path("m4_small.json"), small, config)
    alone = load_basis(Path("m4_small.json"), small, None)
    assert carried.mean_s == pytest.approx(2 * alone.mean_s)
    assert carried.platform == "xeon_base"
    assert carried.low < alone.low < 1 < alone.high < carried.high
    assert any("small was never measured on xeon_base" in line for line in carried.doubts)
    assert alone.doubts == ()
    with pytest.raises(RefusedError, match="starts at m4_base"):
        load_basis(Path("other_small.json"), make_result(NOISE, cpu_model="Other"), config)


def test_a_batch_ends_in_time_by_grahams_bound(found: Basis) -> None:
    load = BatchLoad(500.0, 6.0, longest_min=60)
    size = size_on_cpus(found, load, 2)
    assert size.done_h <= 6.0
    # Any schedule that leaves no core idle keeps to the bound: play one, the longest recording last.
    recordings = [1800.0] * 998 + [3600.0]
    free = np.zeros(size.pods * 2)
    for seconds in recordings:
        free[free.argmin()] += seconds * found.mean_s / found.audio_s
    assert free.max() / 3600 + load.start_s / 3600 <= size.done_h
    assert size_on_cpus(found, BatchLoad(500.0, 6.0), 2).pods > size_on_cpus(found, BatchLoad(500.0, 12.0), 2).pods


def test_a_single_recording_is_one_core_s() -> None:
    found = load_basis(Path("x_base.json"), make_result(NOISE), None)
    assert size_on_cpus(found, BatchLoad(1.0, 24.0), 1).pods == 1


def test_gpus_rest_on_a_figure_that_is_named(found: Basis) -> None:
    assert size_on_gpus(BatchLoad(500.0, 2.0), parse_gpu_figure("A100=120@a test")).gpus == 3
    assert parse_gpu_figure("A100=120").origin == "given, not measured here"
    with pytest.raises(RefusedError, match="no speed"):
        size_on_gpus(BatchLoad(500.0, 2.0), GpuFigure("A100", 0.0, "nobody"))
    with pytest.raises(RefusedError, match="write NAME=TIMES_REALTIME"):
        parse_gpu_figure("A100")


BAD: dict[str, tuple[Callable[[Basis, Prices], object], str]] = {
    "negative load": (lambda b, p: Target(-1.0), "-1 is not possible for the load"),
    "more requests than there are": (lambda b, p: Target(1e300), "1e.300 is not possible for the load"),
    "a peak of a billion": (lambda b, p: Target(1.0, peak=1e9), "1e.09 is not possible for the peak"),
    "more pods than a cluster has": (lambda b, p: size_fleet(b, Target(5e5), 1), "More than 100,000 pods"),
    "more cores than a cluster has": (
        lambda b, p: size_on_cpus(b, BatchLoad(1e300, 5.0), 1),
        "More than 100,000 would be needed",
    ),
    "a GPU without a name": (lambda b, p: parse_gpu_figure("=5"), "write NAME=TIMES_REALTIME"),
    "a GPU that stands still": (lambda b, p: parse_gpu_figure("A100=nan"), "write NAME=TIMES_REALTIME"),
    "no number": (lambda b, p: Target(math.nan), "nan is not possible"),
    "target below the service time": (lambda b, p: size_fleet(b, Target(1.0, p95_s=2.0), 1), "out of reach"),
    "mean below the service time": (lambda b, p: size_fleet(b, Target(1.0, mean_s=2.0), 1), "out of reach"),
    "deadline below one recording": (lambda b, p: size_on_cpus(b, BatchLoad(10.0, 0.05), 1), "longest recording"),
    "negative hours": (lambda b, p: BatchLoad(-1.0, 1.0), "-1 is not possible for hours"),
    "no price": (lambda b, p: p.cpu_node(None, None), "has no price for the CPU-only node n2-standard-4"),
    "negative price": (lambda b, p: p.cpu_node(None, -0.1), "-0.1 per hour is none"),
    "unknown node": (lambda b, p: p.cpu_node("x9", 1.0), "no CPU-only node x9"),
    "nothing asked": (lambda b, p: make_plan(b, p, p.cpu_node(None, 0.2)), "Nothing to size"),
    "pods larger than a node": (
        lambda b, p: make_plan(b, p, p.cpu_node(None, 0.2), target=Target(1.0), pod_cpus=[4]),
        "fits on a n2-standard-4",
    ),
    "two CPUs": (lambda b, p: load_basis(Path("x.json"), make_result(NOISE, cpu_limit=2), None), "measured on 2 CPUs"),
    "too few iterations": (lambda b, p: load_basis(Path("x.json"), make_result([2.0, 3.0]), None), "too few to know"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_sized_is_said_in_one_sentence(case: str, found: Basis, prices: Prices) -> None:
    ask, told = BAD[case]
    with pytest.raises(RefusedError, match=told.replace("(", r"\(")):
        ask(found, prices)


def test_prices_are_those_of_the_requirement_and_dated(prices: Prices) -> None:
    known = {(node.provider, node.gpu): node.per_hour for node in prices.nodes if node.gpu}
    assert known == {("GKE", "A100"): 3.67, ("GKE", "V100"): 2.48, ("EKS", "A100"): 32.77, ("EKS", "V100"): 3.06}
    assert prices.read.isoformat() > "2024"


def test_a_wrong_price_file_is_refused_by_its_field(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("read: 2024-01-01\nsource: x\ncurrency: USD\nnodes: [{name: a, provider: b, vcpus: 0}]\n")
    with pytest.raises(RefusedError, match=r"nodes\.0\.vcpus"):
        read_prices(path)
    path.write_text("{")
    with pytest.raises(RefusedError, match="not one YAML document"):
        read_prices(path)
    path.write_text(
        "read: 2024-01-01\nsource: x\nnodes: [{name: a, provider: b, vcpus: 1, memory_gib: 4, per_hour: 1}]\n"
    )
    with pytest.raises(RefusedError, match="the field currency"):
        read_prices(path)
    path.write_text(
        "read: 2024-01-01\nsource: x\ncurrency: USD\nnodes: [{name: a, provider: b, vcpus: 1, memory_gib: 4Gi}]\n"
    )
    with pytest.raises(RefusedError, match=r"nodes\.0\.memory_gib"):
        read_prices(path)
    path.write_text(
        "read: 2024-01-01\nsource: x\ncurrency: USD\nnodes: [{name: a, provider: b, vcpus: 1000000000, memory_gib: 4}]\n"
    )
    with pytest.raises(RefusedError, match=r"nodes\.0\.vcpus"):
        read_prices(path)


def test_a_sizing_is_written_whole_and_its_report_has_the_figures(found: Basis, prices: Prices, tmp_path: Path) -> None:
    made_plan = make_plan(
        found,
        prices,
        prices.cpu_node(None, 0.19),
        target=Target(5.0, p95_s=9.0),
        load=BatchLoad(100.0, 6.0),
        gpus=[parse_gpu_figure("V100=60@a test")],
    )
    names = {path.name for path in write_sizing(made_plan, SizingOutput.from_folder(tmp_path / "out"))}
    assert names == {*OF_A_SERVICE, "batch.png"}
    text = (tmp_path / "out" / "sizing_report.md").read_text()
    assert made_plan.service is not None
    assert f"**{made_plan.service.fleet.pods} pods" in text
    assert "a test" in text
    assert "read on 2026-11-21" in text
    for plot in ("latency.png", "load.png", "batch.png"):
        assert f"({plot})" in text
        assert (tmp_path / "out" / plot).read_bytes().startswith(b"\x89PNG")


def test_a_wrong_manifest_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    base = tmp_path / "mine.yaml"
    base.write_text("kind: Service\n")
    with pytest.raises(RefusedError, match="is no Deployment"):
        SizingOutput.from_folder(tmp_path / "out", deployment=base)
    assert not (tmp_path / "out").exists()


def test_an_earlier_sizing_goes_whole_and_what_others_wrote_stays(found: Basis, prices: Prices, tmp_path: Path) -> None:
    node = prices.cpu_node(None, 0.19)
    mine = tmp_path / "notes.txt"
    mine.write_text("mine")
    write_sizing(make_plan(found, prices, node, target=Target(5.0)), SizingOutput.from_folder(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {*OF_A_SERVICE, "notes.txt"}
    write_sizing(make_plan(found, prices, node, load=BatchLoad(100.0, 6.0)), SizingOutput.from_folder(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"sizing_report.md", "sizing.json", "batch.png", "notes.txt"}
    (tmp_path / "sizing.json").write_text("{}")
    with pytest.raises(RefusedError, match=r"batch\.png, sizing\.json, sizing_report\.md, and no sizing wrote that"):
        SizingOutput.from_folder(tmp_path)


def test_the_manifest_that_is_patched_is_not_overwritten(found: Basis, prices: Prices, tmp_path: Path) -> None:
    write_sizing(
        make_plan(found, prices, prices.cpu_node(None, 0.19), target=Target(5.0)), SizingOutput.from_folder(tmp_path)
    )
    with pytest.raises(RefusedError, match="would be overwritten"):
        SizingOutput.from_folder(tmp_path, deployment=tmp_path / "deployment.yaml")


def test_a_deadline_of_days_is_one_of_a_day() -> None:
    found = load_basis(Path("x_base.json"), make_result(NOISE), None)
    assert size_on_cpus(found, BatchLoad(900.0, 60.0), 1).pods == size_on_cpus(found, BatchLoad(900.0, 24.0), 1).pods


def test_a_measurement_nobody_should_order_from_says_so_first(prices: Prices, tmp_path: Path) -> None:
    short = load_basis(Path("x_base.json"), make_result(NOISE[:8], partial=True, cpu_s=1.0), None)
    write_sizing(
        make_plan(short, prices, prices.cpu_node(None, 0.19), target=Target(5.0)), SizingOutput.from_folder(tmp_path)
    )
    text = (tmp_path / "sizing_report.md").read_text()
    assert text.index("Do not order from this yet") < text.index("at least 30 are wanted") < text.index("## Service")
    assert "something else ran beside it" in text
    sound = load_basis(Path("x_base.json"), make_result(NOISE), None)
    write_sizing(
        make_plan(sound, prices, prices.cpu_node(None, 0.19), target=Target(5.0)), SizingOutput.from_folder(tmp_path)
    )
    assert "Do not order" not in (tmp_path / "sizing_report.md").read_text()


@pytest.fixture
def manifests(found: Basis, prices: Prices, tmp_path: Path) -> Path:
    write_sizing(
        make_plan(found, prices, prices.cpu_node(None, 0.19), target=Target(5.0, p95_s=9.0)),
        SizingOutput.from_folder(tmp_path),
    )
    return tmp_path


def _model(kind: type[Any], manifest: dict[str, Any]) -> Any:
    """The manifest as Kubernetes' own model; a field that it does not know is an error."""
    return k8s_model_from_dict(kind, k8s_snake_case_dict(kind, manifest))


def test_manifests_have_only_fields_that_kubernetes_knows(manifests: Path) -> None:
    import kubernetes.client as k8s

    deployment = yaml.safe_load((manifests / "deployment.yaml").read_text())
    hpa = yaml.safe_load((manifests / "hpa.yaml").read_text())
    container = _model(k8s.V1Deployment, deployment).spec.template.spec.containers[0]
    assert container.resources.requests == container.resources.limits
    scaler = _model(k8s.V2HorizontalPodAutoscaler, hpa).spec
    assert scaler.scale_target_ref.name == deployment["metadata"]["name"]
    assert scaler.min_replicas <= deployment["spec"]["replicas"] <= scaler.max_replicas


def test_what_the_manifests_say_of_other_things_stays(found: Basis) -> None:
    size = size_fleet(found, Target(5.0), 2)
    theirs = {
        "kind": "Deployment",
        "spec": {
            "template": {
                "spec": {
                    "nodeSelector": {"a": "b"},
                    "containers": [
                        {"name": "c", "env": [{"name": "X", "value": "1"}, {"name": "STT_WORKERS", "value": "9"}]}
                    ],
                }
            }
        },
    }
    patched = patch_deployment(theirs, size)
    pod = patched["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"a": "b"}
    assert {one["name"]: one["value"] for one in pod["containers"][0]["env"]} == {
        "X": "1",
        "STT_WORKERS": "2",
        "OMP_NUM_THREADS": "1",
    }
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": "2", "memory": f"{compute_memory_mib(500, 2)}Mi"}
    queue = {"type": "External", "external": {"metric": {"name": "redis_queue_depth"}}}
    scaler = patch_hpa({"kind": "HorizontalPodAutoscaler", "spec": {"metrics": [queue]}}, size)
    assert queue in scaler["spec"]["metrics"]
    assert "replicas" not in theirs["spec"]  # theirs is left alone


@pytest.mark.skipif("KUBECONFIG" not in os.environ, reason="needs a cluster: KUBECONFIG")
def test_the_api_server_accepts_the_manifests(manifests: Path) -> None:
    kubectl = shutil.which("kubectl") or pytest.fail("KUBECONFIG is set, but there is no kubectl on the PATH")
    for name in ("deployment.yaml", "hpa.yaml"):
        command = [kubectl, "apply", "--dry-run=server", "--validate=strict", "-f", str(manifests / name)]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr
