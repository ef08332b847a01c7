"""Which audio tracks of a file are heard together, and the words in which the rest is named.

Two people who talk to each other may have a track each, and so may the microphone and the desktop of a screen recording: such
tracks are heard together. Versions of one film are not: of languages, the default's is heard, and a commentary is left out. A round
is a set of tracks that are heard together. The next round is tried only where the one before holds no sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_TRACKS = 16
"""Most tracks that are heard together: each is a pass over the file. Cameras and broadcasters write up to 16."""

MAX_TRIED_TRACKS = 2 * MAX_TRACKS
"""Most tracks that are decoded to find those with sound. A hostile file can have thousands."""

_MAX_TITLE_CHARS = 40

_UNDECLARED = ("", "und", "mis", "mul", "zxx", "unk")
"""Codes that name no language: undetermined, uncoded, several, none, and one that some writers use."""

_BIBLIOGRAPHIC_CODES = {
    "alb": "sqi", "arm": "hye", "baq": "eus", "bur": "mya", "chi": "zho", "cze": "ces", "dut": "nld", "fre": "fra", "geo": "kat",
    "ger": "deu", "gre": "ell", "ice": "isl", "mac": "mkd", "mao": "mri", "may": "msa", "per": "fas", "rum": "ron", "slo": "slk",
    "tib": "bod", "wel": "cym",
}  # fmt: skip
"""The languages that have two codes in ISO 639-2: both mean the same."""


@dataclass(frozen=True, slots=True)
class Track:
    """An audio stream as the headers of its container describe it.

    Attributes:
        number: 1 for the container's first audio stream.
        is_decodable: Whether there is a decoder for its codec.
        language: Declared language, as the container writes it; None if it declares none.
        title: Declared name; None if there is none.
        is_default: Whether the container marks it as the track to be played.
        variant: What it is where it is no track of its own right, such as ``a commentary``; else None.
        program: The same number for all tracks of one programme. Only MPEG-TS can have several.
    """

    number: int
    is_decodable: bool = True
    language: str | None = None
    title: str | None = None
    is_default: bool = False
    variant: str | None = None
    program: int = 0

    @property
    def label(self) -> str:
        """How it is named in a sentence, such as ``2 'Microphone' (eng, default)``."""
        printable = "".join(char if char.isprintable() else " " for char in self.title or "")
        title = " ".join(printable.split())[:_MAX_TITLE_CHARS]
        facts = [self.language] if self.language and self.language_key else []
        facts += ["default"] if self.is_default else []
        return f"{self.number}" + (f" '{title}'" if title else "") + (f" ({', '.join(facts)})" if facts else "")

    @property
    def language_key(self) -> str | None:
        """The language without its region, with one code for each; None if none is declared."""
        code = (self.language or "").lower().replace("_", "-").split("-")[0]
        return None if code in _UNDECLARED else _BIBLIOGRAPHIC_CODES.get(code, code)


def order_tracks(tracks: Sequence[Track]) -> list[Track]:
    """Tracks of their own right before variants, those marked default before others, else in the container's order."""
    return sorted(tracks, key=lambda track: (track.variant is not None, not track.is_default, track.number))


def plan_rounds(tracks: Sequence[Track]) -> list[list[Track]]:
    """Put the tracks into rounds, the one to be heard first; in each, the track marked default comes first.

    Tracks of one round belong to one programme. They are of one language, or declare none.
    """
    left = order_tracks(tracks)
    program = left[0].program
    rounds = []
    while left:
        # The first programme is left only when nothing of it remains but variants.
        lead = min(left, key=lambda track: (track.variant is not None, track.program != program))
        alike = [t for t in left if t.program == lead.program and (t.variant is None) == (lead.variant is None)]
        languages = {track.language_key for track in alike} - {None}
        wanted = languages | {None} if len(languages) < 2 else {lead.language_key, None}
        chosen = [track for track in alike if track.language_key in wanted]
        rounds.append(chosen)
        left = [track for track in left if track not in chosen]
    return rounds


def explain_left_out(track: Track, heard: Track) -> str:
    """Why a track of a later round was not heard, beside the first one that was."""
    if track.program != heard.program:
        return "of another programme"
    if track.variant is not None and heard.variant is None:
        return track.variant
    return "in another language"
