"""Turns a container's packets into a stream of 16 kHz samples.

It keeps each sample at its time in the recording and counts what was lost or skipped. The codec, the resampler and the timeline are
here; whether a recording with losses is accepted is decided in ``speech.audio.normalize``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.stream import Discard
from numpy.typing import NDArray

from speech.audio.containers import OpenContainer, open_part
from speech.audio.declared_length import (
    SLACK_FLOOR_S,
    DeclaredLength,
    has_ogg_end_page,
    read_declared_length,
    read_longest_flac_frame,
)
from speech.audio.errors import BadAudioError
from speech.audio.level import Amplifier, Gain, LevelMeter
from speech.audio.rest import find_rest
from speech.audio.wav import SAMPLE_RATE

MAX_CHANNELS = 64
"""More than any recorder of speech has; a header that claims hundreds is damaged or hostile."""

SAMPLE_RATES = range(1_000, 768_001)
"""Sample rates we resample from, in Hz. Below this range a small file would become hours of audio; above it the resampling filter
would fill the memory."""

MIN_GAP_S = 0.1
"""If a frame's timestamp is later than the end of the samples by more than this many seconds, there is a gap. Rounding and padding
are shorter; half a syllable is longer."""

MAX_UNDECLARED_FILL_S = 3600.0
"""Most silence, in seconds per recording, that is filled into gaps when no header declares a length. A browser that records leaves
out what was muted, for minutes."""

_CHECKSUM_CODECS = ("flac", "wavpack")
"""Codecs whose frames have checksums. FFmpeg checks them only on request; without that, damage would become noise instead of an
error."""

MIN_BYTES_PER_SILENT_S = 100
"""Behind the first hour, silence is filled in only as far as the file has this many bytes for each second of it. Every recorder
writes more; without a limit a header of some bytes could ask for a day of silence."""

_DECLARED_MARGIN_S = 1.0
"""Gaps may be filled up to this many seconds behind the declared length."""

_MAX_PARTS = 1_000
"""Most recordings that are read of one file. Each link of a chain costs about a millisecond to open."""

_COUNTED_AT_FIRST_RATE = ("aac", "loas", "ac3", "eac3", "dts")
"""Containers without timestamps, for which FFmpeg counts samples at the rate of the first frame. These times are wrong behind a
change of the rate, as where two files were joined."""

_DEMUX_RETRIES = 20
"""Errors in a row, without a byte of progress between them, after which a demuxer is given up."""

_FLOAT_DTYPES = {"flt": np.float32, "fltp": np.float32, "dbl": np.float64, "dblp": np.float64}
"""Floating-point sample formats, which can contain NaN and infinity."""

_SHORT_FORMATS = {"u8": 8, "u8p": 8, "s16": 16, "s16p": 16}
"""Sample formats of 16 bits or fewer -> bits. All others are wider, and are measured before they become 16 bits."""


class PcmStream:
    """One pass over an audio stream.

    Iterate over ``read_blocks()`` to the end first; only then do the other attributes have their final values.

    Args:
        delivery: The open container.
        declared: The length that its header declares; None if it declares none. Gaps are filled with silence up to it.
        gain: What is done to the samples before they become 16 bits; None: nothing.

    Attributes:
        channels: Channels of every block; 0 before the first.
        packets: Packets of the audio stream.
        failed_packets: Packets that could not be decoded. A packet cut off at the end of the file does not count.
        failed_s: Approximate length of the failed packets in seconds.
        reached_s: End of the last packet, in seconds: counted from time zero where the declared length covers all streams,
            else from the first packet.
        filled_gaps_s: Silence, in seconds, filled into gaps that no failed packet explains. Silence before the first sample does
            not count.
        unfilled_gaps_s: Jumps of the timestamps that were too long to fill, in seconds.
        unfilled_for_size_s: How many of these seconds the header would have allowed, but not the size of the file.
        first_reached_s: ``reached_s`` of the first recording in the file; others may follow it.
        end_s: End of the last recording in the file by its container's own duration, in seconds.
        undeclared_s: Sound that the header does not count and that was read, in seconds.
        unread: A sentence for each piece of the file that holds more than the header accounts for and was not read.
        last_part: The last recording in the file.
        total_samples: Decoded samples, over all channels.
        non_finite_samples: How many of them were NaN or infinite and were replaced by zero.
        level: Levels, of the source's own precision; with a gain, of what was made of it.
    """

    def __init__(self, delivery: OpenContainer, declared: DeclaredLength | None, *, gain: Gain | None = None) -> None:
        self.channels = 0
        self.packets = 0
        self.failed_packets = 0
        self.failed_s = 0.0
        self.reached_s = 0.0
        self.filled_gaps_s = 0.0
        self.unfilled_gaps_s = 0.0
        self.unfilled_for_size_s = 0.0
        self.first_reached_s = 0.0
        self.end_s = 0.0
        self.undeclared_s = 0.0
        self.unread: list[str] = []
        self.total_samples = 0
        self.non_finite_samples = 0
        self._size_fill_left_s = MAX_UNDECLARED_FILL_S + delivery.file.full_size / MIN_BYTES_PER_SILENT_S
        self.level = LevelMeter()
        self._amplifier = Amplifier(gain) if gain is not None else None
        self._undeclared_fill_left_s = MAX_UNDECLARED_FILL_S
        self._position_s = 0.0  # time in the recording of the next sample, in seconds
        self._frame_s = 0.0
        self._pending_failures, self._pending_s = (
            0,
            0.0,
        )  # failed packets, and their seconds, since the last packet that decoded
        # Seconds of failed packets for which no gap was seen yet; a gap of that length is explained by them.
        self._failed_unfilled_s = 0.0
        self._fifo = AudioFifo()
        self._resampler: AudioResampler | None = None
        self._source_format: tuple[str, str, int] | None = None
        self._layout: AudioLayout | None = None
        self._parts = 0
        self._enter_part(delivery, declared)

    def _enter_part(self, part: OpenContainer, declared: DeclaredLength | None) -> None:
        """Go on with a container: the first, or another one behind it. Its time zero is the end of the samples so far."""
        self._judge_last_failures()
        self._pending_failures, self._pending_s = 0, 0.0
        self.last_part = part
        self._parts += 1
        self._container, self._stream, self._info = part.container, part.stream, part.info
        self._every_stream = declared is not None and declared.covers_all_streams
        # Floats instead of fractions: fractions for every packet took a third of the time for ten hours of Opus.
        self._ticks_s = [float(stream.time_base or 0) for stream in part.container.streams]
        self._fill_limit_s = self._position_s + (declared.seconds + _DECLARED_MARGIN_S) if declared else None
        self._origin_s = (part.container.start_time or 0) / av.time_base - self._position_s
        self._skipped_s = 0.0
        self._packet_end = 0
        self._first_rate = 0
        self._has_times = True
        # FFmpeg takes all bytes behind the last frame of a FLAC file for a part of it. Such a frame counts as not read here.
        self._longest_frame = read_longest_flac_frame(part) if part.demuxer == "flac" else 0
        self._reached_before_s = self.reached_s
        self._first_pts_s: float | None = None
        # Sound cannot begin behind the end of everything; where no header declares a length, not later than a gap may be long.
        end_s = (part.container.duration or 0) / av.time_base or MAX_UNDECLARED_FILL_S
        self._latest_start_s = min(end_s, MAX_UNDECLARED_FILL_S) if declared is None else end_s
        self.end_s = self._position_s + (part.info.duration_s or 0.0)
        self.undeclared_s += part.extent.undeclared_s
        if not self._every_stream:
            for stream in part.container.streams:
                if stream.index != self._stream.index:
                    stream.discard = Discard.all  # skip the packets of other streams, such as video
        if part.info.codec in _CHECKSUM_CODECS:
            self._stream.codec_context.options = {"err_detect": "crccheck+explode"}
        # With one thread an error is raised for the packet that caused it.
        self._stream.codec_context.thread_count = 1

    def read_blocks(self) -> Iterator[NDArray[np.int16]]:
        """Yield the audio as int16 blocks of shape (samples, channels) at 16 kHz, about 16,000 samples each.

        Raises:
            BadAudioError: ``undecodable``, for a number of channels or a sample rate outside ``MAX_CHANNELS`` and ``SAMPLE_RATES``,
                and for channels that FFmpeg cannot convert.
        """
        try:
            for frame in self._read_frames():
                yield from self._fill_gap_before(frame)
                yield from self._buffer_frame(frame)
            yield from self._flush()
        except av.FFmpegError as error:
            raise BadAudioError(
                "undecodable",
                f"The {self._info.container} file has sound in channels that cannot be converted, which is most often damage. "
                "Export it again and deliver it again.",
            ) from error
        self._judge_last_failures()

    def measure_missing_until(self, end_s: float) -> float:
        """Seconds between the last sample and ``end_s`` that failed packets do not explain."""
        return max(0.0, end_s - self._position_s - self._failed_unfilled_s - self._pending_s)

    def _read_frames(self) -> Iterator[AudioFrame]:
        for packet in self._read_packets():
            try:
                frames = packet.decode()
            except av.FFmpegError:
                if packet.size:
                    self._pending_failures += 1
                    self._pending_s += (packet.duration or 0) * self._ticks_s[packet.stream_index] or self._frame_s
                continue
            if packet.size:
                self._count_failures()
                # What cannot be decoded may be what lies behind the recording.
                is_too_long = packet.size > 2 * self._longest_frame > 0
                self._packet_end = max(self._packet_end, (packet.pos or 0) + (0 if is_too_long else packet.size))
            yield from frames

    def _read_packets(self) -> Iterator[av.Packet[AudioStream]]:
        """Packets of the audio stream, then of further recordings that follow in the file, such as the links of an Ogg chain."""
        yield from self._demux()
        self.first_reached_s = self.reached_s
        first, position = self.last_part, 0  # of the part in the file of the first
        next_begin = self._finish_part()
        while next_begin is not None:
            position += next_begin
            if self._parts == _MAX_PARTS:
                self.unread.append(f"Only the first {_MAX_PARTS:,} recordings of those in the file were read.")
                return
            try:
                with open_part(first, position) as part:
                    more = len(part.info.tracks) - len(first.info.tracks)
                    if more > 0 and first.track.number == 1:
                        self.unread.append(
                            f"Recording {self._parts + 1} of those in the file has {len(part.info.tracks)} audio tracks, and the "
                            f"first one {len(first.info.tracks)}; {more} of them were not read. Deliver it as a file of its own."
                        )
                    declared = read_declared_length(part)
                    self._enter_part(part, declared)
                    yield from self._demux()
                    reached_s = self.reached_s - self._reached_before_s
                    if declared is not None and declared.measure_missing_s(reached_s):
                        self.unread.append(
                            f"Recording {self._parts} of those in the file promises {declared.seconds:.1f} s, but "
                            f"{declared.measure_missing_s(reached_s):.1f} s are missing."
                        )
                    next_begin = self._finish_part()
                    position = part.file.origin - first.file.origin  # behind a tag, if it begins with one
            except BadAudioError as error:
                self.unread.append(
                    f"The file has more than one recording; the one at byte {position:,} could not be read, nor "
                    f"what follows it. {error.sentence}"
                )
                return

    def _finish_part(self) -> int | None:
        """Note what was not read of the part, and return where in its file another one begins; None if none does."""
        part = self.last_part
        rest = find_rest(part, self._packet_end, self.reached_s - self._reached_before_s)
        for begin, end in rest.unread:
            self.unread.append(
                f"{end - begin:,} bytes at byte {begin:,} of the {self._info.container} file belong to no part of it that can "
                "be read: they may hold more of the recording. Compare it with its source."
            )
        if rest.part_begin is not None:
            # What could not be decoded at the end were bytes of the other recording.
            self._pending_failures, self._pending_s = 0, 0.0
        if rest.part_begin is not None and part.demuxer == "ogg" and not has_ogg_end_page(part.file):
            self.unread.append(
                f"Link {self._parts} of the Ogg file lacks the page that marks its end; more may be missing there."
            )
        return rest.part_begin

    def _demux(self) -> Iterator[av.Packet[AudioStream]]:
        errors, failed_at = 0, -1
        while errors <= _DEMUX_RETRIES:
            try:
                streams = () if self._every_stream else (self._stream,)
                for packet in cast("Iterator[av.Packet[AudioStream]]", self._container.demux(*streams)):
                    errors = 0
                    self._update_reached(packet)
                    if packet.stream_index != self._stream.index:
                        continue
                    self.packets += bool(packet.size)
                    yield packet
            except IndexError:
                # PyAV raises this for streams that begin in the middle of the file; our stream is complete by then.
                return
            except av.FFmpegError:
                # Damage between packets: the demuxer continues behind it. Several errors in a row count as one lost piece.
                errors += 1
                self._pending_failures += errors == 1
                position = self.last_part.file.tell()
                if position > failed_at and errors > 1:
                    errors = 1  # it is looking for the next packet, however far that is
                failed_at = max(failed_at, position)
            else:
                return

    def _judge_last_failures(self) -> None:
        """Count failures at the end of a recording, unless they are short: a frame cut off, or a tag behind the audio."""
        if self._pending_s > SLACK_FLOOR_S or (self._pending_failures and not self.channels):
            self._count_failures()

    def _count_failures(self) -> None:
        self.failed_packets += self._pending_failures
        self.failed_s += self._pending_s
        self._failed_unfilled_s += self._pending_s
        self._pending_failures, self._pending_s = 0, 0.0

    def _update_reached(self, packet: av.Packet[Any]) -> None:
        if packet.pts is None:
            return
        tick_s = self._ticks_s[packet.stream_index]
        start_s = packet.pts * tick_s
        if self._first_pts_s is None:
            self._first_pts_s = 0.0 if self._every_stream else start_s
        part_s = start_s + (packet.duration or 0) * tick_s - self._first_pts_s
        self.reached_s = max(self.reached_s, self._reached_before_s + part_s)

    def _fill_gap_before(self, frame: AudioFrame) -> Iterator[NDArray[np.int16]]:
        """Fill a gap before a frame with silence, so that a time in the transcript is the time that a player shows.

        Yields int16 blocks of shape (samples, channels) at 16 kHz.
        """
        self._check_format(frame)
        self._first_rate = self._first_rate or frame.sample_rate
        if frame.sample_rate != self._first_rate and self.last_part.demuxer in _COUNTED_AT_FIRST_RATE:
            self._has_times = False
        if frame.time is None or not self._has_times:
            return
        ahead_s = frame.time - self._origin_s - self._skipped_s - self._position_s
        if ahead_s <= MIN_GAP_S:
            return  # timestamps that go back are ignored, so that no sound is dropped
        if not self._position_s and ahead_s <= self._latest_start_s:
            # Sound that begins late, as in a film, begins late for every player too. The declared length is counted from there.
            if self._fill_limit_s is not None:
                self._fill_limit_s += ahead_s
            room_s = ahead_s
        elif self._fill_limit_s is None:
            room_s = self._undeclared_fill_left_s
        else:
            room_s = self._fill_limit_s - self._position_s
        if ahead_s > min(room_s, self._size_fill_left_s):
            self._skipped_s += ahead_s
            self.unfilled_gaps_s += ahead_s
            self.unfilled_for_size_s += ahead_s if ahead_s <= room_s else 0.0
            return
        self._size_fill_left_s -= ahead_s
        if self._position_s:
            self._undeclared_fill_left_s -= ahead_s
            unexplained_s = ahead_s - self._failed_unfilled_s
            self.filled_gaps_s += unexplained_s if unexplained_s > MIN_GAP_S else 0.0
            self._failed_unfilled_s = max(0.0, -unexplained_s)
        self._position_s += ahead_s
        yield from self._flush()
        samples_left = round(ahead_s * SAMPLE_RATE)
        while samples_left:
            count = min(samples_left, SAMPLE_RATE)
            yield np.zeros((count, self.channels), dtype=np.int16)
            samples_left -= count

    def _check_format(self, frame: AudioFrame) -> None:
        """Check a frame's channels and sample rate; keep the channels of the first frame."""
        channels = frame.layout.nb_channels
        if channels > MAX_CHANNELS or frame.sample_rate not in SAMPLE_RATES:
            raise BadAudioError(
                "undecodable",
                f"The {self._info.container} file claims {channels} channels at {frame.sample_rate:,} Hz; at most {MAX_CHANNELS} "
                f"channels at {SAMPLE_RATES[0]:,} to {SAMPLE_RATES[-1]:,} Hz can be transcribed. Convert it and deliver it again.",
            )
        if not self.channels:
            self.channels = channels
            self._layout = frame.layout

    def _buffer_frame(self, frame: AudioFrame) -> Iterator[NDArray[np.int16]]:
        """Collect frames for about a second before resampling: a call per frame would cost more than the resampling.

        Yields int16 blocks of shape (samples, channels) at 16 kHz.
        """
        source_format = (frame.format.name, frame.layout.name, frame.sample_rate)
        if source_format != self._source_format:
            yield from self._flush()
            self._source_format = source_format
        self._frame_s = frame.samples / frame.sample_rate
        self._position_s += self._frame_s
        frame.pts = None  # this class keeps the time; the FIFO rejects frames whose timestamps are not consecutive
        self._fifo.write(frame)
        if self._fifo.samples >= frame.sample_rate:
            yield from self._resample(self._fifo.read())

    def _flush(self) -> Iterator[NDArray[np.int16]]:
        """Yield everything that is buffered as int16 (samples, channels) at 16 kHz, then reset the buffer and the resampler."""
        if self._fifo.samples:
            yield from self._resample(self._fifo.read())
        if self._resampler is not None:
            yield from self._resample(None)
        self._fifo = AudioFifo()
        self._resampler = None

    def _resample(self, frame: AudioFrame | None) -> Iterator[NDArray[np.int16]]:
        """Resample a frame of any format to int16 blocks of shape (samples, channels) at 16 kHz; None flushes the resampler."""
        if frame is not None and self._resampler is None:
            self.level.expect_bits(_SHORT_FORMATS.get(frame.format.name, 32))
            # All frames are converted to the channel layout of the first one, even if the layout changes later.
            sample_format = _choose_format(frame, is_amplified=self._amplifier is not None)
            self._resampler = AudioResampler(format=sample_format, layout=self._layout, rate=SAMPLE_RATE)
        if self._resampler is None:
            return
        if frame is not None:
            self._zero_non_finite(frame)
        for resampled in self._resampler.resample(frame):
            if resampled is not None:
                block = resampled.to_ndarray().reshape(-1, self.channels)
                yield self._round(self._amplifier.apply(block) if self._amplifier else block)
        if frame is None and self._amplifier:
            yield self._round(self._amplifier.finish())

    def _round(self, block: NDArray[Any]) -> NDArray[np.int16]:
        """Make 16 bits of a block and measure it: the wide samples, or those that a gain has made."""
        rounded = _to_int16(block)
        self.level.add_block(rounded if self._amplifier else block)
        return rounded

    def _zero_non_finite(self, frame: AudioFrame) -> None:
        """Replace NaN and infinity by 0: the resampler would spread a NaN over neighbouring samples or turn it into full scale."""
        channels = frame.layout.nb_channels
        self.total_samples += frame.samples * channels
        dtype = _FLOAT_DTYPES.get(frame.format.name)
        if dtype is None:
            return
        # A plane's buffer may be longer than its samples.
        count = frame.samples * (1 if frame.format.is_planar else channels)
        # With more than 8 planes PyAV lists more than there are; reading one of those ends the process.
        for plane in frame.planes[: channels if frame.format.is_planar else 1]:
            samples = np.frombuffer(memoryview(plane), dtype, count)
            is_non_finite = ~np.isfinite(samples)
            if is_non_finite.any():
                self.non_finite_samples += int(is_non_finite.sum())
                samples[is_non_finite] = 0


def _choose_format(frame: AudioFrame, *, is_amplified: bool) -> str:
    """The sample format to resample a frame to. Rounding it to 16 bits gives what FFmpeg gives when it is asked for 16 bits.

    For wide samples FFmpeg computes in floats of their width either way. Short ones it resamples in 16 bits. Integers whose rate
    stays are cut off.
    """
    name = frame.format.name
    if name in ("dbl", "dblp"):
        return "dbl"
    if is_amplified or name in ("flt", "fltp"):
        return "flt"
    if name in ("s32", "s32p"):
        return "s32" if frame.sample_rate == SAMPLE_RATE else "flt"
    return "s16"


def _to_int16(block: NDArray[Any]) -> NDArray[np.int16]:
    """Round floats of full scale 1 to the nearest integer, and cut wider integers off."""
    if block.dtype == np.int16:
        return block
    rounded: NDArray[np.int16]
    if block.dtype == np.int32:
        rounded = (block >> 16).astype(np.int16)
    else:
        with np.errstate(over="ignore"):  # infinity is clipped too
            scaled = block * 32_768
        rounded = np.clip(np.rint(scaled, out=scaled), -32_768, 32_767, out=scaled).astype(np.int16)
    return rounded
