"""The ``raw`` step: read what was delivered, say whose bytes they are, and refuse what is no recording."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from speech.audio import probe

from recordings.ledger import Member
from recordings.states import State
from recordings.steps.common import BytesChanged, delivered_bytes, log
from recordings.steps.report import StepReport, Tally
from recordings.workspace import Workspace
from speech.errors import BadAudio

_LEFT_OVER_S = 24 * 3600  # a file half written for that long has no writer any more


def run(workspace: Workspace, batch_key: str, say: Callable[[str], None]) -> StepReport:
    """Register the bytes of every delivery of a batch.

    Args:
        workspace: Store and ledger.
        batch_key: Which batch.
        say: Takes a line about progress.

    Raises:
        LookupError: There is no such batch.
        OSError, LedgerError: The machine's trouble.
    """
    workspace.store.sweep(_LEFT_OVER_S)
    members = workspace.ledger.members(batch_key)
    tally = Tally(say, len(members))
    for member in members:
        if member.state is State.RECEIVED and not member.superseded:
            _register(workspace, member)
            tally.add(member.delivery.name, 0.0)
        elif member.recording is None and member.superseded and member.kind is None:
            reason = f"{member.delivery.name} was replaced by newer bytes before it was read."
            workspace.ledger.reject(member.delivery, "replaced", reason)
    return tally.report("raw", batch_key, workspace.ledger)


def _register(workspace: Workspace, member: Member) -> None:
    delivery = member.delivery
    try:
        with delivered_bytes(workspace, delivery) as path:
            sha256 = _sha256(path)
            bad = _what_is_wrong(path)
    except BytesChanged as changed:
        log.warning("%s is quarantined: %s", delivery.name, changed)
        workspace.ledger.reject(delivery, "changed", str(changed))
        return
    recording = workspace.ledger.bind(delivery, sha256, delivery.size)
    if bad is not None and recording.state is State.RECEIVED:
        log.warning("%s is quarantined: %s", delivery.name, bad.sentence)
        workspace.ledger.move(sha256, State.RECEIVED, State.QUARANTINED, kind=bad.kind, reason=bad.sentence)


def _what_is_wrong(path: Path) -> BadAudio | None:
    try:
        probe(path)
    except BadAudio as bad:
        return bad
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
