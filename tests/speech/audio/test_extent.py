"""Headers that count too little sound, what lies behind the sound, and files that follow each other in one."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from speech.audio.normalize import read_window
from tests.speech.audio.encodings import encode, expect_error, make_syllables, normalize_beside

RATE = 16_000
SECONDS = 6
SHORT_S = 2
BYTES = SECONDS * RATE * 2
SHORT = SHORT_S * RATE * 2


def make_chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def make_ape_tag(size: int) -> bytes:
    """An APE tag without a header: items, and a footer that states their size and its own."""
    return np.random.default_rng(0).bytes(size) + b"APETAGEX" + struct.pack("<IIII8x", 2_000, size + 32, 1, 0)


def make_samples(seconds: float = SECONDS) -> bytes:
    return (make_syllables(seconds) * 32_767).clip(-32_768, 32_767).astype("<i2").tobytes()


def make_wav(
    size: int | None = None, behind: bytes = b"", *, code: int = 1, bits: int = 16, data: bytes | None = None
) -> bytes:
    """A WAV whose header may count another number of bytes of sound than there are."""
    data = make_samples() if data is None else data
    frame = bits // 8
    chunk = make_chunk(b"fmt ", struct.pack("<HHIIHH", code, 1, RATE, RATE * frame, frame, bits))
    body = b"WAVE" + chunk + b"data" + struct.pack("<I", len(data) if size is None else size) + data + behind
    return b"RIFF" + struct.pack("<I", len(body) & 0xFFFF_FFFF) + body


def make_rf64(size: int) -> bytes:
    wav = make_wav()
    return (
        b"RF64\xff\xff\xff\xffWAVE"
        + make_chunk(b"ds64", struct.pack("<QQQI", len(wav), size, size // 2, 0))
        + wav[12:36]
        + b"data\xff\xff\xff\xff"
        + wav[44:]
    )


def patch(path: Path, encoding: str, mark: bytes, offset: int, value: bytes) -> Path:
    """Encode six seconds, and replace bytes at an offset from a mark."""
    content = bytearray(encode(path, encoding, seconds=SECONDS).read_bytes())
    begin = content.index(mark) + offset
    content[begin : begin + len(value)] = value
    path.write_bytes(content)
    return path


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def make_w64(size: int) -> bytes:
    """A Wave64 file whose data chunk states this size."""
    tail = bytes.fromhex("f3acd3118cd100c04f8edb8a")
    head = bytes.fromhex("726966662e91cf11a5d628db04c10000") + struct.pack("<q", BYTES + 104) + b"wave" + tail
    wav = make_wav()
    return (
        head
        + b"fmt "
        + tail
        + struct.pack("<q", 40)
        + wav[20:36]
        + b"data"
        + tail
        + struct.pack("<q", size + 24)
        + wav[44:]
    )


@pytest.mark.parametrize(
    "content",
    [
        make_wav(SHORT),
        make_wav(SHORT, make_chunk(b"LIST", b"INFOISFT\x04\0\0\0abc\0")),
        make_wav(SHORT, make_chunk(b"bext", bytes(602)) + make_chunk(b"id3 ", b"ID3" + bytes(40))),
        make_wav(SHORT, bytes(1 << 20)),
        make_wav(SHORT * 2, code=3, bits=32, data=make_syllables(SECONDS).astype("<f4").tobytes()),
        make_wav(SHORT // 2, code=6, bits=8, data=np.random.default_rng(0).bytes(SECONDS * RATE)),
        make_rf64(SHORT),
        make_w64(SHORT),
    ],
    ids=["wav", "wav, LIST", "wav, chunks", "wav, zeros", "float", "A-law", "rf64", "w64"],
)
def test_sound_that_the_header_does_not_count_is_read_and_flagged(tmp_path: Path, content: bytes) -> None:
    """The recorder stopped before it wrote the size, or a size of 32 bits wrapped."""
    result = normalize_beside(write(tmp_path / "a", content))
    assert result.duration_s == pytest.approx(SECONDS, abs=0.001)
    assert set(result.flags) == {"undeclared"}
    assert "counts 4.0 s less" in result.flags["undeclared"]


def test_sound_that_the_header_does_not_count_is_the_sound_itself(tmp_path: Path) -> None:
    normalize_beside(write(tmp_path / "a", make_wav(SHORT)))
    samples = np.frombuffer(make_samples(), "<i2") / 32_768
    np.testing.assert_allclose(read_window(tmp_path / "target.tmp", 0, SECONDS)[0], samples, atol=1e-4)


@pytest.mark.parametrize(
    ("encoding", "mark", "offset", "value"),
    [
        ("aiff", b"SSND", 4, struct.pack(">I", SHORT + 8)),
        ("caf", b"data", 4, struct.pack(">q", SHORT + 4)),
    ],
)
def test_aiff_and_caf_that_count_too_little_are_read_to_the_end(
    tmp_path: Path, encoding: str, mark: bytes, offset: int, value: bytes
) -> None:
    result = normalize_beside(patch(tmp_path / "a", encoding, mark, offset, value))
    assert (result.duration_s, set(result.flags)) == (SECONDS, {"undeclared"})


@pytest.mark.parametrize(
    "behind",
    [
        *(
            make_chunk(name, bytes(range(200)) * 100)
            for name in (b"LIST", b"id3 ", b"bext", b"cue ", b"JUNK", b"afsp", b"iXML")
        ),
        make_chunk(b"xyz1", np.random.default_rng(0).bytes(20_001)),
        make_chunk(b"LIST", b"INFOabcd") + b"abcd\0\0\0\0" * 3_000,
        make_chunk(b"LIST", b"INFOabcd") + bytes(100_000),
        make_chunk(b"iXML", bytes(40_000))[:30_000],
        bytes(100_000),
        b"\xff" * 100_000,
        b"TAG" + b"title".ljust(125, b"\0"),
        make_ape_tag(20_000),
        make_ape_tag(20_000) + b"TAG" + b"title".ljust(125, b"\0"),
        np.random.default_rng(0).bytes(900),
    ],
    ids=lambda behind: behind[:4].decode("latin-1").strip("\0") or "zeros",
)
def test_what_lies_behind_the_sound_is_neither_sound_nor_flagged(tmp_path: Path, behind: bytes) -> None:
    result = normalize_beside(write(tmp_path / "a", make_wav(behind=behind)))
    assert (result.duration_s, result.flags) == (SECONDS, {})


@pytest.mark.parametrize("name", [b"LIST", b"xyz1"])
@pytest.mark.parametrize("padding", [b"\0", b""], ids=["padded", "not padded"])
def test_a_chunk_behind_an_odd_number_of_bytes_is_found(tmp_path: Path, padding: bytes, name: bytes) -> None:
    behind = padding + make_chunk(name, b"INFO" + bytes(range(32, 120)) * 80)
    result = normalize_beside(write(tmp_path / "a", make_wav(behind=behind, bits=8, data=bytes([128]) * 16_001)))
    assert (result.duration_s, result.flags) == (pytest.approx(1, abs=0.001), {})


def test_a_second_chunk_of_sound_behind_others_is_reported(tmp_path: Path) -> None:
    behind = make_chunk(b"LIST", b"INFOabcd") + make_chunk(b"data", make_samples())
    result = normalize_beside(write(tmp_path / "a", make_wav(behind=behind)))
    assert result.duration_s == SECONDS
    assert "may hold more of the recording" in result.flags["partial"]


def test_sound_of_unknown_byte_rate_that_is_not_counted_is_reported(tmp_path: Path) -> None:
    content = bytearray(make_wav(SHORT))
    struct.pack_into("<I", content, 28, 0)
    result = normalize_beside(write(tmp_path / "a", bytes(content)))
    assert result.duration_s == SHORT_S
    assert result.flags["partial"].startswith(f"{BYTES - SHORT:,} bytes at byte ")


def test_more_chunks_than_are_walked_are_reported(tmp_path: Path) -> None:
    result = normalize_beside(write(tmp_path / "a", make_wav(behind=b"abcd\0\0\0\0" * 70_000)))
    assert result.duration_s == SECONDS
    assert "may hold more of the recording" in result.flags["partial"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("opus", 48_000), ("opus", 48_000)),
        (("ogg flac", 16_000), ("ogg flac", 44_100)),
        (("ogg flac", 44_100), ("ogg flac", 16_000)),
        (("opus", 48_000), ("ogg flac", 44_100)),
    ],
)
def test_every_link_of_an_ogg_chain_is_read(tmp_path: Path, first: tuple[str, int], second: tuple[str, int]) -> None:
    """Links may have another codec, another rate and other channels."""
    parts = [
        encode(tmp_path / f"part{number}", encoding, seconds=seconds, rate=rate).read_bytes()
        for number, ((encoding, rate), seconds) in enumerate(((first, 3), (second, 5)))
    ]
    folder = tmp_path / "chain"
    folder.mkdir()
    result = normalize_beside(write(folder / "a.ogg", parts[0] + parts[1] + bytes(70_000)))
    assert result.duration_s == pytest.approx(8, abs=0.05)
    assert result.flags == {}
    heard = read_window(folder / "target.tmp", 3.3, 3.7)[0]
    assert np.abs(heard).max() > 0.05, "the second link is heard at its time"


@pytest.mark.parametrize("channels", [("mono", "stereo"), ("stereo", "mono")])
def test_a_chain_of_other_channels_is_read(tmp_path: Path, channels: tuple[str, str]) -> None:
    parts = [
        encode(tmp_path / f"part{layout}", "opus", seconds=3, rate=48_000, layout=layout).read_bytes()
        for layout in channels
    ]
    folder = tmp_path / "chain"
    folder.mkdir()
    result = normalize_beside(write(folder / "a.opus", b"".join(parts)))
    assert (result.duration_s, result.flags) == (pytest.approx(6, abs=0.05), {})


def test_a_link_that_was_cut_off_is_reported_and_the_next_one_is_read(tmp_path: Path) -> None:
    content = encode(tmp_path / "part", "opus", seconds=4, rate=48_000).read_bytes()
    folder = tmp_path / "chain"
    folder.mkdir()
    path = write(folder / "a.opus", content[: content.rindex(b"OggS")] + content)
    result = normalize_beside(path)
    assert result.duration_s > 6
    assert result.flags["partial"].startswith("Link 1 of the Ogg file lacks the page that marks its end")


def test_zeros_between_pages_of_ogg_lose_nothing(tmp_path: Path) -> None:
    content = encode(tmp_path / "part", "opus", seconds=8, rate=48_000).read_bytes()
    middle = content.index(b"OggS", len(content) // 2)
    folder = tmp_path / "damaged"
    folder.mkdir()
    result = normalize_beside(write(folder / "a.opus", content[:middle] + bytes(3_000_000) + content[middle:]))
    assert result.duration_s == pytest.approx(8, abs=0.05)
    assert "partial" in result.flags


def test_a_wave64_file_that_was_cut_off_is_truncated(tmp_path: Path) -> None:
    error = expect_error(write(tmp_path / "a", make_w64(BYTES)[: BYTES // 2]))
    assert (error.kind, error.sentence.split(",")[0]) == ("truncated", "Wave64 promises 6.0 s")
