"""The contestants: each process loads the same weights, waits for the line ``go``, and transcribes a list of files.

Run by the race as ``python -m benchmarks.lab.peers.contestants NAME``; a JSON line with the task comes in, ``ready`` goes out
when the model is loaded, and after a line ``go`` a JSON line with the texts. Loading the model is not counted; reading the
audio files is.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from speech.asr.runtime.allocator import keep_memory

Job = tuple[str, str]
"""A file and its language."""

Texts = dict[str, str]
BEAM = 5


def load_ours(task: dict[str, Any]) -> Callable[[Sequence[Job]], Texts]:
    """The engine as the steps run it: normalized first, several recordings at a time."""
    from speech.asr.engine import Engine, RecordingIdentity
    from speech.asr.model_pool import EngineConfig
    from speech.audio.normalize import normalize
    from speech.models.registry import get_default_cache_dir, resolve
    from speech.transcript import TranscribeOptions

    weights = resolve("base", model_dir=None, cache_dir=get_default_cache_dir())
    engine = Engine(weights, EngineConfig(workers=task["threads"]))
    engine.load()

    def transcribe(jobs: Sequence[Job]) -> Texts:
        with tempfile.TemporaryDirectory() as folder:

            def transcribe_file(numbered: tuple[int, Job]) -> tuple[str, str]:
                number, (file, language) = numbered
                wav = Path(folder, f"{number}.wav")
                normalize(Path(file), wav)
                options = TranscribeOptions(language=language, word_timestamps=task["words"], speed=task["speed"])
                return file, engine.transcribe(wav, RecordingIdentity(file, "0" * 64), options).text

            with ThreadPoolExecutor(engine.max_in_flight) as pool:
                return dict(pool.map(transcribe_file, enumerate(jobs)))

    return transcribe


def load_faster_whisper(task: dict[str, Any]) -> Callable[[Sequence[Job]], Texts]:
    """faster-whisper's sequential path, as its users type it."""
    from faster_whisper import WhisperModel

    keep_memory()
    model = WhisperModel(task["weights"], device="cpu", compute_type="int8", cpu_threads=task["threads"])

    def transcribe(jobs: Sequence[Job]) -> Texts:
        texts = {}
        for file, language in jobs:
            segments, _ = model.transcribe(
                file,
                language=language,
                beam_size=BEAM,
                condition_on_previous_text=False,
                word_timestamps=task["words"],
                vad_filter=task["vad"],
            )
            texts[file] = " ".join(segment.text.strip() for segment in segments)
        return texts

    return transcribe


def load_faster_whisper_batched(task: dict[str, Any]) -> Callable[[Sequence[Job]], Texts]:
    """faster-whisper's batched pipeline; its voice activity detection is always on."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    keep_memory()
    model = BatchedInferencePipeline(
        WhisperModel(task["weights"], device="cpu", compute_type="int8", cpu_threads=task["threads"])
    )

    def transcribe(jobs: Sequence[Job]) -> Texts:
        texts = {}
        for file, language in jobs:
            segments, _ = model.transcribe(
                file, language=language, beam_size=BEAM, batch_size=8, word_timestamps=task["words"]
            )
            texts[file] = " ".join(segment.text.strip() for segment in segments)
        return texts

    return transcribe


def load_whisper_ctranslate2(task: dict[str, Any]) -> Callable[[Sequence[Job]], Texts]:
    """whisper-ctranslate2, one call for all files of a language; the race takes its start off."""
    import subprocess

    def transcribe(jobs: Sequence[Job]) -> Texts:
        texts = {}
        with tempfile.TemporaryDirectory() as folder:
            for language in dict.fromkeys(language for _, language in jobs):
                files = [file for file, file_language in jobs if file_language == language]
                options = {
                    "model_directory": task["weights"],
                    "device": "cpu",
                    "compute_type": "int8",
                    "threads": task["threads"],
                    "beam_size": BEAM,
                    "language": language,
                    "condition_on_previous_text": False,
                    "word_timestamps": task["words"],
                    "output_dir": folder,
                    "output_format": "txt",
                    "verbose": False,
                }
                flags = [argument for name, value in options.items() for argument in (f"--{name}", str(value))]
                start = "from whisper_ctranslate2.whisper_ctranslate2 import main; main()"
                subprocess.run(
                    [sys.executable, "-c", start, *files, *flags],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                for file in files:
                    texts[file] = Path(folder, f"{Path(file).stem}.txt").read_text(encoding="utf-8")
        return texts

    return transcribe


CONTESTANTS = {
    "ours": load_ours,
    "plain": load_faster_whisper,
    "batched": load_faster_whisper_batched,
    "command_line": load_whisper_ctranslate2,
}


def main(name: str) -> int:
    """Load the model, wait for ``go``, transcribe, and print the texts."""
    task = json.loads(sys.stdin.readline())
    output, sys.stdout = sys.stdout, sys.stderr  # stdout is for results only; what libraries print goes to stderr
    transcribe = CONTESTANTS[name](task)
    print("ready", file=output, flush=True)
    sys.stdin.readline()
    print(json.dumps(transcribe([tuple(job) for job in task["jobs"]])), file=output, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
