"""Duplicates: if the same bytes were delivered under several names, a step works once and its output is copied to every name."""

from __future__ import annotations

from collections.abc import Callable

from recordings.ledger.rows import Recording
from recordings.steps.runner import NAME_KIND, RENAME_REMEDY, RecordingGroup
from recordings.storage.base import UnwritableKeyError
from recordings.workspace import Workspace


def share_output(
    workspace: Workspace,
    group: RecordingGroup,
    step: str,
    key: str,
    output: Callable[[str], str],
    copy: Callable[[str, str], None],
) -> str | None:
    """Copy a finished output to the names of the group that lack it. A name that has no place for it is quarantined alone.

    Args:
        workspace: Store and ledger.
        group: The recording and its deliveries.
        step: Whose output it is.
        key: Under which work key.
        output: Name -> key of the output in the store.
        copy: Copies it from one name to another.

    Returns:
        A name that holds the output, or None when nobody does and the work has to be done again.
    """
    lacking = [
        m for m in group.members if m.placed.get(step) != key or not workspace.store.exists(output(m.delivery.name))
    ]
    if not lacking:
        return group.members[0].delivery.name
    holder = _find_holder(workspace, group.recording, step, key, output)
    if holder is None:
        return None
    for member in lacking:
        if member.delivery.name != holder:
            try:
                copy(holder, member.delivery.name)
            except UnwritableKeyError as error:
                sha256 = group.recording.sha256
                workspace.ledger.reject(member.delivery, NAME_KIND, f"{error} {RENAME_REMEDY}", bound_to=sha256)
            else:
                workspace.ledger.record_outputs(step, key, [member])
    return holder


def _find_holder(
    workspace: Workspace, recording: Recording, step: str, key: str, output: Callable[[str], str]
) -> str | None:
    names = (m.delivery.name for m in workspace.ledger.list_current(recording.sha256) if m.placed.get(step) == key)
    return next((name for name in names if workspace.store.exists(output(name))), None)
