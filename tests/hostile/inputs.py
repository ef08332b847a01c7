"""Hostile inputs, made from three seconds of speech, arithmetic and fixed seeds, and the expected outcome of each.

``test_inputs.py`` gives them all to the real command.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
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
class Outcome:
    """One way in which an input may end.

    Attributes:
        state: The state that the ledger shows.
        kind: Short name of the error; None when it is done.
        reason: What the shown reason, or for a finished one its flags (name and reason), must contain.
        text: What the transcript must contain; "" for an empty transcript, None if any text will do.
    """

    state: str
    kind: str | None = None
    reason: str = ""
    text: str | None = None


def quarantined(kind: str, reason: str) -> Outcome:
    """Quarantined with this kind and reason."""
    return Outcome("quarantined", kind, reason)


TRANSCRIBED = Outcome("done", text="country")
NO_SPEECH = Outcome("done", reason="no_speech", text="")


@dataclass(frozen=True, slots=True)
class Input:
    """One delivery.

    Attributes:
        name: Path below the delivered folder, as bytes, because a name need not be text.
        make: Makes its bytes.
        outcomes: The ways in which it may end.
    """

    name: bytes
    make: Make
    outcomes: tuple[Outcome, ...]


@cache
def read_speech() -> Samples:
    """Three seconds of speech, ``... ask what you can do for your country``, mono, 16 kHz."""
    sound, rate = soundfile.read(SAMPLES / "jfk.opus", dtype="float64")
    return _resample(sound[round(7.5 * rate) :], rate, RATE)


def _resample(sound: Samples, rate: int, target: int) -> Samples:
    """Resample linearly, which is good enough for words."""
    times = np.arange(round(len(sound) * target / rate)) / target
    return np.interp(times, np.arange(len(sound)) / rate, sound)


def resample_speech(rate: int) -> Samples:
    """The speech at another sample rate."""
    return _resample(read_speech(), RATE, rate)


def encode_wav(sound: Samples, rate: int = RATE, subtype: str = "PCM_16", container: str = "WAV") -> bytes:
    """Encode with libsndfile."""
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
def encode(container: str, tracks: tuple[str, ...] = ("speech",), pictures: int = 0) -> bytes:
    """Encode with FFmpeg: audio tracks of ``speech`` or ``silence``, and ``pictures`` grey frames of video."""
    container_format, codec = _ENCODERS[container]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as writer:
        video = writer.add_stream("mpeg4", rate=10) if pictures else None
        streams = [writer.add_stream(codec, rate=RATE, layout="mono") for _ in tracks]
        if video is not None:
            video.width = video.height = 64
            video.pix_fmt = "yuv420p"
            for index in range(pictures):
                picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), index, np.uint8), format="rgb24")
                picture.pts, picture.time_base = index, Fraction(1, 10)
                writer.mux(video.encode(picture))
            writer.mux(video.encode(None))
        for track, stream in zip(tracks, streams, strict=True):
            sound = (read_speech() * 32_767 * (track == "speech")).astype(np.int16)
            for start in range(0, len(sound), 960):
                frame = av.AudioFrame.from_ndarray(sound[None, start : start + 960], format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
                writer.mux(stream.encode(frame))
            writer.mux(stream.encode(None))
    return buffer.getvalue()


def make_picture(codec: str, pixels: str) -> bytes:
    """Encode a picture of noise."""
    context = av.CodecContext.create(codec, "w")
    context.width = context.height = 96
    context.pix_fmt, context.time_base = pixels, Fraction(1, 1)
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=pixels)
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def truncate(content: bytes, share: float) -> bytes:
    """Keep this share of the bytes, from the beginning."""
    return content[: int(len(content) * share)]


def flip_bits(content: bytes, flips: int) -> bytes:
    """Flip bits at random positions behind the header."""
    damaged = bytearray(content)
    for position in np.random.default_rng(flips).integers(400, len(content), flips):
        damaged[position] ^= 1 << int(position % 8)
    return bytes(damaged)


def silence_maker(milliseconds: int) -> Make:
    """A function that makes silence of this length; another length gives other bytes."""
    return lambda: encode_wav(np.zeros(16 * milliseconds))


def make_riff(
    rate: int = RATE, channels: int = 1, bits: int = 16, code: int = 1, data: bytes = b"", size: int = -1
) -> bytes:
    """A WAV with a freely chosen header."""
    frame = channels * bits // 8
    format_chunk = struct.pack("<HHIIHH", code, channels, rate, rate * frame & 0xFFFF_FFFF, frame & 0xFFFF, bits)
    length = len(data) if size < 0 else size
    body = (
        b"WAVEfmt " + struct.pack("<I", len(format_chunk)) + format_chunk + b"data" + struct.pack("<I", length) + data
    )
    return b"RIFF" + struct.pack("<I", 28 + length & 0xFFFF_FFFF) + body


def make_float_wav(sound: Samples) -> bytes:
    """A 32-bit float WAV, of any floats."""
    return make_riff(bits=32, code=3, data=sound.astype("<f4").tobytes())


def _make_times(seconds: float, rate: int = RATE) -> Samples:
    return np.arange(round(seconds * rate)) / rate


def _make_noise(colour: float, seconds: float = 3.0, level: float = 0.1) -> Samples:
    """Noise whose power falls with frequency to the power of ``colour``: 0 white, 1 pink, 2 brown."""
    generator = np.random.default_rng(int(colour))
    spectrum = np.fft.rfft(generator.standard_normal(round(seconds * RATE)))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** (colour / 2)
    sound = np.fft.irfft(spectrum)
    return np.asarray(level * sound / np.sqrt(np.mean(sound**2)))


def _make_zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escaped.wav", bytes(20_000_000))
    return buffer.getvalue()


def _make_flac_of_a_thousand_hours() -> bytes:
    content = bytearray(encode("flac"))
    count = 1_000 * 3600 * RATE
    fields = int.from_bytes(content[18:26], "big") >> 36 << 36 | count & (1 << 36) - 1
    content[18:26] = fields.to_bytes(8, "big")
    return bytes(content)


def _make_m4a_that_names_another_file() -> bytes:
    """An M4A whose data reference is external: by the standard, the samples would be read from another address."""
    return encode("m4a").replace(b"url \x00\x00\x00\x01", b"url \x00\x00\x00\x00")


def _set_wav_size(content: bytes, share: float) -> bytes:
    """The header counts only this share of the sound, as if the recorder had stopped before it wrote the size."""
    changed = bytearray(content)
    size = int(struct.unpack_from("<I", changed, 40)[0] * share) // 2 * 2
    struct.pack_into("<I", changed, 40, size)
    return bytes(changed)


def _encode_ogg(sound: Samples, rate: int) -> bytes:
    """FLAC in Ogg, at its own rate: libsndfile writes none, FFmpeg does."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ogg") as writer:
        stream = writer.add_stream("flac", rate=rate, layout="mono")
        samples = (sound * 32_767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        writer.mux([*stream.encode(frame), *stream.encode(None)])
    return buffer.getvalue()


def _make_chain(first: int, second: int) -> bytes:
    """An Ogg chain of silence and speech, each at its own rate."""
    return _encode_ogg(np.zeros(first), first) + _encode_ogg(resample_speech(second), second)


def _make_film_of_a_day() -> bytes:
    """Two short sounds, 80,000 s apart."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as writer:
        stream = writer.add_stream("flac", rate=RATE, layout="mono")
        samples = (read_speech() * 32_767).astype(np.int16)
        for start in (0, 80_000 * RATE):
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    return buffer.getvalue()


def _make_mkv_with_an_unknown_codec() -> bytes:
    """Two tracks, of which the first has a codec that nobody knows."""
    return encode("mkv", ("silence", "speech")).replace(b"A_AAC", b"A_XYZ", 1)


def _replace(sound: Samples, value: float, positions: slice) -> Samples:
    changed = sound.copy()
    changed[positions] = value
    return changed


NOT_AUDIO = "Not a recording"
DECLARES_LENGTH = {
    "wav": "WAV promises 3.5 s",
    "flac": "FLAC promises 3.5 s",
    "aiff": "AIFF promises 3.5 s",
    "caf": "CAF promises 3.5 s",
    "mp3": "MP3 promises 3.",
    "m4a": "no complete index",
    "webm": "Matroska promises 3.5 s",
    "mkv": "Matroska promises 3.",
}
"""Containers that declare their length, and how the reason begins when they are truncated."""
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"


def list_incomplete_files() -> Iterator[Input]:
    """Files with missing bytes."""
    yield Input(b"0 bytes.wav", lambda: b"", (quarantined("empty", "0 bytes"),))
    yield Input(b"one byte.mp3", lambda: b"\xff", (quarantined("not_audio", NOT_AUDIO),))
    yield Input(b"wav header only.wav", lambda: make_riff(), (quarantined("empty", "no sound"),))
    yield Input(
        b"tag only.mp3", lambda: b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10), (quarantined("empty", "ID3 tag"),)
    )
    yield Input(b"cut/4 bytes.wav", lambda: encode_wav(read_speech())[:4], (quarantined("not_audio", NOT_AUDIO),))
    for count in (12, 20, 40, 44):
        promised = (quarantined("truncated", "promises"),)
        yield Input(b"cut/%d bytes.wav" % count, lambda c=count: encode_wav(read_speech())[:c], promised)  # type: ignore[misc]
    for container, reason in DECLARES_LENGTH.items():
        for share in (0.1, 0.5, 0.9):
            name = f"cut/{share:.0%} of {container}.{container}".encode()
            outcomes = [quarantined("truncated", reason)]
            if (container, share) == ("flac", 0.1):  # even the first frame is incomplete
                outcomes = [quarantined("undecodable", "header cannot be read")]
            yield Input(name, lambda f=container, s=share: truncate(read_container(f), s), tuple(outcomes))  # type: ignore[misc]
    ended_early = quarantined("truncated", "page that marks its end")
    for share in (0.5, 0.7, 0.99):
        name = f"cut/{share:.0%} of opus.opus".encode()
        yield Input(name, lambda s=share: truncate(encode("opus"), s), (ended_early,))  # type: ignore[misc]
    yield Input(b"headers of opus.opus", lambda: encode("opus")[:120], (quarantined("undecodable", "header"),))


def read_container(container: str) -> bytes:
    """The speech in a container."""
    return encode_wav(read_speech()) if container == "wav" else encode(container)


def list_misnamed_files() -> Iterator[Input]:
    """Files whose names are wrong, and files that are not recordings."""
    yield Input(b"in truth flac.mp3", lambda: encode("flac"), (TRANSCRIBED,))
    yield Input(b"in truth m4a.txt", lambda: encode("m4a"), (TRANSCRIBED,))
    yield Input(b"no extension", lambda: encode("mp3"), (TRANSCRIBED,))
    yield Input(b"film.mp4", lambda: encode("m4a", pictures=30), (TRANSCRIBED,))
    yield Input(
        b"silent film.mkv", lambda: encode("mkv", (), pictures=30), (quarantined("no_audio_stream", "no sound"),)
    )
    yield Input(b"picture.mp3", lambda: make_picture("png", "rgb24"), (quarantined("not_audio", "PNG"),))
    yield Input(b"photo.wav", lambda: make_picture("mjpeg", "yuvj420p"), (quarantined("not_audio", "JPEG"),))
    yield Input(b"letter.m4a", lambda: "Grüße aus dem Büro\n".encode() * 50, (quarantined("not_audio", "text"),))
    yield Input(b"form.ogg", lambda: b"%PDF-1.7\n" + bytes(2000), (quarantined("not_audio", "PDF"),))
    yield Input(b"page.flac", lambda: b"<html><body>404</body></html>", (quarantined("not_audio", "HTML"),))
    yield Input(b"noise.mp3", lambda: np.random.default_rng(5).bytes(50_000), (quarantined("not_audio", NOT_AUDIO),))
    yield Input(b"zeros.wav", lambda: bytes(10_000), (quarantined("not_audio", NOT_AUDIO),))
    local_playlist = PLAYLIST.format("0 bytes.wav").encode()
    yield Input(b"playlist.m3u8", lambda: local_playlist, (quarantined("not_audio", "playlist"),))
    remote_playlist = PLAYLIST.format("file:///etc/passwd").encode()
    yield Input(b"playlist.mp3", lambda: remote_playlist, (quarantined("not_audio", "playlist"),))
    concat = b"ffconcat version 1.0\nfile '../film.mp4'\n"
    yield Input(b"concat.wav", lambda: concat, (quarantined("not_audio", "files to join"),))
    sdp = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"
    yield Input(b"stream.mp3", lambda: sdp, (quarantined("not_audio", "network stream"),))
    yield Input(b"bomb.zip.wav", _make_zip_bomb, (quarantined("not_audio", "ZIP"),))
    yield Input(b"bomb.gz.mp3", lambda: gzip.compress(bytes(20_000_000)), (quarantined("not_audio", "gzip"),))
    yield Input(b"elsewhere.m4a", _make_m4a_that_names_another_file, (TRANSCRIBED,))
    yield Input(b"a thousand hours.flac", _make_flac_of_a_thousand_hours, (quarantined("too_long", "24 hours"),))
    yield Input(
        b"a thousand channels.wav",
        lambda: make_riff(channels=1000, data=bytes(64_000)),
        (quarantined("undecodable", "cannot be decoded"),),
    )
    yield Input(b"no rate.wav", lambda: make_riff(rate=0, data=bytes(3200)), (quarantined("undecodable", "header"),))
    yield Input(
        b"absurd rate.wav", lambda: make_riff(rate=2**31 - 1, data=bytes(3200)), (quarantined("undecodable", "Hz"),)
    )


def list_unusual_audio() -> Iterator[Input]:
    """Complete but unusual recordings: rates, channels, levels, damage, and sound without speech."""
    yield Input(b"8 kHz.wav", lambda: encode_wav(resample_speech(8_000), 8_000), (TRANSCRIBED,))
    yield Input(b"8 kHz telephone.wav", lambda: encode_wav(resample_speech(8_000), 8_000, "ULAW"), (TRANSCRIBED,))
    yield Input(b"96 kHz.wav", lambda: encode_wav(resample_speech(96_000), 96_000, "PCM_24"), (TRANSCRIBED,))
    channels = np.zeros((len(read_speech()), 8))
    channels[:, 2] = read_speech()
    yield Input(b"8 channels.wav", lambda: encode_wav(channels), (TRANSCRIBED,))
    clipped = np.clip(read_speech() * 20, -1, 1)
    yield Input(b"clipped.wav", lambda: encode_wav(clipped), (Outcome("done"),))
    yield Input(b"floats beyond one.wav", lambda: make_float_wav(read_speech() * 4), (Outcome("done"),))
    yield Input(b"on a shifted zero.wav", lambda: encode_wav(read_speech() * 0.5 + 0.4), (TRANSCRIBED,))
    yield Input(b"two streams.mkv", lambda: encode("mkv", ("speech", "silence")), (TRANSCRIBED,))
    yield Input(b"three streams.m4a", lambda: encode("m4a", ("silence", "speech", "speech")), (TRANSCRIBED,))
    yield Input(b"silent streams.mkv", lambda: encode("mkv", ("silence", "silence")), (NO_SPEECH,))
    unreadable = Outcome("done", reason="partial: Audio track 1 was left out", text="country")
    yield Input(b"one of two streams.mkv", _make_mkv_with_an_unknown_codec, (unreadable,))
    for flips in (3, 30, 300):
        damaged = (Outcome("done"), quarantined("undecodable", "damaged"), quarantined("truncated", "promises"))
        yield Input(b"%d flips.mp3" % flips, lambda n=flips: flip_bits(encode("mp3"), n), damaged)  # type: ignore[misc]
    yield Input(b"30 flips.opus", lambda: flip_bits(encode("opus"), 30), (quarantined("undecodable", "header"),))
    yield Input(
        b"no number.wav", lambda: make_float_wav(np.full(48_000, np.nan)), (quarantined("undecodable", "no numbers"),)
    )
    yield Input(
        b"infinite.wav", lambda: make_float_wav(np.full(48_000, np.inf)), (quarantined("undecodable", "no numbers"),)
    )
    some_nan = _replace(read_speech(), np.nan, slice(100, 140))
    yield Input(
        b"few no numbers.wav", lambda: make_float_wav(some_nan), (Outcome("done", reason="no numbers", text="country"),)
    )
    yield Input(b"silence.wav", silence_maker(3000), (NO_SPEECH,))
    yield Input(b"dc.wav", lambda: encode_wav(np.full(48_000, 0.5)), (NO_SPEECH,))
    yield Input(b"white noise.wav", lambda: encode_wav(_make_noise(0)), (NO_SPEECH,))
    yield Input(b"loud white noise.wav", lambda: encode_wav(_make_noise(0, level=0.3)), (NO_SPEECH,))
    yield Input(b"pink noise.wav", lambda: encode_wav(_make_noise(1)), (NO_SPEECH,))
    yield Input(b"brown noise.flac", lambda: encode_wav(_make_noise(2), container="FLAC"), (NO_SPEECH,))
    yield Input(b"tone.wav", lambda: encode_wav(0.3 * np.sin(2 * np.pi * 440 * _make_times(3))), (NO_SPEECH,))
    yield Input(
        b"low tone.mp3",
        lambda: encode_wav(0.3 * np.sin(2 * np.pi * 50 * _make_times(3)), subtype="MPEG_LAYER_III", container="MP3"),
        (NO_SPEECH,),
    )
    chord = sum(0.1 * np.sin(2 * np.pi * pitch * _make_times(3)) for pitch in (262, 330, 392))
    yield Input(b"chord.wav", lambda: encode_wav(np.asarray(chord)), (NO_SPEECH,))
    sweep = 0.3 * np.sin(2 * np.pi * (50 * _make_times(3) + 1000 * _make_times(3) ** 2))
    yield Input(b"sweep.wav", lambda: encode_wav(sweep), (NO_SPEECH,))
    beeps = 0.3 * np.sin(2 * np.pi * 1000 * _make_times(3)) * (_make_times(3) % 1 < 0.2)
    yield Input(b"beeps.wav", lambda: encode_wav(beeps), (NO_SPEECH,))
    clicks = np.where(np.arange(48_000) % 4_000 == 0, 0.9, 0.0)
    yield Input(b"clicks.wav", lambda: encode_wav(clicks), (NO_SPEECH,))
    yield from _list_levels()
    yield Input(b"0.05 s.wav", lambda: encode_wav(read_speech()[8_000:8_800]), (NO_SPEECH,))
    yield Input(b"one sample.wav", lambda: encode_wav(np.array([0.5])), (NO_SPEECH,))


def list_wrong_headers() -> Iterator[Input]:
    """Headers that count less sound than there is, several recordings in one file, and structure that asks for much work."""

    def add_to_wav(behind: bytes, share: float = 1.0) -> Make:
        return lambda: _set_wav_size(encode_wav(read_speech()), share) + behind

    counts_less = Outcome("done", reason="undeclared: The header of the WAV file counts", text="country")
    unread = Outcome("done", reason="may hold more of the recording", text="country")
    yield Input(b"size of 20% of it.wav", add_to_wav(b"", 0.2), (counts_less,))
    yield Input(b"size of 20% of it, tags.wav", add_to_wav(b"LIST\x0c\0\0\0INFOISFT\0\0\0\0", 0.2), (counts_less,))
    yield Input(b"tags behind it.wav", add_to_wav(b"LIST\x0c\0\0\0INFOISFT\0\0\0\0"), (TRANSCRIBED,))
    yield Input(
        b"unknown chunk behind it.wav", add_to_wav(b"xyz1\x10\x27\0\0" + bytes(range(250)) * 40), (TRANSCRIBED,)
    )
    yield Input(b"zeros behind it.wav", add_to_wav(bytes(8 << 20)), (TRANSCRIBED,))
    yield Input(b"empty chunks behind it.wav", add_to_wav(b"abcd\0\0\0\0" * 100_000), (unread,))
    structure = quarantined("undecodable", "more steps than any recording needs")
    empty_chunks = b"abcd\0\0\0\0" * 500_000
    yield Input(
        b"empty chunks before it.wav",
        lambda: encode_wav(read_speech())[:36] + empty_chunks + encode_wav(read_speech())[36:],
        (structure,),
    )
    yield Input(b"empty boxes.m4a", lambda: encode("m4a") + b"\0\0\0\x08free" * 1_000_000, (structure,))
    yield Input(b"two films.mp4", lambda: encode("m4a", ("silence",)) + encode("m4a"), (TRANSCRIBED,))
    yield Input(b"film and noise.m4a", lambda: encode("m4a") + np.random.default_rng(0).bytes(100_000), (unread,))
    yield Input(b"two rates.ogg", lambda: _make_chain(16_000, 44_100), (TRANSCRIBED,))
    yield Input(b"two rates, lower last.ogg", lambda: _make_chain(44_100, 16_000), (TRANSCRIBED,))
    yield Input(b"a link without sound, then speech.ogg", lambda: _get_opus_headers() + encode("opus"), (TRANSCRIBED,))
    yield Input(
        b"a link without sound between.ogg",
        lambda: encode("opus", ("silence",)) + _get_opus_headers() + encode("opus"),
        (TRANSCRIBED,),
    )
    zeros_within = Outcome("done", reason="partial", text="country")
    yield Input(b"zeros within.ogg", lambda: _insert_zeros(encode("opus")), (zeros_within,))
    too_small = Outcome("done", reason="is too small for so long a recording", text="country")
    yield Input(b"a day between two sentences.mkv", _make_film_of_a_day, (too_small,))


def _get_opus_headers() -> bytes:
    """What a recorder leaves that connects again before there is any sound."""
    content = encode("opus")
    return content[: content.index(b"OggS", content.index(b"OpusTags"))]


def _insert_zeros(content: bytes) -> bytes:
    """Two mebibytes of zeros before the last page."""
    last = content.rindex(b"OggS")
    return content[:last] + bytes(2 << 20) + content[last:]


def _list_levels() -> Iterator[Input]:
    """Recordings that are far too quiet, beyond full scale, or quiet in parts."""
    faint = read_speech() * 0.001  # -60 dB
    quiet = (Outcome("done", reason="quiet: The recording is very quiet", text="your country"),)
    yield Input(b"level/24 bits at -60 dB.wav", lambda: encode_wav(faint, subtype="PCM_24"), quiet)
    yield Input(
        b"level/24 bits at -80 dB.flac", lambda: encode_wav(faint / 10, subtype="PCM_24", container="FLAC"), quiet
    )
    yield Input(b"level/floats at -80 dB.wav", lambda: make_float_wav(faint / 10), quiet)
    yield Input(b"level/16 bits at -55 dB.wav", lambda: encode_wav(read_speech() * 0.0018), quiet)
    clicked = _replace(faint, 1.0, slice(20_000, 20_003))
    yield Input(b"level/-60 dB and a click.wav", lambda: encode_wav(clicked, subtype="PCM_24"), quiet)
    yield Input(b"level/-60 dB on a shifted zero.wav", lambda: encode_wav(faint + 0.4, subtype="PCM_24"), quiet)
    beyond = (Outcome("done", reason="overdriven: Samples reach", text="your country"),)
    for bits in (16, 24, 32):
        scale = 2.0 ** (bits - 1)
        yield Input(
            b"level/floats of %d-bit integers.wav" % bits,
            lambda s=scale: make_float_wav(read_speech() * s),  # type: ignore[misc]
            beyond,
        )
    clipped = (Outcome("done", reason="clipped: About"),)
    yield Input(b"level/clipped.wav", lambda: encode_wav(np.clip(read_speech() * 60, -1, 1)), clipped)
    far_end = np.concatenate((read_speech() * 0.7, np.zeros(RATE), read_speech() * 0.002))
    yield Input(
        b"level/quiet end.wav",
        lambda: encode_wav(far_end, subtype="PCM_24"),
        (Outcome("done", reason="quiet_speech: About 3 s of speech", text="country"),),
    )
    side = np.zeros((2 * len(read_speech()) + RATE, 2))
    side[: len(read_speech()), 0] = read_speech()
    side[-len(read_speech()) :, 1] = read_speech() * 0.002
    yield Input(
        b"level/quiet side of a call.wav",
        lambda: encode_wav(side, subtype="PCM_24"),
        (Outcome("done", reason="quiet: Channel 2 is very quiet", text="country"),),
    )
    silent = (Outcome("done", reason="quiet: The recording is very quiet", text=""),)
    for colour, name in enumerate((b"white", b"pink", b"brown")):
        for exponent in (-3, -4):
            noise = partial(_make_noise, colour, level=10.0**exponent)
            yield Input(
                b"level/%s noise at %d dB.wav" % (name, 20 * exponent),
                lambda make=noise: encode_wav(make(), subtype="PCM_24"),  # type: ignore[misc]
                silent,
            )
    hum = sum(np.sin(2 * np.pi * 50 * k * _make_times(3)) / k for k in range(1, 12))
    yield Input(b"level/hum at -80 dB.wav", lambda: encode_wav(np.asarray(hum * 1e-4), subtype="PCM_24"), silent)


def list_unusual_names() -> Iterator[Input]:
    """Names that programs could misunderstand. The contents are short silences of different lengths."""
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
        yield Input(b"names/" + name, silence_maker(100 + number), (NO_SPEECH,))
    for number, name in enumerate((b"a/stem.wav", b"b/stem.wav", b"a/stem.mp3", b"a/stem", b"stem.wav")):
        yield Input(b"clash/" + name, silence_maker(200 + number), (NO_SPEECH,))
    yield Input(b"clash/folder.wav", silence_maker(210), (quarantined("name", "folder.wav.wav"),))
    yield Input(b"clash/folder.wav.wav/inner.wav", silence_maker(211), (NO_SPEECH,))
    yield Input(b"twin/first.wav", lambda: encode_wav(read_speech() * 0.9), (TRANSCRIBED,))
    duplicate = Outcome("done", reason="same bytes as", text="country")
    yield Input(b"twin/second.wav", lambda: encode_wav(read_speech() * 0.9), (duplicate,))


def list_inputs() -> list[Input]:
    """All hostile inputs."""
    inputs = [
        *list_incomplete_files(),
        *list_misnamed_files(),
        *list_unusual_audio(),
        *list_wrong_headers(),
        *list_unusual_names(),
    ]
    assert len({hostile.name for hostile in inputs}) == len(inputs)
    return inputs
