"""Hears several audio tracks of a file as if they were channels of one.

Each track is decoded by a pass of its own into a temporary file beside the target. Silent tracks and copies are left out, and the
rest becomes one file: its channels start at the same time, and shorter ones end in silence. What was taken is said in every case.
A flag says it where something was left out that may hold speech.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from speech.audio.channels import SILENT_DBFS, ChannelStatistics
from speech.audio.copies import SoundComparison
from speech.audio.downmix import CONTEXT_SAMPLES, OutputChannel, mix_channels
from speech.audio.errors import BadAudioError
from speech.audio.result import NormalizedAudio
from speech.audio.stream import MAX_CHANNELS
from speech.audio.tracks import MAX_TRACKS, MAX_TRIED_TRACKS, Track, explain_left_out, plan_rounds
from speech.audio.wav import SAMPLE_RATE, WavReader, WavWriter

_BLOCK_SAMPLES = 4 * SAMPLE_RATE
_TRANSCRIBED, _SILENT, _EMPTY, _UNDECODABLE = "transcribed", "silent", "empty", "cannot be decoded"


class TrackDecoder(Protocol):
    """Decodes one track into a 16 kHz WAV."""

    def __call__(self, track: Track, target: Path, *, accept_partial: bool) -> NormalizedAudio:
        """Decode it.

        Raises:
            BadAudioError: It cannot be decoded, or is truncated and ``accept_partial`` is false. Then ``target`` is removed.
        """


def normalize_tracks(
    tracks: Sequence[Track], target: Path, decode: TrackDecoder, *, accept_partial: bool, keep_channels: bool
) -> NormalizedAudio:
    """Decode the tracks that belong together and write them as one file.

    Args:
        tracks: All audio tracks of a file.
        target: Where to write. Temporary files get this name and a number; they are removed, also on errors.
        decode: Decodes one of them.
        accept_partial: Whether truncated tracks are kept even where no other one is whole.
        keep_channels: Keep tracks that contain different sound separate; otherwise mix them down to one channel.

    Raises:
        BadAudioError: None of them can be heard, or one of them is too long.
        OSError: The source cannot be read or a file not written.
    """
    hearing = _Hearing(target, decode)
    try:
        rounds = plan_rounds(tracks)
        audible: list[Track] = []
        while rounds and not audible:
            audible = hearing.hear_round(rounds.pop(0), accept_partial=accept_partial)
        heard = hearing.choose(audible)
        outputs: tuple[OutputChannel, ...] = ()
        if len(heard) > 1:
            heard, outputs = hearing.leave_out_copies(heard, keep_channels=keep_channels)
        for track in chain.from_iterable(rounds):
            hearing.leave_out(track, explain_left_out(track, heard[0]))
        flags, summary = hearing.make_flags(tracks), hearing.make_summary(tracks)
        first = hearing.decoded[heard[0]]
        if len(heard) == 1:
            hearing.files[heard[0]].replace(target)
            return replace(first, flags=flags, tracks=summary)
        writer = _write_wav([hearing.files[track] for track in heard], target, outputs)
    finally:
        for path in hearing.files.values():
            with suppress(OSError):  # do not hide the first error
                path.unlink(missing_ok=True)
    return NormalizedAudio(
        duration_s=writer.frames / SAMPLE_RATE,
        samples_per_channel=writer.frames,
        channels=writer.channels,
        container_info=first.container_info,
        flags=flags,
        peak_dbfs=writer.peak_dbfs,
        tracks=summary,
    )


def _limit_named(texts: Iterable[str]) -> list[str]:
    """The first of them, and how many more there are."""
    named = list(texts)
    more = len(named) - MAX_TRACKS
    return named if more <= 0 else [*named[:MAX_TRACKS], f"and {more} more"]


@dataclass
class _Hearing:
    """What became of the tracks so far.

    Attributes:
        target: Files of tracks get this name and a number.
        decode: Decodes a track.
        files: The files of tracks that may still be heard.
        decoded: What is known of every track that was decoded.
        errors: Why tracks could not be decoded, or only in part.
        outcomes: What became of each track, in a few words.
        unheard: Tracks that may hold speech and are not heard, and why.
    """

    target: Path
    decode: TrackDecoder
    files: dict[Track, Path] = field(default_factory=dict)
    decoded: dict[Track, NormalizedAudio] = field(default_factory=dict)
    errors: dict[Track, BadAudioError] = field(default_factory=dict)
    outcomes: dict[Track, str] = field(default_factory=dict)
    unheard: dict[Track, str] = field(default_factory=dict)

    def _limit(self, tracks: Sequence[Track]) -> Sequence[Track]:
        """Those that are tried; the others are left out."""
        for track in tracks[MAX_TRIED_TRACKS:]:
            self.leave_out(track, f"at most {MAX_TRIED_TRACKS} tracks are tried")
        return tracks[:MAX_TRIED_TRACKS]

    def hear_round(self, tracks: Sequence[Track], *, accept_partial: bool) -> list[Track]:
        """Decode tracks into files, and return those that hold sound.

        Where some are truncated and others are not, the file is not simply cut off, and what the former hold is kept.
        """
        audible: list[Track] = []
        truncated: list[Track] = []
        for track in self._limit(tracks):
            if len(audible) == MAX_TRACKS:
                self.leave_out(track, f"at most {MAX_TRACKS} tracks are heard together")
                continue
            error = self._decode(track, accept_partial=accept_partial)
            if error is not None and error.kind == "truncated":
                truncated.append(track)
            elif error is not None:
                self.drop(track, _EMPTY if error.kind == "empty" else _UNDECODABLE)
            elif self._is_audible(track):
                audible.append(track)
        if truncated and not audible:
            raise self.errors[truncated[0]]
        for track in truncated:
            if self._decode(track, accept_partial=True) is not None:
                self.drop(track, _UNDECODABLE)
            elif self._is_audible(track):
                audible.append(track)
        return [track for track in tracks if track in audible]

    def choose(self, audible: Sequence[Track]) -> list[Track]:
        """The tracks that are heard if nothing is there twice: those that hold sound, or a silent one where none does.

        Raises:
            BadAudioError: There is no track at all.
        """
        candidates = list(audible) or list(self.files)[:1]
        if not candidates:
            raise min(self.errors.values(), key=lambda error: error.kind == "empty")
        for track in self.files.keys() - candidates:
            self.drop(track, _SILENT)
        heard: list[Track] = []
        for track in candidates:
            if heard and sum(self.decoded[each].channels for each in (*heard, track)) > MAX_CHANNELS:
                self.leave_out(track, f"at most {MAX_CHANNELS} channels are heard together")
            else:
                heard.append(track)
                self.outcomes.setdefault(track, _TRANSCRIBED)
        return heard

    def leave_out_copies(
        self, tracks: Sequence[Track], *, keep_channels: bool
    ) -> tuple[list[Track], tuple[OutputChannel, ...]]:
        """The tracks that are left, and how their channels are mixed."""
        track_of = [index for index, track in enumerate(tracks) for _ in range(self.decoded[track].channels)]
        with _open_together([self.files[track] for track in tracks]) as (readers, frames):
            statistics = _collect_statistics(readers, frames)
            comparison = SoundComparison(track_of)
            comparison.compare(lambda start, count: _read_together(readers, start, count), frames)
        copies = comparison.find_copies()
        for index, finding in copies.items():
            numbers = [str(number) for number in sorted(tracks[copied].number for copied in finding.copied)]
            sound = f"the sound of track{'s' if len(numbers) > 1 else ''} {' and '.join(numbers)}"
            if finding.own_s:
                self.leave_out(tracks[index], f"mostly {sound}, and about {finding.own_s:.0f} s of its own")
            else:
                self.drop(tracks[index], sound)

        def are_apart(first: int, second: int) -> bool:
            if not keep_channels:
                return False
            if track_of[first] == track_of[second] or statistics.are_different(first, second):
                return True
            return not comparison.are_related(first, second) or comparison.would_cancel(first, second)

        outputs = _plan_outputs([channel for channel, track in enumerate(track_of) if track not in copies], are_apart)
        return [track for index, track in enumerate(tracks) if index not in copies], outputs

    def drop(self, track: Track, outcome: str) -> None:
        """A track is not heard, and with it no speech is lost."""
        self.outcomes[track] = outcome
        path = self.files.pop(track, None)
        if path is not None:
            path.unlink()

    def leave_out(self, track: Track, why: str) -> None:
        """A track is not heard, although it may hold speech."""
        self.drop(track, f"left out, {why}")
        self.unheard[track] = why

    def make_flags(self, tracks: Sequence[Track]) -> dict[str, str]:
        """Flag -> reasons, each with the track that it is about."""
        reasons: dict[str, list[str]] = {}
        for track in tracks:
            outcome = self.outcomes[track]
            if outcome == _UNDECODABLE:
                sentence = f"Audio track {track.label} was left out. {self.errors[track].sentence}"
                reasons.setdefault("partial", []).append(sentence)
            elif outcome in (_TRANSCRIBED, _SILENT):
                for flag, reason in self.decoded[track].flags.items():
                    if (
                        flag == "partial" or outcome == _TRANSCRIBED
                    ):  # what a silent track has lost may have been speech
                        reasons.setdefault(flag, []).append(f"Audio track {track.label}: {reason}")
        left_out = _limit_named(f"{track.label}: {self.unheard[track]}" for track in tracks if track in self.unheard)
        if left_out:
            reasons["tracks_left_out"] = [
                f"Of {len(tracks)} audio tracks these were not transcribed: {'; '.join(left_out)}.",
                "Deliver a track as a file of its own to have it transcribed.",
            ]
        return {flag: " ".join(_limit_named(sentences)) for flag, sentences in reasons.items()}

    def make_summary(self, tracks: Sequence[Track]) -> str:
        """What became of every track, in a line."""
        outcomes = _limit_named(f"{track.label}: {self.outcomes[track]}" for track in tracks)
        return f"{len(tracks)} audio tracks. " + "; ".join(outcomes)

    def _decode(self, track: Track, *, accept_partial: bool) -> BadAudioError | None:
        """Decode a track into a file, or return why it cannot be decoded. A recording that is too long raises."""
        path = self.target.with_name(f"{self.target.name}.{track.number}")
        try:
            self.decoded[track] = self.decode(track, path, accept_partial=accept_partial)
        except BadAudioError as error:
            if error.kind == "too_long":
                raise
            self.errors[track] = error
            return error
        self.files[track] = path
        return None

    def _is_audible(self, track: Track) -> bool:
        """Whether a decoded track holds sound. If not, its file is kept only where there is no other."""
        peak_dbfs = self.decoded[track].peak_dbfs
        if peak_dbfs is not None and peak_dbfs >= SILENT_DBFS:
            with _open_together([self.files[track]]) as (readers, frames):
                statistics = ChannelStatistics(readers[0].channels)
                for block in _read_blocks(readers, frames):
                    statistics.add_block(block)
                    if statistics.find_audible_channels():
                        return True
        self.outcomes[track] = _SILENT
        if len(self.files) > 1:
            self.drop(track, _SILENT)
        return False


def _plan_outputs(channels: Sequence[int], are_apart: Callable[[int, int], bool]) -> tuple[OutputChannel, ...]:
    """Put channels into one output channel each that are not to be kept apart."""
    groups: list[list[int]] = []
    for position, channel in enumerate(channels):
        group = next((group for group in groups if not are_apart(channel, channels[group[0]])), None)
        if group is None:
            groups.append([position])
        else:
            group.append(position)
    return tuple(OutputChannel(tuple(group)) for group in groups)


def _write_wav(paths: Sequence[Path], target: Path, outputs: tuple[OutputChannel, ...]) -> WavWriter:
    """Write files together, then mix their channels."""
    with _open_together(paths) as (readers, frames):
        writer = WavWriter(target, sum(reader.channels for reader in readers))
        try:
            for block in _read_blocks(readers, frames):
                writer.write(block)
            if len(outputs) < writer.channels:
                writer.downmix(partial(mix_channels, outputs=outputs), len(outputs), CONTEXT_SAMPLES)
            writer.finish()
        finally:
            with suppress(OSError):  # fails only when an earlier error is already being raised
                writer.close()
    return writer


def _collect_statistics(readers: Sequence[WavReader], frames: int) -> ChannelStatistics:
    statistics = ChannelStatistics(sum(reader.channels for reader in readers))
    for block in _read_blocks(readers, frames):
        statistics.add_block(block)
    return statistics


@contextmanager
def _open_together(paths: Sequence[Path]) -> Iterator[tuple[list[WavReader], int]]:
    """Open files; the number is the length of the longest in samples."""
    with ExitStack() as stack:
        readers = [stack.enter_context(WavReader(path)) for path in paths]
        yield readers, max(reader.frames for reader in readers)


def _read_blocks(readers: Sequence[WavReader], frames: int) -> Iterator[NDArray[np.int16]]:
    """Yield all files together as int16 blocks of shape (samples, channels) at 16 kHz, 4 s each."""
    for start in range(0, frames, _BLOCK_SAMPLES):
        block = _read_together(readers, start, min(_BLOCK_SAMPLES, frames - start))
        yield np.rint(block.T * 32_768).astype(np.int16)


def _read_together(readers: Sequence[WavReader], start: int, count: int) -> NDArray[np.float32]:
    """Read a stretch of all files as float32 (channels, ``count``); behind the end of a file it is silent."""
    block = np.zeros((sum(reader.channels for reader in readers), count), dtype=np.float32)
    first = 0
    for reader in readers:
        samples = reader.read(start, count)
        block[first : first + reader.channels, : samples.shape[1]] = samples
        first += reader.channels
    return block
