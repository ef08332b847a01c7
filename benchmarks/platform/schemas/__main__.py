"""``python -m benchmarks.platform.schemas``: write the JSON Schemas anew from the records, after one of them has changed."""

from __future__ import annotations

from benchmarks.platform.schemas import SCHEMAS, text_of

if __name__ == "__main__":
    for path, model in SCHEMAS.items():
        path.write_text(text_of(model), encoding="utf-8")
