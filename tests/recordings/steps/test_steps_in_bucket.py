"""The four steps over a bucket, with real sound and the real model: nothing but the store differs from a directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from recordings.batches import BatchLimits
from recordings.intake.bucket_scan import BucketScanCursor, BucketScanLimits
from recordings.intake.intake import form_batches, run_intake, scan_bucket
from recordings.layout import Folder
from recordings.ledger.ledger import Ledger
from recordings.states import State
from recordings.steps import enriched, normalized, raw, transcript
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from recordings.workspace import Workspace
from speech.asr.engine import Engine
from speech.models.registry import Weights
from speech.transcript import Options
from tests.recordings.backends import BucketPlace

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
OUTPUTS = (".html", ".json", ".srt", ".txt", ".vtt")


def run(workspace: Workspace, key: str, weights: Weights) -> dict[str, int]:
    """The steps, as the assets call them; step -> how many recordings it worked on."""
    options = Options(language="en")
    recipe = transcript.EngineFactory(weights.sha256, options, lambda: Engine(weights, options, workers=2))
    reports = [
        raw.run(workspace, key, print),
        normalized.run(workspace, key, NormalizeOptions(), print),
        transcript.run(workspace, key, recipe, print),
        enriched.run(workspace, key, EnrichOptions(), print),
    ]
    return {report.step: report.worked for report in reports}


def test_from_upload_to_outputs_once_and_a_rerun_finds_all_done(
    bucket_at: Callable[..., BucketPlace], tmp_path: Path, base_weights: Weights
) -> None:
    place = bucket_at()
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    workspace = Workspace(place.store, ledger)
    sound = (SAMPLES / "jfk.opus").read_bytes()
    place.put("caf\u00e9/jfk.opus".encode(), sound)
    place.put(b"again.opus", sound)
    place.put(b"broken.mp3", (SAMPLES / "broken.mp3").read_bytes())

    found = scan_bucket(workspace, BucketScanCursor(), BucketScanLimits())
    (key,) = form_batches(workspace, BatchLimits(), "test", max_batches=10)
    assert run(workspace, key, base_weights) == {"raw": 3, "normalized": 1, "transcript": 1, "enriched": 1}
    assert ledger.count_totals().is_consistent
    assert {state: n for state, n in ledger.counts().items() if n} == {State.DONE: 2, State.QUARANTINED: 1}
    names = ("again.opus", "caf\u00e9/jfk.opus")
    assert sorted(place.below(Folder.ENRICHED)) == sorted(f"{name}{suffix}" for name in names for suffix in OUTPUTS)
    for name in names:
        with place.store.fetch(f"{Folder.ENRICHED}/{name}.txt") as path:
            assert "ask not what your country can do for you" in path.read_text().lower()
        with place.store.fetch(f"{Folder.TRANSCRIPTS}/{name}.json") as path:
            assert json.loads(path.read_text())["file"] == name
    assert place.left_over() == []

    assert set(run(workspace, key, base_weights).values()) == {0}
    assert scan_bucket(workspace, found.cursor, BucketScanLimits()).arrived == ()
    ledger.close()


def test_a_command_delivers_into_the_bucket_and_makes_batches_of_all_that_is_there(
    bucket_at: Callable[..., BucketPlace], tmp_path: Path
) -> None:
    place = bucket_at()
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    workspace = Workspace(place.store, ledger)
    place.put(b"there.wav", b"x")
    told = run_intake(workspace, [SAMPLES / "jfk.opus"], BatchLimits(), "test")
    assert (told.unsettled, told.refused) == (0, ())
    (key,) = ledger.list_open_batches(float("inf"), 10)
    assert sorted(member.delivery.name for member in ledger.list_members(key)) == ["jfk.opus", "there.wav"]
    ledger.close()
