"""Names that shell of a page uses and the project does not have are found."""

from __future__ import annotations

import pytest

from tests.docs.commands import find_unknown_names


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("make rnu", ["make has no target rnu."]),
        ("cd x && VENV=y make -s PYTHON=z no-such run", ["make has no target no-such."]),
        (".venv/bin/stt benchmrak --pin", ["stt has no command benchmrak."]),
        ("docker run --rm localhost/stt:dev stt stress --tight", ["stt stress has no option --tight."]),
        ("kubectl -n stt exec deployment/stt-code -c code -- stt show --x=1 y", ["stt show has no option --x."]),
        ("echo 'two\nlines' # it's\nstt nothing", ["stt has no command nothing."]),
        ("stt run \\\n  --only-old", ["stt run has no option --only-old."]),
        ("kubectl apply -k deploy/overlays/nowhere", ["deploy/overlays/nowhere does not exist."]),
    ],
)
def test_a_name_that_does_not_exist_is_found(text: str, unknown: list[str]) -> None:
    assert find_unknown_names(text) == unknown


@pytest.mark.parametrize(
    "text",
    [
        'make test ARGS="-n 0 tests/speech"',
        "make .venv/ready-dev && .venv/bin/python -m benchmarks.lab.peers --corpus CORPUS",
        ".venv/bin/stt benchmark --pin --iterations=20    # it's this machine, one core",
        "kubectl -n stt get jobs --watch",
        "kubectl delete namespace stt --timeout=60s",
        "kubectl -n stt exec deployment/stt-code -c code -- tar -C /data -c transcripts | tar -x --verbose",
        "NODE=worker-3 deploy/benchmark localhost/stt:dev result.json --model small",
        ".venv/bin/stt --help",
    ],
)
def test_names_that_exist_and_words_of_other_programs_are_left_alone(text: str) -> None:
    assert find_unknown_names(text) == []
