"""A copy of the project for a test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from speech.models.registry import Weights
from tests.docs.checkout import Checkout, make_checkout


@pytest.fixture
def checkout(tmp_path: Path, base_weights: Weights) -> Iterator[Checkout]:
    """Removed afterwards, since pytest keeps temporary folders for a while."""
    folder = tmp_path / "reader"
    yield make_checkout(folder, base_weights)
    shutil.rmtree(folder)
