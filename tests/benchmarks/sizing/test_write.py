"""Writing a sizing: all files or none, and other files stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.files import RefusedError
from benchmarks.sizing.basis import Basis
from benchmarks.sizing.batch import BatchLoad, parse_gpu_figure
from benchmarks.sizing.plan import make_plan
from benchmarks.sizing.prices import Prices
from benchmarks.sizing.service import (
    Target,
)
from benchmarks.sizing.write import SizingOutput, write_sizing

SERVICE_FILES = {"sizing_report.md", "sizing.json", "latency.png", "load.png", "deployment.yaml", "hpa.yaml"}


def test_a_sizing_is_written_completely_and_its_report_has_the_figures(
    basis: Basis, prices: Prices, tmp_path: Path
) -> None:
    plan = make_plan(
        basis,
        prices,
        prices.cpu_node(None, 0.19),
        target=Target(5.0, p95_s=9.0),
        load=BatchLoad(100.0, 6.0),
        gpus=[parse_gpu_figure("V100=60@a test")],
    )
    names = {path.name for path in write_sizing(plan, SizingOutput.from_folder(tmp_path / "out"))}
    assert names == {*SERVICE_FILES, "batch.png"}
    text = (tmp_path / "out" / "sizing_report.md").read_text()
    assert plan.service is not None
    assert f"**{plan.service.fleet.pods} pods" in text
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


def test_an_earlier_sizing_is_removed_and_other_files_stay(basis: Basis, prices: Prices, tmp_path: Path) -> None:
    node = prices.cpu_node(None, 0.19)
    mine = tmp_path / "notes.txt"
    mine.write_text("mine")
    write_sizing(make_plan(basis, prices, node, target=Target(5.0)), SizingOutput.from_folder(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {*SERVICE_FILES, "notes.txt"}
    write_sizing(make_plan(basis, prices, node, load=BatchLoad(100.0, 6.0)), SizingOutput.from_folder(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"sizing_report.md", "sizing.json", "batch.png", "notes.txt"}
    (tmp_path / "sizing.json").write_text("{}")
    with pytest.raises(RefusedError, match=r"batch\.png, sizing\.json, sizing_report\.md, and no sizing wrote that"):
        SizingOutput.from_folder(tmp_path)


def test_the_manifest_that_is_patched_is_not_overwritten(basis: Basis, prices: Prices, tmp_path: Path) -> None:
    write_sizing(
        make_plan(basis, prices, prices.cpu_node(None, 0.19), target=Target(5.0)), SizingOutput.from_folder(tmp_path)
    )
    with pytest.raises(RefusedError, match="would be overwritten"):
        SizingOutput.from_folder(tmp_path, deployment=tmp_path / "deployment.yaml")
