"""Why a model cannot be used, as sentences with a remedy."""

from __future__ import annotations

from pathlib import Path

from speech.models.catalogue import PinnedModel, load_catalogue


class WeightsError(Exception):
    """A model cannot be used. It is never the recording's fault: the step fails, and nothing is quarantined."""


class UnknownModelError(WeightsError):
    """The name is neither in the catalogue nor a folder."""

    def __init__(self, name: str) -> None:
        names = ", ".join(load_catalogue())
        super().__init__(
            f"No model is called {name!r}. Known: {names}. "
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


class SourceUnavailableError(Exception):
    """A source does not have the model; the message is the reason, and the next source is tried.

    No caller of ``speech.models.registry.resolve`` sees it.
    """
