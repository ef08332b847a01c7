"""The report of a sizing."""

from __future__ import annotations

from pathlib import Path

from benchmarks.sizing.basis import load_basis
from benchmarks.sizing.plan import make_plan
from benchmarks.sizing.prices import Prices
from benchmarks.sizing.service import (
    Target,
)
from benchmarks.sizing.write import SizingOutput, write_sizing
from tests.benchmarks.results import make_result
from tests.benchmarks.sizing.conftest import NOISE


def test_a_report_on_a_poor_measurement_begins_with_a_warning(prices: Prices, tmp_path: Path) -> None:
    poor = load_basis(Path("x_base.json"), make_result(NOISE[:8], partial=True, cpu_s=1.0), None)
    write_sizing(
        make_plan(poor, prices, prices.cpu_node(None, 0.19), target=Target(5.0)), SizingOutput.from_folder(tmp_path)
    )
    text = (tmp_path / "sizing_report.md").read_text()
    assert text.index("Do not order from this yet") < text.index("at least 30 are wanted") < text.index("## Service")
    assert "something else ran beside it" in text
    good = load_basis(Path("x_base.json"), make_result(NOISE), None)
    write_sizing(
        make_plan(good, prices, prices.cpu_node(None, 0.19), target=Target(5.0)), SizingOutput.from_folder(tmp_path)
    )
    assert "Do not order" not in (tmp_path / "sizing_report.md").read_text()
