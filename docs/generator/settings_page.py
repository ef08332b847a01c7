"""``reference/settings.md``: every setting, by group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from docs.generator.markdown import (
    join_blocks,
    join_codes,
    write_code,
    write_description,
    write_list,
    write_prose,
    write_value,
)
from docs.generator.schemas import describe_type
from stt_orchestration.settings import PROJECT_ROOT, Settings
from stt_orchestration.settings.groups import GROUPS

_INTRODUCTION = """\
Settings are environment variables. Each has a name that begins with `STT_`; some have further names, which count when that one is
not set. An empty variable counts as one that is not set.

A value that is not allowed is refused at the start, with exit code 2. The message names the variable, the value and what is
allowed.
`stt doctor` reports variables that begin with `STT_` and set nothing.
"""


def make_settings_page() -> str:
    """The page.

    Raises:
        ValueError: A setting is in no group.
    """
    schema = Settings.model_json_schema(by_alias=False)
    blocks = ["# Settings", _INTRODUCTION.strip()]
    left = set(Settings.model_fields)
    for group in GROUPS:
        blocks += [f"## {group.title}", write_prose(group.about)]
        for name in (name for model in group.models for name in model.model_fields):
            blocks += _write_setting(Settings.model_fields[name], schema["properties"][name], schema.get("$defs", {}))
            left.remove(name)
    if left:
        raise ValueError(f"{', '.join(sorted(left))}: in no group of stt_orchestration/settings/groups.py.")
    return join_blocks(*blocks)


def _write_setting(field: FieldInfo, schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    aliases = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else []
    name, *others = map(str, aliases)
    yield f"### {write_code(name)}"
    yield write_description(field.description or "")
    facts = [f"Value: {describe_type(schema, definitions)}", f"Default: {_write_default(field)}"]
    if others:
        facts.append(f"Other names: {join_codes(others)}")
    yield write_list(facts)


def _write_default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or value == []:
        return "not set"
    if isinstance(value, Path):
        return _write_path(value)
    if isinstance(value, int) and value >= 2**30 and value % 2**30 == 0:
        return f"{write_code(value)} ({value // 2**30} GiB)"
    return write_value(value)


def _write_path(path: Path) -> str:
    """A path without this machine's part of it."""
    if path.is_relative_to(PROJECT_ROOT):
        return f"{write_code(path.relative_to(PROJECT_ROOT).as_posix())} in the project's folder"
    # The user's cache folder, which pages are made without: see ``docs.generator.pages``.
    return write_code(f"~/{path.relative_to(Path.home()).as_posix()}")
