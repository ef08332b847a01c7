"""How much memory normalizing takes, however long the recording: a ten-hour file in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

_NORMALIZE = """
import sys, time
from pathlib import Path
from benchmarks.platform.memory import peak_memory_mb
from speech.audio.normalize import normalize

imports_mb = peak_memory_mb()
began = time.monotonic()
normalized = normalize(Path(sys.argv[1]), Path(sys.argv[2]))
print(imports_mb, peak_memory_mb(), time.monotonic() - began, normalized.duration_s)
"""


@dataclass(frozen=True)
class LongFile:
    """Peak memory of the process in MB, before and after, with seconds of work and of audio."""

    imports_mb: float
    peak_mb: float
    seconds: float
    audio_s: float

    def table(self) -> str:
        """For a terminal."""
        return (
            f"{self.audio_s / 3600:.1f} h of FLAC normalized in {self.seconds:.1f} s ({self.audio_s / self.seconds:.0f} times "
            f"realtime), peak memory {self.peak_mb:.0f} MB, of which {self.imports_mb:.0f} MB are imports"
        )


def measure(hours: float = 10.0) -> LongFile:
    """Make the file (noise that comes and goes, 16 kHz mono), normalize it, look at the process."""
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place, "long.flac"), Path(place, "long.wav")
        noise = np.random.default_rng(0)
        minute = (noise.normal(0, 3000, 16_000 * 60) * (np.sin(np.linspace(0, 60, 16_000 * 60)) > 0)).astype(np.int16)
        with soundfile.SoundFile(source, "w", 16_000, 1, format="FLAC") as file:
            for _ in range(round(hours * 60)):
                file.write(minute)
        figures = subprocess.run(
            [sys.executable, "-c", _NORMALIZE, str(source), str(target)], check=True, capture_output=True, text=True
        ).stdout.split()
    imports_mb, peak_mb, seconds, audio_s = (float(value) for value in figures)
    return LongFile(imports_mb, peak_mb, seconds, audio_s)
