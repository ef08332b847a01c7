"""Files of results: output files are checked before a measurement begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.files import RefusedError, check_output_file


def test_checking_an_output_file_writes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "x.json"
    check_output_file(target, overwrite=False)
    assert list(tmp_path.iterdir()) == []
    target.parent.mkdir()
    target.write_text("mine")
    with pytest.raises(RefusedError, match="is there already"):
        check_output_file(target, overwrite=False)
    check_output_file(target, overwrite=True)
    assert target.read_text() == "mine"
