"""Runs every recording of the corpus through ``stt run`` and proves that each one is accounted for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

STT = [sys.executable, "-m", "stt_orchestration.cli"]
# Three of formats/ hold no sound and must be refused; everything else is speech, or at least audio.
REFUSED = {"mono.empty.wav", "mono.invalid.wav", "mono.zero.wav"}
SOUNDS = {".flac", ".wav", ".ogg", ".mp3", ".mp4", ".aac", ".aiff", ".webm", ".opus", ".m4a"}


def main() -> int:
    """Copy, run, count."""
    corpus = Path(os.environ["STT_TEST_CORPUS"])
    with tempfile.TemporaryDirectory() as place:
        data, home = Path(place, "data"), Path(place, "dagster")
        home.mkdir()
        shutil.copyfile("dagster.yaml", home / "dagster.yaml")
        environment = {**os.environ, "STT_DATA_DIR": str(data), "DAGSTER_HOME": str(home)}
        recordings = [path for path in corpus.rglob("*") if path.suffix in SOUNDS]
        for path in recordings:
            target = data / "raw_audio" / path.relative_to(corpus)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        code = subprocess.run([*STT, "run"], env=environment, check=False).returncode
        told = subprocess.run([*STT, "status", "--json"], env=environment, check=True, capture_output=True, text=True)
        status = json.loads(told.stdout)
        names = {path.name for path in recordings}
        expected = Counter(done=len(recordings) - len(REFUSED & names), quarantined=len(REFUSED & names))
        found = Counter({state: count for state, count in status["states"].items() if count})
        missing = [
            path
            for path in recordings
            if path.name not in REFUSED
            and not (data / "transcripts" / path.relative_to(corpus).parent / f"{path.name}.html").is_file()
        ]
    print(f"{len(recordings)} recordings: exit code {code}, inputs {status['inputs']}, states {dict(found)}")
    if (code, status["inputs"], found, missing) != (3, len(recordings), expected, []):
        print(f"Expected exit code 3, inputs {len(recordings)}, states {dict(expected)}; without a page: {missing}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
