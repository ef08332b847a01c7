"""Prices: the shipped file, and wrong files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.files import RefusedError
from benchmarks.sizing.basis import Basis
from benchmarks.sizing.prices import Prices, read_prices


def test_prices_are_those_of_the_requirement_and_have_a_date(prices: Prices) -> None:
    gpu_prices = {(node.provider, node.gpu): node.per_hour for node in prices.nodes if node.gpu}
    assert gpu_prices == {("GKE", "A100"): 3.67, ("GKE", "V100"): 2.48, ("EKS", "A100"): 32.77, ("EKS", "V100"): 3.06}
    assert prices.read.isoformat() > "2024"


def test_a_wrong_price_file_is_refused_with_its_field(tmp_path: Path) -> None:
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


BAD_REQUESTS: dict[str, tuple[Callable[[Basis, Prices], object], str]] = {
    "no price": (lambda b, p: p.cpu_node(None, None), "has no price for the CPU-only node n2-standard-4"),
    "negative price": (lambda b, p: p.cpu_node(None, -0.1), "-0.1 per hour is none"),
    "unknown node": (lambda b, p: p.cpu_node("x9", 1.0), "no CPU-only node x9"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_is_refused_with_one_sentence(case: str, basis: Basis, prices: Prices) -> None:
    request, sentence = BAD_REQUESTS[case]
    with pytest.raises(RefusedError, match=sentence.replace("(", r"\(")):
        request(basis, prices)
