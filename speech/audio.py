"""Normalizing: any audio or video file in, one 16 kHz PCM WAV out, with flags for what was lost.

This module decides which losses make a recording unusable and which only set a flag. Opening is ``speech.containers``, declared
lengths are ``speech.promises``, decoding is ``speech.decode``, channels are ``speech.channels``, the file is ``speech.wav``.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from speech.channels import ChannelEvidence, mix
from speech.containers import AudioInfo, Opened, opened, probe
from speech.decode import Decoding
from speech.errors import BadAudio
from speech.promises import Promise, ogg_is_ended, promise_of
from speech.wav import SAMPLE_RATE, Wav, WavWriter, read_window

__all__ = ["SAMPLE_RATE", "AudioInfo", "Normalized", "Wav", "normalize", "probe", "read_window"]

LOSS_SHARE = 0.05
"""Largest share of packets that may be lost. Above it a transcript would miss or invent words everywhere, so the recording is
refused."""

ROUNDING_S = 0.02
"""Differences between samples and timestamps up to this many seconds are rounding; a lost FLAC frame or Ogg page is longer."""

_PROMISE_MARGIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Normalized:
    """Facts about the normalized file.

    Attributes:
        duration_s: Length in seconds, exactly ``samples / 16000``.
        samples: Samples of each channel.
        channels: Channels of the written file.
        source: The source container's description.
        flags: Flag -> reason. ``partial``: something of the recording is missing; ``gaps``: timestamps jump, silence was filled in.
        peak_dbfs: Level of the largest sample in decibels relative to full scale (0 or negative); None if every sample is zero.
    """

    duration_s: float
    samples: int
    channels: int
    source: AudioInfo
    flags: dict[str, str]
    peak_dbfs: float | None


def normalize(
    source: Path, target: Path, *, max_hours: float = 24.0, accept_partial: bool = False, keep_channels: bool = True
) -> Normalized:
    """Decode the first audio stream of ``source`` and write it to ``target`` as a 16 kHz, 16-bit PCM WAV (RF64 above 4 GiB).

    Memory does not depend on the length. On any error ``target`` is removed; nothing else is ever written.

    Args:
        source: Any audio or video file.
        target: Where to write; the caller passes a temporary name and renames the file afterwards.
        max_hours: Longer recordings are refused, as soon as that is known.
        accept_partial: Keep what is there of a truncated recording, flagged ``partial``, instead of refusing it.
        keep_channels: Keep channels that contain different sound separate; otherwise always mix down to one.

    Raises:
        BadAudio: The bytes are unusable; see ``BadAudioKind`` and the error's sentence.
        OSError: The source cannot be read or the target not written: this is a problem of the machine; a retry may help.
    """
    try:
        with opened(source) as delivery:
            promise = _promise(delivery, max_hours)
            decoding = Decoding(
                delivery,
                limit_s=promise.seconds + _PROMISE_MARGIN_S if promise else None,
                every_stream=promise is not None and promise.whole_file,
            )
            writer = _write(delivery, decoding, target, max_hours=max_hours, keep_channels=keep_channels)
            heard = writer.frames > 0
            flags = _judge(delivery, decoding, promise, heard=heard, accept_partial=accept_partial)
    except BaseException:
        with suppress(OSError):  # do not hide the first error
            target.unlink(missing_ok=True)
        raise
    return Normalized(
        duration_s=writer.frames / SAMPLE_RATE,
        samples=writer.frames,
        channels=writer.channels,
        source=delivery.info,
        flags=flags,
        peak_dbfs=writer.peak_dbfs,
    )


def _promise(delivery: Opened, max_hours: float) -> Promise | None:
    """Return the declared length; raise if it already exceeds the limit."""
    promise = promise_of(delivery)
    if promise is not None and promise.seconds > max_hours * 3600:
        raise _too_long(delivery, max_hours)
    return promise


def _write(delivery: Opened, decoding: Decoding, target: Path, *, max_hours: float, keep_channels: bool) -> WavWriter:
    """Write all audio that can be decoded (possibly none), then mix channels that contain the same sound."""
    writer: WavWriter | None = None
    evidence: ChannelEvidence | None = None
    try:
        for block in decoding.blocks():
            if writer is None:
                writer = WavWriter(target, decoding.channels)
                evidence = ChannelEvidence(decoding.channels) if decoding.channels > 1 else None
            if writer.frames + len(block) > max_hours * 3600 * SAMPLE_RATE:
                raise _too_long(delivery, max_hours)
            writer.write(block)
            if evidence is not None:
                evidence.hear(block)
        if writer is None:
            writer = WavWriter(target, 1)
        if evidence is not None:
            voices = evidence.voices(keep_channels=keep_channels)
            if len(voices) < writer.channels:
                writer.fold(partial(mix, voices=voices), len(voices))
        writer.finish()
        return writer
    finally:
        if writer is not None:
            with suppress(OSError):  # fails only when an earlier error is already being raised
                writer.close()


def _judge(
    delivery: Opened, decoding: Decoding, promise: Promise | None, *, heard: bool, accept_partial: bool
) -> dict[str, str]:
    """Raise if the recording is unusable; otherwise return flags for what is missing."""
    name, codec = delivery.info.container, delivery.info.codec
    missing = []
    if promise is not None and promise.missing_s(decoding.reached_s):
        there_s = promise.seconds - promise.missing_s(decoding.reached_s)
        facts = f"{name} promises {promise.seconds:.1f} s, but only {there_s:.1f} s can be decoded."
        missing.append(_cut_off(facts, kept=not promise.broken_by(decoding.reached_s) or (accept_partial and heard)))
    if not heard and not decoding.packets:
        raise BadAudio(
            "empty",
            f"The {name} file ({delivery.source.size:,} bytes) holds no sound: no packet of audio follows its header. "
            "Deliver it again.",
        )
    lost_s = _lost_between_packets(delivery, decoding)
    if not heard or decoding.failed > LOSS_SHARE * decoding.packets or lost_s > LOSS_SHARE * decoding.reached_s:
        raise BadAudio(
            "undecodable",
            f"{decoding.failed:,} of {decoding.packets:,} packets of {codec} audio in the {name} file cannot be decoded, "
            f"{lost_s:.1f} s are missing between them: the bytes are damaged. Deliver it again from the original.",
        )
    if decoding.no_numbers > LOSS_SHARE * decoding.values:
        raise BadAudio(
            "undecodable",
            f"{decoding.no_numbers:,} of {decoding.values:,} samples of the {name} file are no numbers (NaN or infinite): whatever "
            "wrote it failed. Export it again and deliver it again.",
        )
    if decoding.no_numbers:
        missing.append(f"{decoding.no_numbers:,} of {decoding.values:,} samples are no numbers; they are silent.")
    if delivery.demuxer == "ogg" and not ogg_is_ended(delivery.source):
        facts = (
            f"The Ogg file lacks the page that marks its end, so it was cut off, or the recorder stopped before it was done: "
            f"{decoding.reached_s:.1f} s can be decoded, and nothing tells how much is missing."
        )
        missing.append(_cut_off(facts, kept=accept_partial))
    if decoding.failed or lost_s:
        missing.append(
            f"{decoding.failed:,} of {decoding.packets:,} packets of {codec} audio could not be decoded; "
            f"with what is lost between packets about {decoding.failed_s + lost_s:.2f} s are missing."
        )
    flags = {"partial": " ".join(missing)} if missing else {}
    if decoding.jumps_s or decoding.gaps_s > lost_s:
        flags["gaps"] = (
            f"The timestamps jump: {decoding.gaps_s:.1f} s of silence were filled in, {decoding.jumps_s:.1f} s were not."
        )
    return flags


def _cut_off(facts: str, *, kept: bool) -> str:
    """Raise for a truncated recording, or return the text of its flag if it is to be kept."""
    if kept:
        return facts
    raise BadAudio("truncated", f"{facts} Deliver it again, or set STT_ACCEPT_PARTIAL=true to keep what is there.")


def _lost_between_packets(delivery: Opened, decoding: Decoding) -> float:
    """Seconds lost between packets. Known only for Ogg and FLAC, which count every sample."""
    if delivery.demuxer == "ogg":
        end_s = delivery.info.duration_s or 0.0  # taken from the last page, so pages lost before it are counted too
    elif delivery.demuxer == "flac":
        end_s = decoding.reached_s
    else:
        return 0.0
    lost_s = decoding.gaps_s + decoding.short_of(end_s)
    return lost_s if lost_s > ROUNDING_S else 0.0


def _too_long(delivery: Opened, max_hours: float) -> BadAudio:
    return BadAudio(
        "too_long",
        f"The {delivery.info.container} recording is longer than {max_hours:g} hours. "
        "Split it, or raise the limit with STT_MAX_RECORDING_HOURS.",
    )
