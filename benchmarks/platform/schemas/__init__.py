"""JSON Schemas of the files that others read. They follow from the records; a test proves that they do."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel

from benchmarks.platform import ratio, result, stress

SCHEMAS: dict[Path, type[BaseModel]] = {
    result.SCHEMA: result.BenchmarkResult,
    stress.SCHEMA: stress.StressReport,
    ratio.SCHEMA: ratio.RatioConfig,
}


def text_of(model: type[BaseModel]) -> str:
    """The schema of a record as its file holds it."""
    # As written: whoever reads a file finds every field in it, those with a default too.
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **model.model_json_schema(mode="serialization"),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
