"""How much of Whisper's thirty-second window a chunk is given. Pure.

Encoding costs grow faster than the window: on one core of our machine 0.3 s for 10 s of context and 1.5 s for the whole window, so
the whole window is most of the waste on short speech.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

WINDOW_S = 30
"""What Whisper was trained on."""


@dataclass(frozen=True, slots=True)
class Room:
    """How much longer than the speech the context is.

    Attributes:
        pad_s: Silence behind the speech. The model takes it as the end; with 1 s it goes on and repeats what it has said (our
            measurement on LibriSpeech test-other: word error rate 8 % with 3 s, several times that with 1 s).
        least_s: Shorter contexts lose words of very short prompts.
    """

    pad_s: float
    least_s: int


SNUG = Room(pad_s=3.0, least_s=8)
"""For clear English: not one word error more than with the whole window."""

AMPLE = Room(pad_s=5.0, least_s=10)
"""For telephones and Vietnamese: 31.5 % word errors on our Vietnamese recordings, with ``SNUG`` 31.8 %, by faster-whisper 32.7 %;
no difference between the two on telephone prompts."""

STEP_S = 2
"""Contexts are whole steps of this, so that chunks of like length share one and can be decoded together (four
together take two thirds of the time of four apart). It depends on the chunk
alone: with whom it is decoded never changes what the model hears."""


def context_seconds(seconds: float, room: Room) -> int:
    """Context for so many seconds of audio, in whole seconds, at most ``WINDOW_S``."""
    wanted = max(seconds + room.pad_s, room.least_s)
    return min(WINDOW_S, math.ceil(wanted / STEP_S - 1e-9) * STEP_S)
