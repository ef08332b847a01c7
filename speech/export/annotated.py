"""The transcript with its annotations, as JSON for other programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from speech.export.base import ExportFormat, ExportInput
from speech.export.cues import report_reading_speed


def to_annotated_json(source: ExportInput) -> str:
    """The transcript's JSON with ``annotations``. One that is not there says so with status and reason; nothing is made up."""
    annotations: dict[str, Any] = {"subtitles": asdict(report_reading_speed(source.cues))}
    for name, annotation in source.annotations.items():
        if name in source.shown_annotations:
            missing = {"status": annotation.status, "reason": annotation.reason}
            annotations[name] = missing if annotation.value is None else annotation.value
    document = {**source.transcript.model_dump(mode="json"), "annotations": annotations}
    return json.dumps(document, ensure_ascii=False, indent=1)


ANNOTATED_JSON = ExportFormat(".json", "application/json", to_annotated_json, optional=True)
