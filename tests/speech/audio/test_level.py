"""How loud a recording is: what is amplified, what is made quieter, what is left alone, and what a person is told."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from speech.audio.level import MAX_GAIN_DB, Amplifier, Gain
from speech.audio.normalize import NormalizedAudio, read_window
from tests.speech.audio.encodings import make_syllables, normalize_beside, write

Sound = NDArray[np.float64]


def scale(decibels: float) -> float:
    return float(10 ** (decibels / 20))


def read_back(folder: Path) -> Sound:
    """The normalized samples, (channels, samples)."""
    return read_window(folder / "target.tmp", 0, 3600).astype(np.float64)


def read_gain_db(result: NormalizedAudio) -> int:
    """The gain that the flag names."""
    found = re.search(r"(\d+) dB were added", result.flags["quiet"])
    assert found, result.flags
    return int(found[1])


def measure_dbfs(sound: Sound) -> float:
    """Level of the loud half of the frames of ``make_syllables``."""
    frames = sound[: len(sound) // 320 * 320].reshape(-1, 320)
    return float(np.quantile(20 * np.log10(np.sqrt((frames**2).mean(axis=1)) + 1e-9), 0.8))


@pytest.mark.parametrize("subtype", ["PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("decibels", [-40, -50, -70])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_quiet_recording_is_amplified_before_it_has_16_bits(
    tmp_path: Path, subtype: str, decibels: float, rate: int
) -> None:
    """Its syllables lie at -20 dBFS before they are made quieter, and get that level again."""
    sound = make_syllables(4, rate)
    result = normalize_beside(write(tmp_path / "a.wav", sound * scale(decibels), rate, subtype))
    assert set(result.flags) == {"quiet"}
    band_db = 10 * np.log10(rate / 16_000)  # of noise that resampling takes away
    assert abs(read_gain_db(result) + decibels - band_db) <= 2
    louder = read_back(tmp_path)[0]
    assert measure_dbfs(louder) == pytest.approx(-20, abs=1.5)
    if rate == 16_000:
        assert np.corrcoef(louder, sound)[0, 1] > 0.995  # 16 bits at -70 dB would keep nothing


def test_16_bits_are_amplified_as_far_as_they_hold_words(tmp_path: Path) -> None:
    result = normalize_beside(write(tmp_path / "a.wav", make_syllables(4) * scale(-55)))
    assert abs(read_gain_db(result) - 55) <= 2
    result = normalize_beside(write(tmp_path / "a.wav", make_syllables(4) * scale(-67)))
    assert "Nothing was added" in result.flags["quiet"]
    assert result.peak_dbfs is not None
    assert result.peak_dbfs < -60


def test_8_bits_end_earlier(tmp_path: Path) -> None:
    assert normalize_beside(write(tmp_path / "a.wav", make_syllables(4), subtype="PCM_U8")).flags == {}
    result = normalize_beside(write(tmp_path / "a.wav", make_syllables(4) * scale(-18), subtype="PCM_U8"))
    assert "Nothing was added" in result.flags["quiet"]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_ordinary_levels_are_left_alone(tmp_path: Path, subtype: str) -> None:
    for decibels in (0, -10, -20):
        sound = make_syllables(4) * scale(decibels)
        assert normalize_beside(write(tmp_path / "a.wav", sound, subtype=subtype)).flags == {}
        np.testing.assert_allclose(read_back(tmp_path)[0], sound, atol=2 / 32_768)


def test_digital_silence_and_the_noise_of_rounding_are_not_amplified(tmp_path: Path) -> None:
    rounding = np.random.default_rng(0).integers(-1, 2, 64_000) / 32_768
    for sound, subtype in ((np.zeros(64_000), "PCM_24"), (rounding, "PCM_16"), (np.full(64_000, 0.3), "PCM_24")):
        result = normalize_beside(write(tmp_path / "a.wav", sound, subtype=subtype))
        assert result.flags == {}
        assert np.abs(read_back(tmp_path)[0] - sound).max() < 2 / 32_768


def test_the_gain_has_a_limit(tmp_path: Path) -> None:
    result = normalize_beside(write(tmp_path / "a.wav", make_syllables(4) * scale(-95), subtype="FLOAT"))
    assert f"{MAX_GAIN_DB} dB were added" in result.flags["quiet"]
    assert measure_dbfs(read_back(tmp_path)[0]) == pytest.approx(-35, abs=1.5)


def test_a_click_at_full_scale_does_not_make_a_recording_loud(tmp_path: Path) -> None:
    sound = make_syllables(4) * scale(-50)
    sound[30_000:30_003] = 1
    result = normalize_beside(write(tmp_path / "a.wav", sound, subtype="PCM_24"))
    assert set(result.flags) == {"quiet"}
    louder = read_back(tmp_path)[0]
    assert louder.max() > 0.99
    around = np.r_[29_800:29_990, 30_020:30_200]  # a mean over the click would push what is near it to full scale
    assert np.abs(louder[around]).max() < 0.5


def test_a_loud_end_is_not_clipped_for_a_quiet_beginning(tmp_path: Path) -> None:
    sound = np.concatenate((make_syllables(60) * scale(-50), make_syllables(1)))
    assert normalize_beside(write(tmp_path / "a.wav", sound, subtype="PCM_24")).flags == {}
    np.testing.assert_allclose(read_back(tmp_path)[0], sound, atol=2 / 32_768)


@pytest.mark.parametrize("disturbance", ["offset", "rumble"])
def test_offset_and_rumble_are_not_amplified(tmp_path: Path, disturbance: str) -> None:
    sound = make_syllables(4) * scale(-50)
    time = np.arange(len(sound)) / 16_000
    added = 0.4 if disturbance == "offset" else 0.02 * np.sin(2 * np.pi * 3 * time)
    result = normalize_beside(write(tmp_path / "a.wav", sound + added, subtype="PCM_24"))
    assert set(result.flags) == {"quiet"}
    assert abs(read_gain_db(result) - 50) <= 3
    louder = read_back(tmp_path)[0]
    assert abs(louder.mean()) < 0.001
    assert np.abs(louder).max() < 0.7
    assert np.corrcoef(louder, sound)[0, 1] > 0.9


def test_an_amplifier_gives_the_same_for_any_blocks() -> None:
    sound = np.random.default_rng(0).standard_normal((5_000, 2)) * 1e-4 + 0.2
    gain = Gain((50.0, -3.0))
    whole = Amplifier(gain)
    expected = np.concatenate((whole.apply(sound), whole.finish()))
    parts = Amplifier(gain)
    made = [parts.apply(block) for block in np.split(sound, [1, 7, 160, 161, 900, 4_999])]
    np.testing.assert_allclose(np.concatenate((*made, parts.finish())), expected, atol=1e-9)
    assert expected.shape == sound.shape
    assert len(parts.finish()) == 0


@pytest.mark.parametrize(
    ("factor", "subtype"), [(32_768, "FLOAT"), (2**23, "FLOAT"), (2**31, "DOUBLE"), (300, "FLOAT"), (15, "FLOAT")]
)
def test_floats_beyond_full_scale_are_made_quieter_and_not_clipped(tmp_path: Path, factor: float, subtype: str) -> None:
    sound = make_syllables(4)
    result = normalize_beside(write(tmp_path / "a.wav", sound * factor, subtype=subtype))
    assert set(result.flags) == {"overdriven"}
    written = read_back(tmp_path)[0]
    assert np.corrcoef(written, sound)[0, 1] > 0.999
    assert np.abs(written).max() > 0.7


def test_one_sample_beyond_everything_does_not_silence_the_rest(tmp_path: Path) -> None:
    sound = make_syllables(4)
    sound[20_000] = 1e30
    assert normalize_beside(write(tmp_path / "a.wav", sound, subtype="DOUBLE")).flags == {}
    assert measure_dbfs(read_back(tmp_path)[0]) == pytest.approx(-20, abs=1.5)


def test_clipped_sound_is_flagged(tmp_path: Path) -> None:
    assert normalize_beside(write(tmp_path / "a.wav", np.clip(make_syllables(4) * 2.5, -1, 1))).flags == {}
    flags = normalize_beside(write(tmp_path / "a.wav", np.clip(make_syllables(4) * 20, -1, 1))).flags
    assert set(flags) == {"clipped"}
    assert "About 4 of 4 s are clipped" in flags["clipped"]
    one_shout = make_syllables(120)
    one_shout[16_000:20_000] *= 30
    assert normalize_beside(write(tmp_path / "a.wav", np.clip(one_shout, -1, 1))).flags == {}


def _make_call() -> tuple[Sound, Sound]:
    turn = np.arange(320_000) // 48_000 % 2
    return make_syllables(20, seed=1) * turn, make_syllables(20, seed=2) * (1 - turn)


def test_the_quiet_side_of_a_call_is_amplified_alone(tmp_path: Path) -> None:
    near, far = _make_call()
    noise = np.random.default_rng(3).standard_normal((2, 320_000)) * np.array([[scale(-70)], [scale(-95)]])
    both = np.stack((near, far * scale(-50)), axis=1) + noise.T
    result = normalize_beside(write(tmp_path / "a.wav", both, subtype="PCM_24"))
    assert result.channels == 2
    assert "Channel 2 is very quiet: its loudest parts lie at -69 dBFS" in result.flags["quiet"]
    written = read_back(tmp_path)
    np.testing.assert_allclose(written[0], both[:, 0], atol=2 / 32_768)
    assert np.corrcoef(written[1], far)[0, 1] > 0.99


@pytest.mark.parametrize("other", ["cross-talk", "echo", "cross-talk and noise", "noise", "hum"])
def test_what_is_no_other_speaker_is_not_amplified(tmp_path: Path, other: str) -> None:
    near, _ = _make_call()
    generator = np.random.default_rng(4)
    near = near + generator.standard_normal(len(near)) * scale(-70)
    noise = generator.standard_normal(len(near))
    time = np.arange(len(near)) / 16_000
    quiet = {
        "cross-talk": near * scale(-50),
        "echo": np.roll(near, 3_200) * scale(-50),
        "cross-talk and noise": near * scale(-50) + noise * scale(-80),
        "noise": noise * scale(-75),
        "hum": np.sin(2 * np.pi * 50 * time) * scale(-60),
    }[other]
    alone = normalize_beside(write(tmp_path / "a.wav", near))
    expected = read_back(tmp_path)
    result = normalize_beside(write(tmp_path / "a.wav", np.stack((near, quiet), axis=1)))
    assert (result.channels, result.flags) == (1, alone.flags)
    np.testing.assert_allclose(read_back(tmp_path), expected, atol=0.01)


def test_both_sides_of_a_quiet_call_are_amplified(tmp_path: Path) -> None:
    both = np.stack(_make_call(), axis=1) * np.array([scale(-45), scale(-55)])
    result = normalize_beside(write(tmp_path / "a.wav", both, subtype="PCM_24"))
    assert result.channels == 2
    assert abs(read_gain_db(result) - 45) <= 2
    near, far = read_back(tmp_path)
    assert measure_dbfs(near) - measure_dbfs(far) == pytest.approx(10, abs=1)  # one gain keeps their relation


def test_a_quiet_lossy_file_is_amplified_over_its_gaps_too(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", make_syllables(6, 44_100) * scale(-55), 44_100, format="MP3")
    result = normalize_beside(tmp_path / "a.mp3")
    assert set(result.flags) == {"quiet"}
    assert measure_dbfs(read_back(tmp_path)[0]) == pytest.approx(-20, abs=4)
