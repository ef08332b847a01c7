"""The model: loaded once, asked for languages and for the words of a chunk. The only module that calls faster-whisper's model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from speech.audio import SAMPLE_RATE
from speech.weights import Weights

Device = Literal["cpu", "cuda"]

TEMPERATURES = (0.0,)
"""Temperature 0 alone: above it the model samples at random, and a rerun would not give the same bytes."""


class DeviceUnavailable(Exception):  # noqa: N818 - reads as what it says
    """The device that was asked for cannot run the model. Never answered by using another device."""


@dataclass(frozen=True, slots=True)
class HeardWord:
    """A word with its times in seconds from the start of the chunk."""

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class HeardSegment:
    """What the model wrote for a part of a chunk, and its evidence (see ``speech.transcript.Segment``)."""

    text: str
    words: tuple[HeardWord, ...]
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    temperature: float


class Decoder:
    """A loaded model. Safe to call from as many threads as ``workers``."""

    def __init__(self, weights: Weights, device: Device, compute_type: str, workers: int) -> None:
        """Load the model.

        Args:
            weights: Checked weights.
            device: Where to run. A device that is not there is an error, never replaced by another.
            compute_type: CTranslate2's name, such as ``int8`` or ``float16``.
            workers: Chunks decoded at the same time. Each has one thread: a second thread inside one decode makes it four
                times slower (our measurement: base, int8, two x86 cores, a parallel region for every small matrix).

        Raises:
            DeviceUnavailable: The device is not there, or cannot compute in that type.
        """
        import ctranslate2
        from faster_whisper import WhisperModel

        if device == "cuda" and ctranslate2.get_cuda_device_count() == 0:
            raise DeviceUnavailable(
                "A GPU was asked for (STT_DEVICE=cuda) and none is visible here. Run this step where one is, check the driver with "
                "nvidia-smi, or set STT_DEVICE=cpu STT_COMPUTE_TYPE=int8 on purpose."
            )
        supported = ctranslate2.get_supported_compute_types(device)
        if compute_type not in supported:
            raise DeviceUnavailable(
                f"This {device} cannot compute in {compute_type!r}; it can in {', '.join(sorted(supported))}. Set STT_COMPUTE_TYPE."
            )
        self.weights = weights
        self.workers = workers
        self._model: Any = WhisperModel(
            str(weights.path),
            device=device,
            compute_type=compute_type,
            cpu_threads=1,
            num_workers=workers,
            local_files_only=True,
        )

    @property
    def multilingual(self) -> bool:
        """Whether the model knows more than English."""
        return bool(self._model.model.is_multilingual)

    def languages(self, samples: npt.NDArray[np.float32]) -> Mapping[str, float]:
        """Probability of each language for up to 30 s of one channel at 16 kHz."""
        _, _, probabilities = self._model.detect_language(samples[: 30 * SAMPLE_RATE])
        return dict(probabilities)

    def hear(self, samples: npt.NDArray[np.float32], language: str, beam_size: int) -> Sequence[HeardSegment]:
        """Decode one chunk the careful way: sequentially, seeking on after each timestamp, text unconditioned by what was before.

        Args:
            samples: One channel at 16 kHz, at most 30 s.
            language: Whisper's code.
            beam_size: Hypotheses kept while searching.
        """
        segments, _ = self._model.transcribe(
            samples,
            language=language,
            beam_size=beam_size,
            temperature=list(TEMPERATURES),
            condition_on_previous_text=False,
            word_timestamps=True,
            vad_filter=False,
        )
        return [_heard(segment) for segment in segments]


def _heard(segment: Any) -> HeardSegment:
    words = tuple(HeardWord(w.word, float(w.start), float(w.end), float(w.probability)) for w in segment.words or ())
    return HeardSegment(
        text=segment.text.strip(),
        words=words,
        avg_logprob=float(segment.avg_logprob),
        compression_ratio=float(segment.compression_ratio),
        no_speech_prob=float(segment.no_speech_prob),
        temperature=float(segment.temperature),
    )
