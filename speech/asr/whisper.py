"""The Whisper model: loads it, detects languages, decodes chunks. The only module that calls faster-whisper's model."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from speech.asr.encoder_window import WINDOW_S
from speech.asr.hypothesis import SegmentHypothesis, WordHypothesis
from speech.asr.language import get_likeliest_language
from speech.asr.runtime.affinity import choose_worker_cores, pin_started_threads
from speech.asr.runtime.allocator import keep_memory
from speech.asr.scripts import compute_compression_ratio, is_latin
from speech.asr.word_times import trim_stretched_words
from speech.audio.normalize import SAMPLE_RATE
from speech.models.registry import Weights
from speech.transcript import Task

Device = Literal["cpu", "cuda"]
Samples = npt.NDArray[np.float32]
"""float32 array of shape (n,): one channel at 16 kHz, full scale -1 to 1."""

_FRAMES_PER_S = 100  # feature frames a second: 10 ms each
_MAX_LENGTH_SPARE_TOKENS = 24
_MAX_LENGTH_TOKENS_PER_S = 8
"""Decoding stops after this many tokens per second of audio plus the spare ones (``_MAX_LENGTH_SPARE_TOKENS``). The fastest
speech of our corpora has 5 per second; a loop would otherwise run to 448 tokens before the hallucination checks see it."""

_MAX_ENCODE_CONTEXT_S = 20
"""Chunks are encoded in one batch while their attention matrices need at most the memory of one chunk of this many seconds (32 MB,
which ``speech.asr.runtime.allocator`` keeps; the size grows with the square of the window). Larger encoder batches are not
faster; larger decoder batches are (measured at a window of 22 s: 1.20 s per chunk alone, 0.98 s with two, 0.87 s with four)."""

_MAX_TOKENS = 448  # Whisper's text window
_MAX_PROMPT_TOKENS = _MAX_TOKENS // 2 - 1  # what stands before a text; the rest of the window is for the text
_PREPEND_PUNCTUATIONS = "\"'“¿([{-"  # punctuation joined to the following word
_APPEND_PUNCTUATIONS = "\"'.。,，!！?？:：”)]}、"  # punctuation joined to the previous word


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How a chunk is decoded.

    Attributes:
        language: Whisper's code of the language that is spoken.
        task: ``transcribe``, or ``translate`` to English.
        beam_size: Hypotheses kept while searching.
        word_timestamps: Whether to find each word's times.
        initial_prompt: Text that the model takes for what was said before: it gives names, spelling and style.
        hotwords: Words that are likely to be said.
    """

    language: str
    task: Task = "transcribe"
    beam_size: int = 5
    word_timestamps: bool = True
    initial_prompt: str | None = None
    hotwords: str | None = None

    @property
    def batch_key(self) -> Hashable:
        """What all rows of a batch must share: CTranslate2 wants prompts of one length, and one beam."""
        return self.beam_size, self.initial_prompt, self.hotwords

    def without_prompt(self) -> DecodeOptions:
        """The same without prompt and hotwords."""
        return replace(self, initial_prompt=None, hotwords=None)


class DeviceUnavailableError(Exception):
    """The device that was asked for cannot run the model. We never fall back to another device."""


class WhisperDecoder:
    """A loaded model. Safe to call from as many threads as ``workers``."""

    def __init__(self, weights: Weights, device: Device, compute_type: str, workers: int) -> None:
        """Load the model.

        Args:
            weights: Checked weights.
            device: Where to run. A missing device is an error; no other one is used instead.
            compute_type: CTranslate2's name, such as ``int8`` or ``float16``.
            workers: Calls that run at the same time. Each has one thread: a second thread inside one decode makes it four times
                slower (our measurement: base, int8, two x86 cores, a parallel region for every small matrix).

        Raises:
            DeviceUnavailableError: The device is not there, or cannot compute in that type.
        """
        import ctranslate2
        from faster_whisper import WhisperModel

        if device == "cuda" and ctranslate2.get_cuda_device_count() == 0:
            raise DeviceUnavailableError(
                "A GPU was asked for (STT_DEVICE=cuda) and none is visible here. Run this step where one is, check the driver with "
                "nvidia-smi, or set STT_DEVICE=cpu STT_COMPUTE_TYPE=int8 on purpose."
            )
        supported = ctranslate2.get_supported_compute_types(device)
        if compute_type not in supported:
            raise DeviceUnavailableError(
                f"This {device} cannot compute in {compute_type!r}; it can in {', '.join(sorted(supported))}. Set STT_COMPUTE_TYPE."
            )
        keep_memory()
        self.weights = weights
        self.workers = workers
        with pin_started_threads(choose_worker_cores(workers) if device == "cpu" else None):
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
    def is_multilingual(self) -> bool:
        """Whether the model knows more than English."""
        return bool(self._model.model.is_multilingual)

    def detect_languages(self, batch: Sequence[Samples], context_s: int) -> Sequence[Mapping[str, float]]:
        """For each chunk, language code -> probability (0 to 1).

        Args:
            batch: Chunks, each (n,) float32 at 16 kHz.
            context_s: Seconds of the encoder's window.
        """
        return self._detect_languages(self._encode(batch, context_s))

    def decode_batch(
        self, batch: Sequence[Samples], context_s: int, options: Sequence[DecodeOptions]
    ) -> list[SegmentHypothesis]:
        """Decode a batch of chunks, each as one text without timestamps, on a window of ``context_s`` seconds.

        The result for a chunk does not depend on the other chunks of the batch: quantization and matrix products work row by row.
        Word times are in seconds from the start of the chunk.

        Args:
            batch: Chunks, each (n,) float32 at 16 kHz with n <= context_s * 16,000.
            context_s: Seconds of the encoder's window; shorter chunks are padded with silence, which (unlike padding their features
                with zeros) costs no accuracy.
            options: For each chunk; their ``batch_key`` must be equal.
        """
        return self._generate(self._encode(batch, context_s), batch, context_s, options)

    def detect_language_and_decode(
        self,
        batch: Sequence[Samples],
        context_s: int,
        options: Sequence[DecodeOptions],
        accepted_languages: Sequence[Collection[str]],
    ) -> list[tuple[Mapping[str, float], SegmentHypothesis | None]]:
        """Detect each chunk's language, and decode the chunk in it if the language is one of those accepted for it.

        If all chunks are decoded, the encoder runs once.

        Args:
            batch: As in ``decode_batch``.
            context_s: As in ``decode_batch``.
            options: As in ``decode_batch``; the languages in them are replaced by those detected.
            accepted_languages: For each chunk.

        Returns:
            For each chunk, (language code -> probability, hypothesis or None).
        """
        encoded = self._encode(batch, context_s)
        probabilities = self._detect_languages(encoded)
        options = [
            replace(row, language=get_likeliest_language(probability))
            for row, probability in zip(options, probabilities, strict=True)
        ]
        accepted = [row.language in languages for row, languages in zip(options, accepted_languages, strict=True)]
        if all(accepted):
            return list(zip(probabilities, self._generate(encoded, batch, context_s, options), strict=True))
        # Copying rows out of the encoder's output costs about as much as encoding them again.
        return [
            (probability, self.decode_batch([samples], context_s, [row])[0] if is_accepted else None)
            for samples, probability, row, is_accepted in zip(batch, probabilities, options, accepted, strict=True)
        ]

    def decode_sequential(
        self, samples: Samples, options: DecodeOptions, *, no_repeat_ngram_size: int = 0
    ) -> list[SegmentHypothesis]:
        """Decode one chunk sequentially on the full window.

        As OpenAI's code does, it continues after the last timestamp, but without the previous text as a prompt. Times are in
        seconds from the start of the chunk.

        The temperature stays 0: higher values sample at random, CTranslate2 takes no seed per call, and a rerun would give other
        bytes. ``no_repeat_ngram_size`` ends loops without randomness.

        Args:
            samples: (n,) float32 at 16 kHz, n <= 480,000 (30 s).
            options: How to decode.
            no_repeat_ngram_size: Size of the token n-grams that may not be written twice; 0 allows them.
        """
        segments, _ = self._model.transcribe(
            samples,
            language=options.language,
            task=options.task,
            beam_size=options.beam_size,
            temperature=[0.0],
            condition_on_previous_text=False,
            initial_prompt=self._encode_previous_text(options) or None,
            word_timestamps=options.word_timestamps,
            no_repeat_ngram_size=no_repeat_ngram_size,
            vad_filter=False,
        )
        return _convert_segments(list(segments))

    def _encode(self, batch: Sequence[Samples], context_s: int) -> Any:
        """Pad or cut each (n,) float32 chunk to ``context_s`` seconds, compute log-mel features and encode them.

        The features are (batch, mels, context_s * 100) float32, 10 ms a frame, with 80 or 128 mels. The output is a StorageView
        (batch, context_s * 50, width), 20 ms a frame.
        """
        import ctranslate2

        sample_count = context_s * SAMPLE_RATE
        features = [
            self._model.feature_extractor(np.pad(samples[:sample_count], (0, max(0, sample_count - len(samples)))))
            for samples in batch
        ]
        stacked = np.ascontiguousarray(np.stack([f[:, : context_s * _FRAMES_PER_S] for f in features]))
        encoder_batch_size = (
            max(1, _MAX_ENCODE_CONTEXT_S**2 // context_s**2) if self._model.model.device == "cpu" else len(batch)
        )
        parts = [
            self._model.model.encode(
                ctranslate2.StorageView.from_array(stacked[i : i + encoder_batch_size]), to_cpu=False
            )
            for i in range(0, len(batch), encoder_batch_size)
        ]
        return parts[0] if len(parts) == 1 else ctranslate2.StorageView.from_array(np.concatenate(parts))

    def _detect_languages(self, encoded: Any) -> list[dict[str, float]]:
        """Language code -> probability (0 to 1) for each row of ``encoded``, a StorageView (batch, frames, width)."""
        return [
            {token[2:-2]: float(probability) for token, probability in token_probabilities}
            for token_probabilities in self._model.model.detect_language(encoded)
        ]

    def _make_tokenizer(self, language: str, task: Task) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        return Tokenizer(self._model.hf_tokenizer, self.is_multilingual, task=task, language=language)

    def _encode_previous_text(self, options: DecodeOptions) -> list[int]:
        """Token ids of hotwords and prompt, at most half of the text window: the hotwords' beginning, then the prompt's end."""

        def encode(text: str | None) -> list[int]:
            ids: list[int] = (
                self._model.hf_tokenizer.encode(f" {text.strip()}", add_special_tokens=False).ids if text else []
            )
            return ids

        hotwords, prompt = encode(options.hotwords)[:_MAX_PROMPT_TOKENS], encode(options.initial_prompt)
        room = _MAX_PROMPT_TOKENS - len(hotwords)
        return [*hotwords, *(prompt[-room:] if room else [])]

    def _make_prompt(self, options: DecodeOptions) -> list[int]:
        """Token ids that decoding begins with: previous text, then language and task."""
        before = self._encode_previous_text(options)
        tokenizer = self._tokenizer(options.language, options.task)
        begin = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        return [tokenizer.sot_prev, *before, *begin] if before else begin

    def _generate(
        self,
        encoded: Any,
        batch: Sequence[Samples],
        context_s: int,
        options: Sequence[DecodeOptions],
    ) -> list[SegmentHypothesis]:
        """Search the text of each row of ``encoded``, the output of ``_encode`` for ``batch``; word times as in ``_align``."""
        from faster_whisper.transcribe import get_suppressed_tokens

        seconds = [len(samples) / SAMPLE_RATE for samples in batch]
        tokenizers = [self._tokenizer(row.language, row.task) for row in options]
        prompts = [self._make_prompt(row) for row in options]
        suppressed = list(get_suppressed_tokens(tokenizers[0], [-1]))  # the same for every language and task
        # Computed from the window, not from the chunks' lengths: the limit must not depend on the other chunks of the batch.
        max_length = len(prompts[0]) + _MAX_LENGTH_SPARE_TOKENS + _MAX_LENGTH_TOKENS_PER_S * context_s
        results = self._model.model.generate(
            encoded,
            prompts,
            beam_size=options[0].beam_size,
            max_length=min(_MAX_TOKENS, max_length),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=suppressed,
        )
        tokens = [
            [token for token in result.sequences_ids[0] if token < tokenizer.eot]
            for result, tokenizer in zip(results, tokenizers, strict=True)
        ]
        timed = self._align(encoded, seconds, tokens, options)
        return [
            _make_hypothesis(tokenizer.decode(ids).strip(), result, len(ids), duration, words)
            for result, tokenizer, ids, duration, words in zip(results, tokenizers, tokens, seconds, timed, strict=True)
        ]

    def _align(
        self, encoded: Any, seconds: Sequence[float], tokens: Sequence[list[int]], options: Sequence[DecodeOptions]
    ) -> list[tuple[WordHypothesis, ...]]:
        """Find the words and their times, in seconds from the start of the chunk, for the chunks that want them.

        Args:
            encoded: StorageView (batch, frames, width), 20 ms a frame.
            seconds: Length of each chunk.
            tokens: Text token ids of each chunk.
            options: How each chunk was decoded.
        """
        from faster_whisper.transcribe import merge_punctuations

        timed: list[tuple[WordHypothesis, ...]] = [()] * len(tokens)
        timed_rows = [i for i, row in enumerate(options) if row.word_timestamps]
        rows = _split_encoded(encoded, len(tokens)) if timed_rows else []
        for i in timed_rows:
            tokenizer = self._tokenizer(options[i].language, options[i].task)
            # Align one chunk per call: for a batch, CTranslate2 normalizes the attention including padding, which shifts words by a
            # frame.
            frames = [round(seconds[i] * _FRAMES_PER_S)]
            (alignment,) = self._model.find_alignment(tokenizer, [tokens[i]], rows[i], frames)
            merge_punctuations(alignment, _PREPEND_PUNCTUATIONS, _APPEND_PUNCTUATIONS)
            timed[i] = trim_stretched_words(
                WordHypothesis(w["word"], float(w["start"]), float(w["end"]), min(1.0, float(w["probability"])))
                for w in alignment
                if w["word"]
            )
        return timed


def _split_encoded(encoded: Any, count: int) -> list[Any]:
    """Split a StorageView (count, frames, width) into ``count`` of (1, frames, width).

    They are float32 on the CPU; a single row stays as it is.
    """
    if count == 1:
        return [encoded]
    from ctranslate2 import DataType, Device, StorageView

    # numpy knows neither the GPU's memory nor bfloat16.
    rows = np.array(encoded.to_device(Device.cpu).to(DataType.float32))
    return [StorageView.from_array(rows[i : i + 1]) for i in range(count)]


def _make_hypothesis(
    text: str, result: Any, token_count: int, seconds: float, words: tuple[WordHypothesis, ...]
) -> SegmentHypothesis:
    length = len(result.sequences_ids[0])
    return SegmentHypothesis(
        text=text,
        start=words[0].start if words else 0.0,
        end=words[-1].end if words else seconds,
        words=words,
        token_count=token_count,
        # The score is a mean over the text tokens; Whisper's avg_logprob also counts the end token.
        avg_logprob=float(result.scores[0]) * length / (length + 1),
        compression_ratio=compute_compression_ratio(text),
        no_speech_prob=float(result.no_speech_prob),
    )


def _convert_segments(segments: Sequence[Any]) -> list[SegmentHypothesis]:
    """Segments of faster-whisper as ours, with their times in seconds from the start of the chunk."""
    ratios = {
        seek: compute_compression_ratio(text)
        for seek, group in groupby(segments, lambda segment: segment.seek)
        if not is_latin(text := "".join(segment.text for segment in group).strip())
    }
    # faster-whisper computes a ratio for each window, over bytes of UTF-8; for Latin letters ours is the same.
    return [_convert_segment(segment, ratios.get(segment.seek, segment.compression_ratio)) for segment in segments]


def _convert_segment(segment: Any, compression_ratio: float) -> SegmentHypothesis:
    words = tuple(
        WordHypothesis(w.word, float(w.start), float(w.end), float(w.probability)) for w in segment.words or ()
    )
    return SegmentHypothesis(
        text=segment.text.strip(),
        start=float(segment.start),
        end=min(float(segment.end), WINDOW_S),
        words=words,
        token_count=len(segment.tokens),
        avg_logprob=float(segment.avg_logprob),
        compression_ratio=float(compression_ratio),
        no_speech_prob=float(segment.no_speech_prob),
        temperature=float(segment.temperature),
    )
