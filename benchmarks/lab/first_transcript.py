"""From ``make run`` in a fresh clone to the first transcript on disk: what a newcomer waits for."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class FirstTranscript:
    """Seconds from the command to each moment."""

    environment_s: float
    weights_s: float
    first_s: float
    all_s: float

    def table(self) -> str:
        """For a terminal."""
        return (
            f"environment ready {self.environment_s:6.1f} s\n"
            f"weights checked   {self.weights_s:6.1f} s\n"
            f"first transcript  {self.first_s:6.1f} s\n"
            f"command ended     {self.all_s:6.1f} s"
        )


def measure() -> FirstTranscript:
    """Clone the committed project, run its first command with an empty model cache, and watch what appears."""
    with tempfile.TemporaryDirectory() as place:
        clone, cache = Path(place, "clone"), Path(place, "cache")
        subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(clone)], check=True)  # noqa: S607
        kept_variables = {
            name: value for name, value in os.environ.items() if not name.startswith(("STT_", "VIRTUAL_ENV"))
        }
        environment = {**kept_variables, "STT_CACHE_DIR": str(cache), "HF_HOME": str(Path(place, "hub"))}
        environment.pop("DAGSTER_HOME", None)
        began = time.monotonic()
        reached_s: dict[str, float] = {}
        with subprocess.Popen(["make", "run"], cwd=clone, env=environment, stdout=subprocess.DEVNULL) as command:  # noqa: S607
            while command.poll() is None:
                for name, is_reached in _moments(clone, cache).items():
                    if is_reached:
                        reached_s.setdefault(name, time.monotonic() - began)
                time.sleep(0.2)
        ended = time.monotonic() - began
        if command.returncode:
            raise RuntimeError(f"make run ended with {command.returncode}; run it by hand to see why.")
    return FirstTranscript(reached_s["environment"], reached_s["weights"], reached_s["transcript"], ended)


def _moments(clone: Path, cache: Path) -> dict[str, bool]:
    return {
        "environment": (clone / ".venv" / "ready").exists(),
        "weights": any(cache.glob("base/*/model.bin")),
        "transcript": any((clone / "data" / "transcripts").rglob("*.txt")),
    }
