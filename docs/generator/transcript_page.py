"""``reference/transcript.md``: every field of the JSON files that the system writes about a recording."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from docs.generator.markdown import join_blocks, join_codes, write_code, write_definitions, write_list, write_remark
from docs.generator.schemas import FieldEntry, Schema, get_class_summary, list_fields
from speech.enrichment.base import Annotation
from speech.enrichment.registry import ANNOTATORS
from speech.export.cues import ReadingReport
from speech.transcript import Options, Transcript

_INTRODUCTION = """\
`whisper_json/NAME.json` is the transcript, `annotations/NAME.ANNOTATOR.json` is what an annotator found about it, and
`transcripts/NAME.json` is both in one file. `NAME` is the whole name of the recording, such as `a/x.mp3`.

Fields are named by their path: `segments[].words[].start` is the field `start` of each word of each segment. Numbers stand where
they are known, and null where they are not.
"""
_ANNOTATED = """\
`transcripts/NAME.json` has all fields of the transcript, and `annotations` with a field for each annotation that the settings ask
for. One that could not be had has `status` and `reason` in place of its value.
"""


def make_transcript_page() -> str:
    """The page.

    Raises:
        ValueError: A field has no description.
    """
    left_out = [name for name, field in Options.model_fields.items() if field.exclude_if]
    blocks = ["# Transcript", _INTRODUCTION.strip()]
    blocks.append(f"Fields of `meta.options` that are left out where they have their default: {join_codes(left_out)}.")
    blocks.append("## The transcript")
    blocks += _write_object(_get_schema(Transcript), "")
    blocks.append("## A stored annotation")
    blocks += _write_object(_get_schema(Annotation), "")
    blocks += ["## The annotated JSON", _ANNOTATED.strip()]
    blocks += _write_object(_get_schema(ReadingReport), "annotations.subtitles")
    for annotator in ANNOTATORS:
        path = f"annotations.{annotator.name}"
        if annotator.value_type is None:
            blocks += [f"### {write_code(path)}", write_list(["Always `status` and `reason`: it has no value yet."])]
        else:
            blocks += _write_object(_get_schema(annotator.value_type), path)
    return join_blocks(*blocks)


def _get_schema(model: Any) -> Schema:
    return TypeAdapter(model).json_schema(mode="serialization")


def _write_object(root: Schema, path: str) -> Iterator[str]:
    """The fields of an object, then those of the objects in it. What is held at several places is written once."""
    definitions = root.get("$defs", {})
    written: dict[str, str] = {}
    waiting = [(root, path)]
    while waiting:
        schema, at = waiting.pop(0)
        if at:
            yield f"### {write_code(at)}"
        yield get_class_summary(schema)
        entries = list(list_fields(schema, definitions, at))
        yield write_definitions(_write_field(entry, written) for entry in entries)
        children = []
        for entry in entries:
            if entry.child and entry.child["title"] not in written:
                written[entry.child["title"]] = entry.child_path
                children.append((entry.child, entry.child_path))
        waiting = [*children, *waiting]


def _write_field(entry: FieldEntry, written: dict[str, str]) -> tuple[str, str]:
    same = written.get(entry.child["title"]) if entry.child else None
    note = f" Its fields are those of {write_code(same)}." if same else ""
    return write_code(entry.path), write_remark(entry.type, f"{entry.meaning}{note}")
