"""The page with text and sound: complete, self-contained, and safe against hostile names and texts."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from speech.enrichment.pauses import analyse_pauses
from speech.export.page.page import EmbeddedAudio, LinkedAudio, embed_mp3, relative_href, render_page
from speech.transcript import Meta, Options, Segment, Speaker, SpeechSpan, Transcript, Word

SAMPLES = Path(__file__).parents[4] / "samples"
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;'</style></title>"
SIBLINGS = {"Text": "a.txt", "SRT": "a.srt", "WebVTT": "a.vtt", "JSON": "../whisper_json/a.json"}


class _Page(HTMLParser):
    """The parsed page: elements with attributes, and the text of title, words, style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[tuple[str, str]] = []
        self.texts: dict[str, str] = {}
        self.transcript_text = ""
        self._open: list[tuple[str, dict[str, str]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = (tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in {"meta", "input", "path", "rect"}:
            self._open.append(element)
        if tag == "span" and "data-t" in element[1]:
            self.words.append((element[1]["data-t"], ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        opened, _ = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data: str) -> None:
        if not self._open:
            return
        tag, attrs = self._open[-1]
        self.texts[tag] = self.texts.get(tag, "") + data
        if tag == "span" and "data-t" in attrs:
            self.words[-1] = (self.words[-1][0], self.words[-1][1] + data)
        if any(attributes.get("class") == "said" for _, attributes in self._open):
            self.transcript_text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def _segment(
    words: tuple[Word, ...],
    number: int = 0,
    *,
    channel: int | None = None,
    speaker: str | None = None,
    flags: tuple[str, ...] = (),
    text: str | None = None,
) -> Segment:
    return Segment(
        id=number,
        start=words[0].start if words else 1.0,
        end=words[-1].end if words else 2.0,
        text="".join(word.word for word in words).strip() if text is None else text,
        speaker=Speaker(id=speaker, confidence=1) if speaker else None,
        channel=channel,
        words=words,
        avg_logprob=-0.21,
        compression_ratio=1.4,
        no_speech_prob=0.02,
        temperature=0.0,
        decoded="sequential",
        flags=flags,
    )


def _words(*texts: str, start: float = 0.0, probability: float = 0.9) -> tuple[Word, ...]:
    return tuple(
        Word(word=text, start=round(start + i * 0.36, 2), end=round(start + (i + 1) * 0.36, 2), probability=probability)
        for i, text in enumerate(texts)
    )


def _transcript(*segments: Segment, language: str | None = "en", channels: int = 1, **meta: object) -> Transcript:
    fields: dict[str, object] = {
        "audio_file": "a.wav",
        "audio_sha256": "0",
        "audio_duration_sec": 61.5,
        "channels": channels,
        "model_name": "base",
        "model_sha256": "0123456789abcdef",
        "engine_version": "1",
        "options": Options(),
        "language_probability": 0.97,
        "speech": (SpeechSpan(start=0, end=30, channel=0),),
        "speech_seconds": 30,
    }
    return Transcript(file="a.wav", language=language, meta=Meta.model_validate(fields | meta), segments=segments)


def _render(
    transcript: Transcript,
    *,
    audio: EmbeddedAudio | LinkedAudio | None = None,
    title: str = "a.wav",
    siblings: dict[str, str] | None = None,
) -> str:
    return render_page(transcript, analyse_pauses(transcript), audio=audio, title=title, siblings=siblings or SIBLINGS)


SOUND = EmbeddedAudio("audio/mpeg", b"\xff\xf3\x00\x01" * 100)
TALK = _transcript(
    _segment((*_words(" Good", " morning,"), *_words(" well-", "known", " world.", start=1.0, probability=0.31))),
    _segment(_words("再", "見", "。", start=70 / 3), 1, flags=("low_confidence",)),
)


def test_words_are_in_order_with_their_times() -> None:
    page = _Page(_render(TALK, audio=SOUND))
    expected = [
        (f"{word.start:g} {word.end:g}", word.word.strip()) for segment in TALK.segments for word in segment.words
    ]
    assert page.words == expected
    assert page.transcript_text.split() == ["Good", "morning,", "well-known", "world.再見。"]


def test_words_of_low_probability_are_marked_with_an_explanation() -> None:
    html = _render(TALK)
    page = _Page(html)
    doubted = [attrs for attrs in page.all("span") if "data-p" in attrs and "data-t" in attrs]
    assert [attrs["data-p"] for attrs in doubted] == ["31"] * 3
    assert "less than 50 %" in html
    certain = _transcript(_segment(_words(" sure", probability=0.5)))
    assert "less than 50 %" not in _render(certain)
    assert 'data-p="' not in _render(certain)


def test_the_page_makes_no_request_to_a_server() -> None:
    for audio in (SOUND, LinkedAudio("a.mp3"), None):
        html = _render(TALK, audio=audio)
        page = _Page(html)
        without_embedded = re.sub(r"(base64,|sha256-)[A-Za-z0-9+/=]+", "", html)
        assert not re.search(
            r"https?:|//[a-z]|url\(|@import|fetch\(|xmlhttprequest|websocket", without_embedded.lower()
        )
        assert not {"link", "img", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in page.elements}
        assert [attrs for attrs in page.all("script") if "src" in attrs] == []
        sources = [value for _, attrs in page.elements for name, value in attrs.items() if name in {"src", "href"}]
        assert all(
            value.startswith("data:audio/mpeg;base64,") or value in {"a.mp3", *SIBLINGS.values()} for value in sources
        )


def test_the_policy_allows_exactly_the_style_and_script_of_the_page() -> None:
    """With wrong checksums a browser would run neither; with ``unsafe-inline`` it would run injected code too."""
    page = _Page(_render(TALK, audio=SOUND))
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        checksum = base64.b64encode(hashlib.sha256(page.texts[tag].encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{checksum}'"
    assert rules["media-src"] == "data:"
    linked = _Page(_render(TALK, audio=LinkedAudio("a.mp3"))).all("meta")[1]["content"]
    assert "media-src 'self' file:;" in linked
    assert "media-src 'none';" in _Page(_render(TALK)).all("meta")[1]["content"]
    # The policy forbids style and on... attributes, so they would silently have no effect.
    assert not any(name == "style" or name.startswith("on") for _, attrs in page.elements for name in attrs)


@pytest.mark.parametrize("audio", [SOUND, LinkedAudio("a.mp3"), None], ids=["embedded", "linked", "none"])
def test_hostile_names_and_texts_are_only_text(audio: EmbeddedAudio | LinkedAudio | None) -> None:
    hostile = _transcript(
        _segment(_words(f" {HOSTILE}", " next"), speaker=HOSTILE, flags=(HOSTILE,)),
        _segment(_words(" other", start=5.0), 1, speaker="B"),
        model_name=HOSTILE,
        model_sha256=HOSTILE,
        flags={HOSTILE: HOSTILE},
    ).model_copy(update={"language": HOSTILE})
    page = _Page(_render(hostile, audio=audio, title=HOSTILE, siblings={HOSTILE: relative_href(HOSTILE)}))
    calm = _Page(_render(TALK, audio=audio))
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert page.all("img") == []
    assert (page.texts["script"], page.texts["style"]) == (calm.texts["script"], calm.texts["style"])
    assert page.texts["h1"] == HOSTILE
    assert page.texts["title"] == f"{HOSTILE} – transcript"
    assert page.words[0][1] == HOSTILE
    assert {name for _, attrs in page.elements for name in attrs if name.startswith("on")} == set()


@pytest.mark.parametrize("href", ["https://example.org/a.txt", "//example.org/a", "javascript:alert(1)", "/etc/x", "#"])
def test_a_link_to_another_folder_or_host_is_refused(href: str) -> None:
    with pytest.raises(ValueError, match="only link to files beside it"):
        _render(TALK, siblings={"Text": href})
    with pytest.raises(ValueError, match="only link to files beside it"):
        _render(TALK, audio=LinkedAudio(href))


def test_a_file_name_becomes_a_link_to_that_file() -> None:
    assert relative_href("a:b#1?100%.mp3") == "a%3Ab%231%3F100%25.mp3"
    assert relative_href("../input_audio/a b.wav") == "../input_audio/a%20b.wav"


def test_the_head_describes_recording_model_and_flags() -> None:
    html = _render(
        TALK.model_copy(update={"meta": TALK.meta.model_copy(update={"flags": {"partial": "It ends early."}})})
    )
    for expected in ("1:01", "97 %", "base", "01234567", "Partial", "It ends early.", "Words a minute"):
        assert expected in html
    page = _Page(html)
    assert [attrs["href"] for attrs in page.all("a")] == list(SIBLINGS.values())
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("main")[0]["lang"] == "en"


def test_values_that_were_not_measured_are_not_shown() -> None:
    forced = _transcript(
        _segment((), text="no times"),
        language_probability=None,
        options=Options(language="en"),
        speech=(),
        speech_seconds=0,
    )
    html = _render(forced)
    assert "set by hand" in html
    assert "without pauses" not in html
    assert "Pauses" not in html
    assert "Where speech was heard" not in html


def test_a_segment_without_word_times_is_one_piece() -> None:
    page = _Page(_render(_transcript(_segment((), text="all at once")), audio=SOUND))
    assert page.words == [("1 2", "all at once")]


def test_a_flagged_segment_shows_its_evidence() -> None:
    page = _Page(_render(TALK))
    (why,) = [text for text in page.texts["p"].split("\n") if "log-probability" in text]
    assert "Low confidence" in why
    assert "log-probability -0.21" in why


def test_speakers_are_named_only_where_there_are_several() -> None:
    two_channels = _transcript(
        _segment(_words(" Hello."), channel=0), _segment(_words(" Hi.", start=2.0), 1, channel=1), channels=2
    )
    labels = [
        attrs["class"] for attrs in _Page(_render(two_channels)).all("p") if attrs.get("class", "").startswith("who")
    ]
    assert labels == ["who c0", "who c1"]
    assert "Channel 2" in _render(two_channels)
    one_channel = _transcript(_segment(_words(" Hello."), channel=0), _segment(_words(" Hi.", start=2.0), 1, channel=0))
    assert "who c0" not in _render(one_channel)


def test_an_empty_transcript_is_shown_with_its_reason() -> None:
    empty = _transcript(language=None, language_probability=None, flags={"no_speech": "Only noise in 61.5 s."})
    html = _render(empty)
    page = _Page(html)
    assert page.texts["h2"] == "No speech was found"
    assert "Only noise in 61.5 s." in page.texts["p"]
    assert "Words a minute" not in html
    assert page.all("input") == []


def test_without_audio_there_are_no_controls() -> None:
    silent, sounding = _Page(_render(TALK)), _Page(_render(TALK, audio=LinkedAudio("a.mp3")))
    assert (silent.all("audio"), silent.all("button")) == ([], [])
    assert sounding.all("audio")[0]["src"] == "a.mp3"
    assert [attrs["data-t"] for attrs in sounding.all("button")] == ["0", "23.33"]


def test_the_page_of_a_long_recording_is_small() -> None:
    """Each of ten thousand words takes less than 60 bytes in addition to its text."""
    texts = ["word"] * 100
    segments = [
        _segment(_words(*(f" {text}" for text in texts), start=36.0 * i, probability=0.4), i) for i in range(100)
    ]
    html = _render(_transcript(*segments), audio=SOUND)
    assert (len(html.encode()) - len(_render(_transcript(segments[0]), audio=SOUND).encode())) / 9900 - 5 < 60


def _decode(audio: EmbeddedAudio) -> np.ndarray:
    """Samples of an embedded file, shape (channels, samples)."""
    with av.open(io.BytesIO(audio.data)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


def test_embedded_audio_is_the_recording_channel_by_channel(tmp_path: Path) -> None:
    samples, rate = soundfile.read(SAMPLES / "two-speakers.flac", dtype="float32", always_2d=True)
    soundfile.write(tmp_path / "two.wav", samples, rate, subtype="PCM_16")
    audio = embed_mp3(tmp_path / "two.wav")
    assert audio.mime == "audio/mpeg"
    assert len(audio.data) == pytest.approx(len(samples) / rate * 64_000 / 8, rel=0.05)
    decoded = _decode(audio)
    assert decoded.shape[0] == 2
    assert decoded.shape[1] / rate == pytest.approx(len(samples) / rate, abs=0.1)
    # Channels are not mixed: the loudness of every half second of a channel is the same before and after.
    step = rate // 2
    for channel in range(2):
        loudness_before = [np.std(samples[i : i + step, channel]) for i in range(0, len(samples) - step, step)]
        loudness_after = [np.std(decoded[channel, i : i + step]) for i in range(0, len(samples) - step, step)]
        assert np.corrcoef(loudness_before, loudness_after)[0, 1] > 0.9


def test_one_channel_is_kept_and_five_are_mixed(tmp_path: Path) -> None:
    """A downmix by surround rules would drop the fourth of five channels as the bass channel."""
    rate = 16_000
    time = np.arange(25 * rate, dtype="float32") / rate  # longer than the blocks it is read in
    tones = [200.0, 400.0, 800.0, 1600.0, 3200.0]
    five = np.stack([0.5 * np.sin(2 * np.pi * tone * time) for tone in tones], axis=1).astype("float32")
    soundfile.write(tmp_path / "one.wav", five[:, 0], rate, subtype="PCM_16")
    soundfile.write(tmp_path / "five.wav", five, rate, subtype="PCM_16")
    assert _decode(embed_mp3(tmp_path / "one.wav")).shape[0] == 1
    mixed = _decode(embed_mp3(tmp_path / "five.wav"))
    assert mixed.shape[0] == 1
    assert mixed.shape[1] / rate == pytest.approx(25, abs=0.1)
    spectrum = np.abs(np.fft.rfft(mixed[0, rate : 2 * rate]))
    assert all(spectrum[int(tone)] > 0.5 * spectrum.max() for tone in tones)


def test_the_same_recording_gives_the_same_page(tmp_path: Path) -> None:
    samples, rate = soundfile.read(SAMPLES / "two-speakers.flac", dtype="float32")
    soundfile.write(tmp_path / "a.wav", samples[: 3 * rate], rate, subtype="PCM_16")
    first, second = (_render(TALK, audio=embed_mp3(tmp_path / "a.wav")) for _ in range(2))
    assert first == second
