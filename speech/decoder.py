"""The model: loaded once, asked for languages and for the words of chunks. The only module that calls faster-whisper's model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from speech.allocator import keep_memory
from speech.audio import SAMPLE_RATE
from speech.context import WINDOW_S
from speech.heard import HeardSegment, HeardWord
from speech.language import likeliest
from speech.pinning import own_cores, started_threads_pinned
from speech.weights import Weights
from speech.wordtimes import trimmed

Device = Literal["cpu", "cuda"]
Samples = npt.NDArray[np.float32]
"""One channel at 16 kHz, between -1 and 1."""

_FRAMES_PER_S = 100
_SPARE_TOKENS = 24
_TOKENS_PER_S = 8
"""A decode ends after ``_SPARE_TOKENS`` and so many tokens a second of audio. The fastest speech of our corpora has 5; a loop would
otherwise run to 448 tokens before the guard sees it."""

_ENCODE_WHOLE_S = 20
"""Chunks are encoded together as long as their attention, which grows with the square of the context, takes no more memory than
that of one chunk of so many seconds: 32 MB, which ``speech.allocator`` keeps. Encoding more at once is no faster; writing is (our
measurement at 22 s of context: 1.20 s a chunk alone, 0.98 s by two, 0.87 s by four)."""

_MAX_TOKENS = 448  # Whisper's text window
_OPENING = "\"'“¿([{-"  # punctuation that belongs to the word behind it
_CLOSING = "\"'.。,，!！?？:：”)]}、"  # and to the word before it


class DeviceUnavailable(Exception):  # noqa: N818 - reads as what it says
    """The device that was asked for cannot run the model. Never answered by using another device."""


class Decoder:
    """A loaded model. Safe to call from as many threads as ``workers``."""

    def __init__(self, weights: Weights, device: Device, compute_type: str, workers: int) -> None:
        """Load the model.

        Args:
            weights: Checked weights.
            device: Where to run. A device that is not there is an error, never replaced by another.
            compute_type: CTranslate2's name, such as ``int8`` or ``float16``.
            workers: Calls answered at the same time. Each has one thread: a second thread inside one decode makes it four
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
        keep_memory()
        self.weights = weights
        self.workers = workers
        with started_threads_pinned(own_cores(workers) if device == "cpu" else None):
            self._model: Any = WhisperModel(
                str(weights.path),
                device=device,
                compute_type=compute_type,
                cpu_threads=1,
                num_workers=workers,
                local_files_only=True,
            )
        self._tokenizer = lru_cache(maxsize=None)(self._make_tokenizer)

    @property
    def multilingual(self) -> bool:
        """Whether the model knows more than English."""
        return bool(self._model.model.is_multilingual)

    def languages(self, batch: Sequence[Samples], context_s: int) -> Sequence[Mapping[str, float]]:
        """Probability of each language for each chunk."""
        return self._languages(self._encode(batch, context_s))

    def hear(
        self, batch: Sequence[Samples], context_s: int, language: str, beam_size: int, *, words: bool
    ) -> list[HeardSegment]:
        """Decode chunks together, each as one text without timestamps, with the encoder's work cut to ``context_s``.

        What is heard in a chunk does not depend on the others: matrix products quantize and multiply row by row.

        Args:
            batch: Chunks, each at most ``context_s`` long.
            context_s: Seconds the encoder is given; shorter chunks are padded with silence, which (unlike padding their
                features with zeros) costs no accuracy.
            language: Whisper's code.
            beam_size: Hypotheses kept while searching.
            words: Whether to find each word's times.
        """
        return self._write(self._encode(batch, context_s), batch, context_s, language, beam_size, words)

    def hear_unknown(
        self, batch: Sequence[Samples], context_s: int, beam_size: int, wanted: Collection[str], *, words: bool
    ) -> list[tuple[Mapping[str, float], HeardSegment | None]]:
        """Ask for each chunk's language and decode it in the likeliest if that is wanted, encoding it once."""
        encoded = self._encode(batch, context_s)
        answers = self._languages(encoded)
        spoken = [likeliest(answer) for answer in answers]
        if len(set(spoken)) == 1 and spoken[0] in wanted:
            return list(zip(answers, self._write(encoded, batch, context_s, spoken[0], beam_size, words), strict=True))
        # Words are aligned for one language at a time, so those of several are encoded again, each for itself.
        return [
            (
                answer,
                self.hear([samples], context_s, language, beam_size, words=words)[0] if language in wanted else None,
            )
            for samples, answer, language in zip(batch, answers, spoken, strict=True)
        ]

    def hear_carefully(
        self, samples: Samples, language: str, beam_size: int, *, words: bool, no_repeat: int = 0
    ) -> list[HeardSegment]:
        """Decode one chunk sequentially on the whole window, seeking on after each timestamp, unconditioned by what was before.

        The temperature stays 0: above it the model samples at random, CTranslate2 cannot be given a seed per call, and a rerun
        would not give the same bytes. ``no_repeat`` is the way out of a loop that needs no dice.

        Args:
            samples: At most 30 s.
            language: Whisper's code.
            beam_size: Hypotheses kept while searching.
            words: Whether to find each word's times.
            no_repeat: Forbid to write the same run of so many tokens twice; 0 allows it.
        """
        segments, _ = self._model.transcribe(
            samples,
            language=language,
            beam_size=beam_size,
            temperature=[0.0],
            condition_on_previous_text=False,
            word_timestamps=words,
            no_repeat_ngram_size=no_repeat,
            vad_filter=False,
        )
        return [_heard(segment) for segment in segments]

    def _encode(self, batch: Sequence[Samples], context_s: int) -> Any:
        import ctranslate2

        wanted = context_s * SAMPLE_RATE
        features = [
            self._model.feature_extractor(np.pad(samples[:wanted], (0, max(0, wanted - len(samples)))))
            for samples in batch
        ]
        stacked = np.ascontiguousarray(np.stack([f[:, : context_s * _FRAMES_PER_S] for f in features]))
        together = max(1, _ENCODE_WHOLE_S**2 // context_s**2) if self._model.model.device == "cpu" else len(batch)
        parts = [
            self._model.model.encode(ctranslate2.StorageView.from_array(stacked[i : i + together]), to_cpu=False)
            for i in range(0, len(batch), together)
        ]
        return parts[0] if len(parts) == 1 else ctranslate2.StorageView.from_array(np.concatenate(parts))

    def _languages(self, encoded: Any) -> list[dict[str, float]]:
        return [
            {token[2:-2]: float(probability) for token, probability in answers}
            for answers in self._model.model.detect_language(encoded)
        ]

    def _make_tokenizer(self, language: str) -> tuple[Any, list[int], list[int]]:
        from faster_whisper.tokenizer import Tokenizer
        from faster_whisper.transcribe import get_suppressed_tokens

        tokenizer = Tokenizer(self._model.hf_tokenizer, self.multilingual, task="transcribe", language=language)
        prompt = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        return tokenizer, prompt, list(get_suppressed_tokens(tokenizer, [-1]))

    def _write(
        self, encoded: Any, batch: Sequence[Samples], context_s: int, language: str, beam_size: int, words: bool
    ) -> list[HeardSegment]:
        seconds = [len(samples) / SAMPLE_RATE for samples in batch]
        tokenizer, prompt, suppressed = self._tokenizer(language)
        # From the context and not from the lengths: a chunk's limit must not depend on its companions.
        most = len(prompt) + _SPARE_TOKENS + _TOKENS_PER_S * context_s
        written = self._model.model.generate(
            encoded,
            [prompt] * len(seconds),
            beam_size=beam_size,
            max_length=min(_MAX_TOKENS, most),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=suppressed,
        )
        tokens = [[token for token in result.sequences_ids[0] if token < tokenizer.eot] for result in written]
        timed = self._align(encoded, seconds, tokens, tokenizer) if words else [()] * len(tokens)
        return [
            _segment(tokenizer.decode(ids).strip(), result, len(ids), duration, words_)
            for result, ids, duration, words_ in zip(written, tokens, seconds, timed, strict=True)
        ]

    def _align(
        self, encoded: Any, seconds: Sequence[float], tokens: Sequence[list[int]], tokenizer: Any
    ) -> list[tuple[HeardWord, ...]]:
        from faster_whisper.transcribe import merge_punctuations

        timed = []
        for output, duration, ids in zip(_rows(encoded, len(tokens)), seconds, tokens, strict=True):
            # One at a time: CTranslate2 normalizes attention over a whole batch, padding included, which moves words by a frame.
            (alignment,) = self._model.find_alignment(tokenizer, [ids], output, [round(duration * _FRAMES_PER_S)])
            merge_punctuations(alignment, _OPENING, _CLOSING)
            timed.append(
                trimmed(
                    HeardWord(w["word"], float(w["start"]), float(w["end"]), min(1.0, float(w["probability"])))
                    for w in alignment
                    if w["word"]
                )
            )
        return timed


def _rows(encoded: Any, count: int) -> list[Any]:
    """What the encoder made of each chunk of a batch, apart."""
    if count == 1:
        return [encoded]
    from ctranslate2 import DataType, Device, StorageView

    # numpy knows neither the GPU's memory nor bfloat16.
    rows = np.array(encoded.to_device(Device.cpu).to(DataType.float32))
    return [StorageView.from_array(rows[i : i + 1]) for i in range(count)]


def _segment(text: str, result: Any, tokens: int, seconds: float, words: tuple[HeardWord, ...]) -> HeardSegment:
    from faster_whisper.transcribe import get_compression_ratio

    length = len(result.sequences_ids[0])
    return HeardSegment(
        text=text,
        start=words[0].start if words else 0.0,
        end=words[-1].end if words else seconds,
        words=words,
        tokens=tokens,
        # The score is the mean over the tokens; the end token counts as one more, as in Whisper's own figure.
        avg_logprob=float(result.scores[0]) * length / (length + 1),
        compression_ratio=float(get_compression_ratio(text)) if text else 0.0,
        no_speech_prob=float(result.no_speech_prob),
    )


def _heard(segment: Any) -> HeardSegment:
    words = tuple(HeardWord(w.word, float(w.start), float(w.end), float(w.probability)) for w in segment.words or ())
    return HeardSegment(
        text=segment.text.strip(),
        start=float(segment.start),
        end=min(float(segment.end), WINDOW_S),
        words=words,
        tokens=len(segment.tokens),
        avg_logprob=float(segment.avg_logprob),
        compression_ratio=float(segment.compression_ratio),
        no_speech_prob=float(segment.no_speech_prob),
        temperature=float(segment.temperature),
    )
