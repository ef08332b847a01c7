"""How a command ends: its exit code, and the errors that the user can fix, as sentences."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from typing import NoReturn, ParamSpec

import typer

from benchmarks.files import RefusedError
from recordings.intake.upload import UploadError
from recordings.ledger.engine import LedgerError
from recordings.storage.base import UnknownStoreError
from recordings.storage.errors import explain
from speech.asr.capabilities import UnsupportedOptionError
from speech.models.errors import UnknownModelError, WeightsError
from stt_orchestration.cli import interrupts
from stt_orchestration.ports import PortUnavailableError
from stt_orchestration.settings import SettingsError

P = ParamSpec("P")


class ExitCode(IntEnum):
    """What an exit code says."""

    DONE = 0
    MACHINE = 1
    USAGE = 2
    SOME_BROKEN = 3
    INTERRUPTED = interrupts.INTERRUPTED_EXIT_CODE

    @property
    def meaning(self) -> str:
        """What it says, in words."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.DONE: "all done",
    ExitCode.MACHINE: "the machine's trouble (disk, ledger, model, GPU)",
    ExitCode.USAGE: "wrong usage or settings",
    ExitCode.SOME_BROKEN: "finished, with something quarantined or failed",
    ExitCode.INTERRUPTED: "interrupted",
}


def errors_to_exit_codes(command: Callable[P, None]) -> Callable[P, None]:
    """Translate errors that the user can fix into a message and an exit code; any other exception is a bug, with its traceback."""

    @wraps(command)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (
            SettingsError,
            UploadError,
            UnknownStoreError,
            UnknownModelError,
            UnsupportedOptionError,
            RefusedError,
        ) as error:
            exit_with(str(error), ExitCode.USAGE)
        except (LedgerError, WeightsError) as error:
            exit_with(str(error), ExitCode.MACHINE)
        except PortUnavailableError as error:
            exit_with(str(error.strerror), ExitCode.MACHINE)
        except OSError as error:
            exit_with(explain(error), ExitCode.MACHINE)

    return spoken


def exit_with(sentence: str, code: ExitCode) -> NoReturn:
    """Say why, on standard error, and end the command."""
    # The message may contain a path that is not valid UTF-8.
    typer.echo(sentence.encode(errors="backslashreplace"), err=True)
    raise typer.Exit(code)
