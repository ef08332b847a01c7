"""Checkpoint of a long recording: the finished chunks, saved one by one.

A killed process loses at most the chunks in flight. The file is JSON Lines: a header with the key, then one line per chunk in
order. An incomplete last line, which a kill leaves, is ignored.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import TypeAdapter

from speech.asr.hypothesis import ChunkResult

_RESULT = TypeAdapter(ChunkResult)


class Checkpoint:
    """An append-only file of chunk results. Use as a context manager."""

    def __init__(self, path: Path, key: str) -> None:
        """Open the file or create it.

        Args:
            path: The file; its folder exists.
            key: Everything that the results depend on. ``read`` empties a file with another key.
        """
        self._header = json.dumps({"key": key}).encode() + b"\n"
        self._file = path.open("a+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self) -> list[ChunkResult]:
        """The results so far, in order.

        The file is truncated at the first line that cannot be read, and later results are appended there.
        """
        self._file.seek(0)
        results: list[ChunkResult] = []
        valid_bytes = 0
        if self._file.readline() == self._header:
            valid_bytes = len(self._header)
            for line in iter(self._file.readline, b""):
                if not line.endswith(b"\n"):
                    break
                try:
                    results.append(_RESULT.validate_json(line))
                except ValueError:
                    break
                valid_bytes += len(line)
        self._file.truncate(valid_bytes)
        if not valid_bytes:
            self._file.write(self._header)
        return results

    def append(self, result: ChunkResult) -> None:
        """Append a result; it is on the disk when this returns."""
        self._file.write(_RESULT.dump_json(result) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
