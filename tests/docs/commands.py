"""Names in shell that is not run: make's targets, commands and options of ``stt``, and files of ``deploy/`` must exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import dropwhile, groupby

import typer.main
from typer.core import TyperGroup

from tests.docs.shell_blocks import PROJECT

_BEFORE_A_NAMESPACE = ("-n", "--namespace", "namespace", "-p", "--project-name")


def find_unknown_names(text: str) -> list[str]:
    """Find targets, commands, options and files that the project does not have.

    Args:
        text: Shell that bash can read.

    Returns:
        A sentence for each.
    """
    commands, targets = _read_commands(), _read_targets()
    unknown = []
    for words in _split_commands(text):
        for place, word in enumerate(words):
            before, after = words[:place], words[place + 1 :]
            if word.startswith("deploy/") and not (PROJECT / word).exists():
                unknown.append(f"{word} does not exist.")
            if word == "make" and not before:
                named = [name for name in after if not name.startswith("-") and "=" not in name]
                # Files that make makes, as .venv/ready-dev, are no names of targets.
                unknown += [f"make has no target {name}." for name in named if "/" not in name and name not in targets]
            is_stt = word.endswith("/stt") or (
                word == "stt" and before[-1:] not in [[name] for name in _BEFORE_A_NAMESPACE]
            )
            if not is_stt or not after:
                continue
            name, options = after[0], {option.partition("=")[0] for option in after[1:] if option.startswith("--")}
            if name.startswith("-"):
                continue
            if name not in commands:
                unknown.append(f"stt has no command {name}.")
            else:
                unknown += [f"stt {name} has no option {option}." for option in sorted(options - commands[name])]
    return unknown


def _split_commands(text: str) -> Iterator[list[str]]:
    """The words of each simple command, without the variables that are set before it."""
    unread = ""
    for line in text.replace("\\\n", " ").splitlines():
        unread += line + "\n"
        lexer = shlex.shlex(unread, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        lexer.commenters = "#"
        try:
            words = list(lexer)
        except ValueError:  # a quotation that goes on in the next line
            continue
        unread = ""
        for is_between, group in groupby(words, lambda word: word != "" and set(word) <= set("();<>|&")):
            if not is_between:
                yield list(dropwhile(re.compile(r"\w+=").match, group))


def _read_commands() -> dict[str, set[str]]:
    """Command of ``stt`` -> its options."""
    from stt_orchestration.cli.app import app  # slow to import

    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return {
        name: {
            "--help",
            *(option for parameter in command.params for option in parameter.opts + parameter.secondary_opts),
        }
        for name, command in group.commands.items()
    }


def _read_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
