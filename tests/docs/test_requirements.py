"""``docs/requirements.md``: whatever a row calls met stands in the repository, and whatever it calls to come does not stand yet."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from stt_orchestration.cli.app import app
from stt_orchestration.settings import Settings, list_environment_names

PROJECT = Path(__file__).resolve().parents[2]
TABLE = PROJECT / "docs" / "requirements.md"
COLUMNS = ("asked", "ours", "state", "note")
STATES = ("met", "differs", "to come", "not ours")
SECTIONS = (
    "Transcription on Kubernetes",
    "Benchmark and sizing",
    "Speech service",
    "Autoscaling",
    "Dubbing platform",
)
CODE = re.compile(r"`([^`]+)`")
FOLDERS = tuple(f"{path.name}/" for path in PROJECT.iterdir() if path.is_dir() and not path.name.startswith("."))


class UnresolvedError(Exception):
    """A reference names nothing in the repository. The message says what is missing."""


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        line: Its number in the file.
        section: The heading of second rank above it.
        cells: As they stand between the bars.
    """

    line: int
    section: str
    cells: tuple[str, ...]

    @property
    def asked(self) -> str:
        return self.cells[0]

    @property
    def ours(self) -> str:
        return self.cells[1]

    @property
    def state(self) -> str:
        return self.cells[2]

    @property
    def note(self) -> str:
        return self.cells[3]


def read_rows(text: str) -> list[Row]:
    rows, section = [], ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("## "):
            section = line.removeprefix("## ").strip()
        elif line.startswith("|"):
            cells = tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            if cells != COLUMNS and set("".join(cells)) - set("-: "):
                rows.append(Row(number, section, cells))
    return rows


def resolve(reference: str) -> None:
    """Find what a reference names: a path, ``path:symbol``, a setting, a ``stt`` command or a ``make`` target.

    All but the last may have `` = value`` behind them: what stands in the file or at the symbol, or what the default is.

    Raises:
        UnresolvedError: It is not there, or has not that value.
    """
    name, _, value = reference.partition(" = ")
    if name.startswith("stt "):
        resolve_command(name.split()[1:], value)
    elif name.startswith("make "):
        if not re.search(
            rf"^{re.escape(name.removeprefix('make '))}:", (PROJECT / "Makefile").read_text(), re.MULTILINE
        ):
            raise UnresolvedError(f"the Makefile has no target of {name!r}")
    elif re.fullmatch(r"[A-Z][A-Z0-9_]+", name):
        resolve_setting(name, value)
    else:
        path, _, symbol = name.partition(":")
        resolve_in_file(path, symbol, value)


def resolve_command(words: Sequence[str], value: str) -> None:
    commands: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    command = commands.get(words[0])
    if command is None:
        raise UnresolvedError(f"there is no command stt {words[0]}")
    options = {option: parameter for parameter in command.params for option in parameter.opts}
    for word in words[1:]:
        if word not in options:
            raise UnresolvedError(f"stt {words[0]} has no option {word}")
    if value and str(options[words[-1]].default) != value:
        raise UnresolvedError(
            f"{words[-1]} of stt {words[0]} is {options[words[-1]].default} by default, and not {value}"
        )


def resolve_setting(name: str, value: str) -> None:
    field_name = list_environment_names().get(name)
    if field_name is None:
        raise UnresolvedError(f"{name} sets nothing")
    field = Settings.model_fields[field_name]
    if not field.description:
        raise UnresolvedError(f"{name} has no description")
    default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
    if value and default != value:
        raise UnresolvedError(f"{name} is {default} by default, and not {value}")


def resolve_in_file(path: str, symbol: str, value: str) -> None:
    file = PROJECT / path
    if not file.resolve().is_relative_to(PROJECT) or not file.exists():
        raise UnresolvedError(f"there is no {path}")
    if not symbol and not value:
        return
    if not file.is_file():
        raise UnresolvedError(f"{path} is a folder")
    if not symbol:
        text = file.read_text(encoding="utf-8")
    elif path.endswith(".py"):
        text = read_definitions(file).get(symbol, "")
    else:
        text = "\n".join(line for line in file.read_text(encoding="utf-8").splitlines() if has_word(line, symbol))
    if not text:
        raise UnresolvedError(f"{path} has no {symbol}")
    if value and not has_word(text, value):
        raise UnresolvedError(f"{value!r} does not stand in {path}{f' at {symbol}' if symbol else ''}")


def has_word(text: str, word: str) -> bool:
    """Whether a text has a word that is not a part of a longer one: ``2`` is not in ``20`` or ``2.5``."""
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-]|\.\d)", text) is not None


@cache
def read_definitions(file: Path) -> dict[str, str]:
    """Name of everything that a module defines, members of classes as ``Class.member`` -> its source."""
    source = file.read_text(encoding="utf-8")

    def walk(body: Sequence[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
        for node in body:
            names: list[str] = []
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names = [node.name]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
            for name in names:
                yield prefix + name, ast.get_source_segment(source, node) or ""
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{prefix}{node.name}.")

    return dict(walk(ast.parse(source).body, ""))


def is_reference(code: str) -> bool:
    """Whether a piece of code in a note names something of the repository, and not only a word of the field."""
    return code.startswith((*FOLDERS, "stt ", "make ", "STT_"))


def find_problems(row: Row) -> Iterator[str]:
    """A sentence for each rule that a row breaks."""
    if len(row.cells) != len(COLUMNS):
        yield f"it has {len(row.cells)} cells, and not {len(COLUMNS)}"
        return
    if not row.asked or not row.ours:
        yield "a cell is empty"
    if row.state not in STATES:
        yield f"{row.state!r} is no state"
    if row.state != "met" and not row.note:
        yield f"{row.state!r} needs a note"
    if row.state in ("met", "differs") and not CODE.search(row.ours):
        yield "it names nothing in the repository"
    yield from find_wrong_references(row)


def find_wrong_references(row: Row) -> Iterator[str]:
    """A sentence for each reference that names nothing, and for each name to come that is there already."""
    for reference in CODE.findall(row.ours):
        problem = explain_missing(reference)
        if row.state == "to come":
            if problem is None:
                yield f"`{reference}` is there; it is not to come any more"
        elif problem is not None:
            yield problem
    yield from filter(None, (explain_missing(code) for code in CODE.findall(row.note) if is_reference(code)))


def explain_missing(reference: str) -> str | None:
    try:
        resolve(reference)
    except UnresolvedError as error:
        return f"`{reference}`: {error}"
    return None


ROWS = read_rows(TABLE.read_text(encoding="utf-8"))


def test_every_row_keeps_the_rules() -> None:
    assert not [f"line {row.line}: {row.cells[0]}: {problem}" for row in ROWS for problem in find_problems(row)]


def test_every_document_has_its_section_and_no_other_row_is_there() -> None:
    assert tuple(dict.fromkeys(row.section for row in ROWS)) == SECTIONS


def test_nothing_is_asked_twice_in_a_section() -> None:
    seen: set[tuple[str, str]] = set()
    for row in ROWS:
        key = row.section, re.sub(r"\W+", " ", row.asked.lower())
        assert key not in seen, f"line {row.line}: {row.asked} stands above already"
        seen.add(key)


def test_no_line_of_a_table_is_lost() -> None:
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.lstrip().startswith("|")]
    headers = sum(line.startswith("| asked |") for line in lines)
    assert headers >= len(SECTIONS)
    assert len(ROWS) == len(lines) - 2 * headers


GOOD = Row(1, SECTIONS[0], ("`16Gi`", "`deploy/base/dagster.yaml = memory: 16Gi`", "met", ""))


@pytest.mark.parametrize(
    "ours",
    [
        "`deploy/base`",
        "`deploy/base/limits.yaml:stt-services`",
        "`deploy/base/limits.yaml:requests.cpu = 16`",
        "`benchmarks/platform/measure.py:ITERATIONS = 50`",
        "`benchmarks/platform/result.py:BenchmarkResult.rps`",
        "`STT_MODEL`, `WHISPER_MODEL`",
        "`STT_SCHEDULE_CRON = 0 */6 * * *`",
        "`STT_SENSOR_ENABLED = true`",
        "`stt benchmark --iterations = 50`",
        "`make run`",
    ],
)
def test_a_reference_that_is_right_resolves(ours: str) -> None:
    assert not list(find_problems(replace(GOOD, cells=("`it`", ours, "met", ""))))


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (("`it`", "`deploy/base/gone.yaml`", "met", ""), "there is no deploy/base/gone.yaml"),
        (("`it`", "`../gone`", "met", ""), "there is no ../gone"),
        (("`it`", "`deploy/base/limits.yaml:gone`", "met", ""), "deploy/base/limits.yaml has no gone"),
        (("`it`", "`deploy/base:gone`", "met", ""), "deploy/base is a folder"),
        (("`it`", "`benchmarks/platform/measure.py:Gone`", "met", ""), "benchmarks/platform/measure.py has no Gone"),
        (("`it`", "`benchmarks/platform/measure.py:ITERATIONS = 5`", "met", ""), "'5' does not stand in"),
        (("`it`", "`deploy/base/dagster.yaml = memory: 16G`", "met", ""), "'memory: 16G' does not stand in"),
        (("`it`", "`deploy/base/limits.yaml:requests.cpu = 1`", "met", ""), "'1' does not stand in"),
        (("`it`", "`STT_GONE`", "met", ""), "STT_GONE sets nothing"),
        (("`it`", "`STT_SCHEDULE_CRON = 0 */5 * * *`", "met", ""), "STT_SCHEDULE_CRON is 0 */6 * * * by default"),
        (("`it`", "`stt gone`", "met", ""), "there is no command stt gone"),
        (("`it`", "`stt benchmark --gone`", "met", ""), "stt benchmark has no option --gone"),
        (("`it`", "`stt benchmark --iterations = 5`", "met", ""), "--iterations of stt benchmark is 50 by default"),
        (("`it`", "`make gone`", "met", ""), "the Makefile has no target"),
        (("`it`", "some words", "met", ""), "names nothing in the repository"),
        (("`it`", "some words", "differs", "why"), "names nothing in the repository"),
        (("`it`", "`deploy/base`", "differs", ""), "'differs' needs a note"),
        (("`it`", "–", "to come", ""), "'to come' needs a note"),
        (("`it`", "–", "not ours", ""), "'not ours' needs a note"),
        (("`it`", "`deploy/base`", "done", "why"), "'done' is no state"),
        (("`it`", "`stt run`", "to come", "when"), "is not to come any more"),
        (("`it`", "–", "to come", "today `deploy/base/gone.yaml`"), "there is no deploy/base/gone.yaml"),
        (("`it`", "–", "not ours", "see `stt gone`"), "there is no command stt gone"),
        (("", "`deploy/base`", "met", ""), "a cell is empty"),
        (("`it`", "", "to come", "when"), "a cell is empty"),
        (("`it`", "`deploy/base`", "met"), "it has 3 cells"),
    ],
)
def test_a_row_that_is_wrong_is_found(cells: tuple[Any, ...], problem: str) -> None:
    problems = list(find_problems(replace(GOOD, cells=cells)))
    assert len(problems) == 1
    assert problem in problems[0]
