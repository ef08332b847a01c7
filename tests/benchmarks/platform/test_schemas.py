"""The shipped JSON schemas."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from benchmarks.platform.schemas import SCHEMAS, text_of


@pytest.mark.parametrize(("path", "model"), SCHEMAS.items(), ids=lambda item: getattr(item, "stem", ""))
def test_the_shipped_schema_is_that_of_the_record(path: Path, model: type[BaseModel]) -> None:
    assert path.read_text(encoding="utf-8") == text_of(model), "run python -m benchmarks.platform.schemas"
