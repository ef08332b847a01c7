"""Plans: a request that cannot be planned is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.files import RefusedError
from benchmarks.sizing.basis import Basis
from benchmarks.sizing.plan import make_plan
from benchmarks.sizing.prices import Prices
from benchmarks.sizing.service import Target

BAD_REQUESTS: dict[str, tuple[Callable[[Basis, Prices], object], str]] = {
    "nothing asked": (lambda b, p: make_plan(b, p, p.cpu_node(None, 0.2)), "Nothing to size"),
    "pods larger than a node": (
        lambda b, p: make_plan(b, p, p.cpu_node(None, 0.2), target=Target(1.0), pod_cpus=[4]),
        "fits on a n2-standard-4",
    ),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_is_refused_with_one_sentence(case: str, basis: Basis, prices: Prices) -> None:
    request, sentence = BAD_REQUESTS[case]
    with pytest.raises(RefusedError, match=sentence.replace("(", r"\(")):
        request(basis, prices)
