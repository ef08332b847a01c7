"""The encoder window: seconds of context for a chunk."""

from __future__ import annotations

import pytest

from speech.asr.encoder_window import LONG, SHORT, compute_context_s


@pytest.mark.parametrize(("seconds", "context"), [(0.1, 8), (5.0, 8), (5.01, 10), (12.0, 16), (26.9, 30), (30.0, 30)])
def test_the_context_is_the_speech_and_three_seconds_in_steps_of_two(seconds: float, context: int) -> None:
    assert compute_context_s(seconds, SHORT) == context
    assert compute_context_s(seconds, LONG) >= max(context, 10)
