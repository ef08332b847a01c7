"""Shared by the steps.

Groups deliveries by recording, reads delivered files that must not change, and tells errors of a recording from infrastructure
errors.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from recordings.batches import Delivery, has_same_bytes
from recordings.layout import Folder
from recordings.ledger.engine import LedgerError
from recordings.ledger.rows import CHANGED_KIND, OPTIONS_KIND, Member, Recording
from recordings.states import State
from recordings.storage.base import UnwritableKeyError
from recordings.workspace import Workspace
from speech.asr.capabilities import UnsupportedOptionError
from speech.asr.whisper import DeviceUnavailableError
from speech.audio.errors import BadAudioError
from speech.models.errors import WeightsError

log = logging.getLogger("stt")
T = TypeVar("T")

MAX_FAILED_SHARE = 0.5
"""If more than this share of the recordings fails with unexpected errors, the machine is the cause and the step fails."""

_MIN_RECORDINGS_FOR_SHARE = 4  # below so many recordings a share says nothing


class StepFailedError(Exception):
    """A step gave up: its recordings keep the state they had, and the step can be run again."""


class BytesChangedError(Exception):
    """The bytes under a delivery's name are not the ones that were delivered."""

    KIND = CHANGED_KIND


NAME_KIND = "name"
"""Value of ``kind`` for a quarantine because outputs cannot be written under this name."""

RENAME_REMEDY = "Rename the recording and deliver it again."

INFRASTRUCTURE_ERRORS = (
    OSError,
    LedgerError,
    SQLAlchemyError,
    MemoryError,
    StepFailedError,
    DeviceUnavailableError,
    WeightsError,
    CancelledError,  # the step is being stopped
)
"""Errors that are never a recording's fault: they fail the step, which can be run again when they are mended."""


@dataclass(frozen=True, slots=True)
class RecordingGroup:
    """A recording of a batch and the deliveries of it whose names still carry its bytes."""

    recording: Recording
    members: tuple[Member, ...]


def group_by_recording(members: list[Member]) -> list[RecordingGroup]:
    """The recordings of a batch, in its order. Superseded deliveries (a newer one has the same name) are left out."""
    found: dict[str, list[Member]] = {}
    for member in members:
        if member.recording is not None and not member.superseded:
            found.setdefault(member.recording.sha256, []).append(member)
    return [
        RecordingGroup(recording, tuple(same))
        for same in found.values()
        if (recording := same[0].recording) is not None
    ]


@contextmanager
def open_delivered(workspace: Workspace, delivery: Delivery) -> Iterator[Path]:
    """Open a delivered file, and check before and after that its size and version are still those of the delivery.

    Raises:
        BytesChangedError: They are gone, or others.
    """
    _check_unchanged(workspace, delivery)
    try:
        with workspace.store.fetch(f"{Folder.RAW}/{delivery.name}") as path:
            yield path
    except FileNotFoundError as error:
        raise BytesChangedError(f"{delivery.name} was removed before it could be read. Deliver it again.") from error
    _check_unchanged(workspace, delivery)


@contextmanager
def open_earlier_output(workspace: Workspace, key: str, step: str) -> Iterator[Path]:
    """An output of an earlier step.

    Raises:
        StepFailedError: It is gone; the step that makes it has to run again first.
    """
    with ExitStack() as stack:
        try:
            path = stack.enter_context(workspace.store.fetch(key))
        except FileNotFoundError as error:
            place = workspace.store.locate(key)
            raise StepFailedError(
                f"{place} is gone. Run the whole batch again: the {step} step makes it anew."
            ) from error
        yield path


def find_unchanged_delivery(workspace: Workspace, group: RecordingGroup) -> Member | None:
    """A delivery of the group whose bytes still lie under its name; None when all are gone or replaced."""
    for member in group.members:
        try:
            _check_unchanged(workspace, member.delivery)
        except BytesChangedError:
            continue
        return member
    return None


def warn_kept(recording: Recording, missing: str) -> None:
    """Log a warning that a finished recording keeps its old results because the files needed to repeat the work are missing.

    An old result is never deleted if no new one can be made.
    """
    log.warning("%s stays as it is: it would have to be done again, but %s is gone.", recording.name, missing)


def _check_unchanged(workspace: Workspace, delivery: Delivery) -> None:
    now = workspace.store.find_input(delivery.name)
    if now is None:
        raise BytesChangedError(f"{delivery.name} was removed before it could be read. Deliver it again.")
    if (now.size, now.version) == (delivery.size, delivery.version):
        return
    if has_same_bytes(now, delivery):
        raise BytesChangedError(
            f"The options file of {delivery.name} came, changed or went after the recording was seen. What lies there now is a "
            "delivery of its own."
        )
    raise BytesChangedError(
        f"{delivery.name} changed after it was seen with {delivery.size} bytes. Its newer bytes are a delivery of their own."
    )


def run_parallel(
    work: Callable[[T], None], items: Sequence[T], workers: int, stopping: threading.Event | None = None
) -> None:
    """Do the work on every item, several at a time.

    Args:
        work: Done on each item.
        items: What it is done on.
        workers: How many at a time.
        stopping: Set when the first error comes, or an interrupt, so that work which takes long can end early.

    Raises:
        Exception: The first error; what had not begun by then is not begun any more.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="step") as pool:
        running = [pool.submit(work, item) for item in items]
        try:
            for future in running:
                future.result()
        finally:
            if stopping is not None:
                stopping.set()
            for future in running:
                future.cancel()


class ErrorCollector:
    """Separates errors of single recordings from infrastructure errors.

    ``BadAudioError`` quarantines the recording, and so does a name whose outputs have no place. ``INFRASTRUCTURE_ERRORS`` is
    raised at once. Other exceptions are collected. At the end these recordings are marked failed, but if they are too many, the
    step fails and they keep their state. Threads may share it.
    """

    def __init__(self, workspace: Workspace, step: str) -> None:
        self._workspace = workspace
        self._step = step
        self._attempted: list[str] = []  # appending is atomic, adding to a number is not
        self._failures: list[tuple[Recording, State, str]] = []

    def run_recording(self, recording: Recording, state: State, work: Callable[[], None]) -> None:
        """Do the work on one recording that is in ``state``.

        Raises:
            INFRASTRUCTURE_ERRORS: Raised unchanged.
        """
        self._attempted.append(recording.sha256)
        try:
            work()
        except BadAudioError as bad:
            self._quarantine(recording, state, bad.kind, bad.sentence)
        except BytesChangedError as changed:
            self._quarantine(recording, state, BytesChangedError.KIND, str(changed))
        except UnwritableKeyError as error:
            self._quarantine(recording, state, NAME_KIND, f"{error} {RENAME_REMEDY}")
        except UnsupportedOptionError as error:
            reason = f"The options that came with it ask for what the model cannot do. {error}"
            self._quarantine(recording, state, OPTIONS_KIND, reason)
        except INFRASTRUCTURE_ERRORS:
            raise
        except Exception as error:
            log.exception("%s: the %s step failed", recording.name, self._step)
            self._failures.append((recording, state, f"{type(error).__name__}: {error}"))

    def _quarantine(self, recording: Recording, state: State, kind: str, reason: str) -> None:
        log.warning("%s is quarantined: %s", recording.name, reason)
        self._workspace.ledger.transition(recording.sha256, state, State.QUARANTINED, kind=kind, reason=reason)

    def raise_or_mark_failed(self) -> None:
        """Mark the few failed recordings, or fail the step for the many.

        Raises:
            StepFailedError: More than ``MAX_FAILED_SHARE`` of what was tried failed.
        """
        if len(self._attempted) >= _MIN_RECORDINGS_FOR_SHARE and len(self._failures) > MAX_FAILED_SHARE * len(
            self._attempted
        ):
            causes = sorted({reason for _, _, reason in self._failures})
            raise StepFailedError(
                f"{len(self._failures)} of {len(self._attempted)} recordings failed in the {self._step} step, which "
                "points to the machine "
                f"and not to them: {'; '.join(causes[:3])}. They keep their state; mend the cause and run the step again."
            )
        for recording, state, reason in self._failures:
            sentence = f"The {self._step} step failed on it: {reason}. Report it, or try again with `stt retry`."
            self._workspace.ledger.transition(recording.sha256, state, State.FAILED, kind="error", reason=sentence)
