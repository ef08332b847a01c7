"""The catalogue pins every model by the checksums of its files."""

from __future__ import annotations

import re

from speech.models.catalogue import load_catalogue


def test_every_model_is_pinned_down_to_the_bytes_of_its_weights() -> None:
    """Without a checksum, the owner of the repository could change the model of a running system."""
    for model in load_catalogue().values():
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
    assert {model.name for model in mirrored} == {"base", "tiny.en"}
    for model in mirrored:
        assert {name for package in model.mirror for name in package.members} == {file.name for file in model.files}
