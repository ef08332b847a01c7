"""The page about outputs explains every flag of a segment."""

from __future__ import annotations

from pathlib import Path

import pytest

from speech.asr.hallucination import SUSPICIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "outputs.md"


@pytest.mark.parametrize("flag", SUSPICIONS)
def test_a_flag_of_a_segment_is_explained(flag: str) -> None:
    assert f"`{flag}`" in PAGE.read_text(encoding="utf-8")
