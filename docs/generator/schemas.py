"""JSON Schema, as pydantic makes it, in words: which values are allowed, and which fields an object has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from docs.generator.markdown import get_summary, join_codes, write_code, write_description

Schema = Mapping[str, Any]

_LIMITS = (("minimum", "{:g} or more"), ("exclusiveMinimum", "above {:g}"), ("maximum", "at most {:g}"))
_NAMES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}


@dataclass(frozen=True, slots=True)
class FieldEntry:
    """One field of an object.

    Attributes:
        path: From the root, such as ``segments[].start``.
        type: Which values it has, with their unit.
        meaning: What it says, as Markdown.
        child: The schema of the object that it holds, or that its list holds; None: it holds no object.
        child_path: Where the fields of that object begin.
    """

    path: str
    type: str
    meaning: str
    child: Schema | None
    child_path: str


def describe_type(schema: Schema, definitions: Schema) -> str:
    """Which values a schema allows, in words, without what it says of null."""
    found, is_list = _unwrap(schema, definitions)
    words = _describe_value(found)
    return words.replace(words.split(",")[0], f"list of {words.split(',')[0]}s", 1) if is_list else words


def _describe_value(schema: Schema) -> str:
    if "const" in schema:
        return write_code(schema["const"])
    if "enum" in schema:
        return f"one of {join_codes(schema['enum'])}"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"object, each value {_describe_value(values)}" if isinstance(values, Mapping) else "object"
    if schema.get("format") in {"path", "directory-path"}:
        return "path"
    words = _NAMES[schema["type"]]
    if unit := schema.get("unit"):
        words = f"{words} of {unit}"
    if "minimum" in schema and "maximum" in schema:
        return f"{words}, {schema['minimum']:g} to {schema['maximum']:g}"
    limits = [text.format(schema[key]) for key, text in _LIMITS if key in schema]
    limits += [f"at most {schema['maxLength']} characters"] if "maxLength" in schema else []
    return ", ".join([words, *limits])


def is_nullable(schema: Schema) -> bool:
    """Whether null is allowed."""
    return any(each.get("type") == "null" for each in schema.get("anyOf", ()))


def list_fields(schema: Schema, definitions: Schema, path: str = "") -> Iterator[FieldEntry]:
    """The fields of an object, in order.

    Raises:
        ValueError: One has no description.
    """
    attributes = read_attributes(schema.get("description", ""))
    for name, field in schema["properties"].items():
        own = f"{path}.{name}" if path else name
        found, is_list = _unwrap(field, definitions)
        meaning = field.get("description") or re.sub(r"\bNone\b", "null", attributes.get(name, ""))
        if not meaning:
            raise ValueError(f"{schema['title']}.{name} has no description: give it one, Field(description=...).")
        kind = describe_type(field, definitions) + (", or null" if is_nullable(field) else "")
        is_object = found.get("type") == "object" and "properties" in found
        yield FieldEntry(
            own, kind, write_description(meaning), found if is_object else None, f"{own}[]" if is_list else own
        )


def _unwrap(schema: Schema, definitions: Schema) -> tuple[Schema, bool]:
    """The schema of a value, or of the items of a list, behind references and beside null; and whether it is a list."""
    if "anyOf" in schema:
        one = next(each for each in schema["anyOf"] if each.get("type") != "null")
        return _unwrap({**{key: value for key, value in schema.items() if key != "anyOf"}, **one}, definitions)
    if "$ref" in schema:
        return definitions[schema["$ref"].rpartition("/")[2]], False
    if schema.get("type") == "array":
        return _unwrap(schema["items"], definitions)[0], True
    return schema, False


def get_class_summary(schema: Schema) -> str:
    """The first paragraph of what is said of an object."""
    return get_summary(schema.get("description"))


def read_attributes(docstring: str) -> dict[str, str]:
    """Attribute -> its description, from the section ``Attributes:`` of a docstring."""
    _, _, section = docstring.partition("Attributes:\n")
    found: dict[str, str] = {}
    for names, text in re.findall(r"^ {4}([\w, ]+): (.+(?:\n {8}.+)*)", section, flags=re.MULTILINE):
        found.update(dict.fromkeys(re.split(r", *", names), " ".join(text.split())))
    return found
