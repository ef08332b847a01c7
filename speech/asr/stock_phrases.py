"""Stock phrases that Whisper writes for audio without speech: credits and closing words of its training videos.

Pure functions: no I/O, no state.

The phrases are a suspicion, not a proof: somebody may really say "thank you". A segment is dropped only if its scores are weak as
well.
"""

from __future__ import annotations

import re

_PHRASES = (
    r"(thanks|thank you)( so much| very much)?( for (watching|listening|your (time|attention)))?( (this|the|my) video)?",
    r"(please )?(like|subscribe)( and| to| like| subscribe| share| the| my| our| this| channel| video)*( for more( videos)?)?",
    r"(i'll )?see you( (guys|all))?( in the)? next (time|video|one)",
    r"(bye[ -]?)+|goodbye|you|okay|uh+|hm+|mm+",
    r"(subtitles|captions?|transcription|transcribed|translated)( by| provided by)? .{0,60}",
    r".{0,40}(amara\.org|opensubtitles|rev\.com|otter\.ai|zeoranger).{0,40}",
    r"(music|applause|laughter|silence|foreign|blank[_ ]audio|inaudible)( (playing|music))?",
    r"(hãy )?(subscribe|đăng ký)( cho)? kênh .{0,80}",
    r"cảm ơn (các bạn|quý vị)( đã)? (theo dõi|xem|lắng nghe).{0,60}",
    r"(untertitel|sous-titres?|sous-titrage|subtítulos|legendas|sottotitoli|napisy)( .{0,60})?",
    r"продолжение следует|субтитры .{0,60}|спасибо за (просмотр|внимание)",
    r"ご視聴ありがとうございました|チャンネル登録.{0,30}|字幕.{0,40}|請不吝點贊.{0,40}|谢谢(大家|观看|收看).{0,10}",
    r"시청해주셔서 감사합니다",
)
"""Whole texts, without punctuation at their ends, in lower case. Reported again and again by users of every Whisper program, and
what ``base`` wrote here on noise."""

_PATTERN = re.compile("|".join(f"(?:{phrase})" for phrase in _PHRASES))
_IGNORED_MARKS = " \t\n.,!?;:…-–—♪*[]()\"'«»。！？、"


def is_stock_phrase(text: str) -> bool:
    """Whether a text consists only of stock phrases, or only of punctuation and music notes."""
    bare = text.lower().strip(_IGNORED_MARKS)
    if not bare:
        return bool(text.strip())
    sentences = [part.strip(_IGNORED_MARKS) for part in re.split(r"[.!?。！？]\s*", bare)]
    return all(_PATTERN.fullmatch(sentence) for sentence in sentences if sentence)
