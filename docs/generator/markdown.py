"""Pieces of Markdown: prose from docstrings and descriptions, code, lists, tables."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

from stt_orchestration.settings import list_environment_names

_CODE = re.compile(r"(`[^`]+`)")
_SETTING = re.compile(r"\bSTT_[A-Z0-9_]*[A-Z0-9]\b")
_SPECIAL = re.compile(r"[\\*<\[\]|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def write_prose(text: str) -> str:
    """Make Markdown of a docstring or description: lines joined, names of settings linked, special characters escaped."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text).replace("``", "`"))
    return "\n\n".join(_write_paragraph(paragraph) for paragraph in paragraphs)


def _write_paragraph(paragraph: str) -> str:
    pieces = _CODE.split(" ".join(paragraph.split()))
    return "".join(_write_code_span(piece) if i % 2 else _write_plain(piece) for i, piece in enumerate(pieces))


def _write_plain(text: str) -> str:
    pieces = re.split(f"({_SETTING.pattern})", text)
    return "".join(
        _write_code_span(f"`{piece}`") if i % 2 else _SPECIAL.sub(r"\\\g<0>", piece) for i, piece in enumerate(pieces)
    )


def _write_code_span(span: str) -> str:
    return link_setting(span.strip("`")) if span.strip("`") in list_environment_names() else span


def link_setting(name: str) -> str:
    """A link to a setting's section, for the pages beside it."""
    return f"[`{name}`](settings.md#{name.lower()})"


def write_description(description: str) -> str:
    """The description of a field, without the words for its type, which stand beside it."""
    text = re.sub(r"^true or false[:.] ", "", description)
    return write_prose(text[:1].upper() + text[1:] if text != description else text)


def get_summary(docstring: str | None) -> str:
    """The first paragraph of a docstring, as Markdown."""
    return write_prose(re.split(r"\n\s*\n", inspect.cleandoc(docstring or ""))[0])


def write_code(value: object) -> str:
    """Code in a line."""
    return f"`{value}`"


def write_value(value: object) -> str:
    """A default, as it is written in the environment or on the command line."""
    if isinstance(value, bool):
        return write_code(str(value).lower())
    return write_code(f"{value:g}" if isinstance(value, float) else value)


def join_codes(values: Iterable[object]) -> str:
    """Several pieces of code with commas between."""
    return ", ".join(write_code(value) for value in values)


def write_list(items: Iterable[str]) -> str:
    """A list with a dot before each item."""
    return "\n".join(f"* {item}" for item in items)


def write_definitions(items: Iterable[tuple[str, str]]) -> str:
    """Terms, each with what is said of it below, indented."""
    return "\n\n".join(f"{term}\n:   " + text.replace("\n", "\n    ") for term, text in items)


def write_remark(kind: str, text: str) -> str:
    """A text with a few words before it that say of what kind it is."""
    return f"*{kind[0].upper()}{kind[1:]}.* {text}"


def write_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def join_blocks(*blocks: str) -> str:
    """Blocks with an empty line between two, empty ones left out, and a newline at the end."""
    return "\n\n".join(block for block in blocks if block) + "\n"
