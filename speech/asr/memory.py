"""How much memory an engine needs, and how many workers and how large batches fit into what is free.

The estimate is made of the model's own dimensions, for the full window of 30 s and for texts as long as the limit of tokens lets
them be. ``python -m benchmarks memory`` compares it with what processes really use.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from speech.asr.encoder_window import WINDOW_S
from speech.asr.model_pool import EngineConfig, EngineOptions, get_batch_size
from speech.machine.resources import FreeMemory, detect_resources, format_size
from speech.models.registry import Weights

_MIB = 2**20
_FLOAT_BYTES = 4
_FRAMES = WINDOW_S * 50  # of the encoder, 20 ms each
_TOKENS = 264  # the longest text of a window; see ``speech.asr.whisper``
_BEAMS = 5

_CONVERTING_BYTES = 6
_LOADED_BYTES = 60 * _MIB
_DETECTING_BYTES = 80 * _MIB
"""Beside the weights: while they are read, for each number of the largest matrix; afterwards, with the tokenizer; and for a thread
that looks for speech in a minute of audio. Measured with tiny.en and base in int8, and with random weights in the dimensions of
small and medium, on an AMD EPYC; ``python -m benchmarks memory`` repeats the first two."""

_RECORDING_BYTES, _CHANNEL_BYTES, _HOUR_BYTES = 2 * _MIB, 10 * _MIB, 20 * _MIB
"""Of a recording in work: a part that is always there; the minute that is being searched, for each channel; and the results of an
hour of speech, which wait for the end (measured, as above)."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Dimensions of a model, read from the head of its file.

    Attributes:
        layers: Of the decoder.
        width: Of a frame or token inside the model, numbers.
        heads: Of the encoder's attention.
        parameters: Numbers in all weights.
        largest: Numbers in the largest matrix.
        file_bytes: Size of the file.
    """

    layers: int
    width: int
    heads: int
    parameters: int
    largest: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class FittedEngine:
    """How an engine runs in the memory that is free.

    Attributes:
        config: With as many workers, and batches as large, as fit.
        free: What was found of memory.
        usable_bytes: Memory that recordings in work may use beside it.
        decided: What memory decided, as a sentence; None where it decided nothing.
        warning: What does not fit all the same, as a sentence with need and remedy; None where all fits.
    """

    config: EngineConfig
    free: FreeMemory
    usable_bytes: int
    decided: str | None = None
    warning: str | None = None


def read_shape(file: Path) -> ModelShape | None:
    """The dimensions of a model in CTranslate2's format, version 4 or later; None where the file is anything else.

    Only names and shapes are read, the numbers are skipped.
    """
    try:
        with file.open("rb") as source:
            shapes = dict(_read_variables(source))
        width = shapes["decoder/embeddings/weight"][0][1]
        layers = sum(name.startswith("decoder/layer_") and name.endswith("/ffn/linear_0/weight") for name in shapes)
        heads = int.from_bytes(shapes["encoder/num_heads"][1], "little")
    except (OSError, struct.error, UnicodeDecodeError, KeyError, IndexError):
        return None
    sizes = [math.prod(shape) for shape, _ in shapes.values()]
    return ModelShape(layers, width, heads, sum(sizes), max(sizes), file.stat().st_size)


def estimate_engine_bytes(shape: ModelShape, compute_type: str, workers: int, batch_size: int, detectors: int) -> int:
    """Memory of a loaded model at work on a CPU, at the worst, without the recordings: see ``estimate_recording_bytes``.

    Args:
        shape: Of the model.
        compute_type: CTranslate2's name.
        workers: Batches that are decoded at once.
        batch_size: Chunks in a batch.
        detectors: Calls that look for speech at once.
    """
    weights = shape.parameters * _count_bytes(compute_type)
    loading = max(shape.file_bytes, weights) + _CONVERTING_BYTES * shape.largest
    working = weights * 3 // 2 + _LOADED_BYTES + workers * _estimate_worker_bytes(shape, batch_size)
    return max(loading, working) + detectors * _DETECTING_BYTES


def estimate_recording_bytes(seconds: float, channels: int) -> int:
    """Memory of a recording in work, beside the engine.

    Args:
        seconds: Its length.
        channels: Of its normalized audio.
    """
    return _RECORDING_BYTES + channels * _CHANNEL_BYTES + round(channels * seconds / 3600 * _HOUR_BYTES)


def fit_engine(options: EngineOptions, weights: Weights, free: FreeMemory) -> FittedEngine:
    """As many workers, and batches as large, as fit into the free memory: at least one worker with batches of one.

    Workers come first: one worker more is worth more than larger batches. What the options say is kept, with a warning where it
    does not fit. On a GPU nothing is changed, since its memory is another one. Neither number changes a text.
    """
    config = options.make_config()
    shape = read_shape(weights.file)
    if shape is None:
        return FittedEngine(config, free, free.usable_bytes)
    if config.device == "cuda":
        return FittedEngine(config, free, max(0, free.usable_bytes - shape.file_bytes))
    cpus = detect_resources().cpus

    def estimate(config: EngineConfig) -> int:
        return estimate_engine_bytes(
            shape, config.compute_type, config.workers, get_batch_size(config), config.detectors or cpus
        )

    def estimate_all(config: EngineConfig) -> int:
        # With two recordings for each worker none is idle.
        return estimate(config) + 2 * config.workers * estimate_recording_bytes(0, 1)

    fitted, decided, warning = config, None, None
    if estimate_all(config) > free.usable_bytes:
        smaller = [
            replace(config, workers=workers, batch_size=batch_size, detectors=min(cpus, workers))
            for workers in ([config.workers] if options.workers else range(config.workers, 0, -1))
            for batch_size in ([options.batch] if options.batch else range(get_batch_size(config), 0, -1))
        ]
        fitted = next((each for each in smaller if estimate_all(each) <= free.usable_bytes), smaller[-1])
        if _name(fitted) != _name(config):
            decided = (
                f"Memory decides: {_name(fitted)} in place of {_name(config)}, which with {weights.name} would need about "
                f"{format_size(estimate_all(config))}. {free.sentence}"
            )
    if (need := estimate_all(fitted)) > free.usable_bytes:
        named = [
            name for name, value in (("STT_WORKERS", options.workers), ("STT_DECODE_BATCH", options.batch)) if value
        ]
        remedy = f"lower or unset {' and '.join(named)}, " if named else ""
        warning = (
            f"{weights.name} with {_name(fitted)} needs about {format_size(need)} of memory. {free.sentence} The step is tried "
            f"all the same, and may be killed for memory. Give it more memory, {remedy}or choose a smaller model with STT_MODEL."
        )
    return FittedEngine(fitted, free, max(0, free.usable_bytes - estimate(fitted)), decided, warning)


def _name(config: EngineConfig) -> str:
    workers = "1 worker" if config.workers == 1 else f"{config.workers} workers"
    return f"{workers} with batches of {get_batch_size(config)}"


def _estimate_worker_bytes(shape: ModelShape, batch_size: int) -> int:
    """The most that one worker uses, while it encodes one chunk or while it decodes a batch."""
    frame_bytes = shape.width * _FLOAT_BYTES
    # The encoder takes full windows one by one. Its attention has a matrix for each head, before and after the softmax.
    encoding = 2 * shape.heads * _FRAMES**2 * _FLOAT_BYTES
    # Keys and values of each layer, over the window for each chunk and over the text for each beam; the encoder's output.
    window_bytes = 2 * shape.layers * _FRAMES * frame_bytes
    text_bytes = 2 * shape.layers * _BEAMS * _TOKENS * frame_bytes
    decoding = batch_size * (window_bytes + text_bytes + 3 * _FRAMES * frame_bytes)
    return max(encoding, decoding) * 11 // 10  # the heap has gaps


def _count_bytes(compute_type: str) -> int:
    if compute_type.startswith("int8"):
        return 1
    return 4 if compute_type == "float32" else 2


def _read_variables(source: BinaryIO) -> list[tuple[str, tuple[tuple[int, ...], bytes]]]:
    """Names, shapes and, of a single number, its bytes."""
    (version,) = _unpack(source, "<I")
    if version < 4:
        raise KeyError(version)
    _read_name(source)
    _, count = _unpack(source, "<II")
    variables = []
    for _ in range(count):
        name = _read_name(source)
        (rank,) = _unpack(source, "<B")
        shape = _unpack(source, f"<{rank}I")
        _, size = _unpack(source, "<BI")
        value = b"" if rank else source.read(size)
        source.seek(size if rank else 0, 1)
        variables.append((name, (shape, value)))
    return variables


def _read_name(source: BinaryIO) -> str:
    (length,) = _unpack(source, "<H")
    return source.read(length).rstrip(b"\0").decode()


def _unpack(source: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, source.read(struct.calcsize(layout)))
