"""``reference/errors.md``: the project's exceptions, as a tree, and what becomes of each."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

from assets.common.step import PERMANENT_ERRORS
from docs.generator.markdown import get_summary, join_blocks, write_code, write_definitions, write_list, write_prose
from recordings.steps.runner import INFRASTRUCTURE_ERRORS
from stt_orchestration.cli.exit_codes import ExitCode
from stt_orchestration.settings import PROJECT_ROOT

PACKAGES = ("stt_orchestration", "assets", "serving", "k8s_run_launcher", "benchmarks", "recordings", "speech")

_INTRODUCTION = """\
These are the exceptions of the project's own modules. Private ones, whose names begin with an underscore, are left out.
An error that a person can mend says in one sentence what is wrong and what to do. Anything else is a defect and keeps its
traceback.
"""


def make_errors_page() -> str:
    """The page."""
    errors = list_errors()
    codes = find_exit_codes()
    links = {code: [_link(error) for error in errors if codes.get(error.__name__) == code] for code in ExitCode}
    blocks = [
        "# Errors",
        _INTRODUCTION.strip(),
        "## By exit code",
        write_definitions(
            (f"{write_code(int(code))}, {write_prose(code.meaning)}", ", ".join(found))
            for code, found in links.items()
            if found
        ),
        "An `OSError` of the machine ends a command with code 1 too.",
        "## By inheritance",
        write_list(_write_tree(errors)),
    ]
    for package in PACKAGES:
        own = [each for each in errors if each.__module__.split(".")[0] == package]
        if own:
            blocks.append(f"## In {write_code(package + '/')}")
            for error in own:
                blocks += _write_error(error, codes)
    return join_blocks(*blocks)


def list_errors() -> list[type[BaseException]]:
    """Every exception class that a module of ours defines and others may see, by package and module."""
    found = []
    for package in PACKAGES:
        for file in sorted((PROJECT_ROOT / package).rglob("*.py")):
            names = [node.name for node in _parse(file).body if isinstance(node, ast.ClassDef)]
            names = [name for name in names if name.endswith(("Error", "Exception")) and not name.startswith("_")]
            if names:
                module = importlib.import_module(_name_module(file))
                found += [getattr(module, name) for name in names]
    return found


def find_exit_codes() -> dict[str, ExitCode]:
    """Name of an exception -> the exit code with which a command ends that catches it and calls ``exit_with``.

    Raises:
        ValueError: Commands end with different codes after the same exception.
    """
    found: dict[str, ExitCode] = {}
    for file in sorted((PROJECT_ROOT / "stt_orchestration/cli").glob("*.py")):
        for node in ast.walk(_parse(file)):
            if isinstance(node, ast.ExceptHandler) and node.type is not None and (code := _find_exit_code(node)):
                caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
                for name in (each.id for each in caught if isinstance(each, ast.Name)):
                    if found.setdefault(name, code) is not code:
                        raise ValueError(f"{name} ends one command with {found[name]} and another with {code}.")
    return found


def _find_exit_code(handler: ast.ExceptHandler) -> ExitCode | None:
    """The code of ``exit_with(..., ExitCode.X)``, if that is all that a handler does."""
    match handler.body:
        case [ast.Expr(ast.Call(ast.Name("exit_with"), [_, ast.Attribute(ast.Name("ExitCode"), name)]))]:
            return ExitCode[name]
    return None


def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _name_module(file: Path) -> str:
    parts = file.relative_to(PROJECT_ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _link(error: type[BaseException]) -> str:
    return f"[{write_code(error.__name__)}](#{error.__name__.lower()})"


def _write_tree(errors: list[type[BaseException]]) -> Iterator[str]:
    """Items of a nested list: what is not ours first, below it what inherits from it."""
    children: dict[type[BaseException], list[type[BaseException]]] = {}
    for error in errors:
        children.setdefault(_get_base(error), []).append(error)

    def write(error: type[BaseException], depth: int) -> str:
        below = "".join(f"\n{'    ' * (depth + 1)}* {write(child, depth + 1)}" for child in children.get(error, []))
        return (_link(error) if error in errors else write_code(error.__name__)) + below

    roots = sorted((base for base in children if base not in errors), key=lambda base: base.__name__)
    yield from (write(root, 0) for root in roots)


def _get_base(error: type[BaseException]) -> type[BaseException]:
    return next(base for base in error.__mro__[1:] if issubclass(base, BaseException))


def _write_error(error: type[BaseException], codes: dict[str, ExitCode]) -> Iterator[str]:
    yield f"### {write_code(error.__name__)}"
    yield get_summary(error.__doc__)
    facts = [f"Module: {write_code(error.__module__)}. Base: {write_code(_get_base(error).__name__)}."]
    code = next((codes[base.__name__] for base in error.__mro__ if base.__name__ in codes), None)
    if code is not None:
        facts.append(f"A command that meets it says its sentence and ends with code {int(code)}.")
    if issubclass(error, (*INFRASTRUCTURE_ERRORS, *PERMANENT_ERRORS)):
        retried = (
            "Dagster does not try the step again."
            if issubclass(error, PERMANENT_ERRORS)
            else "Dagster tries the step again."
        )
        facts.append(f"In a step it fails the step, and recordings keep their state. {retried}")
    yield write_list(facts)
