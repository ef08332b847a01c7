"""A user's folder to upload from."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A folder with recordings, references, links, and hidden, temporary and other files."""
    inbox = tmp_path / "inbox"
    (inbox / "calls" / "monday").mkdir(parents=True)
    (inbox / "calls" / ".trash").mkdir()
    for name in ("calls/1.wav", "calls/monday/1.wav", "calls/.trash/0.wav", "calls/.hidden.wav", "single.wav"):
        (inbox / name).write_text(name)
    for name in ("calls/2.wav.part", "calls/1.wav.ref.txt", "calls/2.wav.ref.txt", "calls/README.md"):
        (inbox / name).write_text(name)
    (inbox / "calls/monday/1.wav.ref.txt").symlink_to(inbox / "single.wav")
    (inbox / "calls" / "link.wav").symlink_to(inbox / "single.wav")
    return inbox
