"""The storage keys of all outputs of a name, and whether they can be written."""

from __future__ import annotations

from recordings.layout import Folder
from recordings.steps import enriched, normalized, transcript
from recordings.workspace import Workspace


def list_output_keys(name: str) -> list[str]:
    """Every output that a name can have, in the order in which they are made."""
    outputs = [enriched.export_key(name, suffix) for suffix in enriched.EXPORT_SUFFIXES]
    return [normalized.wav_key(name), transcript.json_key(name), *outputs]


def find_unwritable_output(workspace: Workspace, name: str) -> str | None:
    """A sentence that says why the outputs of a name cannot be written; None if they can.

    One reason is a path that clashes with another file or folder. A folder in the input folder counts as well: its recordings'
    outputs need a folder of the same name, and which of the two came first must not be left to chance.
    """
    for key in list_output_keys(name):
        below = key.split("/", 1)[1]
        why = workspace.store.get_unwritable_reason(key) or workspace.store.get_unwritable_reason(
            f"{Folder.RAW}/{below}"
        )
        if why:
            return f"{workspace.store.locate(key)} cannot be written for {name}: {why}."
    return None
