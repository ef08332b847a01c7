"""The storage keys of all outputs of a name, and whether they can be written."""

from __future__ import annotations

from recordings.names import Folder
from recordings.steps import enriched, normalized, transcript
from recordings.workspace import Workspace


def output_keys(name: str) -> list[str]:
    """Every output that a name can have, in the order in which they are made."""
    outputs = [enriched.output(name, suffix) for suffix in enriched.SUFFIXES]
    return [normalized.wav_key(name), transcript.json_key(name), *outputs]


def no_place(workspace: Workspace, name: str) -> str | None:
    """A sentence that says why the outputs of a name cannot be written; None if they can.

    One reason is a path that clashes with another file or folder. A folder in the input folder counts as well: its recordings'
    outputs need a folder of the same name, and which of the two came first must not be left to chance.
    """
    for key in output_keys(name):
        below = key.split("/", 1)[1]
        why = workspace.store.refusal(key) or workspace.store.refusal(f"{Folder.RAW}/{below}")
        if why:
            return f"{workspace.store.locate(key)} cannot be written for {name}: {why}."
    return None
