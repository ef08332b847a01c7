"""The ``stt`` command as a whole: which commands it has."""

from __future__ import annotations

import typer

from stt_orchestration.cli.app import app


def test_all_commands_are_there_in_the_order_of_the_help() -> None:
    assert list(typer.main.get_group(app).commands) == [
        "run",
        "samples",
        "status",
        "show",
        "retry",
        "doctor",
        "janitor",
        "fetch-model",
        "prepare",
        "ui",
        "pages",
        "benchmark",
        "stress",
        "ratio",
        "size",
    ]
