"""How a command ends: its exit code, and the errors that the user can fix, as sentences."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from typing import NoReturn, ParamSpec

import typer

from benchmarks.files import Refused
from recordings.deliver import CannotDeliver
from recordings.ledger import LedgerError
from recordings.store import UnknownStore
from recordings.trouble import in_words
from speech.weights import UnknownModel, WeightsError
from stt_orchestration import interrupts
from stt_orchestration.settings import SettingsError

P = ParamSpec("P")


class Exit(IntEnum):
    """What an exit code says."""

    DONE = 0
    MACHINE = 1
    USAGE = 2
    SOME_BROKEN = 3
    INTERRUPTED = interrupts.INTERRUPTED


def spoken_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Translate errors that the user can fix into a message and an exit code; any other exception is a bug, with its traceback."""

    @wraps(command)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (SettingsError, CannotDeliver, UnknownStore, UnknownModel, Refused) as error:
            stop(str(error), Exit.USAGE)
        except (LedgerError, WeightsError) as error:
            stop(str(error), Exit.MACHINE)
        except OSError as error:
            stop(in_words(error), Exit.MACHINE)

    return spoken


def stop(sentence: str, code: Exit) -> NoReturn:
    """Say why, on standard error, and end the command."""
    # The message may contain a path that is not valid UTF-8.
    typer.echo(sentence.encode(errors="backslashreplace"), err=True)
    raise typer.Exit(code)
