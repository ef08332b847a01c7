"""What tests on a real cluster need: ``KUBECONFIG`` and the name of an image of this project that its nodes have."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from faulty import Faults, make_faults


@pytest.fixture(scope="session")
def image() -> str:
    """The image under test."""
    missing = [name for name in ("KUBECONFIG", "STT_TEST_IMAGE") if not os.environ.get(name)]
    if missing or not shutil.which("kubectl"):
        pytest.skip(f"needs a real cluster: {', '.join(missing) or 'kubectl'} is not there")
    return os.environ["STT_TEST_IMAGE"]


@pytest.fixture(scope="session")
def cluster(image: str) -> Iterator[Faults]:
    """A namespace with a Dagster of its own."""
    with make_faults(f"stt-faults-{uuid.uuid4().hex[:6]}", image) as cluster:
        yield cluster
