"""Recordings made by chance from a seed: which voices, where, in what sound and in what file. The truth comes with the bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from tests.hostile.generated import encoders, voices
from tests.hostile.generated.encoders import Channels, Track, encode
from tests.hostile.generated.voices import RATE, Sound, Utterance

Chance = np.random.Generator


@dataclass(frozen=True, slots=True)
class Spoken:
    """A span in which somebody speaks.

    Attributes:
        start_s: Its start, in seconds of the recording as a player shows them.
        end_s: Its end.
        utterance: What is said.
        channel: Zero-based channel of the file.
        track: Zero-based audio track of the file.
        is_clear: Whether anybody would understand it: nothing else is as loud.
    """

    start_s: float
    end_s: float
    utterance: Utterance
    channel: int = 0
    track: int = 0
    is_clear: bool = True

    def shift(self, seconds: float) -> Spoken:
        """The same, later."""
        return replace(self, start_s=self.start_s + seconds, end_s=self.end_s + seconds)


@dataclass(frozen=True, slots=True)
class Recording:
    """A file and what is said in it.

    Attributes:
        kind: One of ``KINDS``.
        seed: Made it.
        name: Name of the file.
        content: Its bytes.
        spoken: Where somebody speaks, by time.
        plan: How it was made, for people.
        is_valid: Whether the file is as it should be, so that it must not be refused.
    """

    kind: str
    seed: int
    name: str
    content: bytes
    spoken: tuple[Spoken, ...]
    plan: str
    is_valid: bool = True


def make_recording(kind: str, seed: int) -> Recording:
    """Make the recording of a kind and a seed; always the same one."""
    return KINDS[kind](kind, seed, np.random.default_rng([seed, *kind.encode()]))


_T = TypeVar("_T")


def _choose(chance: Chance, options: Sequence[_T]) -> _T:
    return options[int(chance.integers(len(options)))]


def _pick_voices(chance: Chance, count: int) -> list[Utterance]:
    """Different utterances: mostly people, and English by eSpeak NG."""
    utterances = [*voices.list_people(), *voices.list_people(), *voices.list_synthetic()]
    picked = [utterances[index] for index in chance.permutation(len(utterances))]
    return list({utterance.name: utterance for utterance in picked}.values())[:count]


def _lay_out(chance: Chance, utterances: Sequence[Utterance], silences: tuple[float, float] = (0.3, 4.0)) -> Lane:
    """Utterances one after another, with silence before, between and after them."""
    position, spoken, parts = 0.0, [], []
    for utterance in utterances:
        silence = np.zeros(round(chance.uniform(*silences) * RATE))
        start = position + len(silence) / RATE
        position = start + utterance.seconds
        parts += [silence, utterance.sound]
        spoken.append(Spoken(start, position, utterance))
    parts.append(np.zeros(round(chance.uniform(*silences) * RATE)))
    return Lane(np.concatenate(parts), tuple(spoken))


@dataclass(frozen=True, slots=True)
class Lane:
    """Sound of one channel and what is said in it."""

    sound: Sound
    spoken: tuple[Spoken, ...]

    def amplify(self, decibels: float) -> Lane:
        return replace(self, sound=self.sound * 10 ** (decibels / 20))

    def describe(self) -> str:
        return "; ".join(f"{item.start_s:.1f}-{item.end_s:.1f} s {item.utterance.name}" for item in self.spoken)


def _make_noise(chance: Chance, count: int, level_dbfs: float, colour: float = 1.0) -> Sound:
    """Noise whose power falls with frequency to the power of ``colour``: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(chance.standard_normal(count))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** (colour / 2)
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, count)
    return np.asarray(noise * 10 ** (level_dbfs / 20) / np.sqrt(np.mean(noise**2)))


def _make_hum(count: int, level_dbfs: float, frequency: float) -> Sound:
    times = np.arange(count) / RATE
    hum = sum(np.sin(2 * np.pi * frequency * harmonic * times) / harmonic for harmonic in (1, 2, 3, 5))
    return np.asarray(hum * 10 ** (level_dbfs / 20) / np.sqrt(np.mean(np.square(hum))))


def _pad(sound: Sound, count: int) -> Sound:
    return np.concatenate([sound, np.zeros(max(0, count - len(sound)))])


def _stack(*channels: Sound) -> Channels:
    count = max(map(len, channels))
    return np.stack([_pad(channel, count) for channel in channels], axis=1)


def _resample(sound: Channels, rate: int) -> Channels:
    return np.stack([voices.resample(channel, RATE, rate) for channel in sound.T], axis=1)


def _finish(
    kind: str,
    seed: int,
    chance: Chance,
    sound: Channels,
    spoken: Sequence[Spoken],
    plan: str,
    encodings: Sequence[str] = encoders.EVERY,
    rates: Sequence[int] = (16_000, 48_000),
) -> Recording:
    """Encode one track at time zero."""
    encoding, rate = _choose(chance, encodings), _choose(chance, rates)
    content = encode(encoding, [Track(_resample(sound, rate))], rate)
    name = f"{kind.replace(' ', '-')}-{seed}.{encoders.get_suffix(encoding)}"
    ordered = tuple(sorted(spoken, key=lambda item: item.start_s))
    return Recording(kind, seed, name, content, ordered, f"{encoding} {rate} Hz: {plan}")


def _make_with_silences(kind: str, seed: int, chance: Chance) -> Recording:
    """Between utterances fractions of a second up to minutes of silence."""
    longest = float(_choose(chance, (1.0, 5.0, 30.0, 90.0)))
    lane = _lay_out(chance, _pick_voices(chance, int(chance.integers(2, 5))), (0.3, longest))
    return _finish(kind, seed, chance, lane.sound[:, None], lane.spoken, lane.describe())


def _make_without_silence(kind: str, seed: int, chance: Chance) -> Recording:
    """Speech from the first sample to the last."""
    lane = _lay_out(chance, _pick_voices(chance, int(chance.integers(1, 5))), (0.0, 0.0))
    return _finish(kind, seed, chance, lane.sound[:, None], lane.spoken, lane.describe())


def _make_noisy(kind: str, seed: int, chance: Chance) -> Recording:
    """Noise or hum all the time, well below the speech."""
    lane = _lay_out(chance, _pick_voices(chance, int(chance.integers(1, 4))), (0.5, 8.0))
    below_db, sort = float(chance.uniform(15, 40)), _choose(chance, ("white", "pink", "brown", "hum"))
    level_dbfs, count = voices.LEVEL_DBFS - below_db, len(lane.sound)
    if sort == "hum":
        noise = _make_hum(count, level_dbfs, float(_choose(chance, (50.0, 60.0))))
    else:
        noise = _make_noise(chance, count, level_dbfs, ("white", "pink", "brown").index(sort))
    plan = f"{sort} {below_db:.0f} dB below; {lane.describe()}"
    return _finish(kind, seed, chance, (lane.sound + noise)[:, None], lane.spoken, plan)


def _take_turns(chance: Chance) -> tuple[Lane, Lane]:
    """Two people, one after the other, who sometimes speak over each other's end."""
    people = _pick_voices(chance, int(chance.integers(3, 6)))
    lanes: tuple[list[Spoken], list[Spoken]] = ([], [])
    end = 0.5
    for number, utterance in enumerate(people):
        start = max(0.2, end + float(chance.uniform(-0.3, 1.5)))
        end = start + utterance.seconds
        lanes[number % 2].append(Spoken(start, end, utterance, channel=number % 2))
    sounds = []
    for lane in lanes:
        sound = np.zeros(round((end + 1) * RATE))
        for item in lane:
            first = round(item.start_s * RATE)
            sound[first : first + len(item.utterance.sound)] += item.utterance.sound
        sounds.append(sound)
    return Lane(sounds[0], tuple(lanes[0])), Lane(sounds[1], tuple(lanes[1]))


_STEREO = tuple(encoding for encoding in encoders.EVERY if encoding not in ("flv", "avi"))


def _make_call(kind: str, seed: int, chance: Chance) -> Recording:
    """A telephone call: each on a side, each faintly on the other's."""
    first, second = _take_turns(chance)
    leak_db = -float(chance.uniform(20, 60))
    leak = 10 ** (leak_db / 20)
    noise = [_make_noise(chance, len(first.sound), -70) for _ in range(2)]
    sound = _stack(first.sound + leak * second.sound + noise[0], second.sound + leak * first.sound + noise[1])
    plan = f"{leak_db:.0f} dB across; left {first.describe()}; right {second.describe()}"
    return _finish(kind, seed, chance, sound, [*first.spoken, *second.spoken], plan, _STEREO, (8_000, 16_000, 48_000))


def _make_with_quiet_side(kind: str, seed: int, chance: Chance) -> Recording:
    """A call of which one side is much quieter."""
    first, second = _take_turns(chance)
    quiet_db = -float(chance.uniform(15, 40))
    first, second = (first, second.amplify(quiet_db)) if chance.random() < 0.5 else (first.amplify(quiet_db), second)
    plan = f"one side {quiet_db:.0f} dB; left {first.describe()}; right {second.describe()}"
    sound = _stack(first.sound, second.sound)
    return _finish(kind, seed, chance, sound, [*first.spoken, *second.spoken], plan, encoders.LOSSLESS)


def _make_one_sided(kind: str, seed: int, chance: Chance) -> Recording:
    """Somebody who speaks for long on one side, and a short answer on the other."""
    lane = _lay_out(chance, _pick_voices(chance, int(chance.integers(2, 5))), (0.5, 2.0))
    answer = _choose(chance, [*voices.list_words(), *voices.list_short_answers()])
    moment = lane.spoken[-1].end_s + float(chance.uniform(0.3, 1.0))
    other = Lane(
        np.concatenate([np.zeros(round(moment * RATE)), answer.sound, np.zeros(RATE)]),
        (Spoken(moment, moment + answer.seconds, answer, channel=1),),
    )
    plan = f"left {lane.describe()}; right {other.describe()}"
    return _finish(kind, seed, chance, _stack(lane.sound, other.sound), [*lane.spoken, *other.spoken], plan, _STEREO)


def _make_opposite(kind: str, seed: int, chance: Chance) -> Recording:
    """Two sides that are each other's opposite, for which their sum is silence."""
    lane = _lay_out(chance, _pick_voices(chance, int(chance.integers(1, 4))))
    gain = -float(chance.uniform(0.9, 1.1))
    noise = _make_noise(chance, len(lane.sound), -75)
    sound = _stack(lane.sound + noise, gain * lane.sound)
    return _finish(kind, seed, chance, sound, lane.spoken, f"right {gain:.2f} of left; {lane.describe()}", _STEREO)


def _make_surround(kind: str, seed: int, chance: Chance) -> Recording:
    """Several channels, of which one or two speak."""
    count = int(_choose(chance, (4, 6, 8)))
    first, second = _take_turns(chance)
    left, right = chance.permutation(count)[:2].tolist()
    channels = [_make_noise(chance, len(first.sound), -80) for _ in range(count)]
    channels[left] += first.sound
    spoken = [replace(item, channel=left) for item in first.spoken]
    if chance.random() < 0.6:
        channels[right] += second.sound
        spoken += [replace(item, channel=right) for item in second.spoken]
    plan = f"{count} channels; {left}: {first.describe()}; {right}: {second.describe()}"
    return _finish(
        kind, seed, chance, _stack(*channels), spoken, plan, ("wav", "wav 24 bit", "flac", "mkv, flac", "mov")
    )


def _make_loud_or_quiet(kind: str, seed: int, chance: Chance) -> Recording:
    """The whole recording at another level, as far as its samples can carry it."""
    lane = _lay_out(chance, _pick_voices(chance, int(chance.integers(1, 4))))
    encoding, lowest_db, highest_db = _choose(
        chance,
        (("wav", -45, 6), ("flac", -45, 6), ("wav 24 bit", -60, 6), ("wav float", -70, 6), ("wav float", 0, 50)),
    )
    gain_db = float(chance.uniform(lowest_db, highest_db))
    sound = lane.amplify(gain_db).sound[:, None]
    return _finish(kind, seed, chance, sound, lane.spoken, f"{gain_db:+.0f} dB; {lane.describe()}", (encoding,))


def _make_quiet_after_loud(kind: str, seed: int, chance: Chance) -> Recording:
    """Somebody loud and somebody quiet on one channel, in one recording."""
    loud, quiet = _pick_voices(chance, 2)
    quiet_db = -float(chance.uniform(15, 40))
    first, second = _lay_out(chance, [loud]), _lay_out(chance, [quiet]).amplify(quiet_db)
    if chance.random() < 0.5:
        first, second = second, first
    shift = len(first.sound) / RATE
    spoken = [*first.spoken, *(item.shift(shift) for item in second.spoken)]
    sound = np.concatenate([first.sound, second.sound])
    plan = f"one {quiet_db:.0f} dB; {first.describe()}, then after {shift:.1f} s {second.describe()}"
    return _finish(kind, seed, chance, sound[:, None], spoken, plan, encoders.LOSSLESS)


def _make_with_offset(kind: str, seed: int, chance: Chance) -> Recording:
    """Speech on a ground that is not zero, as a bad converter has it, or with clicks of full scale."""
    lane = _lay_out(chance, _pick_voices(chance, int(chance.integers(1, 4))))
    if chance.random() < 0.5:
        ground = float(chance.uniform(-0.5, 0.5))
        sound, what = lane.amplify(-8).sound + ground, f"ground at {ground:.2f}"
    else:
        sound, what = lane.amplify(-20).sound.copy(), "clicks"
        for position in chance.integers(0, len(sound), 6):
            sound[position : position + 3] = 0.99
    return _finish(kind, seed, chance, sound[:, None], lane.spoken, f"{what}; {lane.describe()}", encoders.LOSSLESS)


def _make_late(kind: str, seed: int, chance: Chance) -> Recording:
    """A film whose sound begins late, or ends long before the pictures."""
    lane = _lay_out(chance, _pick_voices(chance, int(chance.integers(1, 4))), (0.3, 2.0))
    late_s, encoding = float(chance.uniform(0.5, 40)), _choose(chance, encoders.WITH_PICTURES)
    pictures_s = late_s + len(lane.sound) / RATE + float(_choose(chance, (0.0, 0.0, 20.0)))
    content = encode(encoding, [Track(_resample(lane.sound[:, None], 48_000), late_s)], 48_000, pictures_s)
    spoken = tuple(item.shift(late_s) for item in lane.spoken)
    plan = f"{encoding}, sound {late_s:.1f} s late of {pictures_s:.1f} s of pictures; {lane.describe()}"
    return Recording(kind, seed, f"late-{seed}.{encoders.get_suffix(encoding)}", content, spoken, plan)


def _make_with_gaps(kind: str, seed: int, chance: Chance) -> Recording:
    """Timestamps that jump, as a browser writes them that leaves out what was muted."""
    lane = _lay_out(chance, _pick_voices(chance, 3), (0.6, 2.0))
    gaps = []
    spoken = [lane.spoken[0]]
    for item in lane.spoken[1:]:
        gaps.append((item.start_s - 0.3, float(chance.uniform(0.5, 30))))
        spoken.append(item.shift(sum(seconds for _, seconds in gaps)))
    encoding = _choose(chance, ("webm", "webm, live", "mkv", "mkv, live"))
    content = encode(encoding, [Track(_resample(lane.sound[:, None], 48_000), gaps=tuple(gaps))], 48_000)
    plan = f"{encoding}, jumps {', '.join(f'{b:.1f} s at {a:.1f} s' for a, b in gaps)}; {lane.describe()}"
    return Recording(kind, seed, f"gaps-{seed}.{encoders.get_suffix(encoding)}", content, tuple(spoken), plan)


def _make_with_tracks(kind: str, seed: int, chance: Chance) -> Recording:
    """Two or three audio tracks: silent ones, other people, other times."""
    encoding, count = _choose(chance, encoders.WITH_TRACKS), int(chance.integers(2, 4))
    lanes = []
    people = [voices.list_people()[index] for index in chance.permutation(len(voices.list_people()))]
    for number in range(count):
        before = np.zeros(round(float(chance.uniform(0, 6)) * RATE))
        lane = _lay_out(chance, people[2 * number : 2 * number + int(chance.integers(1, 3))])
        shift = len(before) / RATE
        spoken = tuple(replace(item.shift(shift), track=number) for item in lane.spoken)
        lanes.append(Lane(np.concatenate([before, lane.sound]), spoken))
    silent = int(chance.integers(-1, count))
    if silent >= 0:
        lanes[silent] = Lane(_make_noise(chance, len(lanes[silent].sound), -80), ())
    length = max(len(lane.sound) for lane in lanes)
    tracks = [Track(_resample(_pad(lane.sound, length)[:, None], 48_000)) for lane in lanes]
    pictures_s = length / RATE if encoding in encoders.WITH_PICTURES and chance.random() < 0.5 else 0.0
    content = encode(encoding, tracks, 48_000, pictures_s)
    plan = f"{encoding}; " + "; ".join(f"track {n}: {lane.describe() or 'silent'}" for n, lane in enumerate(lanes))
    everything = sorted((item for lane in lanes for item in lane.spoken), key=lambda item: item.start_s)
    return Recording(kind, seed, f"tracks-{seed}.{encoders.get_suffix(encoding)}", content, tuple(everything), plan)


def _make_with_uneven_tracks(kind: str, seed: int, chance: Chance) -> Recording:
    """Tracks that begin later than the first one, are quieter, or are calls with a person on each side."""
    encoding = _choose(chance, ("mp4", "mkv", "mkv, flac", "mkv, live", "ts"))
    tracks, spoken, plans = [], [], []
    for number in range(int(chance.integers(2, 4))):
        late_s = float(chance.uniform(0.5, 15)) if number and chance.random() < 0.6 else 0.0
        gain_db = -float(chance.uniform(10, 30)) if chance.random() < 0.4 else 0.0
        if chance.random() < 0.3:
            first, second = _take_turns(chance)
        else:
            first, second = _lay_out(chance, _pick_voices(chance, int(chance.integers(1, 3)))), None
        sides = [first] if second is None else [first, second]
        sound = _stack(*(side.amplify(gain_db).sound for side in sides))
        tracks.append(Track(_resample(sound, 48_000), late_s))
        spoken += [replace(item.shift(late_s), track=number) for side in sides for item in side.spoken]
        what = " and ".join(side.describe() for side in sides)
        plans.append(f"track {number} from {late_s:.1f} s, {gain_db:.0f} dB: {what}")
    content = encode(encoding, tracks, 48_000)
    name = f"uneven-tracks-{seed}.{encoders.get_suffix(encoding)}"
    ordered = tuple(sorted(spoken, key=lambda item: item.start_s))
    return Recording(kind, seed, name, content, ordered, f"{encoding}; " + "; ".join(plans))


def _make_with_wrong_header(kind: str, seed: int, chance: Chance) -> Recording:
    """A header that claims another length than the file has."""
    lane = _lay_out(chance, _pick_voices(chance, int(chance.integers(2, 4))), (0.3, 2.0))
    wrong = encoders.WRONG_HEADERS[seed % len(encoders.WRONG_HEADERS)]
    content = wrong.apply(encode(wrong.encoding, [Track(_resample(lane.sound[:, None], 48_000))], 48_000))
    name = f"header-{seed}.{encoders.get_suffix(wrong.encoding)}"
    plan = f"{wrong.encoding}, {wrong.what}; {lane.describe()}"
    return Recording(kind, seed, name, content, lane.spoken, plan, is_valid=False)


_JOINABLE = ("mp3", "aac", "ts", "opus", "flac", "wav", "webm", "mkv", "aiff", "caf", "mp4", "mov", "flv", "avi")


def _make_joined(kind: str, seed: int, chance: Chance) -> Recording:
    """Files put behind each other with ``cat``, as some recorders and download tools do."""
    encoding = _choose(chance, _JOINABLE)
    rates = (16_000, 48_000) if chance.random() < 0.5 else (48_000, 48_000)
    contents, spoken, shift, plans = [], [], 0.0, []
    for rate, utterance in zip(rates, _pick_voices(chance, 2), strict=True):
        lane = _lay_out(chance, [utterance], (0.3, 1.5))
        contents.append(encode(encoding, [Track(_resample(lane.sound[:, None], rate))], rate))
        spoken += [item.shift(shift) for item in lane.spoken]
        shift += len(lane.sound) / RATE
        plans.append(f"{rate} Hz {lane.describe()}")
    name = f"joined-{seed}.{encoders.get_suffix(encoding)}"
    return Recording(
        kind, seed, name, b"".join(contents), tuple(spoken), f"{encoding}; " + ", then ".join(plans), False
    )


def _make_repeated(kind: str, seed: int, chance: Chance) -> Recording:
    """Somebody says the same over and over, as people do."""
    cut = [utterance for utterance in voices.list_people() if utterance.seconds < 3.5]
    utterance = _choose(chance, [*voices.list_repeatable(), *voices.list_repeatable(), *cut, *voices.list_words()])
    times = int(chance.integers(4, 13)) if utterance.seconds < 2.5 else int(chance.integers(3, 7))
    lane = _lay_out(chance, [utterance] * times, _choose(chance, ((0.1, 0.3), (0.3, 0.8), (1.0, 2.5))))
    spoken, sound = list(lane.spoken), lane.sound
    if chance.random() < 0.4:
        before = _lay_out(chance, _pick_voices(chance, 1))
        spoken = [*before.spoken, *(item.shift(len(before.sound) / RATE) for item in spoken)]
        sound = np.concatenate([before.sound, sound])
    plan = f"{times} times {utterance.name}, {spoken[-times].start_s:.1f} to {spoken[-1].end_s:.1f} s"
    return _finish(kind, seed, chance, sound[:, None], spoken, plan)


def _make_short_answers(kind: str, seed: int, chance: Chance) -> Recording:
    """One or a few words in silence."""
    answers = [*voices.list_short_answers(), *voices.list_words()]
    chosen = [_choose(chance, answers) for _ in range(int(_choose(chance, (1, 1, 1, 2, 3))))]
    lane = _lay_out(chance, chosen, (0.5, 10.0))
    sound = lane.sound + _make_noise(chance, len(lane.sound), -75)
    return _finish(kind, seed, chance, sound[:, None], lane.spoken, lane.describe())


def _make_foreign(kind: str, seed: int, chance: Chance) -> Recording:
    """Another language than English."""
    language = voices.LANGUAGES[seed % len(voices.LANGUAGES)]
    sentences = voices.list_synthetic(language)
    order = chance.permutation(len(sentences))[: int(chance.integers(1, 4))]
    lane = _lay_out(chance, [sentences[index] for index in order])
    return _finish(kind, seed, chance, lane.sound[:, None], lane.spoken, lane.describe())


def _make_mixed_languages(kind: str, seed: int, chance: Chance) -> Recording:
    """Two languages in one recording."""
    first, second = (voices.LANGUAGES[index] for index in chance.permutation(len(voices.LANGUAGES))[:2])
    utterances = [_choose(chance, voices.list_synthetic(language)) for language in (first, second, first, second)]
    lane = _lay_out(chance, utterances, _choose(chance, ((0.3, 1.0), (1.0, 6.0))))
    return _finish(kind, seed, chance, lane.sound[:, None], lane.spoken, lane.describe())


def _make_over_music(kind: str, seed: int, chance: Chance) -> Recording:
    """Speech over chords that sound all the time, well below it."""
    lane = _lay_out(chance, _pick_voices(chance, int(chance.integers(1, 4))), (0.5, 6.0))
    times = np.arange(len(lane.sound)) / RATE
    music = np.zeros(len(lane.sound))
    for beat in range(int(times[-1]) + 1):
        inside = (times >= beat) & (times < beat + 1)
        decay = np.exp(-1.5 * (times[inside] - beat))
        for note in chance.choice([220.0, 261.6, 329.6, 392.0, 440.0, 523.3], 3, replace=False):
            music[inside] += np.sin(2 * np.pi * note * times[inside]) * decay
    below_db = float(chance.uniform(12, 25))
    music *= 10 ** ((voices.LEVEL_DBFS - below_db) / 20) / np.sqrt(np.mean(music**2))
    plan = f"music {below_db:.0f} dB below; {lane.describe()}"
    return _finish(kind, seed, chance, (lane.sound + music)[:, None], lane.spoken, plan)


def _make_with_beeps(kind: str, seed: int, chance: Chance) -> Recording:
    """The tones of an answering machine or of a keypad between utterances, as loud as they are."""
    lane = _lay_out(chance, _pick_voices(chance, int(chance.integers(2, 4))), (1.0, 4.0))
    sound = lane.sound.copy()
    for item in lane.spoken:
        seconds = float(chance.uniform(0.15, 0.8))
        times = np.arange(round(seconds * RATE)) / RATE
        low, high = _choose(chance, ((697, 1209), (770, 1336), (852, 1477), (941, 1336), (1000, 1000), (440, 480)))
        first = max(0, round((item.start_s - 0.1 - seconds) * RATE))
        sound[first : first + len(times)] += 0.1 * (np.sin(2 * np.pi * low * times) + np.sin(2 * np.pi * high * times))
    return _finish(kind, seed, chance, sound[:, None], lane.spoken, lane.describe())


def _make_clipped(kind: str, seed: int, chance: Chance) -> Recording:
    """Recorded too loud: the loudest moments are cut off."""
    lane = _lay_out(chance, _pick_voices(chance, int(chance.integers(1, 4))))
    gain_db = float(chance.uniform(8, 20))
    sound = np.clip(lane.amplify(gain_db).sound, -1, 1)
    return _finish(kind, seed, chance, sound[:, None], lane.spoken, f"{gain_db:+.0f} dB, cut off; {lane.describe()}")


def _make_with_echo(kind: str, seed: int, chance: Chance) -> Recording:
    """In a room that echoes."""
    lane = _lay_out(chance, _pick_voices(chance, int(chance.integers(1, 4))), (0.5, 4.0))
    decay_s, level_db = float(chance.uniform(0.2, 0.6)), -float(chance.uniform(3, 10))
    times = np.arange(round(decay_s * RATE)) / RATE
    room = chance.standard_normal(len(times)) * 10 ** (-3 * times / decay_s)
    room *= 10 ** (level_db / 20) / np.sqrt(np.sum(room**2))
    room[0] += 1
    count = 1 << (len(lane.sound) + len(room)).bit_length()
    wet = np.fft.irfft(np.fft.rfft(lane.sound, count) * np.fft.rfft(room, count), count)[: len(lane.sound)]
    plan = f"echo of {decay_s:.2f} s {level_db:.0f} dB; {lane.describe()}"
    return _finish(kind, seed, chance, wet[:, None], lane.spoken, plan)


def _make_at_odd_rate(kind: str, seed: int, chance: Chance) -> Recording:
    """Sample rates of telephones, old computers and studios."""
    lane = _lay_out(chance, _pick_voices(chance, int(chance.integers(1, 4))))
    plan = lane.describe()
    rates = (8_000, 11_025, 22_050, 44_100, 96_000)
    return _finish(kind, seed, chance, lane.sound[:, None], lane.spoken, plan, encoders.LOSSLESS, rates)


def _make_long(kind: str, seed: int, chance: Chance) -> Recording:
    """Minutes of speech, in which some sentences come again."""
    lane = _lay_out(chance, _pick_voices(chance, 18) * 2, (0.3, 1.5))
    return _finish(kind, seed, chance, lane.sound[:, None], lane.spoken, lane.describe())


KINDS: dict[str, Callable[[str, int, Chance], Recording]] = {
    "silences": _make_with_silences,
    "no silence": _make_without_silence,
    "noise": _make_noisy,
    "music": _make_over_music,
    "beeps": _make_with_beeps,
    "echo": _make_with_echo,
    "clipped": _make_clipped,
    "call": _make_call,
    "quiet side": _make_with_quiet_side,
    "one answer": _make_one_sided,
    "opposite": _make_opposite,
    "surround": _make_surround,
    "level": _make_loud_or_quiet,
    "quiet and loud": _make_quiet_after_loud,
    "ground": _make_with_offset,
    "late": _make_late,
    "gaps": _make_with_gaps,
    "tracks": _make_with_tracks,
    "uneven tracks": _make_with_uneven_tracks,
    "header": _make_with_wrong_header,
    "joined": _make_joined,
    "repeated": _make_repeated,
    "short": _make_short_answers,
    "language": _make_foreign,
    "two languages": _make_mixed_languages,
    "rate": _make_at_odd_rate,
    "long": _make_long,
}
"""Kind -> what makes its recordings."""
