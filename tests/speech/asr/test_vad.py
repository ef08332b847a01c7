"""Voice activity: the detector as a stream, and how its probabilities become spans."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from speech.asr.vad import (
    VAD_FRAME_S,
    VAD_FRAME_SAMPLES,
    VAD_MODEL,
    Span,
    VadOptions,
    VoiceActivityDetector,
    get_speech_spans,
    measure_union_s,
    merge_spans,
)
from speech.audio.normalize import SAMPLE_RATE, WavReader, normalize
from speech.models.catalogue import load_catalogue
from speech.models.registry import resolve

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
SPEECH, QUIET = 0.9, 0.1
OPTIONS = VadOptions()
UNPADDED_OPTIONS = VadOptions(speech_pad_s=0.0)
Samples = NDArray[np.float32]


def read_sample(sample: str, folder: Path) -> Samples:
    path = folder / "normalized.wav"
    normalize(SAMPLES / sample, path)
    with WavReader(path) as wav:
        return wav.read(0, wav.frames)[0]


@pytest.fixture(scope="module")
def jfk(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return read_sample("jfk.opus", tmp_path_factory.mktemp("jfk"))


def find_spans(samples: Samples) -> list[Span]:
    return get_speech_spans(VoiceActivityDetector().probabilities(samples), len(samples) / SAMPLE_RATE, OPTIONS)


def frames(*runs: tuple[float, int]) -> tuple[NDArray[np.float32], float]:
    """Probabilities as (value, how many frames) runs, and the length they stand for."""
    probabilities = np.concatenate([np.full(count, value, np.float32) for value, count in runs])
    return probabilities, len(probabilities) * VAD_FRAME_S


def to_frames(spans: list[Span]) -> list[tuple[int, int]]:
    return [(round(start / VAD_FRAME_S), round(end / VAD_FRAME_S)) for start, end in spans]


@given(cuts=st.lists(st.integers(1, 124), max_size=6))
@settings(max_examples=12)
def test_a_stream_in_windows_gives_the_same_probabilities_as_in_one_piece(jfk: Samples, cuts: list[int]) -> None:
    """Windows keep memory small for long recordings; they must not change the result."""
    samples = jfk[: 4 * SAMPLE_RATE - 100]  # the last frame is incomplete, as in most recordings
    stream = VoiceActivityDetector()
    parts = [
        stream.probabilities(window) for window in np.split(samples, [cut * VAD_FRAME_SAMPLES for cut in sorted(cuts)])
    ]
    np.testing.assert_allclose(np.concatenate(parts), VoiceActivityDetector().probabilities(samples), atol=1e-5)


def test_the_checked_file_gives_the_probabilities_of_faster_whispers_own_detector(jfk: Samples) -> None:
    """Bit for bit: the bytes of a transcript depend on them."""
    from faster_whisper.vad import get_vad_model

    samples = jfk[: 100 * VAD_FRAME_SAMPLES]
    expected = get_vad_model()(samples).tobytes()
    checked = resolve(VAD_MODEL, kind="vad", model_dir=None, cache_dir=Path("/nowhere"), allow_download=False)
    assert VoiceActivityDetector().probabilities(samples).tobytes() == expected
    assert VoiceActivityDetector(checked.file).probabilities(samples).tobytes() == expected


_DETECT = """
import numpy as np
from speech.asr.vad import VoiceActivityDetector

print(VoiceActivityDetector().probabilities(np.zeros(512, np.float32)).tobytes().hex())
"""


def test_a_changed_file_in_the_package_is_not_used(tmp_path: Path) -> None:
    """A package with a file that differs in one byte: the detector takes the right file from the cache, or fails and says why."""
    import faster_whisper

    package = shutil.copytree(Path(faster_whisper.__file__).parent, tmp_path / "site-packages" / "faster_whisper")
    asset = package / "assets" / "silero_vad_v6.onnx"
    right = asset.read_bytes()
    asset.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("STT_")} | {
        "PYTHONPATH": str(tmp_path / "site-packages"),
        "XDG_CACHE_HOME": str(tmp_path),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "",
    }

    def detect() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", _DETECT],
            env=environment,
            cwd=SAMPLES.parent,
            capture_output=True,
            text=True,
            check=False,
        )

    refused = detect()
    assert f"installed package: {asset} is not the pinned file" in refused.stderr
    assert "UnavailableWeightsError" in refused.stderr
    kept = get_cached_detector(tmp_path / "stt-orchestration" / "models")
    kept.parent.mkdir(parents=True)
    kept.write_bytes(right)
    expected = VoiceActivityDetector().probabilities(np.zeros(512, np.float32)).tobytes().hex()
    assert detect().stdout.strip() == expected


def get_cached_detector(cache_dir: Path) -> Path:
    pinned = load_catalogue()[VAD_MODEL]
    return cache_dir / pinned.name / pinned.sha256 / pinned.files[0].name


def test_every_started_frame_has_one_probability(jfk: Samples) -> None:
    assert [len(VoiceActivityDetector().probabilities(jfk[:n])) for n in (0, 1, 512, 513, 5120)] == [0, 1, 1, 2, 10]


def test_channels_processed_in_turns_do_not_affect_each_other(jfk: Samples) -> None:
    """Each channel has its own detector with its own state."""
    alone = VoiceActivityDetector().probabilities(jfk[: 64 * VAD_FRAME_SAMPLES])
    left, right = VoiceActivityDetector(), VoiceActivityDetector()
    in_turns = []
    for start in range(0, 64 * VAD_FRAME_SAMPLES, 16 * VAD_FRAME_SAMPLES):
        in_turns.append(left.probabilities(jfk[start : start + 16 * VAD_FRAME_SAMPLES]))
        right.probabilities(jfk[100_000 + start : 100_000 + start + 16 * VAD_FRAME_SAMPLES])
    np.testing.assert_allclose(np.concatenate(in_turns), alone, atol=1e-5)


@pytest.mark.parametrize("kind", ["digital", "converter"])
def test_silence_has_no_speech(kind: str, tmp_path: Path) -> None:
    """Neither zeros nor the noise of a converter: for both a model would invent phrases."""
    silence = np.zeros(30 * SAMPLE_RATE, np.float32) if kind == "digital" else read_sample("silence.wav", tmp_path)
    assert find_spans(silence) == []


def test_speech_between_silences_is_found_where_it_is(jfk: Samples) -> None:
    """From 7.6 s on the speaker says eight words, and ends half a second before the recording does."""
    silence = np.zeros(5 * SAMPLE_RATE, np.float32)
    words = jfk[round(7.5 * SAMPLE_RATE) :]
    spans = find_spans(np.concatenate([silence, words, silence, words, silence]))
    for begin in (5.0, 5.0 + 3.5 + 5.0):
        here = [(start, end) for start, end in spans if begin - 2 < start < begin + 5]
        assert begin - 0.4 <= here[0][0] <= begin + 0.6
        assert begin + 2.7 <= here[-1][1] <= begin + 3.5 + 0.5
        assert measure_union_s(here) > 2.5
        spans = spans[len(here) :]
    assert spans == []


@given(
    probabilities=arrays.arrays(np.float32, st.integers(0, 120), elements=st.floats(0, 1, width=32)),
    last=st.integers(1, VAD_FRAME_SAMPLES),
    options=st.builds(
        VadOptions,
        min_silence_s=st.sampled_from([0.0, 0.032, 0.16, 0.5]),
        min_speech_s=st.sampled_from([0.0, 0.096, 0.3]),
        speech_pad_s=st.sampled_from([0.0, 0.1, 0.4, 5.0]),
    ),
)
@settings(max_examples=400)
def test_spans_are_ordered_separate_and_inside_for_any_probabilities(
    probabilities: NDArray[np.float32], last: int, options: VadOptions
) -> None:
    seconds = max(0, (len(probabilities) - 1) * VAD_FRAME_SAMPLES + last) / SAMPLE_RATE
    spans = get_speech_spans(probabilities, seconds, options)
    assert all(0 <= start < end <= seconds for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    for start, end in spans:
        inside = probabilities[int(start / VAD_FRAME_S) : int(np.ceil(end / VAD_FRAME_S))]
        assert inside.max() >= options.threshold, "a span without speech in it"


@given(arrays.arrays(np.bool_, st.integers(0, 120)))
@settings(max_examples=200)
def test_no_run_of_speech_longer_than_a_click_is_lost(speaking: NDArray[np.bool_]) -> None:
    """The model only gets the spans, so nothing that is long enough for a word may be missing."""
    probabilities = np.where(speaking, SPEECH, QUIET).astype(np.float32)
    spans = get_speech_spans(probabilities, len(probabilities) * VAD_FRAME_S, OPTIONS)
    runs = np.flatnonzero(np.diff(np.concatenate([[0], speaking, [0]]))).reshape(-1, 2)
    for first, behind in runs:
        if behind - first >= 3:
            begin, end = first * VAD_FRAME_S + 1e-9, behind * VAD_FRAME_S - 1e-9
            assert any(start <= begin and end <= stop for start, stop in spans)


def test_a_short_silence_does_not_end_speech_and_a_long_one_does() -> None:
    """Five frames are 160 ms: four are a stop consonant, five are a pause."""
    assert to_frames(
        get_speech_spans(*frames((QUIET, 3), (SPEECH, 5), (QUIET, 4), (SPEECH, 5), (QUIET, 9)), UNPADDED_OPTIONS)
    ) == [(3, 17)]
    assert to_frames(
        get_speech_spans(*frames((QUIET, 3), (SPEECH, 5), (QUIET, 5), (SPEECH, 5), (QUIET, 9)), UNPADDED_OPTIONS)
    ) == [
        (3, 8),
        (13, 18),
    ]


def test_a_click_is_dropped_and_three_frames_are_kept_at_any_position() -> None:
    """The result must not depend on how seconds are rounded at a position."""
    for before in range(200):
        click = frames((QUIET, before), (SPEECH, 2), (QUIET, 9))
        assert get_speech_spans(*click, OPTIONS) == []
        word = frames((QUIET, before), (SPEECH, 3), (QUIET, 9))
        assert to_frames(get_speech_spans(*word, UNPADDED_OPTIONS)) == [(before, before + 3)], before


def test_a_middle_probability_continues_speech_but_does_not_start_it() -> None:
    """The end of a word is softer than its start."""
    assert get_speech_spans(*frames((QUIET, 9), (0.4, 20), (QUIET, 9)), OPTIONS) == []
    assert to_frames(get_speech_spans(*frames((QUIET, 9), (SPEECH, 5), (0.4, 20), (QUIET, 9)), UNPADDED_OPTIONS)) == [
        (9, 34)
    ]


def test_speech_is_padded_and_neighbours_meet_in_the_middle_of_their_gap() -> None:
    """Padding catches soft consonants. Overlapping spans would be transcribed twice."""
    spans = get_speech_spans(*frames((QUIET, 50), (SPEECH, 10), (QUIET, 10), (SPEECH, 10), (QUIET, 50)), OPTIONS)
    expected = [(50 * VAD_FRAME_S - 0.4, 65 * VAD_FRAME_S), (65 * VAD_FRAME_S, 80 * VAD_FRAME_S + 0.4)]
    np.testing.assert_allclose(spans, expected)


def test_speech_at_the_end_ends_with_the_recording() -> None:
    probabilities, _ = frames((QUIET, 20), (SPEECH, 20))
    ((_, end),) = get_speech_spans(probabilities, 39.5 * VAD_FRAME_S, OPTIONS)
    assert end == 39.5 * VAD_FRAME_S


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)), max_size=12))
def test_the_union_of_spans_is_everything_that_one_of_them_covers(spans: list[tuple[int, int]]) -> None:
    """Where speakers on two channels overlap, a second of both is one second of speech."""
    both = [(float(start), float(start + length)) for start, length in spans]
    covered = {second for start, length in spans for second in range(start, start + length)}
    union = merge_spans(both)
    assert {second for start, end in union for second in range(int(start), int(end))} == covered
    assert all(end < start for (_, end), (start, _) in pairwise(union))
    assert measure_union_s(both) == len(covered)
