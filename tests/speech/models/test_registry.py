"""Finding weights: the order of the sources, and errors that name every source that was tried."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

from speech.models.catalogue import ModelKind
from speech.models.errors import UnknownModelError, WrongWeightsError
from speech.models.registry import Weights, get_default_cache_dir, resolve
from speech.models.verify import compute_sha256
from tests.speech.models.conftest import (
    BASE,
    DETECTOR,
    EMBEDDING,
    Hub,
    copy_weights,
    flip_byte,
    resolve_in_process,
)


def test_the_cache_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert get_default_cache_dir() == Path("/somewhere/stt-orchestration/models")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert get_default_cache_dir() == Path.home() / ".cache/stt-orchestration/models"


def test_a_user_without_a_home_keeps_weights_in_the_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A user id without an entry in the user database, as ``docker run -u 12345`` gives one; with HOME unset and with HOME=/."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    kept = tmp_path / f"stt-{os.getuid()}/.cache/stt-orchestration/models"
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert get_default_cache_dir() == kept, "nothing can be made below it"
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    monkeypatch.delenv("HOME")
    assert get_default_cache_dir() == kept
    monkeypatch.setenv("HOME", str(tmp_path / "home/new"))
    assert get_default_cache_dir() == tmp_path / "home/new/.cache/stt-orchestration/models", "it can be made"


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


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A package faster_whisper, of an installation of one's own, that has only the file of the detector, which is the right one."""
    import faster_whisper

    assets = tmp_path / "site-packages" / "faster_whisper" / "assets"
    assets.mkdir(parents=True)
    (assets.parent / "__init__.py").write_text("raise RuntimeError('this package must not be imported')")
    shutil.copyfile(
        Path(faster_whisper.__file__).with_name("assets") / "silero_vad_v6.onnx", assets / "silero_vad_v6.onnx"
    )
    return assets


def resolve_detector(installed: Path, cache_dir: Path, **options: Any) -> dict[str, Any]:
    environment = {"PYTHONPATH": str(installed.parents[1]), "PIP_NO_INDEX": "1"}
    return resolve_in_process(DETECTOR.name, cache_dir, environment, kind="vad", **options)


def test_the_detector_comes_from_the_installed_package_and_nothing_is_fetched_or_imported(
    installed: Path, tmp_path: Path
) -> None:
    outcome = resolve_detector(installed, tmp_path / "cache")
    assert (outcome["source"], outcome["file"]) == ("installed package", str(installed / "silero_vad_v6.onnx"))
    assert outcome["sha256"] == compute_sha256(installed / "silero_vad_v6.onnx")
    assert not outcome["imported"]
    assert not (tmp_path / "cache").exists()
    assert len(outcome["lines"]) == 1


def test_the_installed_package_comes_before_the_model_directory(tmp_path: Path) -> None:
    """What is in the package costs no network, and is the same file if it is any use."""
    (tmp_path / "silero_vad_v6.onnx").write_bytes(b"another detector")
    weights = resolve(DETECTOR.name, kind="vad", model_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert weights.source == "installed package"


@pytest.mark.parametrize("damage", ["another file", "no file", "no package"])
def test_a_package_with_another_detector_is_reported_and_the_next_source_is_used(
    damage: str, installed: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "cache" / DETECTOR.name / DETECTOR.sha256 / "silero_vad_v6.onnx"
    kept.parent.mkdir(parents=True)
    shutil.copyfile(installed / kept.name, kept)
    if damage == "another file":
        flip_byte(installed / kept.name)
        reason = f"{installed / kept.name} is not the pinned file: expected 1245151 bytes with sha256 {DETECTOR.sha256}; found"
    elif damage == "no file":
        (installed / kept.name).unlink()
        reason = "found no such file"
    else:
        # A module of that name instead of a package.
        shutil.rmtree(installed.parent)
        installed.parent.with_suffix(".py").touch()
        reason = "faster_whisper is not installed"
    outcome = resolve_detector(installed, tmp_path / "cache")
    assert (outcome["source"], outcome["file"]) == ("local cache", str(kept))
    assert "silero-vad-v6: not from the installed package: " in outcome["lines"][0]
    assert reason in outcome["lines"][0]
    shutil.rmtree(tmp_path / "cache")
    unavailable = resolve_detector(installed, tmp_path / "cache")
    assert unavailable["error"] == "UnavailableWeightsError"
    assert reason in unavailable["message"]
    assert "model hub: no pinned repository" in unavailable["message"]


def test_a_model_directory_may_hold_weights_of_several_kinds(
    base_weights: Weights, speaker_cache: Path, tmp_path: Path
) -> None:
    """STT_MODEL_DIR is one folder: with the files of a Whisper model, and those for other work beside or below them."""
    inside = copy_weights(base_weights, tmp_path / "models")
    name = "wespeaker-resnet34-256.onnx"
    (inside / EMBEDDING.name).mkdir()
    for folder in (inside / EMBEDDING.name, inside):
        os.link(speaker_cache / EMBEDDING.name / EMBEDDING.sha256 / name, folder / name)
        weights = resolve(EMBEDDING.name, kind="embedding", model_dir=inside, cache_dir=tmp_path / "cache")
        assert weights == Weights(EMBEDDING.name, folder, EMBEDDING.sha256, None, "model directory")
        assert weights.file == folder / name
        whisper = resolve("base", model_dir=inside, cache_dir=tmp_path / "cache")
        assert (whisper.path, whisper.file) == (inside, inside / "model.bin")
        shutil.rmtree(inside / EMBEDDING.name, ignore_errors=True)


def test_a_wrong_speaker_model_in_a_model_directory_is_refused_and_named(speaker_cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / EMBEDDING.name
    folder.mkdir()
    (segmentation,) = speaker_cache.glob("pyannote-segmentation-3.0/*/*.onnx")
    shutil.copyfile(segmentation, folder / "wespeaker-resnet34-256.onnx")
    with pytest.raises(WrongWeightsError, match=r"26534365 bytes.*which is the model pyannote-segmentation-3\.0"):
        resolve(EMBEDDING.name, kind="embedding", model_dir=tmp_path, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("kind", ["embedding", None])
def test_a_model_directory_without_a_speaker_model_is_skipped(
    kind: ModelKind | None, base_weights: Weights, speaker_cache: Path
) -> None:
    lines: list[str] = []
    weights = resolve(
        EMBEDDING.name, kind=kind, model_dir=base_weights.path, cache_dir=speaker_cache, progress=lines.append
    )
    assert weights.source == "local cache"
    assert "has no wespeaker-resnet34-256.onnx, nor has a sub-folder wespeaker-resnet34" in lines[0]


@pytest.mark.parametrize(
    ("name", "kind", "parts"),
    [
        (
            "pyannote-segmentation-3.0",
            "whisper",
            [
                "is a speaker segmentation model, and a Whisper model is needed here. Known: tiny, ",
                "For a model of your own",
            ],
        ),
        (
            "base",
            "vad",
            ["base is a Whisper model, and a voice-activity detector is needed here. Known: silero-vad-v6."],
        ),
        ("./x", "embedding", ["No speaker embedding model is called './x'. Known: wespeaker-resnet34."]),
        (
            "bsae",
            None,
            ["No model is called 'bsae'. Known: tiny, ", "For other work than transcribing: silero-vad-v6, "],
        ),
    ],
)
def test_a_model_for_other_work_is_refused_with_those_that_fit(
    name: str, kind: ModelKind | None, parts: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UnknownModelError) as refused:
        resolve(name, kind=kind, model_dir=None, cache_dir=tmp_path)
    message = str(refused.value)
    assert [part for part in parts if part not in message] == [], message
    assert ("large-v3-turbo" in message) == (kind in ("whisper", None))
    assert ("silero" in message) == (kind in ("vad", None))
