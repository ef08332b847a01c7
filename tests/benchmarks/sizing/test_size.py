"""A complete sizing, from files to files, and requests that are refused before a result is selected."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks.files import RefusedError
from benchmarks.platform.gather import StoredResult, choose_result, load_results, read_stored_result
from benchmarks.platform.ratio import RatioConfig, compute_ratio, write_ratio
from benchmarks.platform.result import write_result
from benchmarks.sizing.batch import BatchLoad, parse_gpu_figure
from benchmarks.sizing.service import Target
from benchmarks.sizing.size import SelectResult, SizingRequest, size
from tests.benchmarks.results import make_result

NOISE = [2400.0 + 60 * math.sin(i) for i in range(50)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a result of one platform, and the ratio to another platform without a result of this model."""
    m4, xeon = make_result(NOISE), make_result([2 * value for value in NOISE], cpu_model="Xeon", ids=("two",))
    write_result(m4, tmp_path / "m4_base_2024-12-02.json")
    ratio = compute_ratio(("m4_base", m4), ("xeon_base", xeon))
    write_ratio(RatioConfig(timestamp="2024-12-02T10:30:00Z", ratios=(ratio,)), tmp_path / "ratio_config.json")
    return tmp_path


def select_named(folder: Path) -> SelectResult:
    """As ``stt size`` does it: select the named file, with unchanged ratios."""
    return lambda ratios: (read_stored_result(folder / "m4_base_2024-12-02.json"), ratios)


def select_newest(folder: Path, platform: str) -> SelectResult:
    """As the asset does it: select the newest result of the folder, converted to a platform."""
    return lambda ratios: choose_result(load_results(folder), ratios, "base", platform, None)


def fail_on_select(_ratios: RatioConfig | None) -> tuple[StoredResult, RatioConfig | None]:
    pytest.fail("a measurement would have begun")


def test_a_request_gives_a_plan_and_its_files(folder: Path) -> None:
    request = SizingRequest(
        output=folder / "out",
        target=Target(5.0, p95_s=9.0),
        load=BatchLoad(100.0, 6.0),
        gpus=(parse_gpu_figure("V100=60@a test"),),
        cpu_node_price=0.19,
    )
    result = size(request, select_named(folder))
    assert sorted(result.files) == sorted((folder / "out").iterdir())
    assert {path.name for path in result.files} >= {"sizing_report.md", "sizing.json", "deployment.yaml", "hpa.yaml"}
    assert result.plan.basis.platform == "m4_base_2024-12-02"
    assert result.plan.service is not None
    assert result.plan.service.target == request.target
    assert result.plan.service.bill.node.per_hour == 0.19
    assert result.plan.batch is not None
    assert [batch.figure for batch, _ in result.plan.batch.gpus] == [*request.gpus] * len(result.plan.batch.gpus)
    written = json.loads((folder / "out" / "sizing.json").read_text())
    assert written["service"]["candidates"][0][0]["pods"] == result.plan.service.fleet.pods


def test_a_given_pod_size_is_used_and_otherwise_all_sizes_are_compared(folder: Path) -> None:
    sizes = []
    for pod_cpu in (2, None):
        request = SizingRequest(folder / "out", target=Target(5.0), cpu_node_price=0.19, pod_cpu=pod_cpu)
        plan = size(request, select_named(folder)).plan
        assert plan.service is not None
        sizes.append({fleet.cpus for fleet, _ in plan.service.candidates})
    assert sizes == [{2}, {1, 2, 3}], "a pod of four cores does not fit on a node of four"


def test_a_named_and_a_chosen_result_are_converted_by_the_same_ratio(folder: Path) -> None:
    request = SizingRequest(
        folder / "out", target=Target(5.0), cpu_node_price=0.19, ratios=folder / "ratio_config.json"
    )
    of_command, of_asset = (
        size(request, select).plan for select in (select_named(folder), select_newest(folder, "xeon"))
    )
    assert of_command.basis == of_asset.basis
    assert of_command.basis.platform == "xeon_base"
    assert of_command.service == of_asset.service
    measured = size(request, select_newest(folder, "m4")).plan
    assert measured.basis.mean_s == pytest.approx(of_asset.basis.mean_s / 2), (
        "this platform was measured, so no ratio is used"
    )


def test_the_price_file_and_the_node_of_the_request_are_used(folder: Path) -> None:
    prices = folder / "prices.yaml"
    prices.write_text(
        "read: 2024-01-01\nsource: a test\ncurrency: EUR\nnodes:\n"
        "- {name: small, provider: x, vcpus: 4, memory_gib: 16, per_hour: 1}\n"
        "- {name: large, provider: x, vcpus: 16, memory_gib: 64, per_hour: 3}\n"
    )
    request = SizingRequest(folder / "out", target=Target(5.0), prices=prices, cpu_node="large")
    plan = size(request, select_named(folder)).plan
    assert plan.prices.currency == "EUR"
    assert plan.service is not None
    assert (plan.service.bill.node.name, plan.service.bill.node.per_hour) == ("large", 3)


def test_a_wrong_request_is_refused_before_a_result_is_selected_and_nothing_is_written(folder: Path) -> None:
    target, out = Target(5.0), folder / "out"
    wrong = folder / "wrong.yaml"
    wrong.write_text("kind: Service\n")
    for request, sentence in (
        (SizingRequest(out, target=target), "no price for the CPU-only node"),
        (SizingRequest(out, target=target, cpu_node="x9", cpu_node_price=1.0), "no CPU-only node x9"),
        (SizingRequest(out, target=target, prices=folder / "none.yaml"), "no such file"),
        (SizingRequest(out, target=target, cpu_node_price=0.19, ratios=folder / "none.json"), "no such file"),
        (SizingRequest(out, target=target, cpu_node_price=0.19, deployment=wrong), "is no Deployment"),
        (SizingRequest(out, target=target, cpu_node_price=0.19, hpa=wrong), "is no HorizontalPodAutoscaler"),
        (SizingRequest(wrong, target=target, cpu_node_price=0.19), "is a file"),
    ):
        with pytest.raises(RefusedError, match=sentence):
            size(request, fail_on_select)
    with pytest.raises(RefusedError, match="Nothing to size"):
        size(SizingRequest(out, cpu_node_price=0.19), select_named(folder))
    with pytest.raises(RefusedError, match="out of reach"):
        size(SizingRequest(out, target=Target(5.0, p95_s=1.0), cpu_node_price=0.19), select_named(folder))
    assert not out.exists()
