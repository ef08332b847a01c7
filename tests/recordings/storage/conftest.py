"""The store of a directory, for tests that need nothing else."""

from __future__ import annotations

import pytest

from recordings.storage.directory import DirectoryStore
from tests.recordings.backends import DirectoryBackend


@pytest.fixture
def store(directory: DirectoryBackend) -> DirectoryStore:
    return directory.store
