"""What the model is asked: one typed request per kind of work, with the type of its result.

Requests with equal batch keys are answered together, by one call of the model. Requests of different recordings, languages and
tasks may be in one batch; a result never depends on the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from speech.asr.hypothesis import SegmentHypothesis
from speech.asr.whisper import DecodeOptions, Samples, WhisperDecoder

R = TypeVar("R")
LanguageProbabilities = Mapping[str, float]
"""Whisper's language code -> probability, 0 to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Request(ABC, Generic[R]):
    """A request to the model; its result has type ``R``.

    Attributes:
        read_samples: Gives the audio, (n,) float32 at 16 kHz. Called when the request's turn has come, so that waiting requests
            hold no audio.
        seconds: Length of the audio.
    """

    read_samples: Callable[[], Samples]
    seconds: float

    @property
    @abstractmethod
    def batch_key(self) -> Hashable:
        """Requests with equal keys share a batch; None: never."""

    @staticmethod
    @abstractmethod
    def run_batch(model: WhisperDecoder, requests: Sequence[Any], batch: Sequence[Samples]) -> Sequence[Any]:
        """Run requests of one batch key on their audio; a result for each, in order."""


@dataclass(frozen=True, slots=True, eq=False)
class DetectLanguage(Request[LanguageProbabilities]):
    """Which language is spoken?

    Attributes:
        context_s: Seconds of the encoder's window.
    """

    context_s: int

    @property
    def batch_key(self) -> Hashable:
        """The window."""
        return DetectLanguage, self.context_s

    @staticmethod
    def run_batch(
        model: WhisperDecoder, requests: Sequence[DetectLanguage], batch: Sequence[Samples]
    ) -> Sequence[LanguageProbabilities]:
        """See ``WhisperDecoder.detect_languages``."""
        return model.detect_languages(batch, requests[0].context_s)


@dataclass(frozen=True, slots=True, eq=False)
class DecodeChunk(Request[SegmentHypothesis]):
    """What is said, as one text on a shortened window?

    Attributes:
        context_s: Seconds of the encoder's window.
        options: How to decode.
    """

    context_s: int
    options: DecodeOptions

    @property
    def batch_key(self) -> Hashable:
        """The window, and what all rows of a batch share."""
        return DecodeChunk, self.context_s, self.options.batch_key

    @staticmethod
    def run_batch(
        model: WhisperDecoder, requests: Sequence[DecodeChunk], batch: Sequence[Samples]
    ) -> Sequence[SegmentHypothesis]:
        """See ``WhisperDecoder.decode_batch``."""
        return model.decode_batch(batch, requests[0].context_s, [request.options for request in requests])


@dataclass(frozen=True, slots=True, eq=False)
class DetectAndDecode(Request[tuple[LanguageProbabilities, SegmentHypothesis | None]]):
    """Which language is spoken, and what, if it is one of those accepted?

    Attributes:
        context_s: Seconds of the encoder's window.
        options: How to decode; the language in it is ignored.
        accepted_languages: Whisper's codes.
    """

    context_s: int
    options: DecodeOptions
    accepted_languages: frozenset[str]

    @property
    def batch_key(self) -> Hashable:
        """The window, and what all rows of a batch share."""
        return DetectAndDecode, self.context_s, self.options.batch_key

    @staticmethod
    def run_batch(
        model: WhisperDecoder, requests: Sequence[DetectAndDecode], batch: Sequence[Samples]
    ) -> Sequence[tuple[LanguageProbabilities, SegmentHypothesis | None]]:
        """See ``WhisperDecoder.detect_language_and_decode``."""
        return model.detect_language_and_decode(
            batch,
            requests[0].context_s,
            [request.options for request in requests],
            [request.accepted_languages for request in requests],
        )


@dataclass(frozen=True, slots=True, eq=False)
class DecodeSequential(Request[list[SegmentHypothesis]]):
    """What is said, segment by segment on the whole window?

    Attributes:
        options: How to decode.
        no_repeat_ngram_size: See ``WhisperDecoder.decode_sequential``.
    """

    options: DecodeOptions
    no_repeat_ngram_size: int = 0

    @property
    def batch_key(self) -> Hashable:
        """None: decoded alone."""
        return None

    @staticmethod
    def run_batch(
        model: WhisperDecoder, requests: Sequence[DecodeSequential], batch: Sequence[Samples]
    ) -> Sequence[list[SegmentHypothesis]]:
        """See ``WhisperDecoder.decode_sequential``."""
        return [
            model.decode_sequential(samples, request.options, no_repeat_ngram_size=request.no_repeat_ngram_size)
            for request, samples in zip(requests, batch, strict=True)
        ]


Work = Generator[Request[Any], Any, R]
"""Work that needs the model: it yields requests, is sent their results, and returns an ``R``."""


def ask(request: Request[R]) -> Work[R]:
    """Yield a request and return its result: with ``yield from`` before it, the result has the right type."""
    result: R = yield request
    return result
