"""A data folder with its ledger, over which tests run the four steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from recordings.batches import BatchLimits
from recordings.intake.intake import form_batches, scan_folder
from recordings.intake.settling import SettlingCursor, SettlingLimits
from recordings.layout import EXPORTS
from recordings.states import State
from recordings.steps import enriched, normalized, raw, transcript
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from recordings.steps.report import StepReport
from recordings.workspace import Workspace
from speech.asr.engine import Engine
from speech.asr.model_pool import EngineConfig
from speech.models.registry import Weights
from speech.transcript import TranscribeOptions

CONFIG = EngineConfig(workers=2)

PROJECT = Path(__file__).resolve().parents[2]
SAMPLES = PROJECT / "samples"
STEPS = ("raw", "normalized", "transcript", "enriched")
NO_WEIGHTS = Weights(name="none", path=Path("/nonexistent"), sha256="0" * 64, revision=None, source="model directory")
"""Weights for silent recordings, which never reach the model. Loading these would fail."""


@dataclass
class StepPipeline:
    """A data folder and what tests do with it.

    Attributes:
        data: The data folder.
        workspace: Its store and its ledger.
        weights: Weights of the engines that the transcript step creates.
        engines: Every engine that was created.
        seconds: Length of the silence that was written last.
    """

    data: Path
    workspace: Workspace
    weights: Weights = NO_WEIGHTS
    engines: list[Engine] = field(default_factory=list)
    seconds: float = 0.1

    @property
    def raw(self) -> Path:
        """The input folder."""
        return self.data / "raw_audio"

    def write_silence(self, *names: str) -> None:
        """Write silence under these names. Each call uses a new length, so its bytes differ from those of earlier calls."""
        self.seconds += 0.01
        for name in names:
            path = self.raw / name
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.zeros(round(16_000 * self.seconds), np.int16), 16_000, format="WAV")

    def write_speech(self, *names: str) -> None:
        """Write the same three seconds of speech under these names."""
        samples, rate = soundfile.read(SAMPLES / "jfk.opus", dtype="int16")
        for name in names:
            path = self.raw / name
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, samples[round(7.5 * rate) :], rate, format="WAV")

    def form_batch(self) -> str:
        """Scan the input folder and form one batch of everything that waits. Returns its key."""
        cursor = SettlingCursor()
        for _ in range(2):
            cursor = scan_folder(self.workspace, cursor, SettlingLimits()).cursor
        (key,) = form_batches(self.workspace, BatchLimits(), "test", max_batches=10)
        return key

    def run(
        self,
        key: str,
        steps: Sequence[str] = STEPS,
        *,
        normalize: NormalizeOptions | None = None,
        options: TranscribeOptions | None = None,
        config: EngineConfig = CONFIG,
        enrich: EnrichOptions | None = None,
    ) -> dict[str, StepReport]:
        """Run steps over a batch. Returns step -> its report."""
        asr_options = options or TranscribeOptions(language="en")
        factory = transcript.EngineFactory(self.weights.sha256, config, asr_options, lambda: self.create_engine(config))
        runs = {
            "raw": lambda: raw.run(self.workspace, key, ignore_progress),
            "normalized": lambda: normalized.run(
                self.workspace, key, normalize or NormalizeOptions(), ignore_progress, workers=2
            ),
            "transcript": lambda: transcript.run(self.workspace, key, factory, ignore_progress),
            "enriched": lambda: enriched.run(
                self.workspace, key, enrich or EnrichOptions(), ignore_progress, workers=2
            ),
        }
        return {step: runs[step]() for step in steps}

    def create_engine(self, config: EngineConfig) -> Engine:
        self.engines.append(Engine(self.weights, config))
        return self.engines[-1]

    def get_states(self, key: str) -> dict[str, State]:
        """Name -> state of each delivery of a batch."""
        return {member.delivery.name: member.state for member in self.workspace.ledger.list_members(key)}

    def get_outcome(self, name: str) -> tuple[State, str | None, str]:
        """State, kind and reason of the newest delivery of a name."""
        (member, *_) = self.workspace.ledger.find(name)
        kind = member.recording.kind if member.recording else member.kind
        return member.state, kind, member.shown_reason or ""

    def list_outputs(self) -> dict[str, int]:
        """Path below the data folder -> modification time in nanoseconds, of every output."""
        folders = ("input_audio", "whisper_json", "transcripts")
        files = (p for folder in folders for p in (self.data / folder).rglob("*") if p.is_file())
        return {str(path.relative_to(self.data)): path.stat().st_mtime_ns for path in files}


def ignore_progress(line: str) -> None:
    """A progress callback that does nothing."""


def count_worked(reports: dict[str, StepReport]) -> dict[str, int]:
    """Step -> number of recordings it worked on. The raw step is left out."""
    return {step: report.worked for step, report in reports.items() if step != "raw"}


def expected_outputs(name: str) -> set[str]:
    """Paths of all outputs of a finished recording."""
    return {
        f"input_audio/{name}.wav",
        f"whisper_json/{name}.json",
        *(f"transcripts/{name}{export.suffix}" for export in EXPORTS),
    }


def write_five(pipeline: StepPipeline) -> list[str]:
    """Write five silent recordings with different bytes, and return their names."""
    names = [f"{i}.wav" for i in range(5)]
    for name in names:
        pipeline.write_silence(name)
    return names
