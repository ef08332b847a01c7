"""How many of the 30 seconds of Whisper's window a chunk uses. Pure functions: no I/O, no state.

The encoder's time grows faster than the window (one core of our machine: 0.3 s for 10 s, 1.5 s for 30 s), so the full window is
wasteful for short speech.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

WINDOW_S = 30
"""Seconds of Whisper's full window; it was trained on this."""


@dataclass(frozen=True, slots=True)
class WindowPolicy:
    """How much longer than the speech the encoder's window is.

    Attributes:
        pad_s: Silence after the speech, in seconds. The model needs it to see the end; with 1 s it continues and repeats itself
            (measured on LibriSpeech test-other: 8 % WER with 3 s, several times that with 1 s).
        min_s: Shortest window, in seconds. In shorter ones words of very short recordings are lost.
    """

    pad_s: float
    min_s: int


SHORT = WindowPolicy(pad_s=3.0, min_s=8)
"""For wide-band English. Measured: no more word errors than with the full window."""

LONG = WindowPolicy(pad_s=5.0, min_s=10)
"""For telephone recordings and every language but English. Word error rate on our Vietnamese recordings: 31.5 %, with ``SHORT``
31.8 %, with faster-whisper 32.7 %; no difference between the two on telephone prompts."""

WHOLE = WindowPolicy(pad_s=float(WINDOW_S), min_s=WINDOW_S)
"""The window that Whisper was trained on, whatever the chunk's length."""

CONTEXT_STEP_S = 2
"""Windows are rounded up to a multiple of this many seconds, so that chunks of similar length can be decoded in one batch (four
together take two thirds of the time of four single ones). The window depends on the chunk only; the other chunks of the batch never
change its result."""


def compute_context_s(seconds: float, window_policy: WindowPolicy) -> int:
    """Encoder window for this many seconds of audio: whole seconds, at most ``WINDOW_S``."""
    window_s = max(seconds + window_policy.pad_s, window_policy.min_s)
    return min(WINDOW_S, math.ceil(window_s / CONTEXT_STEP_S - 1e-9) * CONTEXT_STEP_S)
