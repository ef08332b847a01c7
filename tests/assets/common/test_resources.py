"""Resources: the weights that a step's engine is made of."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from assets.common.resources import EngineResource
from speech.asr.engine import RecordingIdentity
from speech.audio.normalize import normalize
from speech.models.errors import UnknownModelError, WrongWeightsError
from speech.models.registry import Weights, resolve

SAMPLES = Path(__file__).resolve().parents[3] / "samples"


def make_resource(**changes: Any) -> EngineResource:
    values = {"model": "base", "model_dir": None, "device": "cpu", "compute_type": "int8", "workers": 1, "batch": None}
    return EngineResource(**values | changes)


def test_the_detector_is_found_and_checked_where_the_model_is(
    base_weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the file that a package has, the folder that the operator named counts, and is checked before anything is heard."""
    detector = resolve("silero-vad-v6", kind="vad", model_dir=None, cache_dir=tmp_path, allow_download=False)
    model_dir = tmp_path / "models"
    model_dir.mkdir()
    for file in base_weights.path.iterdir():
        (model_dir / file.name).symlink_to(file.resolve())
    named = shutil.copyfile(detector.file, model_dir / detector.file.name)
    resource = make_resource(model_dir=str(model_dir), cache_dir=str(tmp_path / "cache"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    factory = resource.make_engine_factory()
    assert factory.model_sha256 == base_weights.sha256
    named.write_bytes(b"another detector")
    normalize(SAMPLES / "silence.wav", tmp_path / "silence.wav")
    with factory.create() as engine, pytest.raises(Exception, match=re.escape(str(named))):
        engine.transcribe(tmp_path / "silence.wav", RecordingIdentity("silence.wav", "5" * 64))
    with pytest.raises(WrongWeightsError, match=r"silero-vad-v6: .*silero_vad_v6\.onnx \(model directory\)"):
        resource.make_engine_factory()


def test_weights_for_other_work_make_no_engine(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="wespeaker-resnet34 is a speaker embedding model"):
        make_resource(model="wespeaker-resnet34", cache_dir=str(tmp_path)).make_engine_factory()
