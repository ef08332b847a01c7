"""The HTML page: one file to read a transcript, play its audio and check it.

This module has what the page says and the audio in it; its look and behaviour are in ``page.html.jinja`` beside this module. The
file loads nothing from a server. Its Content-Security-Policy allows only the inline style and script, by checksum, so text or names
from a recording can never run as code.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, urlsplit

import av
import numpy as np
import soundfile
from jinja2 import Environment, StrictUndefined, Template

from speech.enrichment.pauses import PauseReport, SpeechRate
from speech.transcript import Segment, Transcript

# Words with a probability below this, an even chance, are marked.
DOUBTFUL_WORD_PROBABILITY = 0.5
# Enough for speech at 16 kHz to be followed and checked, and 14.4 MB an hour and channel (19.2 MB as base64).
_BITS_PER_CHANNEL = 32_000
_BLOCK_S = 10
_LANE_HEIGHT = 12


@dataclass(frozen=True, slots=True)
class EmbeddedAudio:
    """Audio that travels inside the page.

    Attributes:
        mime: Its media type.
        data: The encoded file.
    """

    mime: str
    data: bytes


@dataclass(frozen=True, slots=True)
class LinkedAudio:
    """Audio that lies beside the page.

    Attributes:
        href: Where, relative to the page and percent-encoded (see ``relative_href``).
    """

    href: str


def relative_href(path: str) -> str:
    """A relative path as a link: percent-encoded, so that "#", "?", "%" and ":" in a file name are not read as URL syntax."""
    return quote(path)


def embed_mp3(wav_path: Path) -> EmbeddedAudio:
    """Encode a normalized WAV as MP3 for embedding, 32 kbit/s a channel.

    Two channels stay two; more are mixed to one, since MP3 knows no more than two. The file is read in blocks of ten seconds, so
    memory holds the encoded audio only.

    Args:
        wav_path: WAV or RF64 at a sampling rate MP3 knows, such as our 16 kHz.

    Raises:
        soundfile.LibsndfileError: It cannot be read.
        av.codec.codec.UnknownCodecError: PyAV was built without libmp3lame; its wheels have it.
    """
    target = io.BytesIO()
    with soundfile.SoundFile(wav_path) as source, av.open(target, "w", format="mp3") as container:
        channels = source.channels if source.channels <= 2 else 1
        layout = "stereo" if channels == 2 else "mono"
        stream = container.add_stream("libmp3lame", rate=source.samplerate, layout=layout)
        stream.bit_rate = _BITS_PER_CHANNEL * channels
        position = 0
        for block in source.blocks(source.samplerate * _BLOCK_S, dtype="float32", always_2d=True):
            kept = block if source.channels == channels else block.mean(axis=1, keepdims=True)
            # The block is (samples, channels) float32; PyAV's fltp format wants (channels, samples).
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(kept.T), format="fltp", layout=layout)
            frame.sample_rate, frame.pts = source.samplerate, position
            position += len(block)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return EmbeddedAudio("audio/mpeg", target.getvalue())


def render_page(
    transcript: Transcript,
    rates: PauseReport,
    *,
    audio: EmbeddedAudio | LinkedAudio | None,
    title: str,
    siblings: Mapping[str, str] | None = None,
) -> str:
    """Write the page.

    Args:
        transcript: What was said.
        rates: Its pauses and rates, from ``speech.enrichment.pauses.analyse_pauses``.
        audio: What the page plays; None leaves out the player.
        title: Name of the recording, as people know it.
        siblings: Name of a file as shown -> link to it, relative to the page and percent-encoded.

    Raises:
        ValueError: A link is not relative.
    """
    links = dict(siblings or {})
    for href in [*links.values(), *([audio.href] if isinstance(audio, LinkedAudio) else [])]:
        _check_relative(href)
    meta = transcript.meta
    several = len({_voice(segment) for segment in transcript.segments}) > 1
    return _template().render(
        title=title,
        facts=list(_list_facts(transcript, rates)),
        lanes=list(_draw_lanes(transcript)),
        duration=_format_seconds(meta.audio_duration_sec),
        duration_clock=_format_clock(meta.audio_duration_sec),
        notes=[{"name": _humanize(flag), "reason": reason} for flag, reason in meta.flags.items()],
        siblings=links,
        language=transcript.text_language,
        segments=[_describe_segment(segment, several=several) for segment in transcript.segments],
        doubtful=any(
            word.probability < DOUBTFUL_WORD_PROBABILITY for segment in transcript.segments for word in segment.words
        ),
        audio_src=_make_audio_src(audio),
        media_src=_media_policy(audio),
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    """Compiled once per process: compiling takes longer than rendering a short page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["sha256"] = lambda text: base64.b64encode(hashlib.sha256(str(text).encode()).digest()).decode()
    return environment.from_string(Path(__file__).with_name("page.html.jinja").read_text(encoding="utf-8"))


def _check_relative(href: str) -> None:
    parts = urlsplit(href)
    if parts.scheme or parts.netloc or href.startswith(("/", "\\")) or not parts.path:
        raise ValueError(
            f"a page may only link to files beside it, got {href!r}; encode a file name with relative_href"
        )


def _make_audio_src(audio: EmbeddedAudio | LinkedAudio | None) -> str | None:
    if isinstance(audio, EmbeddedAudio):
        return f"data:{audio.mime};base64,{base64.b64encode(audio.data).decode()}"
    return audio.href if audio else None


def _media_policy(audio: EmbeddedAudio | LinkedAudio | None) -> str:
    """What the page may play. A page opened from disk has no origin of its own, so a file beside it needs ``file:``."""
    if isinstance(audio, EmbeddedAudio):
        return "data:"
    return "'self' file:" if audio else "'none'"


def _list_facts(transcript: Transcript, rates: PauseReport) -> Iterator[dict[str, str | bool]]:
    meta = transcript.meta

    def fact(
        name: str, value: str, detail: str = "", *, hint: str = "", language: bool = False
    ) -> dict[str, str | bool]:
        return {"name": name, "value": value, "more": detail, "hint": hint, "language": language}

    yield fact("Duration", _format_clock(meta.audio_duration_sec), f"speech {_format_clock(meta.speech_seconds)}")
    if transcript.language is not None:
        sure = "set by hand" if meta.options.language else ""
        if meta.language_probability is not None:
            sure = f"{100 * meta.language_probability:.0f} %"
        yield fact("Language", transcript.language, sure, language=True)
    yield fact("Model", meta.model_name, meta.model_sha256[:8], hint=f"sha256 of model.bin: {meta.model_sha256}")
    if meta.channels > 1:
        yield fact("Channels", str(meta.channels))
    yield from (fact(*row) for row in _list_rate_facts(rates.recording))
    pauses = [pause.duration for channel in rates.channels for pause in channel.pauses if pause.while_speaking]
    if pauses:
        hint = f"Silences of {rates.threshold_s:g} s or more between two words, within a stretch of speech"
        longest = f"{sum(pauses):.1f} s in all, longest {max(pauses):.1f} s"
        yield fact("Pauses", str(len(pauses)), longest, hint=hint)


def _list_rate_facts(rate: SpeechRate) -> Iterator[tuple[str, str, str]]:
    if rate.words_per_minute is not None:
        yield "Words", f"{rate.words:,}", ""
        without = f"{rate.articulation_wpm:.0f} without pauses" if rate.articulation_wpm is not None else ""
        yield "Words a minute", f"{rate.words_per_minute:.0f}", without
    if rate.characters_per_second is not None:
        yield "Characters", f"{rate.characters:,}", ""
        without = f"{rate.articulation_cps:.1f} without pauses" if rate.articulation_cps is not None else ""
        yield "Characters a second", f"{rate.characters_per_second:.1f}", without


def _draw_lanes(transcript: Transcript) -> Iterator[dict[str, str | int]]:
    """Detected speech, as one SVG path for each channel, a thousand units wide."""
    duration = transcript.meta.audio_duration_sec
    if not duration or not transcript.meta.speech:
        return
    for channel in range(transcript.meta.channels):
        path = "".join(
            f"M{1000 * span.start / duration:.1f} {_LANE_HEIGHT * channel + 2}h{1000 * (span.end - span.start) / duration:.1f}v8"
            f"h-{1000 * (span.end - span.start) / duration:.1f}z"
            for span in transcript.meta.speech
            if span.channel == channel
        )
        yield {"path": path, "color": channel % 6}


def _describe_segment(segment: Segment, *, several: bool) -> dict[str, object]:
    return {
        "id": segment.id,
        "channel": segment.channel,
        "start": _format_seconds(segment.start),
        "clock": _format_clock(segment.start),
        "label": _label(segment) if several else "",
        "color": (segment.channel or 0) % 6,
        "words": list(_describe_words(segment)),
        "why": _explain_flags(segment) if segment.flags else "",
    }


def _describe_words(segment: Segment) -> Iterator[dict[str, str | int | None]]:
    """The words with their times; the text as a whole where it has none, or where they do not spell it."""
    if "".join(word.word for word in segment.words).split() != segment.text.split():
        time = f"{_format_seconds(segment.start)} {_format_seconds(segment.end)}"
        yield {"space": "", "text": " ".join(segment.text.split()), "time": time, "percent": None}
        return
    for index, word in enumerate(segment.words):
        doubtful = word.probability < DOUBTFUL_WORD_PROBABILITY
        yield {
            "space": " " if index and word.word[:1].isspace() else "",
            "text": word.word.strip(),
            "time": f"{_format_seconds(word.start)} {_format_seconds(word.end)}",
            "percent": int(100 * word.probability) if doubtful else None,
        }


def _voice(segment: Segment) -> tuple[int | None, str | None]:
    return segment.channel, segment.speaker.id if segment.speaker else None


def _label(segment: Segment) -> str:
    channel = f"Channel {segment.channel + 1}" if segment.channel is not None else ""
    speaker = segment.speaker.id if segment.speaker else ""
    return ", ".join(part for part in (speaker, channel) if part) or "Speaker unknown"


def _explain_flags(segment: Segment) -> str:
    """The segment's flags and scores, for a tooltip."""
    evidence = (
        f"log-probability {segment.avg_logprob:.2f}, compression {segment.compression_ratio:.1f}, "
        f"no speech {100 * segment.no_speech_prob:.0f} %, temperature {segment.temperature:.1f}, {segment.decoded}"
    )
    return f"{', '.join(_humanize(flag) for flag in segment.flags)} ({evidence})"


def _humanize(flag: str) -> str:
    text = flag.replace("_", " ")
    return text[:1].upper() + text[1:]


def _format_clock(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _format_seconds(seconds: float) -> str:
    """Seconds to the millisecond without trailing zeros, because a page has thousands of them."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")
