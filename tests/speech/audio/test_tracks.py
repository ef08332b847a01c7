"""Several audio tracks: which are heard together, which are left out, and how that is said."""

from __future__ import annotations

import errno
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from av.stream import Disposition
from numpy.typing import NDArray

from speech.audio.normalize import probe, read_window
from speech.audio.tracks import Track, plan_rounds
from tests.speech.audio.encodings import (
    TrackSource,
    encode,
    expect_error,
    make_syllables,
    normalize_beside,
    write_tracks,
)

SECONDS = 16
Sound = NDArray[np.float64]


def make_speech(seed: int, *turns: int) -> Sound:
    """Noise in bursts, like syllables; in the given turns of 2 s, or in all."""
    sound = make_syllables(SECONDS, seed=seed)
    return sound * np.isin(np.arange(len(sound)) // 32_000, turns) if turns else sound


HOST = make_speech(1, 0, 1, 4, 6)
GUEST = make_speech(2, 2, 3, 5, 7)
FILM = make_speech(3)
SILENCE = np.zeros(SECONDS * 16_000)


def delay(sound: Sound, milliseconds: int) -> Sound:
    return np.concatenate((np.zeros(16 * milliseconds), sound))[: len(sound)]


def hear(path: Path) -> list[Sound]:
    """The channels of the normalized file beside ``path``."""
    return list(read_window(path.parent / "target.tmp", 0, 3600).astype(np.float64))


def measure_likeness(heard: Sound, sound: Sound) -> float:
    """Largest correlation at any delay: 1 for the same sound, 0 for another."""
    count = 1 << (len(heard) + len(sound)).bit_length()
    products = np.fft.irfft(np.fft.rfft(heard, count) * np.fft.rfft(sound, count).conj(), count)
    return float(np.abs(products).max() / np.sqrt((heard**2).sum() * (sound**2).sum()))


def assert_heard(path: Path, *sounds: Sound, likeness: float = 0.97) -> None:
    """The normalized file has these sounds, a channel each, in this order."""
    channels = hear(path)
    assert len(channels) == len(sounds)
    for channel, sound in zip(channels, sounds, strict=True):
        assert measure_likeness(channel, sound) > likeness


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
def test_a_microphone_behind_a_silent_desktop_is_heard(tmp_path: Path, name: str) -> None:
    path = write_tracks(tmp_path / name, TrackSource(SILENCE), TrackSource(FILM))
    result = normalize_beside(path)
    assert_heard(path, FILM)
    assert result.flags == {}
    assert str(result.tracks).startswith("2 audio tracks. 1")
    assert str(result.tracks).count("silent") == 1
    assert str(result.tracks).endswith("transcribed")


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.mkv", "aac", 16_000),
        ("a.webm", "libopus", 16_000),
        ("a.mp4", "aac", 16_000),
        ("a.mov", "pcm_s16le", 16_000),
        ("a.ts", "aac", 16_000),
        ("a.avi", "mp3", 16_000),
        ("a.ogg", "libopus", 16_000),
        ("a.ogg", "flac", 16_000),
        ("a.nut", "pcm_s16le", 16_000),
        ("a.flv", "aac", 16_000),
        ("a.mpg", "mp2", 48_000),
        ("a.mxf", "pcm_s16le", 48_000),
    ],
)
def test_two_speakers_with_a_track_each_are_two_channels(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    spread = rate // 16_000
    tracks = [TrackSource(np.repeat(sound, spread), codec) for sound in (HOST, GUEST)]
    path = write_tracks(tmp_path / name, *tracks, rate=rate)
    result = normalize_beside(path)
    assert_heard(path, HOST, GUEST, likeness=0.7)  # noise is hard to compress
    assert result.flags == {}
    assert result.duration_s == pytest.approx(SECONDS, abs=0.15)
    assert str(result.tracks).count("transcribed") == 2


def test_tracks_are_mixed_where_channels_are_not_kept(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mkv", TrackSource(HOST, "flac"), TrackSource(GUEST, "flac"))
    assert normalize_beside(path, keep_channels=False).channels == 1
    np.testing.assert_allclose(hear(path)[0], (HOST + GUEST) / 2, atol=1e-4)


def test_music_of_the_desktop_is_not_mixed_into_the_microphone(tmp_path: Path) -> None:
    """As channels of one track they would be mixed, because the music is louder all the time."""
    music = np.random.default_rng(5).standard_normal(len(HOST)) * 0.2
    path = write_tracks(tmp_path / "a.mkv", TrackSource(music), TrackSource(HOST))
    assert normalize_beside(path).channels == 2
    assert measure_likeness(hear(path)[1], HOST) > 0.97


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
def test_a_track_that_starts_late_keeps_its_times_and_a_short_one_ends_in_silence(tmp_path: Path, name: str) -> None:
    short = make_syllables(4, seed=4)
    path = write_tracks(tmp_path / name, TrackSource(FILM), TrackSource(short, start_s=3.5))
    result = normalize_beside(path)
    late = hear(path)[1]
    assert np.argmax(np.abs(late) > 0.01) / 16_000 == pytest.approx(3.75, abs=0.1)
    assert not late[8 * 16_000 :].any()
    assert result.duration_s == pytest.approx(SECONDS, abs=0.15)
    assert result.flags == {}


def test_the_default_track_comes_first(tmp_path: Path) -> None:
    default = TrackSource(GUEST, disposition=Disposition.default)
    path = write_tracks(tmp_path / "a.mkv", TrackSource(HOST), default)
    assert "2 (default): transcribed" in str(normalize_beside(path).tracks)
    assert_heard(path, GUEST, HOST)


def test_of_several_languages_the_default_is_heard_and_the_others_are_named(tmp_path: Path) -> None:
    path = write_tracks(
        tmp_path / "a.mkv",
        TrackSource(HOST, language="ger", title="Fernsehen\nund Kino"),
        TrackSource(FILM, language="eng", disposition=Disposition.default),
        TrackSource(GUEST, language="fre"),
    )
    flags = normalize_beside(path).flags
    assert_heard(path, FILM)
    assert set(flags) == {"tracks_left_out"}
    assert (
        "1 'Fernsehen und Kino' (ger): in another language; 3 (fre): in another language." in flags["tracks_left_out"]
    )
    assert "Deliver a track as a file of its own" in flags["tracks_left_out"]


def test_a_language_is_heard_whose_track_holds_sound(tmp_path: Path) -> None:
    default = TrackSource(SILENCE, language="eng", disposition=Disposition.default)
    path = write_tracks(tmp_path / "a.mkv", default, TrackSource(FILM, language="deu"))
    assert normalize_beside(path).flags == {}
    assert_heard(path, FILM)


@pytest.mark.parametrize(
    ("mark", "what"),
    [(Disposition.comment, "a commentary"), (Disposition.visual_impaired, "an audio description")],
)
def test_a_commentary_is_left_out_and_named(tmp_path: Path, mark: Disposition, what: str) -> None:
    other = TrackSource(GUEST, language="eng", disposition=mark)
    path = write_tracks(tmp_path / "a.mkv", other, TrackSource(FILM, language="eng"))
    assert f"1 (eng): {what}." in normalize_beside(path).flags["tracks_left_out"]
    assert_heard(path, FILM)


@pytest.mark.parametrize("late_ms", [0, 37, 300])
@pytest.mark.parametrize("level", [1.0, 0.3])
def test_a_copy_is_not_heard_twice(tmp_path: Path, late_ms: int, level: float) -> None:
    path = write_tracks(tmp_path / "a.mkv", TrackSource(FILM), TrackSource(delay(FILM, late_ms) * level, "libopus"))
    result = normalize_beside(path)
    assert_heard(path, FILM)
    assert result.flags == {}
    assert str(result.tracks).endswith("2: the sound of track 1")


def test_surround_and_stereo_of_one_film_are_not_heard_twice(tmp_path: Path) -> None:
    music = [np.random.default_rng(seed).standard_normal(len(FILM)) * 0.02 for seed in range(4)]
    six = np.stack((music[0], music[1], FILM, np.zeros_like(FILM), music[2], music[3]), axis=1)
    stereo = np.stack((music[0] + 0.7 * (FILM + music[2]), music[1] + 0.7 * (FILM + music[3])), axis=1)
    path = write_tracks(
        tmp_path / "a.mkv", TrackSource(delay(stereo.T[0], 0)[:, None] * [1, 1]), TrackSource(six, "flac")
    )
    assert "the sound of track" in str(normalize_beside(path).tracks)
    assert sum(measure_likeness(channel, FILM) > 0.5 for channel in hear(path)) == 1


@pytest.mark.parametrize("order", ["mix first", "mix last"])
def test_beside_its_parts_a_mix_is_not_heard(tmp_path: Path, order: str) -> None:
    mix, parts = TrackSource(HOST + GUEST), [TrackSource(HOST), TrackSource(GUEST)]
    path = write_tracks(tmp_path / "a.mkv", *([mix, *parts] if order == "mix first" else [*parts, mix]))
    result = normalize_beside(path)
    assert_heard(path, HOST, GUEST)
    assert result.flags == {}
    numbers = "2 and 3" if order == "mix first" else "1 and 2"
    assert f"the sound of tracks {numbers}" in str(result.tracks)


def test_a_copy_with_words_of_its_own_is_left_out_and_flagged(tmp_path: Path) -> None:
    """A description for the blind that nothing marks as one: mixed with the film it would sound hollow."""
    described = delay(FILM, 20) + make_speech(6, 6, 7)
    path = write_tracks(tmp_path / "a.mkv", TrackSource(FILM), TrackSource(described))
    flags = normalize_beside(path).flags
    assert_heard(path, FILM)
    assert "2: mostly the sound of track 1, and about 4 s of its own." in flags["tracks_left_out"]


def test_a_late_sound_that_two_tracks_share_is_not_mixed(tmp_path: Path) -> None:
    """Each holds much of its own, so both are heard; the mean of what they share would sound hollow."""
    first, second = FILM + make_speech(6, 0, 1, 2, 3, 4), delay(FILM, 20) + make_speech(7, 3, 4, 5, 6, 7)
    path = write_tracks(tmp_path / "a.mkv", TrackSource(first), TrackSource(second))
    assert normalize_beside(path).flags == {}
    assert_heard(path, first, second)


def test_a_track_whose_sound_a_later_one_holds_too_is_not_heard_twice(tmp_path: Path) -> None:
    later = delay(FILM, 20) + make_speech(6, 2, 3, 4, 5, 6, 7)
    path = write_tracks(tmp_path / "a.mkv", TrackSource(FILM), TrackSource(later))
    assert "1: the sound of track 2; 2: transcribed" in str(normalize_beside(path).tracks)
    assert_heard(path, later)


def test_words_beside_a_sound_that_two_tracks_carry_are_noticed(tmp_path: Path) -> None:
    described = delay(FILM, 20) + make_speech(6, 6, 7)
    copy = TrackSource(delay(FILM, 10), "libopus")
    path = write_tracks(tmp_path / "a.mkv", TrackSource(FILM), copy, TrackSource(described))
    assert "3: mostly the sound of track" in normalize_beside(path).flags["tracks_left_out"]
    assert_heard(path, FILM)


def test_two_microphones_of_a_room_are_no_copies(tmp_path: Path) -> None:
    path = write_tracks(
        tmp_path / "a.mkv", TrackSource(HOST + 0.2 * delay(GUEST, 3)), TrackSource(GUEST + 0.2 * delay(HOST, 3))
    )
    assert normalize_beside(path).flags == {}
    assert_heard(path, HOST, GUEST)


@pytest.mark.parametrize("bad", [0, 1])
def test_a_track_that_cannot_be_decoded_leaves_the_others(tmp_path: Path, bad: int) -> None:
    tracks = [TrackSource(FILM, title="Good"), TrackSource(GUEST, title="Bad", damage=True)]
    path = write_tracks(tmp_path / "a.mkv", *(tracks[::-1] if bad == 0 else tracks))
    flags = normalize_beside(path).flags
    assert_heard(path, FILM)
    assert set(flags) == {"partial"}
    assert flags["partial"].startswith(f"Audio track {bad + 1} 'Bad'")
    assert "cannot be decoded" in flags["partial"]


@pytest.mark.parametrize("bad", [0, 1])
def test_a_track_with_an_unknown_codec_leaves_the_others(tmp_path: Path, bad: int) -> None:
    tracks = [TrackSource(FILM, "flac"), TrackSource(GUEST, "aac")]
    path = write_tracks(tmp_path / "a.mkv", *(tracks[::-1] if bad == 0 else tracks))
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    assert (probe(path).codec, probe(path).audio_streams) == ("flac", 2)
    flags = normalize_beside(path).flags
    assert_heard(path, FILM)
    assert flags["partial"].startswith(f"Audio track {bad + 1}")
    assert "uses a codec that cannot be decoded" in flags["partial"]


def test_without_a_track_that_can_be_decoded_the_recording_is_refused(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mkv", TrackSource(FILM, damage=True), TrackSource(GUEST, damage=True))
    assert expect_error(path).kind == "undecodable"
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    assert expect_error(path).kind == "undecodable"


def test_a_file_that_is_cut_off_is_refused_as_before(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mp4", TrackSource(HOST), TrackSource(GUEST))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert expect_error(path).kind == "truncated"
    result = normalize_beside(path, accept_partial=True)
    assert result.channels == 2
    assert "Audio track 1" in result.flags["partial"]
    assert "Audio track 2" in result.flags["partial"]


def test_of_a_track_that_alone_is_cut_off_the_beginning_is_kept_and_flagged(tmp_path: Path) -> None:
    """The second track begins when the first one has ended, so the first one is whole."""
    sources = (TrackSource(FILM, "pcm_s16le"), TrackSource(FILM[::-1], "pcm_s16le", start_s=SECONDS))
    path = write_tracks(tmp_path / "a.mov", *sources)
    path.write_bytes(path.read_bytes()[: -6 * 32_000])
    result = normalize_beside(path)
    assert result.channels == 2
    assert result.flags["partial"].startswith("Audio track 2: MP4 promises 16.0 s, but only 10.0 s can be decoded.")


def test_more_tracks_than_are_heard_together_are_flagged(tmp_path: Path) -> None:
    sounds = [make_syllables(2, seed=seed) for seed in range(18)]
    path = write_tracks(tmp_path / "a.mkv", *(TrackSource(sound, "flac") for sound in sounds))
    result = normalize_beside(path)
    assert result.channels == 16
    assert "17: at most 16 tracks are heard together; 18: at most" in result.flags["tracks_left_out"]


def test_gaps_and_losses_are_told_with_their_track(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.ts", TrackSource(HOST), TrackSource(GUEST))
    content = bytearray(path.read_bytes())
    kept = [content[i : i + 188] for i in range(0, len(content), 188)]
    middle = range(len(kept) // 2, len(kept) // 2 + 60)
    path.write_bytes(b"".join(p for i, p in enumerate(kept) if i not in middle or (p[1] & 0x1F, p[2]) != (1, 1)))
    flags = normalize_beside(path).flags
    assert set(flags) <= {"gaps", "partial"}
    assert all(reason.startswith("Audio track 2: ") for reason in flags.values())
    assert flags


def make_section(pid: int, table: int, identity: int, body: bytes) -> bytes:
    """A packet of MPEG-TS with one section of its tables (ISO/IEC 13818-1, section 2.4.4)."""
    head = struct.pack(">BHHBBB", table, 0xB000 | len(body) + 9, identity, 0xC1, 0, 0)
    checksum = 0xFFFF_FFFF
    for byte in head + body:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C1_1DB7 if checksum >> 31 else 0)) & 0xFFFF_FFFF
    packet = struct.pack(">BHBB", 0x47, 0x4000 | pid, 0x10, 0) + head + body + checksum.to_bytes(4, "big")
    return packet.ljust(188, b"\xff")


def replace_programmes(path: Path, programmes: dict[int, tuple[int, ...]]) -> None:
    """Give the audio streams of an MPEG-TS, whose identities count from 256, to programmes."""
    tables = [make_section(0, 0, 1, b"".join(struct.pack(">HH", n, 0xE000 | 4096 + n) for n in programmes))]
    for number, streams in programmes.items():
        entries = b"".join(struct.pack(">BHH", 0x0F, 0xE000 | stream, 0xF000) for stream in streams)
        tables.append(make_section(4096 + number, 2, number, struct.pack(">HH", 0xE000 | streams[0], 0xF000) + entries))
    content = path.read_bytes()
    packets = [content[i : i + 188] for i in range(0, len(content), 188)]
    sound = [packet for packet in packets if 256 <= int.from_bytes(packet[1:3], "big") & 0x1FFF < 4096]
    path.write_bytes(b"".join(tables + sound))


def test_another_programme_of_a_broadcast_is_left_out_and_named(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.ts", TrackSource(HOST), TrackSource(FILM), TrackSource(GUEST))
    replace_programmes(path, {1: (256, 258), 2: (257,)})
    flags = normalize_beside(path).flags
    assert_heard(path, HOST, GUEST)
    assert "3: of another programme." in flags["tracks_left_out"]


@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_a_track_without_sound_takes_nothing_with_it(tmp_path: Path, name: str) -> None:
    path = write_tracks(tmp_path / name, TrackSource(FILM), TrackSource(np.zeros(0)))
    if name == "a.ts":
        replace_programmes(path, {1: (256, 265)})  # announced, and it never comes
    result = normalize_beside(path)
    assert_heard(path, FILM)
    assert result.flags == {}
    assert str(result.tracks).endswith("2: empty")


def test_silent_tracks_alone_are_silence(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mkv", TrackSource(SILENCE), TrackSource(SILENCE))
    result = normalize_beside(path)
    assert (result.channels, result.peak_dbfs, result.flags) == (1, None, {})


def test_a_file_with_one_track_says_nothing_of_tracks(tmp_path: Path) -> None:
    assert normalize_beside(encode(tmp_path / "a", "mkv")).tracks is None


def test_a_recording_that_is_too_long_is_refused_whichever_track_is(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mov", TrackSource(HOST[:48_000], "pcm_s16le"), TrackSource(FILM, "pcm_s16le"))
    assert expect_error(path, max_hours=10 / 3600).kind == "too_long"


def test_a_limit_of_file_sizes_leaves_no_file(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mkv", TrackSource(HOST), TrackSource(GUEST))
    script = (
        "import sys, pathlib; from speech.audio.normalize import normalize\n"
        "try: normalize(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
        "except OSError as error: print(error.errno)"
    )
    for limit in (100_000, SECONDS * 32_000 + 100_000):  # in the file of the first track, and in the target
        run = subprocess.run(
            [sys.executable, "-c", script, str(path), str(tmp_path / "target.tmp")],
            preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(run.stdout) == errno.EFBIG
        assert os.listdir(tmp_path) == ["a.mkv"]


def test_memory_does_not_grow_with_the_length_of_tracks(tmp_path: Path) -> None:
    """20 minutes of two tracks are 77 MB of samples."""
    minute = [np.tile(sound, 4) for sound in (HOST, GUEST)]
    short = write_tracks(tmp_path / "short.mkv", *(TrackSource(sound, "flac") for sound in minute))
    long = write_tracks(tmp_path / "long.mkv", *(TrackSource(np.tile(sound, 19), "flac") for sound in minute))
    script = (
        "import resource, sys, pathlib; from speech.audio.normalize import normalize\n"
        "normalize(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[3]))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert normalize(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])).channels == 2\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    arguments = [sys.executable, "-c", script, str(short), str(long), str(tmp_path / "target.tmp")]
    grown_kib = int(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)
    assert grown_kib < 15_000


def _plan(*tracks: Track) -> list[list[int]]:
    return [[track.number for track in chosen] for chosen in plan_rounds(tracks)]


def test_tracks_of_one_language_or_none_are_one_round() -> None:
    assert _plan(Track(1, language="eng"), Track(2), Track(3, language="en-GB".replace("en", "eng"))) == [[1, 2, 3]]
    assert _plan(Track(1, language="ger"), Track(2, language="deu", is_default=True)) == [[2, 1]]
    assert _plan(Track(1, language="mis"), Track(2, language="und"), Track(3, language="fra")) == [[1, 2, 3]]


def test_other_languages_and_variants_follow_in_rounds_of_their_own() -> None:
    commentary = Track(1, language="eng", variant="a commentary", is_default=True)
    tracks = (commentary, Track(2, language="deu"), Track(3, language="eng"), Track(4), Track(5, language="eng"))
    assert _plan(*tracks) == [[2, 4], [3, 5], [1]]


def test_another_programme_is_another_recording() -> None:
    assert _plan(Track(1, program=5), Track(2, program=9), Track(3, program=5)) == [[1, 3], [2]]
    commentary = Track(2, program=5, variant="a commentary")
    assert _plan(Track(1, program=5), commentary, Track(3, program=9)) == [[1], [3], [2]]


def test_variants_alone_are_heard() -> None:
    assert _plan(Track(1, variant="a commentary"), Track(2, variant="a commentary")) == [[1, 2]]
