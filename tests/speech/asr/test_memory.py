"""How many workers, and how large batches, fit into memory: with models of which only the head of the file exists."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from speech.asr.memory import estimate_engine_bytes, estimate_recording_bytes, fit_engine, read_shape
from speech.asr.model_pool import EngineConfig, EngineOptions, get_batch_size
from speech.machine.resources import FreeMemory, Resources
from speech.models.registry import Weights

MIB = 2**20
BASE = (6, 512, 8)
LARGE = (32, 1280, 20)


@pytest.fixture(autouse=True)
def _many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Resources(16, 64 * 2**30, "16 CPUs")
    monkeypatch.setattr("speech.asr.memory.detect_resources", lambda: found)
    monkeypatch.setattr("speech.asr.model_pool.detect_resources", lambda: found)


def write_model(folder: Path, layers: int, width: int, heads: int) -> Weights:
    """A model's file: names and shapes are right, and there is nothing behind them."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    def variable(name: str, shape: tuple[int, ...], value: bytes = b"") -> bytes:
        head = text(name) + struct.pack(f"<B{len(shape)}I", len(shape), *shape)
        return head + struct.pack("<BI", 4, len(value)) + value

    variables = [variable("decoder/embeddings/weight", (51_865, width))]
    variables += [variable("encoder/num_heads", (), struct.pack("<h", heads))]
    for layer in range(layers):
        for part, inner in (("encoder", 12), ("decoder", 16)):
            variables += [variable(f"{part}/layer_{layer}/ffn/linear_0/weight", (inner * width, width))]
    file = folder / "model.bin"
    head = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    file.write_bytes(head + b"".join(variables))
    return Weights("some-model", folder, "0" * 64, None, "model directory")


def have(mib: int) -> FreeMemory:
    return FreeMemory(mib * MIB, mib * MIB, "the limit of the cgroup")


def get_need(config: EngineConfig, weights: Weights) -> int:
    shape = read_shape(weights.file)
    assert shape is not None
    detectors = config.detectors or 16
    engine = estimate_engine_bytes(shape, config.compute_type, config.workers, get_batch_size(config), detectors)
    return engine + 2 * config.workers * estimate_recording_bytes(0, 1)


def test_the_dimensions_of_a_model_are_read_from_the_head_of_its_file(tmp_path: Path) -> None:
    shape = read_shape(write_model(tmp_path, *BASE).file)
    assert shape is not None
    assert (shape.layers, shape.width, shape.heads) == BASE
    assert shape.parameters == 51_865 * 512 + 6 * 28 * 512**2 + 1
    for damaged in (b"", b"\6\0\0\0\3\0ab\0", b"RIFF" * 20):
        (tmp_path / "model.bin").write_bytes(damaged)
        assert read_shape(tmp_path / "model.bin") is None


def test_with_enough_memory_nothing_changes(tmp_path: Path) -> None:
    weights = write_model(tmp_path, *BASE)
    for options in (EngineOptions(), EngineOptions(workers=3, batch=2), EngineOptions(device="cuda")):
        fitted = fit_engine(options, weights, have(64 * 1024))
        assert (fitted.config, fitted.decided, fitted.warning) == (options.make_config(), None, None)
    (tmp_path / "model.bin").write_bytes(b"not a model")
    fitted = fit_engine(EngineOptions(), weights, have(100))
    assert (fitted.config, fitted.decided, fitted.warning) == (EngineOptions().make_config(), None, None)


@pytest.mark.parametrize("model", [BASE, LARGE])
def test_as_many_workers_as_fit_and_always_one(tmp_path: Path, model: tuple[int, int, int]) -> None:
    weights = write_model(tmp_path, *model)
    workers = []
    for mib in (50, 700, 1024, 2048, 4096, 16_384, 32_768):
        fitted = fit_engine(EngineOptions(), weights, have(mib))
        workers.append(fitted.config.workers)
        if fitted.warning is None:
            assert get_need(fitted.config, weights) <= 0.9 * mib * MIB
            assert fitted.usable_bytes >= 2 * fitted.config.workers * estimate_recording_bytes(0, 1)
        else:
            assert (fitted.config.workers, fitted.config.batch_size) == (1, 1)
    assert workers == sorted(workers)
    assert workers[0] == 1
    assert workers[-1] == 16


def test_what_memory_decides_is_said(tmp_path: Path) -> None:
    fitted = fit_engine(EngineOptions(), write_model(tmp_path, *BASE), have(1024))
    assert fitted.warning is None
    assert fitted.decided is not None
    name = "1 worker" if fitted.config.workers == 1 else f"{fitted.config.workers} workers"
    assert f"Memory decides: {name} with batches of {fitted.config.batch_size} in place of 16 workers" in fitted.decided
    assert "1.0 GiB of 1.0 GiB of memory are free (the limit of the cgroup)" in fitted.decided


def test_a_setting_wins_with_a_warning_that_names_it(tmp_path: Path) -> None:
    weights = write_model(tmp_path, *BASE)
    fitted = fit_engine(EngineOptions(workers=12), weights, have(1024))
    assert (fitted.config.workers, fitted.config.batch_size) == (12, 1)
    assert fitted.warning is not None
    assert "lower or unset STT_WORKERS" in fitted.warning
    assert "STT_DECODE_BATCH" not in fitted.warning
    kept = fit_engine(EngineOptions(workers=2, batch=4), weights, have(600)).config
    assert (kept.workers, kept.batch_size) == (2, 4)


def test_what_cannot_fit_is_tried_with_a_warning(tmp_path: Path) -> None:
    fitted = fit_engine(EngineOptions(), write_model(tmp_path, *LARGE), have(1024))
    assert (fitted.config.workers, fitted.config.batch_size, fitted.usable_bytes) == (1, 1, 0)
    assert fitted.warning is not None
    for part in ("some-model with 1 worker with batches of 1 needs about", "1.0 GiB of 1.0 GiB", "STT_MODEL"):
        assert part in fitted.warning
