"""What normalizing gives: facts about the written file, and flags for what was lost."""

from __future__ import annotations

from dataclasses import dataclass

from speech.audio.containers import AudioInfo


@dataclass(frozen=True, slots=True)
class NormalizedAudio:
    """Facts about the normalized file.

    Attributes:
        duration_s: Length in seconds, exactly ``samples / 16000``.
        samples_per_channel: Samples of each channel.
        channels: Channels of the written file.
        container_info: The source container's description.
        flags: Flag -> reason. ``partial``: something of the recording is missing; ``gaps``: timestamps jump, silence was filled in;
            ``undeclared``: sound was read that the header does not count; ``tracks``: audio tracks that were left out; ``quiet``,
            ``overdriven`` and ``clipped``: see ``speech.audio.level.LevelMeter.describe``.
        peak_dbfs: Level of the largest written sample in decibels relative to full scale (0 or negative); None if every sample is
            zero.
        tracks: What was taken of which audio tracks, in a line; None where the file has one.
    """

    duration_s: float
    samples_per_channel: int
    channels: int
    container_info: AudioInfo
    flags: dict[str, str]
    peak_dbfs: float | None
    tracks: str | None = None
