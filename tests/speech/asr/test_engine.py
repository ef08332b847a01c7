"""The engine on real speech with real weights: what is said, when, on which channel, and the same every time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from benchmarks.lab.nonspeech import generate_clips
from speech.asr.checkpoint import Checkpoint
from speech.asr.engine import Engine, RecordingIdentity
from speech.asr.whisper import DeviceUnavailableError
from speech.audio.normalize import SAMPLE_RATE, normalize
from speech.evaluation.wer import count_word_errors
from speech.models.registry import Weights
from speech.transcript import Options, SpeechSpan, Transcript, Word

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
KEPT_SILENCE_S = 2.0
Sound = NDArray[np.int16]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("normalized")
    for sample in ("jfk.opus", "austen.m4a", "lj-printing.mp3", "two-speakers.flac", "silence.wav"):
        normalize(SAMPLES / sample, made / sample)
    return made


@pytest.fixture(scope="module")
def engine(base_weights: Weights) -> Iterator[Engine]:
    """Listens for the language itself."""
    with Engine(base_weights, Options()) as made:
        yield made


@pytest.fixture(scope="module")
def english(base_weights: Weights) -> Iterator[Engine]:
    """Is told the language, and hears two chunks at a time."""
    with Engine(base_weights, Options(language="en"), workers=2) as made:
        yield made


@pytest.fixture(scope="module")
def jfk(engine: Engine, folder: Path) -> Transcript:
    return listen(engine, folder / "jfk.opus")


@pytest.fixture(scope="module")
def talk(english: Engine, folder: Path) -> Transcript:
    return listen(english, folder / "two-speakers.flac")


def listen(engine: Engine, path: Path, progress: Callable[[float], None] | None = None) -> Transcript:
    return engine.transcribe(path, RecordingIdentity(path.name, "5" * 64), progress)


def sound(path: Path, start: float = 0.0, end: float | None = None) -> Sound:
    samples, _ = soundfile.read(path, dtype="int16")
    return np.asarray(samples[round(start * SAMPLE_RATE) : end and round(end * SAMPLE_RATE)])


def write(path: Path, *parts: Sound) -> Path:
    soundfile.write(path, np.concatenate(parts), SAMPLE_RATE, subtype="PCM_16", format="WAV")
    return path


def silence(seconds: float) -> Sound:
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


def plain(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def words(transcript: Transcript, channel: int | None = None) -> list[Word]:
    return [word for segment in transcript.segments if segment.channel == channel for word in segment.words]


def stretches(spans: tuple[SpeechSpan, ...], channel: int) -> list[tuple[float, float]]:
    """What the model was given of a channel: speech, with the silences between that are too short to be taken out."""
    found: list[tuple[float, float]] = []
    for span in spans:
        if span.channel == channel:
            if found and span.start - found[-1][1] <= KEPT_SILENCE_S:
                found[-1] = (found[-1][0], span.end)
            else:
                found.append((span.start, span.end))
    return found


def within(start: float, end: float, places: list[tuple[float, float]]) -> bool:
    return any(begin - 0.002 <= start <= end <= stop + 0.002 for begin, stop in places)


def test_kennedy_is_understood_and_his_language_heard(jfk: Transcript) -> None:
    assert plain(jfk.text) == plain((SAMPLES / "jfk.opus.ref.txt").read_text())
    assert jfk.language == "en"
    assert jfk.meta.language_probability is not None
    assert jfk.meta.language_probability > 0.85
    assert len(jfk.meta.language_alternatives) == 3
    assert jfk.meta.flags == {}
    assert 9 < jfk.meta.speech_seconds <= jfk.meta.audio_duration_sec == 11.0
    assert [segment.channel for segment in jfk.segments] == [None], "one channel has no number"


def test_words_follow_each_other_inside_the_recording_and_inside_the_speech(jfk: Transcript) -> None:
    """A word outside what the detector heard would be invented, for nothing else reaches the model."""
    assert "".join(word.word for word in words(jfk)).split() == jfk.text.split()
    for word in words(jfk):
        assert 0 <= word.start <= word.end <= jfk.meta.audio_duration_sec
        assert within(word.start, word.end, stretches(jfk.meta.speech, 0))
    assert all(before.end <= after.start for before, after in pairwise(words(jfk)))
    for segment in jfk.segments:
        assert (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)


def test_the_evidence_for_a_segment_is_kept(jfk: Transcript) -> None:
    (segment,) = jfk.segments
    assert -1 < segment.avg_logprob < 0
    assert 0.5 < segment.compression_ratio < 2.4
    assert segment.no_speech_prob < 0.5
    assert (segment.temperature, segment.decoded) == (0.0, "batched")
    assert jfk.meta.decoding.path == "ample", "an old recording without treble"
    assert all(0 < word.probability <= 1 for word in segment.words)


def test_the_careful_way_hears_the_same(base_weights: Weights, folder: Path, jfk: Transcript) -> None:
    with Engine(base_weights, Options(language="en", careful=True)) as engine:
        transcript = listen(engine, folder / "jfk.opus")
    assert transcript.meta.decoding.path == "careful"
    assert {segment.decoded for segment in transcript.segments} == {"sequential"}
    assert plain(transcript.text) == plain(jfk.text)


@pytest.mark.parametrize("sound", ["converter noise", "nothing", "two channels"])
def test_silence_is_an_empty_transcript_with_a_reason_and_loads_no_model(
    sound: str, base_weights: Weights, folder: Path, tmp_path: Path
) -> None:
    """A batch of silent calls must not cost a model, nor get a phantom phrase; not even where there is no GPU to load it on."""
    if sound == "converter noise":
        path = folder / "silence.wav"
    else:
        path = write(tmp_path / "quiet.wav", np.zeros((0 if sound == "nothing" else SAMPLE_RATE, 2), np.int16))
    with Engine(base_weights, Options(device="cuda", compute_type="float16")) as engine:
        transcript = listen(engine, path)
        assert not engine.is_loaded
    assert (transcript.language, transcript.segments, transcript.text) == (None, (), "")
    assert transcript.meta.flags == {"no_speech": "The voice-activity detector heard no speech in the whole recording."}
    assert (transcript.meta.speech, transcript.meta.speech_seconds) == ((), 0.0)
    assert transcript.meta.language_probability is None


def test_each_channels_words_bear_its_number_and_stand_in_the_order_of_time(talk: Transcript) -> None:
    """Left reads about printing, right from Austen: a word on the wrong side would be put into somebody else's mouth."""
    said = {channel: " ".join(plain("".join(word.word for word in words(talk, channel)))) for channel in (0, 1)}
    for phrase in ("first importance that the letter", "gothic letter was most often used"):
        assert phrase in said[0]
        assert phrase not in said[1]
    for phrase in ("young man", "might even have been made amiable himself"):
        assert phrase in said[1]
        assert phrase not in said[0]
    assert talk.meta.channels == 2
    assert [segment.id for segment in talk.segments] == list(range(len(talk.segments)))
    starts = [segment.start for segment in talk.segments]
    assert starts == sorted(starts)
    assert [segment.channel for segment in talk.segments][:2] == [0, 1]
    assert {span.channel for span in talk.meta.speech} == {0, 1}
    assert [span.start for span in talk.meta.speech] == sorted(span.start for span in talk.meta.speech)
    assert talk.meta.speech_seconds < sum(span.end - span.start for span in talk.meta.speech), "overlap counts once"


def test_each_turn_of_a_talk_is_a_segment_of_its_own(talk: Transcript) -> None:
    """While one speaks the other is silent for seconds; a segment across that silence would put the turns out of order."""
    assert [segment.channel for segment in talk.segments] == [0, 1, 0, 1]
    for segment in talk.segments:
        assert within(segment.start, segment.end, stretches(talk.meta.speech, segment.channel or 0)), segment.text


def test_the_same_recording_gives_the_same_bytes_whoever_works_and_whatever_else_is_heard(
    base_weights: Weights, folder: Path, tmp_path: Path, talk: Transcript
) -> None:
    """Another number of workers, recordings heard at the same time, a model loaded anew: none of it may show."""
    companion = write(tmp_path / "words.wav", sound(folder / "jfk.opus", 7.5))
    paths = [companion, folder / "two-speakers.flac", folder / "silence.wav"]
    with Engine(base_weights, Options(language="en")) as other, ThreadPoolExecutor(3) as together:
        heard = list(together.map(lambda path: listen(other, path), paths))
    assert heard[1].to_json() == talk.to_json()
    assert plain(heard[0].text)[-3:] == ["for", "your", "country"]
    assert heard[2].segments == ()


def test_one_engine_hears_a_recording_twice_alike(engine: Engine, folder: Path, jfk: Transcript) -> None:
    """Nothing of the recordings before stays behind in the model."""
    told: list[float] = []
    assert listen(engine, folder / "jfk.opus", told.append).to_json() == jfk.to_json()
    assert told == [0.0, 1.0]
    assert engine.is_loaded
    assert Transcript.model_validate_json(jfk.to_json()) == jfk, "what is written can be read"


def test_a_forced_language_is_used_and_written_down(base_weights: Weights, folder: Path, tmp_path: Path) -> None:
    """Forced, not detected: no probability is made up for it, and the model is made to write in it."""
    path = write(tmp_path / "words.wav", sound(folder / "jfk.opus", 7.5))
    with Engine(base_weights, Options(language="es")) as spanish:
        transcript = listen(spanish, path)
    assert (transcript.language, transcript.meta.options.language) == ("es", "es")
    assert (transcript.meta.language_probability, transcript.meta.language_alternatives) == (None, ())
    assert "country" not in transcript.text
    assert transcript.segments


def test_long_silences_move_words_and_change_nothing_else(english: Engine, folder: Path, tmp_path: Path) -> None:
    """20 s before and between two phrases are cut out before the model hears them; the times must not notice."""
    austen, first, pause, between = folder / "austen.m4a", 7.3, 10.73, 20.0
    close = listen(english, write(tmp_path / "close.wav", sound(austen, first)))
    apart_parts = (silence(between), sound(austen, first, pause), silence(between), sound(austen, pause))
    apart = listen(english, write(tmp_path / "apart.wav", *apart_parts))
    assert plain(apart.text) == plain(close.text)
    assert len(plain(close.text)) > 15
    for before, after in zip(words(close), words(apart), strict=True):
        shift = between if before.end < pause - first else 2 * between
        # Ends, because the model counts a pause to the word behind it.
        assert after.end - shift == pytest.approx(before.end, abs=0.15), before.word
        assert after.start - shift >= before.start - 0.15, before.word
        assert within(after.start, after.end, stretches(apart.meta.speech, 0)), after


def test_no_word_lies_across_a_silence_that_was_taken_out(english: Engine, folder: Path, tmp_path: Path) -> None:
    """The model may place a word's start before the glue and its end behind it; nobody says "not" for twenty seconds."""
    jfk = folder / "jfk.opus"
    parts = (silence(20), sound(jfk, 0, 2.75), silence(20), sound(jfk, 2.75))
    transcript = listen(english, write(tmp_path / "apart.wav", *parts))
    assert len(stretches(transcript.meta.speech, 0)) == 2
    across = [w for w in words(transcript) if not within(w.start, w.end, stretches(transcript.meta.speech, 0))]
    assert across == []


def test_a_gpu_that_is_not_there_is_an_error_and_never_replaced(base_weights: Weights, folder: Path) -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count() > 0:
        pytest.skip("there is a GPU, so it is not unavailable")
    with (
        Engine(base_weights, Options(device="cuda", compute_type="float16")) as engine,
        pytest.raises(DeviceUnavailableError, match=r"none is visible here.*nvidia-smi, or set STT_DEVICE=cpu") as said,
    ):
        listen(engine, folder / "jfk.opus")
    assert "STT_DEVICE=cuda" in str(said.value)


def test_a_type_the_processor_cannot_compute_in_is_refused_with_those_it_can(
    base_weights: Weights, folder: Path
) -> None:
    with (
        Engine(base_weights, Options(compute_type="int7")) as engine,
        pytest.raises(DeviceUnavailableError, match=r"cpu cannot compute in 'int7'.*float32.*Set STT_COMPUTE_TYPE"),
    ):
        listen(engine, folder / "jfk.opus")


def tiled(folder: Path, tmp_path: Path, seconds: float) -> Path:
    """Austen again and again, for so many seconds."""
    austen = sound(folder / "austen.m4a")
    return write(tmp_path / "long.wav", np.tile(austen, round(seconds * SAMPLE_RATE) // len(austen) + 1))


def test_wide_band_english_goes_the_fast_way_and_says_so(english: Engine, folder: Path) -> None:
    transcript = listen(english, folder / "austen.m4a")
    assert count_word_errors((SAMPLES / "austen.m4a.ref.txt").read_text(), transcript.text, "en").errors <= 2
    made = transcript.meta.decoding
    assert made is not None
    assert (made.path, made.chunks, made.suspects, made.dropped) == ("fast", 1, 0, 0)
    assert {segment.decoded for segment in transcript.segments} == {"batched"}


def test_without_word_times_the_text_is_the_same(base_weights: Weights, english: Engine, folder: Path) -> None:
    with Engine(base_weights, Options(language="en", word_timestamps=False)) as plainer:
        transcript = listen(plainer, folder / "austen.m4a")
    assert all(segment.words == () for segment in transcript.segments)
    assert plain(transcript.text) == plain(listen(english, folder / "austen.m4a").text)
    assert all(0 <= s.start < s.end <= transcript.meta.audio_duration_sec for s in transcript.segments)


class KilledError(Exception):
    """Stands for the end of the process."""


def test_a_long_recording_goes_on_where_it_was_stopped(english: Engine, folder: Path, tmp_path: Path) -> None:
    """Ten hours must not be lost to a kill in the last minute; what was heard is not heard again."""
    path, subject = tiled(folder, tmp_path, 75), RecordingIdentity("long.wav", "5" * 64)
    told: list[float] = []

    def stop(share: float) -> None:
        if share >= 0.5:
            raise KilledError

    with pytest.raises(KilledError):
        english.transcribe(path, subject, stop, lambda: Checkpoint(tmp_path / "journal", "key"))
    resumed = english.transcribe(path, subject, told.append, lambda: Checkpoint(tmp_path / "journal", "key"))
    assert min(share for share in told if share) > 0.5, "the first half was in the journal"
    assert told[-1] == 1.0
    assert resumed.to_json() == english.transcribe(path, subject).to_json()


def test_no_words_are_invented_where_nobody_speaks(base_weights: Weights, tmp_path: Path) -> None:
    """Thirty of the hundred sounds that the comparison with peers counts invented words on, two of each kind."""
    with Engine(base_weights, Options()) as engine:
        for name, samples in generate_clips(30):
            path = write(tmp_path / "clip.wav", (samples * 32767).astype(np.int16))
            transcript = listen(engine, path)
            assert (transcript.text, list(transcript.meta.flags)) == ("", ["no_speech"]), name


def unmarked(transcript: Transcript) -> list[str]:
    return [segment.text for segment in transcript.segments if not segment.flags]


@pytest.mark.parametrize("sample", ["jfk.opus", "austen.m4a"])
def test_what_the_model_reads_into_speech_that_says_nothing_never_stands_unmarked(
    english: Engine, folder: Path, tmp_path: Path, sample: str
) -> None:
    """Played backwards, it is speech to every detector, and the model writes fluent sentences."""
    path = write(tmp_path / "backwards.wav", sound(folder / sample)[::-1])
    transcript = listen(english, path)
    assert transcript.meta.decoding
    assert transcript.meta.decoding.suspects == transcript.meta.decoding.chunks
    assert unmarked(transcript) == []


def whispering(samples: Sound) -> Sound:
    """With noise 60 dB below full scale, which nobody hears."""
    noise = np.random.default_rng(7).standard_normal(len(samples)) * 32768 * 10 ** (-60 / 20)
    return np.clip(np.rint(samples + noise), -32768, 32767).astype(np.int16)


def later(samples: Sound) -> Sound:
    """60 ms later, so that the detector's frames, of 32 ms, lie elsewhere in the speech."""
    return np.concatenate([silence(0.06), samples])


CHANGES = {"noise": whispering, "later": later}
"""What changes the model's figures about as much as another processor does, and nothing that was said."""

READ = ("jfk.opus", "austen.m4a", "lj-printing.mp3")


@pytest.mark.parametrize(("sample", "change"), [("austen.m4a", "noise"), ("jfk.opus", "later")])
def test_nor_does_it_where_the_sound_is_a_little_different(
    english: Engine, folder: Path, tmp_path: Path, sample: str, change: str
) -> None:
    path = write(tmp_path / "backwards.wav", CHANGES[change](sound(folder / sample)[::-1]))
    assert unmarked(listen(english, path)) == []


def test_nor_does_it_on_the_careful_way(base_weights: Weights, folder: Path, tmp_path: Path) -> None:
    """One decode has to tell by itself, without another to compare it with."""
    path = write(tmp_path / "backwards.wav", sound(folder / "jfk.opus")[::-1])
    with Engine(base_weights, Options(language="en", careful=True)) as engine:
        assert unmarked(listen(engine, path)) == []


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_said_bears_no_flag_where_the_sound_is_a_little_different(
    english: Engine, folder: Path, tmp_path: Path, change: str
) -> None:
    for sample in READ:
        transcript = listen(english, write(tmp_path / "read.wav", CHANGES[change](sound(folder / sample))))
        assert len(unmarked(transcript)) == len(transcript.segments) > 0, sample


ELSEWHERE = """
import json, sys
from pathlib import Path
from speech.asr.engine import Engine, RecordingIdentity
from speech.transcript import Options
from speech.models.registry import Weights

path, name, sha256, compute_type, *recordings = sys.argv[1:]
with Engine(Weights(name, Path(path), sha256, None, "local cache"), Options(language="en", compute_type=compute_type)) as engine:
    heard = [engine.transcribe(Path(recording), RecordingIdentity("x", "5" * 64)) for recording in recordings]
print(json.dumps([[segment.flags for segment in transcript.segments] for transcript in heard]))
"""


@pytest.mark.parametrize(
    ("compute_type", "environment", "backwards", "read"),
    [
        ("float32", {}, ("austen.m4a", 0.0), READ[:1]),  # three times as slow
        ("int8", {"CT2_FORCE_CPU_ISA": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}, ("jfk.opus", 5.5), READ),
    ],
)
def test_computed_otherwise_nothing_invented_stands_unmarked_and_nothing_said_bears_a_flag(
    base_weights: Weights,
    folder: Path,
    tmp_path: Path,
    compute_type: str,
    environment: dict[str, str],
    backwards: tuple[str, float],
    read: tuple[str, ...],
) -> None:
    """Products rounded as another processor rounds them, which a process can only be told before it starts."""
    sample, start = backwards
    weights = (str(base_weights.path), base_weights.name, base_weights.sha256)
    turned = write(tmp_path / "backwards.wav", sound(folder / sample, start)[::-1])
    recordings = [turned, *(folder / name for name in read)]
    said = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *weights, compute_type, *map(str, recordings)],
        cwd=SAMPLES.parent,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    invented, *heard = json.loads(said.stdout)
    assert all(invented)
    assert len(heard) == len(read)
    assert all(segments and not any(segments) for segments in heard)
