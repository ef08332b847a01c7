"""Generates audio without speech, by rule; a correct transcript of it is empty. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

RATE = 16_000
Sound = npt.NDArray[np.float32]
Wave = npt.NDArray[np.float64]
Maker = Callable[[np.random.Generator, int], Wave]


def generate_clips(count: int = 100, seed: int = 7) -> Iterator[tuple[str, Sound]]:
    """Clips of 3 to 20 seconds, mono, 16 kHz, with their names; the same for the same seed, all kinds in turn."""
    kinds = list(KINDS.items())
    for i in range(count):
        kind, make = kinds[i % len(kinds)]
        random = np.random.default_rng([seed, i])
        length = int(random.uniform(3, 20) * RATE)
        loudness = 10 ** (random.uniform(-40, -3) / 20)
        sound = make(random, length)
        peak = float(np.max(np.abs(sound))) or 1.0
        yield f"{i:03}-{kind}", (sound / peak * loudness).astype(np.float32)


def _time(length: int) -> Wave:
    return np.arange(length) / RATE


def _coloured(random: np.random.Generator, length: int, slope: float) -> Wave:
    spectrum = np.fft.rfft(random.standard_normal(length))
    hertz = np.maximum(np.fft.rfftfreq(length, 1 / RATE), 20.0)
    coloured: Wave = np.fft.irfft(spectrum * hertz**slope, length)
    return coloured


def _silence(_: np.random.Generator, length: int) -> Wave:
    return np.zeros(length)


def _converter_noise(random: np.random.Generator, length: int) -> Wave:
    return np.asarray(random.integers(-1, 2, length) / 32768, np.float64)


def _breathing_noise(random: np.random.Generator, length: int) -> Wave:
    """Noise that swells and falls as often as syllables do."""
    swell = 1 + np.sin(2 * np.pi * random.uniform(2, 6) * _time(length))
    return np.asarray(_coloured(random, length, -0.5) * swell, np.float64)


def _hum(random: np.random.Generator, length: int) -> Wave:
    mains = random.choice([50.0, 60.0])
    tones = [np.sin(2 * np.pi * mains * k * _time(length)) / k for k in range(1, 9)]
    return np.asarray(np.sum(tones, axis=0), np.float64)


def _beeps(random: np.random.Generator, length: int) -> Wave:
    time = _time(length)
    return np.sin(2 * np.pi * random.uniform(300, 2000) * time) * (
        np.sin(2 * np.pi * random.uniform(0.5, 3) * time) > 0
    )


def _dial(random: np.random.Generator, length: int) -> Wave:
    """Telephone keys, a tenth of a second each."""
    step = RATE // 10
    keys = [
        np.sin(2 * np.pi * low * _time(step)) + np.sin(2 * np.pi * high * _time(step))
        for low, high in zip(
            random.choice([697, 770, 852, 941], length // step + 1),
            random.choice([1209, 1336, 1477], length // step + 1),
            strict=True,
        )
    ]
    return np.concatenate([sound for key in keys for sound in (key, np.zeros(step))])[:length]


def _chirp(random: np.random.Generator, length: int) -> Wave:
    time = _time(length)
    return np.sin(2 * np.pi * (200 * time + random.uniform(50, 300) * time**2))


def _clicks(random: np.random.Generator, length: int) -> Wave:
    return np.where(random.random(length) < 5 / RATE, random.standard_normal(length), 0.0)


def _music(random: np.random.Generator, length: int) -> Wave:
    """Plucked chords, two a second."""
    step, root = RATE // 2, random.uniform(110, 220)
    time = _time(step)
    chords = [
        np.sum(
            [
                np.sin(2 * np.pi * root * 2 ** ((degree + third) / 12) * time * harmonic) / harmonic
                for third in (0, 4, 7)
                for harmonic in (1, 2, 3)
            ],
            axis=0,
        )
        * np.exp(-3 * time)
        for degree in random.choice([0, 2, 4, 5, 7, 9], length // step + 1)
    ]
    return np.concatenate(chords)[:length]


def _engine(random: np.random.Generator, length: int) -> Wave:
    time = _time(length)
    speed = 2 * np.pi * np.cumsum(30 + 20 * np.sin(2 * np.pi * 0.2 * time)) / RATE
    return np.sign(np.sin(speed)) * 0.5 + 0.3 * _coloured(random, length, -1.0)


def _bird(random: np.random.Generator, length: int) -> Wave:
    time = _time(length)
    pitch = 3000 + 800 * np.sin(2 * np.pi * random.uniform(4, 9) * time)
    return np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * (np.sin(2 * np.pi * 1.3 * time) > 0.3)


def _vowel_drone(_: np.random.Generator, length: int) -> Wave:
    """A buzz with the resonances of a vowel that never moves: similar to speech, but without words."""
    time = _time(length)
    buzz = np.sum([np.sin(2 * np.pi * 120 * k * time) for k in range(1, 30)], axis=0)
    spectrum, hertz = np.fft.rfft(buzz), np.fft.rfftfreq(length, 1 / RATE)
    shape = sum(np.exp(-(((hertz - formant) / 120) ** 2)) for formant in (500, 1500, 2500))
    return np.fft.irfft(spectrum * shape, length)


KINDS: dict[str, Maker] = {
    "silence": _silence,
    "converter-noise": _converter_noise,
    "white-noise": lambda random, length: _coloured(random, length, 0.0),
    "pink-noise": lambda random, length: _coloured(random, length, -0.5),
    "brown-noise": lambda random, length: _coloured(random, length, -1.0),
    "breathing-noise": _breathing_noise,
    "mains-hum": _hum,
    "beeps": _beeps,
    "telephone-keys": _dial,
    "chirp": _chirp,
    "clicks": _clicks,
    "music": _music,
    "engine": _engine,
    "bird": _bird,
    "vowel-drone": _vowel_drone,
}
