"""The journal of a long recording: what was heard survives a kill, what is torn or somebody else's does not count."""

from __future__ import annotations

from pathlib import Path

import pytest

from speech.chunks import Chunk
from speech.heard import HeardSegment, HeardWord
from speech.journal import Journal
from speech.listening import ChunkResult, Written


def result(number: int) -> ChunkResult:
    chunk = Chunk(1, ((number * 20.0, number * 20.0 + 17.3), (number * 20.0 + 18.0, number * 20.0 + 19.1)))
    words = (HeardWord(" ask", 0.1, 0.42, 0.98), HeardWord(" not — größe", 0.42, 1.1, 1 / 3))
    segment = HeardSegment("ask not — größe", 0.1, 1.1, words, 7, -0.123456789012, 1.01, 0.02)
    written = Written(chunk, segment, "batched", ("improbable",))
    return ChunkResult((written,), (written,), suspect=bool(number % 2), rescued=False)


def write(path: Path, key: str, *numbers: int) -> None:
    with Journal(path, key) as journal:
        journal.read()
        for number in numbers:
            journal.add(result(number))


def test_what_was_written_is_read_again_to_the_last_bit(tmp_path: Path) -> None:
    write(tmp_path / "j", "key", 0, 1)
    write(tmp_path / "j", "key", 2)
    with Journal(tmp_path / "j", "key") as journal:
        assert journal.read() == [result(0), result(1), result(2)]


@pytest.mark.parametrize("lost", [1, 2, 40, 300])
def test_a_torn_last_line_is_forgotten_and_written_anew(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "j"
    write(path, "key", 0, 1)
    path.write_bytes(path.read_bytes()[:-lost])
    write(path, "key", 1)
    with Journal(path, "key") as journal:
        assert journal.read() == [result(0), result(1)]


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b'{"key": "key"', b"{}\n{}\n"])
def test_a_journal_that_is_none_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "j"
    path.write_bytes(content)
    write(path, "key", 0)
    with Journal(path, "key") as journal:
        assert journal.read() == [result(0)]


def test_another_key_begins_anew(tmp_path: Path) -> None:
    """Other options, other weights: what was heard then is not what would be heard now."""
    write(tmp_path / "j", "key", 0, 1)
    with Journal(tmp_path / "j", "other") as journal:
        assert journal.read() == []
