"""Files that differ from the pinned ones are refused, and no folder is changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from speech.models.catalogue import load_catalogue
from speech.models.errors import WrongWeightsError
from speech.models.registry import Weights, resolve
from tests.speech.models.conftest import BASE, copy_weights, flip_byte


def test_one_flipped_bit_in_a_model_directory_is_reported_with_all_details(
    base_weights: Weights, tmp_path: Path
) -> None:
    model_dir = copy_weights(base_weights, tmp_path / "models", separate_file="model.bin")
    flip_byte(model_dir / "model.bin")
    with pytest.raises(WrongWeightsError) as caught:
        resolve("base", model_dir=model_dir, cache_dir=tmp_path / "cache")
    wrong = caught.value
    assert wrong.file == model_dir / "model.bin"
    assert wrong.expected == f"145217532 bytes with sha256 {BASE.sha256}"
    assert wrong.actual.startswith("145217532 bytes with sha256 ")
    assert BASE.sha256 not in wrong.actual
    assert wrong.source == "model directory"
    assert "unset STT_MODEL_DIR" in wrong.remedy
    assert all(part in str(wrong) for part in (str(wrong.file), wrong.expected, wrong.actual, wrong.remedy))


def test_an_incomplete_model_directory_is_an_error_and_is_not_changed(base_weights: Weights, tmp_path: Path) -> None:
    model_dir = copy_weights(base_weights, tmp_path / "models", separate_file="tokenizer.json")
    os.truncate(model_dir / "tokenizer.json", 1000)
    with pytest.raises(WrongWeightsError, match=r"tokenizer\.json.*found 1000 bytes"):
        resolve("base", model_dir=model_dir, cache_dir=tmp_path / "cache")
    (model_dir / "tokenizer.json").unlink()
    with pytest.raises(WrongWeightsError, match=r"tokenizer\.json.*found no such file"):
        resolve("base", model_dir=model_dir, cache_dir=tmp_path / "cache")
    assert not (model_dir / "tokenizer.json").exists()


def test_files_of_another_model_are_refused(base_weights: Weights, tmp_path: Path) -> None:
    """A transcript by ``base`` that names ``tiny`` could not be reproduced."""
    with pytest.raises(WrongWeightsError, match="which is the model base"):
        resolve("tiny", model_dir=base_weights.path, cache_dir=tmp_path / "cache")


def test_files_of_the_right_size_with_other_bytes_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny.en"
    folder.mkdir(parents=True)
    for file in load_catalogue()["tiny.en"].files:
        with (folder / file.name).open("wb") as empty:
            empty.truncate(file.size)
    with pytest.raises(WrongWeightsError, match=r"model\.bin.*75537502 bytes with sha256 (?!1a5afae0)"):
        resolve("tiny.en", model_dir=folder.parent, cache_dir=tmp_path / "cache")
