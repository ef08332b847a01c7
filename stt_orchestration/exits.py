"""How a command ends: its exit code, and the errors a person can mend, as sentences."""

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
    """Turn the errors a person can mend into a sentence and an exit code; anything else is a defect and keeps its traceback."""

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
    # A path in it may be no text.
    typer.echo(sentence.encode(errors="backslashreplace"), err=True)
    raise typer.Exit(code)
