"""The journal of a long recording: what was heard survives a kill, what is torn or somebody else's does not count."""

from __future__ import annotations

from pathlib import Path

import pytest

from speech.asr.checkpoint import Checkpoint
from speech.asr.chunks import Chunk
from speech.asr.hypothesis import ChunkResult, DecodedSegment, SegmentHypothesis, WordHypothesis


def result(number: int) -> ChunkResult:
    chunk = Chunk(1, ((number * 20.0, number * 20.0 + 17.3), (number * 20.0 + 18.0, number * 20.0 + 19.1)))
    words = (WordHypothesis(" ask", 0.1, 0.42, 0.98), WordHypothesis(" not — größe", 0.42, 1.1, 1 / 3))
    segment = SegmentHypothesis("ask not — größe", 0.1, 1.1, words, 7, -0.123456789012, 1.01, 0.02)
    written = DecodedSegment(chunk, segment, "batched", ("improbable",))
    return ChunkResult((written,), (written,), is_suspect=bool(number % 2), is_rescued=False)


def write(path: Path, key: str, *numbers: int) -> None:
    with Checkpoint(path, key) as journal:
        journal.read()
        for number in numbers:
            journal.append(result(number))


def test_what_was_written_is_read_again_to_the_last_bit(tmp_path: Path) -> None:
    write(tmp_path / "j", "key", 0, 1)
    write(tmp_path / "j", "key", 2)
    with Checkpoint(tmp_path / "j", "key") as journal:
        assert journal.read() == [result(0), result(1), result(2)]


@pytest.mark.parametrize("lost", [1, 2, 40, 300])
def test_a_torn_last_line_is_forgotten_and_written_anew(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "j"
    write(path, "key", 0, 1)
    path.write_bytes(path.read_bytes()[:-lost])
    write(path, "key", 1)
    with Checkpoint(path, "key") as journal:
        assert journal.read() == [result(0), result(1)]


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b'{"key": "key"', b"{}\n{}\n"])
def test_a_journal_that_is_none_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "j"
    path.write_bytes(content)
    write(path, "key", 0)
    with Checkpoint(path, "key") as journal:
        assert journal.read() == [result(0)]


def test_another_key_begins_anew(tmp_path: Path) -> None:
    """Other options, other weights: what was heard then is not what would be heard now."""
    write(tmp_path / "j", "key", 0, 1)
    with Checkpoint(tmp_path / "j", "other") as journal:
        assert journal.read() == []
