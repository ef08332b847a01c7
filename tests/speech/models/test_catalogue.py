"""The catalogue pins every model by the checksums of its files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from speech.models import catalogue
from speech.models.catalogue import KIND_NAMES, ModelKind, load_catalogue


def test_every_model_is_pinned_down_to_the_bytes_of_its_weights() -> None:
    """Without a checksum, the owner of the repository could change the model of a running system."""
    for model in load_catalogue("whisper").values():
        assert model.files[0].name == "model.bin"
        assert re.fullmatch(r"[0-9a-f]{40}", model.revision)
        assert {"config.json", "tokenizer.json"} < {file.name for file in model.files}
        for file in model.files:
            assert (file.size is None) == (file.sha256 is None)
            assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)


def test_models_with_128_mel_bands_have_a_preprocessor_config() -> None:
    """faster-whisper uses 80 bands if preprocessor_config.json is missing, and the large-v3 models need 128."""
    family = [model for name, model in load_catalogue().items() if "large-v3" in name]
    assert len(family) == 4
    for model in family:
        assert "preprocessor_config.json" in {file.name for file in model.files}


def test_every_file_of_a_mirrored_model_is_in_one_of_its_packages() -> None:
    mirrored = [model for model in load_catalogue().values() if model.mirror]
    assert {model.name for model in mirrored if model.kind == "whisper"} == {"base", "tiny.en"}
    assert {model.kind for model in mirrored} == set(KIND_NAMES)
    for model in mirrored:
        assert {name for package in model.mirror for name in package.members} == {file.name for file in model.files}


def test_weights_for_other_work_are_pinned_whole_with_licence_and_notice() -> None:
    """Some of these licences ask for the name of the author wherever the weights are passed on."""
    notices = Path(catalogue.__file__).with_name("NOTICES.md").read_text(encoding="utf-8")
    others = [model for model in load_catalogue().values() if model.kind != "whisper"]
    assert {model.name for model in others} == {"silero-vad-v6", "pyannote-segmentation-3.0", "wespeaker-resnet34"}
    for model in others:
        assert all(file.size and re.fullmatch(r"[0-9a-f]{64}", file.sha256 or "") for file in model.files)
        assert (model.repository is None) == (model.revision is None)
        assert model.origin
        (notice,) = [line for line in notices.splitlines() if line.startswith(f"| `{model.name}` |")]
        assert f"[{model.licence}]" in notice


def test_a_kind_has_only_its_own_models_and_those_for_other_work_speak_no_language() -> None:
    """Lists of Whisper models, such as those that translate, are made from these."""
    assert {*KIND_NAMES} == {*get_args(ModelKind)}
    assert {kind: [*load_catalogue(kind)] for kind in KIND_NAMES if kind != "whisper"} == {
        "vad": ["silero-vad-v6"],
        "segmentation": ["pyannote-segmentation-3.0"],
        "embedding": ["wespeaker-resnet34"],
    }
    able = {model.kind for model in load_catalogue().values() if model.translates or model.multilingual}
    assert able == {"whisper"}
    with pytest.raises(ValueError, match="'emotions'"):
        load_catalogue("emotions")  # type: ignore[arg-type]
