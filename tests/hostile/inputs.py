"""The hostile inputs, made from nothing but three seconds of Kennedy, arithmetic and a seed; and how each one has to end.

Here belongs what is delivered and what may become of it. ``test_inputs`` delivers it all through the real command.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
RATE = 16_000
Samples = NDArray[np.float64]
Make = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class End:
    """One way in which an input may end.

    Attributes:
        state: The state that the ledger shows.
        kind: Short name of what is wrong; None when it is done.
        says: What the reason, or for a done one its flags (name and reason), must contain.
        heard: What the text must contain; "" for no text at all, None where any text will do.
    """

    state: str
    kind: str | None = None
    says: str = ""
    heard: str | None = None


def refused(kind: str, says: str) -> End:
    """Quarantined, and why."""
    return End("quarantined", kind, says)


SPOKEN = End("done", heard="country")
EMPTY = End("done", says="no_speech", heard="")


@dataclass(frozen=True, slots=True)
class Input:
    """One delivery.

    Attributes:
        name: Path below the delivered folder, as bytes, because a name need not be text.
        make: Makes its bytes.
        ends: The ways in which it may end.
    """

    name: bytes
    make: Make
    ends: tuple[End, ...]


@cache
def kennedy() -> Samples:
    """``... ask what you can do for your country``, mono, 16 kHz."""
    sound, rate = soundfile.read(SAMPLES / "jfk.opus", dtype="float64")
    return _resampled(sound[round(7.5 * rate) :], rate, RATE)


def _resampled(sound: Samples, rate: int, target: int) -> Samples:
    """Straight lines between samples: good enough for words."""
    times = np.arange(round(len(sound) * target / rate)) / target
    return np.interp(times, np.arange(len(sound)) / rate, sound)


def at(rate: int) -> Samples:
    """Kennedy at another rate."""
    return _resampled(kennedy(), RATE, rate)


def wav(sound: Samples, rate: int = RATE, subtype: str = "PCM_16", container: str = "WAV") -> bytes:
    """Encoded by libsndfile."""
    buffer = io.BytesIO()
    soundfile.write(buffer, sound, rate, format=container, subtype=subtype)
    return buffer.getvalue()


_ENCODERS = {
    "mp3": ("mp3", "mp3"),
    "m4a": ("mp4", "aac"),
    "opus": ("ogg", "libopus"),
    "webm": ("webm", "libopus"),
    "mkv": ("matroska", "aac"),
    "flac": ("flac", "flac"),
    "aiff": ("aiff", "pcm_s16be"),
    "caf": ("caf", "pcm_s16le"),
}


@cache
def encoded(form: str, tracks: tuple[str, ...] = ("kennedy",), pictures: int = 0) -> bytes:
    """Encoded by FFmpeg: audio tracks of ``kennedy`` or ``silence``, behind ``pictures`` grey frames of video."""
    container_format, codec = _ENCODERS[form]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as container:
        video = container.add_stream("mpeg4", rate=10) if pictures else None
        streams = [container.add_stream(codec, rate=RATE, layout="mono") for _ in tracks]
        if video is not None:
            video.width = video.height = 64
            video.pix_fmt = "yuv420p"
            for index in range(pictures):
                picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), index, np.uint8), format="rgb24")
                picture.pts, picture.time_base = index, Fraction(1, 10)
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
        for track, stream in zip(tracks, streams, strict=True):
            sound = (kennedy() * 32_767 * (track == "kennedy")).astype(np.int16)
            for start in range(0, len(sound), 960):
                frame = av.AudioFrame.from_ndarray(sound[None, start : start + 960], format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return buffer.getvalue()


def picture(codec: str, pixels: str) -> bytes:
    """A picture of noise."""
    context = av.CodecContext.create(codec, "w")
    context.width = context.height = 96
    context.pix_fmt, context.time_base = pixels, Fraction(1, 1)
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=pixels)
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def cut(whole: bytes, share: float) -> bytes:
    """The first share of the bytes."""
    return whole[: int(len(whole) * share)]


def flipped(whole: bytes, flips: int) -> bytes:
    """With bits flipped at random places behind the header."""
    damaged = bytearray(whole)
    for place in np.random.default_rng(flips).integers(400, len(whole), flips):
        damaged[place] ^= 1 << int(place % 8)
    return bytes(damaged)


def hush(milliseconds: int) -> Make:
    """Silence; another length is another content."""
    return lambda: wav(np.zeros(16 * milliseconds))


def riff(
    rate: int = RATE, channels: int = 1, bits: int = 16, code: int = 1, data: bytes = b"", size: int = -1
) -> bytes:
    """A WAV whose header says what it is told to."""
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate, rate * frame & 0xFFFF_FFFF, frame & 0xFFFF, bits)
    length = len(data) if size < 0 else size
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", length) + data
    return b"RIFF" + struct.pack("<I", 28 + length & 0xFFFF_FFFF) + body


def floats(sound: Samples) -> bytes:
    """A 32-bit float WAV, whatever the floats are."""
    return riff(bits=32, code=3, data=sound.astype("<f4").tobytes())


def _seconds(seconds: float, rate: int = RATE) -> Samples:
    return np.arange(round(seconds * rate)) / rate


def _noise(colour: float, seconds: float = 3.0, level: float = 0.1) -> Samples:
    """Noise whose power falls with frequency to the power of ``colour``: 0 white, 1 pink, 2 brown."""
    generator = np.random.default_rng(int(colour))
    spectrum = np.fft.rfft(generator.standard_normal(round(seconds * RATE)))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** (colour / 2)
    sound = np.fft.irfft(spectrum)
    return np.asarray(level * sound / np.sqrt(np.mean(sound**2)))


def _zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escaped.wav", bytes(20_000_000))
    return buffer.getvalue()


def _flac_of_a_thousand_hours() -> bytes:
    whole = bytearray(encoded("flac"))
    count = 1_000 * 3600 * RATE
    fields = int.from_bytes(whole[18:26], "big") >> 36 << 36 | count & (1 << 36) - 1
    whole[18:26] = fields.to_bytes(8, "big")
    return bytes(whole)


def _m4a_that_names_another_file() -> bytes:
    """Its data reference says "not in this file": by the standard the samples would be read from an address."""
    return encoded("m4a").replace(b"url \x00\x00\x00\x01", b"url \x00\x00\x00\x00")


def _with(sound: Samples, odd: float, places: slice) -> Samples:
    changed = sound.copy()
    changed[places] = odd
    return changed


NOT_AUDIO = "Not a recording"
PROMISING = {
    "wav": "WAV promises 3.5 s",
    "flac": "FLAC promises 3.5 s",
    "aiff": "AIFF promises 3.5 s",
    "caf": "CAF promises 3.5 s",
    "mp3": "MP3 promises 3.",
    "m4a": "no complete index",
    "webm": "Matroska promises 3.5 s",
    "mkv": "Matroska promises 3.",
}
"""Containers that say how long they are, and how the reason begins when they end before that."""
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"


def nothing_or_part() -> Iterator[Input]:
    """Bytes that are missing."""
    yield Input(b"0 bytes.wav", lambda: b"", (refused("empty", "0 bytes"),))
    yield Input(b"one byte.mp3", lambda: b"\xff", (refused("not_audio", NOT_AUDIO),))
    yield Input(b"wav header only.wav", lambda: riff(), (refused("empty", "no sound"),))
    yield Input(b"tag only.mp3", lambda: b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10), (refused("empty", "ID3 tag"),))
    yield Input(b"cut/4 bytes.wav", lambda: wav(kennedy())[:4], (refused("not_audio", NOT_AUDIO),))
    for count in (12, 20, 40, 44):
        promised = (refused("truncated", "promises"),)
        yield Input(b"cut/%d bytes.wav" % count, lambda c=count: wav(kennedy())[:c], promised)  # type: ignore[misc]
    for form, why in PROMISING.items():
        for share in (0.1, 0.5, 0.9):
            name = f"cut/{share:.0%} of {form}.{form}".encode()
            ends = [refused("truncated", why)]
            if (form, share) == ("flac", 0.1):  # not even its first frame
                ends = [refused("undecodable", "header cannot be read")]
            yield Input(name, lambda f=form, s=share: cut(whole(f), s), tuple(ends))  # type: ignore[misc]
    ended_early = refused("truncated", "page that marks its end")
    for share in (0.5, 0.7, 0.99):
        name = f"cut/{share:.0%} of opus.opus".encode()
        yield Input(name, lambda s=share: cut(encoded("opus"), s), (ended_early,))  # type: ignore[misc]
    yield Input(b"headers of opus.opus", lambda: encoded("opus")[:120], (refused("undecodable", "header"),))


def whole(form: str) -> bytes:
    """Kennedy in a container."""
    return wav(kennedy()) if form == "wav" else encoded(form)


def not_what_it_says() -> Iterator[Input]:
    """Names that lie, and things that are no recordings."""
    yield Input(b"in truth flac.mp3", lambda: encoded("flac"), (SPOKEN,))
    yield Input(b"in truth m4a.txt", lambda: encoded("m4a"), (SPOKEN,))
    yield Input(b"no extension", lambda: encoded("mp3"), (SPOKEN,))
    yield Input(b"film.mp4", lambda: encoded("m4a", pictures=30), (SPOKEN,))
    yield Input(b"silent film.mkv", lambda: encoded("mkv", (), pictures=30), (refused("no_audio_stream", "no sound"),))
    yield Input(b"picture.mp3", lambda: picture("png", "rgb24"), (refused("not_audio", "PNG"),))
    yield Input(b"photo.wav", lambda: picture("mjpeg", "yuvj420p"), (refused("not_audio", "JPEG"),))
    yield Input(b"letter.m4a", lambda: "Grüße aus dem Büro\n".encode() * 50, (refused("not_audio", "text"),))
    yield Input(b"form.ogg", lambda: b"%PDF-1.7\n" + bytes(2000), (refused("not_audio", "PDF"),))
    yield Input(b"page.flac", lambda: b"<html><body>404</body></html>", (refused("not_audio", "HTML"),))
    yield Input(b"noise.mp3", lambda: np.random.default_rng(5).bytes(50_000), (refused("not_audio", NOT_AUDIO),))
    yield Input(b"zeros.wav", lambda: bytes(10_000), (refused("not_audio", NOT_AUDIO),))
    here = PLAYLIST.format("0 bytes.wav").encode()
    yield Input(b"playlist.m3u8", lambda: here, (refused("not_audio", "playlist"),))
    far = PLAYLIST.format("file:///etc/passwd").encode()
    yield Input(b"playlist.mp3", lambda: far, (refused("not_audio", "playlist"),))
    concat = b"ffconcat version 1.0\nfile '../film.mp4'\n"
    yield Input(b"concat.wav", lambda: concat, (refused("not_audio", "files to join"),))
    sdp = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"
    yield Input(b"stream.mp3", lambda: sdp, (refused("not_audio", "network stream"),))
    yield Input(b"bomb.zip.wav", _zip_bomb, (refused("not_audio", "ZIP"),))
    yield Input(b"bomb.gz.mp3", lambda: gzip.compress(bytes(20_000_000)), (refused("not_audio", "gzip"),))
    yield Input(b"elsewhere.m4a", _m4a_that_names_another_file, (SPOKEN,))
    yield Input(b"a thousand hours.flac", _flac_of_a_thousand_hours, (refused("too_long", "24 hours"),))
    yield Input(
        b"a thousand channels.wav",
        lambda: riff(channels=1000, data=bytes(64_000)),
        (refused("undecodable", "cannot be decoded"),),
    )
    yield Input(b"no rate.wav", lambda: riff(rate=0, data=bytes(3200)), (refused("undecodable", "header"),))
    yield Input(b"absurd rate.wav", lambda: riff(rate=2**31 - 1, data=bytes(3200)), (refused("undecodable", "Hz"),))


def odd_sound() -> Iterator[Input]:
    """Recordings that are whole but unusual: rates, channels, levels, damage, and sound that is no speech."""
    yield Input(b"8 kHz.wav", lambda: wav(at(8_000), 8_000), (SPOKEN,))
    yield Input(b"8 kHz telephone.wav", lambda: wav(at(8_000), 8_000, "ULAW"), (SPOKEN,))
    yield Input(b"96 kHz.wav", lambda: wav(at(96_000), 96_000, "PCM_24"), (SPOKEN,))
    eight = np.zeros((len(kennedy()), 8))
    eight[:, 2] = kennedy()
    yield Input(b"8 channels.wav", lambda: wav(eight), (SPOKEN,))
    loud = np.clip(kennedy() * 20, -1, 1)
    yield Input(b"clipped.wav", lambda: wav(loud), (End("done"),))
    yield Input(b"floats beyond one.wav", lambda: floats(kennedy() * 4), (End("done"),))
    yield Input(b"on a shifted zero.wav", lambda: wav(kennedy() * 0.5 + 0.4), (SPOKEN,))
    yield Input(b"two streams.mkv", lambda: encoded("mkv", ("kennedy", "silence")), (SPOKEN,))
    yield Input(b"three streams.m4a", lambda: encoded("m4a", ("silence", "kennedy", "kennedy")), (EMPTY,))
    for flips in (3, 30, 300):
        damaged = (End("done"), refused("undecodable", "damaged"), refused("truncated", "promises"))
        yield Input(b"%d flips.mp3" % flips, lambda n=flips: flipped(encoded("mp3"), n), damaged)  # type: ignore[misc]
    yield Input(b"30 flips.opus", lambda: flipped(encoded("opus"), 30), (refused("undecodable", "header"),))
    yield Input(b"no number.wav", lambda: floats(np.full(48_000, np.nan)), (refused("undecodable", "no numbers"),))
    yield Input(b"infinite.wav", lambda: floats(np.full(48_000, np.inf)), (refused("undecodable", "no numbers"),))
    few = _with(kennedy(), np.nan, slice(100, 140))
    yield Input(b"few no numbers.wav", lambda: floats(few), (End("done", says="no numbers", heard="country"),))
    yield Input(b"silence.wav", hush(3000), (EMPTY,))
    yield Input(b"dc.wav", lambda: wav(np.full(48_000, 0.5)), (EMPTY,))
    yield Input(b"white noise.wav", lambda: wav(_noise(0)), (EMPTY,))
    yield Input(b"loud white noise.wav", lambda: wav(_noise(0, level=0.3)), (EMPTY,))
    yield Input(b"pink noise.wav", lambda: wav(_noise(1)), (EMPTY,))
    yield Input(b"brown noise.flac", lambda: wav(_noise(2), container="FLAC"), (EMPTY,))
    yield Input(b"tone.wav", lambda: wav(0.3 * np.sin(2 * np.pi * 440 * _seconds(3))), (EMPTY,))
    yield Input(
        b"low tone.mp3",
        lambda: wav(0.3 * np.sin(2 * np.pi * 50 * _seconds(3)), subtype="MPEG_LAYER_III", container="MP3"),
        (EMPTY,),
    )
    chord = sum(0.1 * np.sin(2 * np.pi * pitch * _seconds(3)) for pitch in (262, 330, 392))
    yield Input(b"chord.wav", lambda: wav(np.asarray(chord)), (EMPTY,))
    sweep = 0.3 * np.sin(2 * np.pi * (50 * _seconds(3) + 1000 * _seconds(3) ** 2))
    yield Input(b"sweep.wav", lambda: wav(sweep), (EMPTY,))
    beeps = 0.3 * np.sin(2 * np.pi * 1000 * _seconds(3)) * (_seconds(3) % 1 < 0.2)
    yield Input(b"beeps.wav", lambda: wav(beeps), (EMPTY,))
    clicks = np.where(np.arange(48_000) % 4_000 == 0, 0.9, 0.0)
    yield Input(b"clicks.wav", lambda: wav(clicks), (EMPTY,))
    yield Input(b"0.05 s.wav", lambda: wav(kennedy()[8_000:8_800]), (EMPTY,))
    yield Input(b"one sample.wav", lambda: wav(np.array([0.5])), (EMPTY,))


def odd_names() -> Iterator[Input]:
    """Names that somebody could take for something else. The contents are short silences, all different."""
    names = (
        b"--help",
        b"-rf",
        b"-i.mp3",
        b"--version.wav",
        b"a..wav",
        b"up..%2f..%2fetc%2fpasswd.wav",
        b"up..\\..\\windows.wav",
        b"etc/passwd",
        b"http:x.wav",
        b"concat:a|b.wav",
        b"%03d.wav",
        b"100%.wav",
        b"%00.wav",
        b" leading and trailing ",
        b'it\'s "quoted" `twice`.wav',
        b"$(touch escaped).wav",
        b"a;touch escaped;.wav",
        b"star*?[a].wav",
        b"[bold red]markup[/].wav",
        b"{0}{name}.wav",
        b"new\nline.wav",
        b"tab\tand\x1b[2Jescape.wav",
        b"caf\xe9 \xff\xfe.wav",
        b"\xf0\x28\x8c\x28.wav",
        "naïve 会議 🎤.wav".encode(),
        "e\u0301 is not \u00e9.wav".encode(),
        "\u202efdp.wav".encode(),
        b"x" * 255,
        "ü".encode() * 125 + b".wav",
        b"/".join([b"deep"] * 60) + b"/x.wav",
        b"/".join([b"n" * 200] * 8) + b"/x.wav",
        b"ledger.db",
        b"raw_audio/x.wav",
        b"<script>alert(1)</script>.wav".replace(b"/", b"_"),
        b"'; DROP TABLE recordings; --.wav",
    )
    for number, name in enumerate(names):
        yield Input(b"names/" + name, hush(100 + number), (EMPTY,))
    for number, name in enumerate((b"a/stem.wav", b"b/stem.wav", b"a/stem.mp3", b"a/stem", b"stem.wav")):
        yield Input(b"clash/" + name, hush(200 + number), (EMPTY,))
    yield Input(b"clash/folder.wav", hush(210), (refused("name", "folder.wav.wav"),))
    yield Input(b"clash/folder.wav.wav/inner.wav", hush(211), (EMPTY,))
    yield Input(b"twin/first.wav", lambda: wav(kennedy() * 0.9), (SPOKEN,))
    same = End("done", says="same bytes as", heard="country")
    yield Input(b"twin/second.wav", lambda: wav(kennedy() * 0.9), (same,))


def everything() -> list[Input]:
    """All of them."""
    found = [*nothing_or_part(), *not_what_it_says(), *odd_sound(), *odd_names()]
    assert len({each.name for each in found}) == len(found)
    return found
