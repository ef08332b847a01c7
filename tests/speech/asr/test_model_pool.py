"""One loaded model for many calls: each gets the text it gets alone, in whatever company, order and hurry."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from speech.asr.calls import Call, CallCancelledError, DeadlineExceededError, Priority
from speech.asr.engine import Engine, PartialResult, RecordingIdentity
from speech.asr.requests import DecodeChunk, ask
from speech.asr.whisper import DecodeOptions
from speech.audio.normalize import SAMPLE_RATE, normalize
from speech.transcript import TranscribeOptions, Transcript
from tests.speech.asr.helpers import SAMPLES, extract_words, transcribe

CALLS = 200

OPTIONS = (
    TranscribeOptions(),
    TranscribeOptions(language="en"),
    TranscribeOptions(language="en", beam_size=1, word_timestamps=False),
    TranscribeOptions(language="vi"),
    TranscribeOptions(language="en", hotwords="Gutenberg printing"),
    TranscribeOptions(language="en", initial_prompt="fellow Americans, ask not"),
    TranscribeOptions(language="de", task="translate"),
)
OFTEN = (0, 1, 2, 4, 5)
RARE = {7: 6, 13: 3, 33: 3}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seconds of each of two recordings: 16 kHz, one channel."""
    folder = tmp_path_factory.mktemp("clips")
    paths = []
    for name, start_s in (("jfk.opus", 0.2), ("lj-printing.mp3", 0.0)):
        normalize(SAMPLES / name, folder / name)
        samples, _ = soundfile.read(folder / name, dtype="int16")
        start = round(start_s * SAMPLE_RATE)
        path = folder / f"{name}.wav"
        soundfile.write(path, samples[start : start + 2 * SAMPLE_RATE], SAMPLE_RATE, subtype="PCM_16")
        paths.append(path)
    return paths


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven minutes of speech: 25 chunks, when eight are decoded at the same time."""
    folder = tmp_path_factory.mktemp("long")
    normalize(SAMPLES / "jfk.opus", folder / "jfk.wav")
    samples, _ = soundfile.read(folder / "jfk.wav", dtype="int16")
    soundfile.write(folder / "long.wav", np.tile(samples, 40), SAMPLE_RATE, subtype="PCM_16")
    return folder / "long.wav"


Alone = dict[tuple[int, int], str]


@pytest.fixture(scope="module")
def alone(engine: Engine, clips: list[Path]) -> Alone:
    """The transcript of each clip with each set of options, one after the other."""
    return {
        (clip, options): transcribe(engine, clips[clip], OPTIONS[options]).to_json()
        for clip in range(len(clips))
        for options in range(len(OPTIONS))
    }


def run_together(
    engine: Engine, clips: list[Path], requests: list[tuple[int, int, Priority, bool]]
) -> list[Future[Transcript]]:
    """Start calls at the same time; those marked are cancelled a moment later."""
    calls = [Call(priority) for _, _, priority, _ in requests]
    with ThreadPoolExecutor(len(requests)) as pool:
        futures = [
            pool.submit(partial(transcribe, engine, clips[clip], OPTIONS[options], call=call))
            for (clip, options, _, _), call in zip(requests, calls, strict=True)
        ]
        for (_, _, _, cancelled), call in zip(requests, calls, strict=True):
            if cancelled:
                call.cancel()
    return futures


def assert_as_alone(
    futures: list[Future[Transcript]], requests: list[tuple[int, int, Priority, bool]], alone: Alone
) -> None:
    for future, (clip, options, _, cancelled) in zip(futures, requests, strict=True):
        error = future.exception()
        if error is None:
            assert future.result().to_json() == alone[clip, options]
        else:
            assert cancelled
            assert isinstance(error, CallCancelledError)


@pytest.mark.timeout(300)
def test_two_hundred_mixed_calls_each_get_the_text_they_get_alone(
    engine: Engine, clips: list[Path], alone: Alone
) -> None:
    assert len(set(alone.values())) == len(alone), "the options make a difference"
    requests = [
        # Every tenth is cancelled. Only a few are decoded one by one on the whole window: translations, and the wrong language.
        (i % len(clips), RARE.get(i % 50, OFTEN[i % len(OFTEN)]), Priority(i // 3 % 2), i % 10 == 9)
        for i in range(CALLS)
    ]
    futures = run_together(engine, clips, requests)
    assert_as_alone(futures, requests, alone)
    assert sum(future.exception() is None for future in futures) >= CALLS * 9 // 10


@pytest.mark.timeout(300)
@settings(max_examples=3)
@given(
    requests=st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, len(OPTIONS) - 1), st.sampled_from(Priority), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_is_asked_together_is_answered_as_alone(
    engine: Engine, clips: list[Path], alone: Alone, requests: list[tuple[int, int, Priority, bool]]
) -> None:
    assert_as_alone(run_together(engine, clips, requests), requests, alone)


def test_a_short_call_is_done_long_before_a_long_one_that_came_first(
    engine: Engine, clips: list[Path], long_clip: Path
) -> None:
    """25 chunks wait; the short call has to wait for the batches that are being decoded, and for no other."""
    begun = threading.Event()
    call = Call()
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(
            partial(
                engine.transcribe,
                long_clip,
                RecordingIdentity("long", "5" * 64),
                OPTIONS[1],
                call=call,
                on_progress=lambda share: begun.set() if share else None,
            )
        )
        assert begun.wait(60)
        transcribe(engine, clips[0], OPTIONS[1])
        assert not long.done()
        call.cancel()
        with pytest.raises(CallCancelledError):
            long.result()


def test_partial_results_are_the_segments_in_order(engine: Engine, tmp_path: Path, long_clip: Path) -> None:
    samples, _ = soundfile.read(long_clip, dtype="int16")
    path = tmp_path / "minute.wav"
    soundfile.write(path, samples[: 44 * SAMPLE_RATE], SAMPLE_RATE, subtype="PCM_16")
    partial_results: list[PartialResult] = []
    transcript = engine.transcribe(
        path, RecordingIdentity("minute", "5" * 64), OPTIONS[1], on_partial=partial_results.append
    )
    segments = [segment for result in partial_results for segment in result.segments]
    assert [segment.text for segment in segments] == [segment.text for segment in transcript.segments]
    shares = [result.progress for result in partial_results]
    assert len(shares) > 1
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_cancelled_call_ends_and_its_waiting_requests_are_given_up(
    engine: Engine, clips: list[Path], long_clip: Path
) -> None:
    call = Call(Priority.INTERACTIVE)  # its chunks are decoded in order, so the first partial result comes early
    with pytest.raises(CallCancelledError, match="cancelled by its caller"):
        engine.transcribe(
            long_clip, RecordingIdentity("long", "5" * 64), OPTIONS[1], call=call, on_partial=lambda _: call.cancel()
        )
    decoded_s = call.decoded_s
    assert decoded_s < 440, "its last chunks were never given to the model"
    transcribe(engine, clips[0], OPTIONS[1])
    assert call.decoded_s == decoded_s
    with pytest.raises(CallCancelledError):
        transcribe(engine, long_clip, OPTIONS[1], call=call)


def test_a_deadline_is_an_error_that_names_it(engine: Engine, long_clip: Path) -> None:
    with pytest.raises(DeadlineExceededError, match=r"not finished within 0\.5 s"):
        transcribe(engine, long_clip, OPTIONS[1], call=Call(timeout_s=0.5))


def test_an_error_of_a_callback_reaches_the_caller_and_nobody_else(
    engine: Engine, clips: list[Path], long_clip: Path, alone: Alone
) -> None:
    def fail(_: float) -> None:
        raise OSError("the disk is full")

    with ThreadPoolExecutor(2) as pool:
        failing = pool.submit(
            partial(engine.transcribe, long_clip, RecordingIdentity("x", "5" * 64), OPTIONS[1], on_progress=fail)
        )
        other = pool.submit(transcribe, engine, clips[1], OPTIONS[0])
        with pytest.raises(OSError, match="the disk is full"):
            failing.result()
        assert other.result().to_json() == alone[1, 0]


def test_a_recording_that_cannot_be_read_fails_alone(engine: Engine, clips: list[Path], alone: Alone) -> None:
    """Audio is read when a request's turn has come, together with that of other calls."""
    call = Call()
    with engine._pool.open_session(call) as session, ThreadPoolExecutor(4) as pool:

        def fail() -> NoReturn:
            raise FileNotFoundError("the copy was removed")

        calls = [pool.submit(transcribe, engine, clips[0], OPTIONS[1]) for _ in range(4)]
        with pytest.raises(FileNotFoundError, match="the copy was removed"):
            list(session.run_in_order([ask(DecodeChunk(fail, 2.0, 8, DecodeOptions("en")))]))
        assert {future.result().to_json() for future in calls} == {alone[0, 1]}


@pytest.mark.parametrize("careful", [False, True])
def test_prompt_and_hotwords_of_any_length_leave_room_for_the_text(
    engine: Engine, audio_dir: Path, careful: bool
) -> None:
    words = " ".join(f"Kubernetes{i}" for i in range(160))[:2000]
    options = TranscribeOptions(language="en", careful=careful, initial_prompt=words, hotwords=words)
    text = transcribe(engine, audio_dir / "jfk.opus", options).text
    assert extract_words(text)[-1] == "country"
    assert len(extract_words(text)) > 15
    assert "kubernetes" not in text.lower()
