"""Speech synthesis with eSpeak NG, so that there is speech of many languages with a known text."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import espeakng_loader
import numpy as np
from numpy.typing import NDArray

_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: the callback gets the samples before the call returns
_BY_CHARACTER = 1  # espeak_POSITION_TYPE
_UTF8 = 1
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def synthesize(lines: Sequence[tuple[str, str]]) -> list[NDArray[np.float64]]:
    """Say several texts.

    The library keeps a state: after other texts, a text sounds a little different. So only the first call in a process gives the
    same samples each time.

    Args:
        lines: Of each text eSpeak NG's name of a voice, such as ``en-us`` or ``cmn``, and the text, in the script of the language.

    Returns:
        For each text samples of shape (n,) at ``RATE``, full scale 1.

    Raises:
        RuntimeError: The library does not start, or refuses a voice or a text.
    """
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    if library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0) != RATE:
        raise RuntimeError("eSpeak NG does not start.")
    parts: list[NDArray[np.float64]] = []

    @_Callback
    def collect(samples: ctypes._Pointer[ctypes.c_short], count: int, events: int) -> int:
        if samples and count:
            parts.append(np.ctypeslib.as_array(samples, (count,)) / 32_768)
        return 0

    library.espeak_SetSynthCallback(collect)
    said = []
    try:
        for voice, text in lines:
            encoded = text.encode() + b"\0"
            parts.clear()
            refused = library.espeak_SetVoiceByName(voice.encode()) or library.espeak_Synth(
                encoded, len(encoded), 0, _BY_CHARACTER, 0, _UTF8, None, None
            )
            if refused or not parts:
                raise RuntimeError(f"eSpeak NG does not say {text!r} with the voice {voice!r}.")
            said.append(np.concatenate(parts))
    finally:
        library.espeak_Terminate()
    return said


RATE = 22_050
