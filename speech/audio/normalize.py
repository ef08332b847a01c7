"""Normalizing: any audio or video file in, one 16 kHz PCM WAV out, with flags for what was lost.

This module decides which losses make a recording unusable and which only set a flag. Opening is ``speech.audio.containers``,
declared lengths are ``speech.audio.declared_length``, decoding is ``speech.audio.stream``, loudness is ``speech.audio.level``,
channels are ``speech.audio.channels``, several tracks are ``speech.audio.multitrack``, the file is ``speech.audio.wav``.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from speech.audio.channels import ChannelStatistics
from speech.audio.containers import AudioInfo, OpenContainer, open_container, probe
from speech.audio.declared_length import DeclaredLength, has_ogg_end_page, read_declared_length
from speech.audio.downmix import CONTEXT_SAMPLES, mix_channels
from speech.audio.errors import BadAudioError
from speech.audio.level import Gain, LevelMeter
from speech.audio.multitrack import normalize_tracks
from speech.audio.result import NormalizedAudio
from speech.audio.stream import PcmStream
from speech.audio.tracks import Track
from speech.audio.wav import SAMPLE_RATE, WavReader, WavWriter, read_window

__all__ = ["SAMPLE_RATE", "AudioInfo", "NormalizedAudio", "WavReader", "normalize", "probe", "read_window"]

MAX_LOSS_SHARE = 0.05
"""Largest share of packets that may be lost. Above it a transcript would miss or invent words everywhere, so the recording is
refused."""

_MAX_NAMED = 5
"""Most places of one kind that a flag's sentence names."""

_NORMALIZE_BYTES, _CHANNEL_BYTES, _BYTES_PER_HZ = 4 * 2**20, 6 * 2**20, 51
"""See ``estimate_memory_bytes``."""

ROUNDING_S = 0.02
"""Differences between samples and timestamps up to this many seconds are rounding; a lost FLAC frame or Ogg page is longer."""


def normalize(
    source: Path, target: Path, *, max_hours: float = 24.0, accept_partial: bool = False, keep_channels: bool = True
) -> NormalizedAudio:
    """Decode the sound of ``source`` and write it to ``target`` as a 16 kHz, 16-bit PCM WAV (RF64 above 4 GiB).

    Of several audio tracks those are heard that belong together; see ``speech.audio.tracks``.
    A recording that is too quiet, or beyond full scale, is decoded a second time with a gain (``speech.audio.level``).
    Memory does not depend on the length. On any error ``target`` is removed, and so are temporary files beside it.

    Args:
        source: Any audio or video file.
        target: Where to write; the caller passes a temporary name and renames the file afterwards.
        max_hours: Longer recordings are refused, as soon as that is known.
        accept_partial: Keep the rest of a truncated recording, flagged ``partial``, instead of refusing it.
        keep_channels: Keep channels that contain different sound separate; otherwise always mix down to one.

    Raises:
        BadAudioError: The bytes are unusable; see ``BadAudioKind`` and the error's sentence.
        OSError: The source cannot be read or the target not written: this is a problem of the machine; a retry may help.
    """
    normalize_track = partial(_normalize_track, source, max_hours=max_hours, keep_channels=keep_channels)

    def decode(track: Track, target: Path, *, accept_partial: bool) -> NormalizedAudio:
        with open_container(source, track) as delivery:
            return normalize_track(delivery, target, accept_partial=accept_partial)

    try:
        with open_container(source) as delivery:
            tracks = delivery.info.tracks
            if len(tracks) == 1:
                return normalize_track(delivery, target, accept_partial=accept_partial)
        return normalize_tracks(tracks, target, decode, accept_partial=accept_partial, keep_channels=keep_channels)
    except BaseException:
        with suppress(OSError):  # do not hide the first error
            target.unlink(missing_ok=True)
        raise


def estimate_memory_bytes(channels: int, sample_rate: int) -> int:
    """Memory of normalizing one recording, at the worst; its length makes no difference.

    Measured with 1 to 64 channels of 16 to 384 kHz on an AMD EPYC: ``python -m benchmarks memory``.

    Args:
        channels: Of the delivered audio.
        sample_rate: Of the delivered audio, Hz.
    """
    return _NORMALIZE_BYTES + channels * (_CHANNEL_BYTES + _BYTES_PER_HZ * sample_rate)


def _normalize_track(
    source: Path,
    delivery: OpenContainer,
    target: Path,
    *,
    max_hours: float,
    accept_partial: bool,
    keep_channels: bool,
) -> NormalizedAudio:
    """Normalize the audio track that is open. On any error ``target`` is removed."""
    decode = partial(
        _decode, target=target, max_hours=max_hours, accept_partial=accept_partial, keep_channels=keep_channels
    )
    try:
        decoded = read = decode(delivery, gain=None)
        gain = read.level.plan_gain()
        if gain is not None:
            with open_container(source, delivery.track) as again:
                decoded = decode(again, gain=gain)
    except BaseException:
        with suppress(OSError):  # do not hide the first error
            target.unlink(missing_ok=True)
        raise
    writer = decoded.writer
    seconds = writer.frames / SAMPLE_RATE
    return NormalizedAudio(
        duration_s=seconds,
        samples_per_channel=writer.frames,
        channels=writer.channels,
        container_info=decoded.info,
        flags={**decoded.flags, **read.level.describe(gain, decoded.level, seconds)},
        peak_dbfs=writer.peak_dbfs,
    )


@dataclass(frozen=True, slots=True)
class _Decoded:
    """One pass over a track: what was written, what is missing, and how loud it was."""

    writer: WavWriter
    info: AudioInfo
    flags: dict[str, str]
    level: LevelMeter


def _decode(
    delivery: OpenContainer,
    target: Path,
    *,
    gain: Gain | None,
    max_hours: float,
    accept_partial: bool,
    keep_channels: bool,
) -> _Decoded:
    """Decode a track into the target, which is replaced if it exists. See ``normalize``."""
    declared = _check_declared_length(delivery, max_hours)
    decoding = PcmStream(delivery, declared, gain=gain)
    writer = _write_wav(delivery, decoding, target, max_hours=max_hours, keep_channels=keep_channels)
    has_audio = writer.frames > 0
    flags = _find_losses(delivery, decoding, declared, has_audio=has_audio, accept_partial=accept_partial)
    return _Decoded(writer, delivery.info, flags, decoding.level)


def _check_declared_length(delivery: OpenContainer, max_hours: float) -> DeclaredLength | None:
    """Return the declared length; raise if it already exceeds the limit."""
    declared = read_declared_length(delivery)
    if declared is not None and declared.seconds > max_hours * 3600:
        raise _make_too_long_error(delivery, max_hours)
    return declared


def _write_wav(
    delivery: OpenContainer, stream: PcmStream, target: Path, *, max_hours: float, keep_channels: bool
) -> WavWriter:
    """Write all audio that can be decoded (possibly none), then mix channels that contain the same sound."""
    writer: WavWriter | None = None
    statistics: ChannelStatistics | None = None
    try:
        for block in stream.read_blocks():
            if writer is None:
                writer = WavWriter(target, stream.channels)
                statistics = ChannelStatistics(stream.channels) if stream.channels > 1 else None
            if writer.frames + len(block) > max_hours * 3600 * SAMPLE_RATE:
                raise _make_too_long_error(delivery, max_hours)
            writer.write(block)
            if statistics is not None:
                statistics.add_block(block)
        if writer is None:
            writer = WavWriter(target, 1)
        if statistics is not None:
            outputs = statistics.plan_output_channels(keep_channels=keep_channels)
            if len(outputs) < writer.channels:
                writer.downmix(partial(mix_channels, outputs=outputs), len(outputs), CONTEXT_SAMPLES)
        writer.finish()
        return writer
    finally:
        if writer is not None:
            with suppress(OSError):  # fails only when an earlier error is already being raised
                writer.close()


def _find_losses(
    delivery: OpenContainer,
    stream: PcmStream,
    declared: DeclaredLength | None,
    *,
    has_audio: bool,
    accept_partial: bool,
) -> dict[str, str]:
    """Raise if the recording is unusable; otherwise return flags for what is missing."""
    name, codec = delivery.info.container, delivery.info.codec
    missing = []
    if declared is not None and declared.measure_missing_s(stream.first_reached_s):
        decoded_s = declared.seconds - declared.measure_missing_s(stream.first_reached_s)
        facts = f"{name} promises {declared.seconds:.1f} s, but only {decoded_s:.1f} s can be decoded."
        missing.append(
            _refuse_or_flag_truncated(
                facts, keep=not declared.is_truncated(stream.first_reached_s) or (accept_partial and has_audio)
            )
        )
    if not has_audio and not stream.packets:
        raise BadAudioError(
            "empty",
            f"The {name} file ({delivery.file.size:,} bytes) holds no sound: no packet of audio follows its header. "
            "Deliver it again.",
        )
    lost_s = _measure_lost_s(delivery, stream)
    if (
        not has_audio
        or stream.failed_packets > MAX_LOSS_SHARE * stream.packets
        or lost_s > MAX_LOSS_SHARE * stream.reached_s
    ):
        raise BadAudioError(
            "undecodable",
            f"{stream.failed_packets:,} of {stream.packets:,} packets of {codec} audio in the {name} file cannot be decoded, "
            f"{lost_s:.1f} s are missing between them: the bytes are damaged. Deliver it again from the original.",
        )
    if stream.non_finite_samples > MAX_LOSS_SHARE * stream.total_samples:
        raise BadAudioError(
            "undecodable",
            f"{stream.non_finite_samples:,} of {stream.total_samples:,} samples of the {name} file are no "
            "numbers (NaN or infinite): whatever "
            "wrote it failed. Export it again and deliver it again.",
        )
    if stream.non_finite_samples:
        missing.append(
            f"{stream.non_finite_samples:,} of {stream.total_samples:,} samples are no numbers; they are silent."
        )
    if delivery.demuxer == "ogg" and not has_ogg_end_page(stream.last_part.file):
        facts = (
            f"The Ogg file lacks the page that marks its end, so it was cut off, or the recorder stopped before it was done: "
            f"{stream.reached_s:.1f} s can be decoded, and nothing tells how much is missing."
        )
        missing.append(_refuse_or_flag_truncated(facts, keep=accept_partial))
    if stream.failed_packets or lost_s:
        missing.append(
            f"{stream.failed_packets:,} of {stream.packets:,} packets of {codec} audio could not be decoded; "
            f"with what is lost between packets about {stream.failed_s + lost_s:.2f} s are missing."
        )
    missing += stream.unread[:_MAX_NAMED]
    if len(stream.unread) > _MAX_NAMED:
        missing.append(f"There are {len(stream.unread) - _MAX_NAMED} more places like these.")
    flags = {"partial": " ".join(missing)} if missing else {}
    return {**flags, **_describe_gaps(delivery, stream, lost_s), **_describe_undeclared(delivery, stream)}


def _describe_gaps(delivery: OpenContainer, stream: PcmStream, lost_s: float) -> dict[str, str]:
    """The flag of timestamps that jump."""
    if not stream.unfilled_gaps_s and stream.filled_gaps_s <= lost_s:
        return {}
    text = f"The timestamps jump: {stream.filled_gaps_s:.1f} s of silence were filled in, {stream.unfilled_gaps_s:.1f} s were not."
    if stream.unfilled_for_size_s:
        text += (
            f" {stream.unfilled_for_size_s:.1f} s of them lie within the declared length, but a file of "
            f"{delivery.file.full_size:,} bytes is too small for so long a recording. What follows stands that much too early."
        )
    return {"gaps": text}


def _describe_undeclared(delivery: OpenContainer, stream: PcmStream) -> dict[str, str]:
    """The flag of sound that the header does not count."""
    if not stream.undeclared_s:
        return {}
    return {
        "undeclared": f"The header of the {delivery.info.container} file counts {stream.undeclared_s:.1f} s less than the file "
        "holds. They were read as sound too. Listen to the end, and compare it with the source."
    }


def _refuse_or_flag_truncated(facts: str, *, keep: bool) -> str:
    """Raise for a truncated recording, or return the text of its flag if it is to be kept."""
    if keep:
        return facts
    raise BadAudioError("truncated", f"{facts} Deliver it again, or set STT_ACCEPT_PARTIAL=true to keep what is there.")


def _measure_lost_s(delivery: OpenContainer, stream: PcmStream) -> float:
    """Seconds lost between packets. Known only for Ogg and FLAC, which count every sample."""
    if delivery.demuxer == "ogg":
        end_s = stream.end_s  # taken from the last page, so pages lost before it are counted too
    elif delivery.demuxer == "flac":
        end_s = stream.reached_s
    else:
        return 0.0
    lost_s = stream.filled_gaps_s + stream.measure_missing_until(end_s)
    return lost_s if lost_s > ROUNDING_S else 0.0


def _make_too_long_error(delivery: OpenContainer, max_hours: float) -> BadAudioError:
    return BadAudioError(
        "too_long",
        f"The {delivery.info.container} recording is longer than {max_hours:g} hours. "
        "Split it, or raise the limit with STT_MAX_RECORDING_HOURS.",
    )
