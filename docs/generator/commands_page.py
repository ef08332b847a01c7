"""``reference/commands.md``: the ``stt`` command, from what typer is told about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, CommandInfo, OptionInfo

from docs.generator.markdown import (
    join_blocks,
    join_codes,
    write_code,
    write_definitions,
    write_list,
    write_prose,
    write_table,
    write_value,
)
from stt_orchestration.cli.app import app
from stt_orchestration.cli.exit_codes import ExitCode

_AFTER_EXIT_CODES = """\
A command that cannot go on prints one sentence on standard error: the cause and what to do. [Errors](errors.md) has the list."""

_PLACEHOLDERS: dict[Any, str] = {str: "TEXT", int: "NUMBER", float: "NUMBER", Path: "PATH"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument or an option of a command.

    Attributes:
        names: Of an option, such as ``--json``; of an argument one, in capitals.
        value: What stands for its value in the usage; empty for a flag.
        choices: The allowed values, where they are few.
        help: What it does.
        default: Its value when it is not given; None: there is none to show.
        is_option: Whether it is an option.
        is_required: Whether the command needs it.
        is_repeatable: Whether it may be given several times.
    """

    names: tuple[str, ...]
    value: str
    choices: tuple[str, ...]
    help: str
    default: object
    is_option: bool
    is_required: bool
    is_repeatable: bool

    @property
    def usage(self) -> str:
        """How it stands in the command's line."""
        text = " ".join(filter(None, (self.names[0], self.value))) if self.is_option else self.names[0]
        return (text if self.is_required else f"[{text}]") + ("..." if self.is_repeatable else "")

    @property
    def term(self) -> str:
        """Its names, as Markdown."""
        value = f"{self.value} ..." if self.is_repeatable and self.is_option else self.value
        return ", ".join(write_code(" ".join(filter(None, (name, value)))) for name in self.names)

    @property
    def text(self) -> str:
        """All that is said of it, as Markdown."""
        parts = [write_prose(self.help)]
        if self.choices:
            parts.append(f"One of {join_codes(self.choices)}.")
        if self.default is not None:
            parts.append(f"Default: {write_value(self.default)}.")
        return " ".join(parts)


def make_commands_page() -> str:
    """The page."""
    commands = [command for group in app.registered_groups for command in _list_commands(group.typer_instance)]
    links = [f"[`stt {_get_name(each)}`](#stt-{_get_name(each)}): {_get_first_sentence(each)}" for each in commands]
    blocks = [
        "# Commands",
        "`stt` is the command of the project; `make run` puts it into `.venv/bin/`. `stt COMMAND --help` shows what stands here.",
        write_list(links),
        "## Exit codes",
        write_table(
            ("code", "what it says"), [(write_code(int(code)), write_prose(code.meaning)) for code in ExitCode]
        ),
        _AFTER_EXIT_CODES,
    ]
    for command in commands:
        blocks += _write_command(command)
    return join_blocks(*blocks)


def _list_commands(group: Any) -> list[CommandInfo]:
    return list(group.registered_commands)


def _get_callback(command: CommandInfo) -> Callable[..., Any]:
    if command.callback is None:
        raise ValueError(f"{command.name}: a command without a function.")
    callback: Callable[..., Any] = inspect.unwrap(command.callback)
    return callback


def _get_name(command: CommandInfo) -> str:
    return command.name or _get_callback(command).__name__.replace("_", "-")


def _get_first_sentence(command: CommandInfo) -> str:
    return write_prose((inspect.getdoc(_get_callback(command)) or "").split("\n\n")[0].split(". ")[0].rstrip(".") + ".")


def _write_command(command: CommandInfo) -> Iterator[str]:
    name, callback = _get_name(command), _get_callback(command)
    parameters = list(_list_parameters(callback))
    options = [each for each in parameters if each.is_option]
    arguments = [each for each in parameters if not each.is_option]
    shown = "[OPTIONS]" if len(options) > 3 else " ".join(each.usage for each in options)
    yield f"## `stt {name}`"
    usage = " ".join(filter(None, ("stt", name, shown, *(each.usage for each in arguments))))
    yield f"```text\n{usage}\n```"
    yield write_prose(inspect.getdoc(callback) or "")
    yield write_definitions([(each.term, each.text) for each in (*arguments, *options)])


def _list_parameters(callback: Callable[..., Any]) -> Iterator[Parameter]:
    hints = get_type_hints(callback, include_extras=True)
    for name, parameter in inspect.signature(callback).parameters.items():
        kind, info = get_args(hints[name])[:2]
        if not isinstance(info, ArgumentInfo | OptionInfo):
            raise TypeError(f"{callback.__name__}: {name} is neither an argument nor an option.")
        inner, is_list = _unwrap(kind)
        is_option, is_flag = isinstance(info, OptionInfo), inner is bool
        choices = tuple(map(str, get_args(inner))) if get_origin(inner) is Literal else ()
        default = parameter.default
        shows = default not in (inspect.Parameter.empty, None, False) and bool(info.show_default)
        declared = _list_declared_names(info) or (f"--{name.replace('_', '-')}",)
        yield Parameter(
            names=declared if is_option else (name.upper(),),
            value="" if is_flag or not is_option else _PLACEHOLDERS.get(inner, "VALUE"),
            choices=choices,
            help=info.help or "",
            default=default if shows else None,
            is_option=is_option,
            is_required=default is inspect.Parameter.empty,
            is_repeatable=is_list,
        )


def _list_declared_names(info: ArgumentInfo | OptionInfo) -> tuple[str, ...]:
    """The names that stand in ``typer.Option(...)``. The first one is in the place of a default there."""
    return tuple(name for name in (info.default, *(info.param_decls or ())) if isinstance(name, str))


def _unwrap(kind: Any) -> tuple[Any, bool]:
    """The type of one value, without None and list, and whether it is a list."""
    parts = [part for part in get_args(kind) if part is not NoneType] if NoneType in get_args(kind) else [kind]
    return (get_args(parts[0])[0], True) if get_origin(parts[0]) is list else (parts[0], False)
