"""The checkpoint of a long recording: results survive a kill; damaged and foreign content is dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from speech.asr.checkpoint import Checkpoint
from speech.asr.chunks import Chunk
from speech.asr.hypothesis import ChunkResult, DecodedSegment, SegmentHypothesis, WordHypothesis


def make_result(number: int) -> ChunkResult:
    chunk = Chunk(1, ((number * 20.0, number * 20.0 + 17.3), (number * 20.0 + 18.0, number * 20.0 + 19.1)))
    words = (WordHypothesis(" ask", 0.1, 0.42, 0.98), WordHypothesis(" not — größe", 0.42, 1.1, 1 / 3))
    segment = SegmentHypothesis("ask not — größe", 0.1, 1.1, words, 7, -0.123456789012, 1.01, 0.02)
    decoded = DecodedSegment(chunk, segment, "batched", ("improbable",))
    return ChunkResult((decoded,), (decoded,), is_suspect=bool(number % 2), is_rescued=False)


def write(path: Path, key: str, *numbers: int) -> None:
    with Checkpoint(path, key) as checkpoint:
        checkpoint.read()
        for number in numbers:
            checkpoint.append(make_result(number))


def test_results_are_read_back_exactly(tmp_path: Path) -> None:
    write(tmp_path / "j", "key", 0, 1)
    write(tmp_path / "j", "key", 2)
    with Checkpoint(tmp_path / "j", "key") as checkpoint:
        assert checkpoint.read() == [make_result(0), make_result(1), make_result(2)]


@pytest.mark.parametrize("lost", [1, 2, 40, 300])
def test_an_incomplete_last_line_is_dropped_and_written_again(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "j"
    write(path, "key", 0, 1)
    path.write_bytes(path.read_bytes()[:-lost])
    write(path, "key", 1)
    with Checkpoint(path, "key") as checkpoint:
        assert checkpoint.read() == [make_result(0), make_result(1)]


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b'{"key": "key"', b"{}\n{}\n"])
def test_a_file_that_is_not_a_checkpoint_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "j"
    path.write_bytes(content)
    write(path, "key", 0)
    with Checkpoint(path, "key") as checkpoint:
        assert checkpoint.read() == [make_result(0)]


def test_another_key_starts_an_empty_checkpoint(tmp_path: Path) -> None:
    """With other options or weights the results would be different."""
    write(tmp_path / "j", "key", 0, 1)
    with Checkpoint(tmp_path / "j", "other") as checkpoint:
        assert checkpoint.read() == []
