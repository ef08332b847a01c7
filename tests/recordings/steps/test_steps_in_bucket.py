"""The four steps over a bucket, with real speech and a real model: the result is that of a directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from recordings.batches import BatchLimits
from recordings.intake.bucket_scan import BucketScanCursor, BucketScanLimits
from recordings.intake.intake import form_batches, scan_bucket
from recordings.layout import Folder
from recordings.ledger.ledger import Ledger
from recordings.states import State
from recordings.steps import enriched, normalized, raw, transcript
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from recordings.workspace import Workspace
from speech.asr.engine import Engine
from speech.asr.model_pool import EngineConfig
from speech.models.registry import Weights
from speech.transcript import TranscribeOptions
from tests.recordings.backends import BucketBackend

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
OUTPUTS = (".html", ".json", ".srt", ".txt", ".vtt")


def run(workspace: Workspace, key: str, weights: Weights) -> dict[str, int]:
    """Run the steps as the assets do. Returns step -> how many recordings it worked on."""
    options = TranscribeOptions(language="en")
    config = EngineConfig(workers=2)
    factory = transcript.EngineFactory(weights.sha256, config, options, lambda: Engine(weights, config))
    reports = [
        raw.run(workspace, key, print),
        normalized.run(workspace, key, NormalizeOptions(), print),
        transcript.run(workspace, key, factory, print),
        enriched.run(workspace, key, EnrichOptions(), print),
    ]
    return {report.step: report.worked for report in reports}


def test_all_outputs_are_written_once_and_a_rerun_has_nothing_to_do(
    make_bucket: Callable[..., BucketBackend], tmp_path: Path, base_weights: Weights
) -> None:
    backend = make_bucket()
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    workspace = Workspace(backend.store, ledger)
    audio = (SAMPLES / "jfk.opus").read_bytes()
    backend.put("caf\u00e9/jfk.opus".encode(), audio)
    backend.put(b"again.opus", audio)
    backend.put(b"broken.mp3", (SAMPLES / "broken.mp3").read_bytes())

    scan = scan_bucket(workspace, BucketScanCursor(), BucketScanLimits())
    (key,) = form_batches(workspace, BatchLimits(), "test", max_batches=10)
    assert run(workspace, key, base_weights) == {"raw": 3, "normalized": 1, "transcript": 1, "enriched": 1}
    assert ledger.count_totals().is_consistent
    assert {state: n for state, n in ledger.count_totals().states.items() if n} == {State.DONE: 2, State.QUARANTINED: 1}
    names = ("again.opus", "caf\u00e9/jfk.opus")
    assert sorted(backend.list_files(Folder.ENRICHED)) == sorted(
        f"{name}{suffix}" for name in names for suffix in OUTPUTS
    )
    for name in names:
        with backend.store.fetch(f"{Folder.ENRICHED}/{name}.txt") as path:
            assert "ask not what your country can do for you" in path.read_text().lower()
        with backend.store.fetch(f"{Folder.TRANSCRIPTS}/{name}.json") as path:
            assert json.loads(path.read_text())["file"] == name
    assert backend.list_leftovers() == []

    assert set(run(workspace, key, base_weights).values()) == {0}
    assert scan_bucket(workspace, scan.cursor, BucketScanLimits()).arrived == ()
    ledger.close()
