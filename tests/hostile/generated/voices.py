"""What is said in generated recordings: pieces of ``samples/``, and sentences of our own by eSpeak NG, all with their texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from tests.hostile.generated import espeak

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
RATE = 16_000
LEVEL_DBFS = -22.0
"""Level of every utterance, as RMS over the whole of it: the loudest moments of speech stay below full scale."""

Sound = NDArray[np.float64]
"""Samples of one channel at 16 kHz, full scale 1, of shape (n,)."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """A piece of clear speech without silence at its ends.

    Attributes:
        name: Where it is from.
        sound: Its samples.
        text: What is said.
        language: Whisper's code of the language.
        is_person: Whether a person speaks it. Of these the base model understands the words.
    """

    name: str
    sound: Sound
    text: str
    language: str
    is_person: bool = False

    @property
    def seconds(self) -> float:
        return len(self.sound) / RATE


_CUTS = (
    (
        "jfk.opus",
        0,
        0.0,
        11.0,
        ("and so my fellow americans ask not what your country can do for you ask what you can do for your country"),
    ),
    ("jfk.opus", 0, 7.8, 11.0, "ask what you can do for your country"),
    (
        "austen.m4a",
        0,
        0.0,
        7.1,
        (
            "and mister john dashwood had then leisure to consider how much there might be prudently in his "
            "power to do for them"
        ),
    ),
    ("austen.m4a", 0, 7.2, 10.5, "he was not an ill disposed young man"),
    ("austen.m4a", 0, 10.6, 16.1, "unless to be rather cold hearted and rather selfish is to be ill disposed"),
    (
        "lj-printing.mp3",
        0,
        0.0,
        9.6,
        (
            "printing in the only sense with which we are at present concerned differs from most if not "
            "from all the arts and crafts represented in the exhibition"
        ),
    ),
    (
        "video.webm",
        0,
        0.0,
        8.1,
        (
            "the invention of movable metal letters in the middle of the fifteenth century may justly be "
            "considered as the invention of the art of printing"
        ),
    ),
    ("two-speakers.flac", 0, 0.0, 4.4, "it is of the first importance that the letter used should be fine in form"),
    ("two-speakers.flac", 0, 6.5, 12.1, "but though on the whole except in italy gothic letter was most often used"),
    ("two-speakers.flac", 1, 12.0, 15.2, "he might even have been made amiable himself"),
    (
        "nested/lj-long.flac",
        0,
        9.4,
        16.9,
        (
            "that the forms of printed letters should follow more or less closely those of the "
            "written character and they followed them very closely"
        ),
    ),
    (
        "nested/lj-long.flac",
        0,
        35.3,
        44.58,
        ("imitates a much freer hand simpler rounder and less spiky and therefore far pleasanter and easier to read"),
    ),
)
"""Pieces of the samples: file, channel, start and end in seconds, text."""

_WORDS = (
    ("jfk.opus", 0, 9.97, 10.7, "country"),
    ("austen.m4a", 0, 9.78, 10.4, "man"),
    ("lj-printing.mp3", 0, 8.8, 9.6, "exhibition"),
    ("nested/lj-long.flac", 0, 1.66, 2.4, "beautiful"),
    ("two-speakers.flac", 1, 14.05, 14.75, "himself"),
)
"""Single words of the samples, in the same order."""

_SENTENCES = {
    "en": ("en-us", (
        "Please call me back before noon tomorrow.",
        "The train to the coast leaves at a quarter past nine.",
        "I left the keys on the table in the kitchen.",
        "Could you turn the music down a little?",
        "We are having soup and fresh bread tonight.",
        "My sister lives on the third floor of that house.",
    )),
    "de": ("de", (
        "Können Sie mich bitte morgen früh zurückrufen?",
        "Der Zug nach Hamburg fährt heute zehn Minuten später.",
        "Ich habe den Schlüssel auf dem Tisch liegen lassen.",
    )),
    "fr": ("fr", (
        "Je voudrais deux cafés et un verre d'eau, s'il vous plaît.",
        "Le magasin au coin de la rue ferme à sept heures.",
        "Nous partons en vacances la semaine prochaine.",
    )),
    "es": ("es", (
        "Mañana por la tarde vamos a visitar a mi abuela.",
        "El autobús llega siempre tarde los lunes.",
        "He dejado las llaves encima de la mesa.",
    )),
    "it": ("it", (
        "Domani mattina devo andare dal medico alle otto.",
        "Mia sorella abita in una casa vicino al mare.",
        "Può abbassare un poco la musica, per favore?",
    )),
    "pt": ("pt-br", (
        "Amanhã de manhã eu preciso comprar pão e leite.",
        "O meu irmão trabalha num hospital perto daqui.",
        "Vamos jantar em casa com os nossos amigos.",
    )),
    "nl": ("nl", (
        "Morgen ga ik met de fiets naar mijn werk.",
        "De winkel op de hoek is op zondag gesloten.",
        "Wil je alsjeblieft het raam even dichtdoen?",
    )),
    "pl": ("pl", (
        "Jutro rano pojadę pociągiem do Krakowa.",
        "Moja córka lubi czytać książki przed snem.",
        "Proszę zadzwonić do mnie po południu.",
    )),
    "ru": ("ru", (
        "Завтра утром я пойду в магазин за хлебом.",
        "Моя сестра живёт недалеко от вокзала.",
        "Пожалуйста, позвоните мне после обеда.",
    )),
    "tr": ("tr", (
        "Yarın sabah saat dokuzda seni arayacağım.",
        "Kardeşim deniz kenarında bir evde yaşıyor.",
        "Lütfen pencereyi biraz açar mısınız?",
    )),
    "hi": ("hi", (
        "कल सुबह मैं अपनी माँ के साथ बाज़ार जाऊँगा।",
        "मेरा घर स्टेशन के बहुत पास है।",
        "क्या आप मुझे एक गिलास पानी दे सकते हैं?",
    )),
    "zh": ("cmn", (
        "明天早上我要去火车站接我的朋友。",
        "今天晚上我们一起吃饭,好不好?",
        "我把钥匙忘在厨房的桌子上了。",
    )),
}  # fmt: skip
"""Language -> eSpeak NG's voice and sentences."""

_SHORT = (
    "Okay.",
    "Goodbye.",
    "Yes.",
    "No.",
    "Sure.",
    "Hello.",
    "Right.",
    "Thank you.",
    "Of course.",
    "Never mind.",
    "Seven.",
)
_REPEATED = (
    "Lobsters and lobsters.",
    "One, two, three, four.",
    "No.",
    "Wait.",
    "The water is rising.",
    "I said that we will not pay.",
)
_VARIANTS = ("en-us", "en-gb-x-rp", "en-us-nyc", "en-gb-scotland")


@cache
def list_people() -> tuple[Utterance, ...]:
    """Sentences of the samples."""
    return tuple(_cut(*cut) for cut in _CUTS)


@cache
def list_words() -> tuple[Utterance, ...]:
    """Single words of the samples."""
    return tuple(_cut(*cut) for cut in _WORDS)


def list_synthetic(language: str = "en") -> tuple[Utterance, ...]:
    """Sentences by eSpeak NG."""
    return _say_everything()[language]


def list_short_answers() -> tuple[Utterance, ...]:
    """Answers of one or two words by eSpeak NG, several voices."""
    return _say_everything()["short"]


def list_repeatable() -> tuple[Utterance, ...]:
    """Words and short sentences by eSpeak NG that people do say many times."""
    return _say_everything()["repeated"]


LANGUAGES = tuple(_SENTENCES)


@cache
def _say_everything() -> dict[str, tuple[Utterance, ...]]:
    """All texts by eSpeak NG at once, see ``espeak.synthesize``."""
    lines = [(code, voice, code, text) for code, (voice, texts) in _SENTENCES.items() for text in texts]
    lines += [
        ("short", _VARIANTS[(index + other) % len(_VARIANTS)], "en", text)
        for index, text in enumerate(_SHORT)
        for other in (0, 1)
    ]
    lines += [("repeated", _VARIANTS[index % len(_VARIANTS)], "en", text) for index, text in enumerate(_REPEATED)]
    groups: dict[str, list[Utterance]] = {}
    sounds = espeak.synthesize([(voice, text) for _, voice, _, text in lines])
    for (group, voice, language, text), sound in zip(lines, sounds, strict=True):
        name = f"espeak {voice} {text!r}"
        groups.setdefault(group, []).append(
            Utterance(name, _prepare(resample(sound, espeak.RATE, RATE)), text, language)
        )
    return {group: tuple(utterances) for group, utterances in groups.items()}


def _cut(file: str, channel: int, start_s: float, end_s: float, text: str) -> Utterance:
    sound = _read_sample(file)[channel, round(start_s * RATE) : round(end_s * RATE)]
    return Utterance(f"{file} {start_s:g}-{end_s:g} s", _prepare(sound), text, "en", is_person=True)


@cache
def _read_sample(file: str) -> NDArray[np.float64]:
    """A sample as (channels, n) at 16 kHz."""
    with av.open(str(SAMPLES / file)) as container:
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
        sound = np.concatenate(
            [frame.to_ndarray() if frame.format.is_planar else _split(frame) for frame in frames], axis=1
        )
        full_scale = np.iinfo(sound.dtype).max + 1 if np.issubdtype(sound.dtype, np.integer) else 1
        return np.stack([resample(channel / full_scale, stream.rate, RATE) for channel in sound])


def _split(frame: av.AudioFrame) -> NDArray[np.generic]:
    """Samples of a frame that is not planar, as (channels, n)."""
    return frame.to_ndarray().reshape(-1, frame.layout.nb_channels).T


def resample(sound: Sound, rate: int, target: int) -> Sound:
    """Resample by cutting off or adding high frequencies of the whole sound at once."""
    if rate == target:
        return np.asarray(sound, np.float64)
    seconds = -(-len(sound) // rate)  # whole seconds, for which the transform is quick
    spectrum = np.fft.rfft(sound, seconds * rate)
    kept = np.zeros(seconds * target // 2 + 1, complex)
    shared = min(len(kept), len(spectrum))
    kept[:shared] = spectrum[:shared]
    resampled = np.fft.irfft(kept, seconds * target) * (target / rate)
    return np.asarray(resampled[: round(len(sound) * target / rate)])


def measure_dbfs(sound: Sound) -> float:
    """RMS of a sound in decibels below full scale."""
    return float(10 * np.log10(np.mean(sound**2) + 1e-20))


def _prepare(sound: Sound) -> Sound:
    """Cut off silence at both ends, soften the cuts, and set the level."""
    frame = RATE // 100
    count = len(sound) // frame
    levels = 10 * np.log10(np.mean(sound[: count * frame].reshape(count, frame) ** 2, axis=1) + 1e-12)
    loud = np.flatnonzero(levels > levels.max() - 35)
    kept = sound[loud[0] * frame : (loud[-1] + 1) * frame].copy()
    fade = np.linspace(0, 1, frame // 2)
    kept[: len(fade)] *= fade
    kept[-len(fade) :] *= fade[::-1]
    return np.asarray(kept * 10 ** ((LEVEL_DBFS - measure_dbfs(kept)) / 20))
