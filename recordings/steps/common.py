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

from recordings.batches import Delivery
from recordings.ledger import CHANGED, LedgerError, Member, Recording
from recordings.names import Folder
from recordings.states import State
from recordings.store import NoPlace
from recordings.workspace import Workspace
from speech.decoder import DeviceUnavailable
from speech.errors import BadAudio
from speech.weights import WeightsError

log = logging.getLogger("stt")
T = TypeVar("T")

FAILED_SHARE = 0.5
"""If more than this share of the recordings fails with unexpected errors, the machine is the cause and the step fails."""

_FEW = 4  # below so many recordings a share says nothing


class StepFailed(Exception):  # noqa: N818 - reads as what it says
    """A step gave up: its recordings keep the state they had, and the step can be run again."""


class BytesChanged(Exception):  # noqa: N818 - reads as what it says
    """The bytes under a delivery's name are not the ones that were delivered."""

    KIND = CHANGED


NAME_KIND = "name"
"""Value of ``kind`` for a quarantine because outputs cannot be written under this name."""

RENAME = "Rename the recording and deliver it again."

MACHINE_TROUBLE = (
    OSError,
    LedgerError,
    SQLAlchemyError,
    MemoryError,
    StepFailed,
    DeviceUnavailable,
    WeightsError,
    CancelledError,  # the step is being stopped
)
"""Errors that are never a recording's fault: they fail the step, which can be run again when they are mended."""


@dataclass(frozen=True, slots=True)
class Group:
    """A recording of a batch and the deliveries of it whose names still carry its bytes."""

    recording: Recording
    members: tuple[Member, ...]


def groups(members: list[Member]) -> list[Group]:
    """The recordings of a batch, in its order. Superseded deliveries (a newer one has the same name) are left out."""
    found: dict[str, list[Member]] = {}
    for member in members:
        if member.recording is not None and not member.superseded:
            found.setdefault(member.recording.sha256, []).append(member)
    return [Group(recording, tuple(same)) for same in found.values() if (recording := same[0].recording) is not None]


@contextmanager
def delivered_bytes(workspace: Workspace, delivery: Delivery) -> Iterator[Path]:
    """Open a delivered file, and check before and after that its size and version are still those of the delivery.

    Raises:
        BytesChanged: They are gone, or others.
    """
    _check_unchanged(workspace, delivery)
    try:
        with workspace.store.fetch(f"{Folder.RAW}/{delivery.name}") as path:
            yield path
    except FileNotFoundError as error:
        raise BytesChanged(f"{delivery.name} was removed before it could be read. Deliver it again.") from error
    _check_unchanged(workspace, delivery)


@contextmanager
def made_before(workspace: Workspace, key: str, by: str) -> Iterator[Path]:
    """An output of an earlier step.

    Raises:
        StepFailed: It is gone; the step that makes it has to run again first.
    """
    with ExitStack() as stack:
        try:
            path = stack.enter_context(workspace.store.fetch(key))
        except FileNotFoundError as error:
            place = workspace.store.locate(key)
            raise StepFailed(f"{place} is gone. Run the whole batch again: the {by} step makes it anew.") from error
        yield path


def still_delivered(workspace: Workspace, group: Group) -> Member | None:
    """A delivery of the group whose bytes still lie under its name; None when all are gone or replaced."""
    for member in group.members:
        try:
            _check_unchanged(workspace, member.delivery)
        except BytesChanged:
            continue
        return member
    return None


def kept(recording: Recording, missing: str) -> None:
    """Log a warning that a finished recording keeps its old results because the files needed to repeat the work are missing.

    An old result is never deleted if no new one can be made.
    """
    log.warning("%s stays as it is: it would have to be done again, but %s is gone.", recording.name, missing)


def _check_unchanged(workspace: Workspace, delivery: Delivery) -> None:
    now = workspace.store.look(delivery.name)
    if now is None:
        raise BytesChanged(f"{delivery.name} was removed before it could be read. Deliver it again.")
    if (now.size, now.version) != (delivery.size, delivery.version):
        raise BytesChanged(
            f"{delivery.name} changed after it was seen with {delivery.size} bytes. Its newer bytes are a delivery of their own."
        )


def side_by_side(
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


class Faults:
    """Separates errors of single recordings from infrastructure errors.

    ``BadAudio`` quarantines the recording, and so does a name whose outputs have no place. ``MACHINE_TROUBLE`` is raised at once.
    Other exceptions are collected. At the end these recordings are marked failed, but if they are too many, the step fails and they
    keep their state. Threads may share it.
    """

    def __init__(self, workspace: Workspace, step: str) -> None:
        self._workspace = workspace
        self._step = step
        self._tried: list[str] = []  # appending is atomic, adding to a number is not
        self._held: list[tuple[Recording, State, str]] = []

    def run(self, recording: Recording, state: State, work: Callable[[], None]) -> None:
        """Do the work on one recording that is in ``state``.

        Raises:
            MACHINE_TROUBLE: Raised unchanged.
        """
        self._tried.append(recording.sha256)
        try:
            work()
        except BadAudio as bad:
            self._quarantine(recording, state, bad.kind, bad.sentence)
        except BytesChanged as changed:
            self._quarantine(recording, state, BytesChanged.KIND, str(changed))
        except NoPlace as error:
            self._quarantine(recording, state, NAME_KIND, f"{error} {RENAME}")
        except MACHINE_TROUBLE:
            raise
        except Exception as error:
            log.exception("%s: the %s step failed", recording.name, self._step)
            self._held.append((recording, state, f"{type(error).__name__}: {error}"))

    def _quarantine(self, recording: Recording, state: State, kind: str, reason: str) -> None:
        log.warning("%s is quarantined: %s", recording.name, reason)
        self._workspace.ledger.move(recording.sha256, state, State.QUARANTINED, kind=kind, reason=reason)

    def settle(self) -> None:
        """Mark the few failed recordings, or fail the step for the many.

        Raises:
            StepFailed: More than ``FAILED_SHARE`` of what was tried failed.
        """
        if len(self._tried) >= _FEW and len(self._held) > FAILED_SHARE * len(self._tried):
            causes = sorted({reason for _, _, reason in self._held})
            raise StepFailed(
                f"{len(self._held)} of {len(self._tried)} recordings failed in the {self._step} step, which points to the machine "
                f"and not to them: {'; '.join(causes[:3])}. They keep their state; mend the cause and run the step again."
            )
        for recording, state, reason in self._held:
            sentence = f"The {self._step} step failed on it: {reason}. Report it, or try again with `stt retry`."
            self._workspace.ledger.move(recording.sha256, state, State.FAILED, kind="error", reason=sentence)
