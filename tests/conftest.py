"""Fixtures that several packages' tests need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from speech.models.errors import UnavailableWeightsError
from speech.models.registry import Weights, get_default_cache_dir, resolve
from tests.project import Project, make_project
from tests.servers import S3Server, postgres_server, s3_server
from tests.workers import pytest_collection_modifyitems, pytest_xdist_auto_num_workers, pytest_xdist_make_scheduler

__all__ = ["pytest_collection_modifyitems", "pytest_xdist_auto_num_workers", "pytest_xdist_make_scheduler"]

# No deadline: on a busy machine any deadline is missed.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


@pytest.fixture(scope="session")
def base_weights() -> Weights:
    """The weights of ``base``, from the folder or cache that the project itself would use; fetched once per machine."""
    model_dir = os.environ.get("STT_MODEL_DIR")
    cache_dir = os.environ.get("STT_CACHE_DIR")
    try:
        return resolve(
            "base",
            model_dir=Path(model_dir) if model_dir else None,
            cache_dir=Path(cache_dir) if cache_dir else get_default_cache_dir(),
        )
    except UnavailableWeightsError as unavailable:
        pytest.skip(f"needs a model: {unavailable}")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server, shared by all tests of a session; each test uses its own prefix in the bucket."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Address of a database on a real PostgreSQL, from which tests make their own databases."""
    with postgres_server() as server:
        yield server.url


@pytest.fixture
def project(tmp_path: Path, base_weights: Weights) -> Project:
    """An empty project in which commands run."""
    return make_project(tmp_path, base_weights)
