"""The ``stt`` command, composed of the groups beside this module; ``--help`` lists the commands in this order.

Exit codes: 0 all done, 1 the machine's trouble, 2 usage or settings, 3 something quarantined or failed, 130 interrupted.
"""

from __future__ import annotations

import typer

from stt_orchestration.cli.benchmark import capacity_app
from stt_orchestration.cli.exit_codes import ExitCode, errors_to_exit_codes
from stt_orchestration.cli.home import ensure_home
from stt_orchestration.cli.operate import operate_app
from stt_orchestration.cli.run import run_app
from stt_orchestration.cli.serve import serve_app
from stt_orchestration.cli.size import sizing_app
from stt_orchestration.cli.status import status_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turn recordings into transcripts people can trust. Exit codes: "
    + "; ".join(f"{int(code)} {code.meaning}" for code in ExitCode)
    + ".",
)

for group in (run_app, status_app, operate_app, serve_app, capacity_app, sizing_app):
    app.add_typer(group)


def main() -> None:
    """Entry point of the ``stt`` command."""
    _start()
    app()


@errors_to_exit_codes
def _start() -> None:
    ensure_home()
