"""The guard: from what the model wrote and its evidence, the reasons not to believe it. Pure.

A doubt has a short name; the names stand in transcripts as reasons and flags. Three questions are asked: whether a chunk's first
result must be decoded again (``doubts``), whether what is left after that may stand (``verdict``), and which of two is better.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from speech.heard import HeardSegment
from speech.phantoms import is_phantom

DOUBTS = {
    "empty": "Speech was detected, and the model wrote nothing.",
    "repetition": "The text compresses too well: it says the same thing over and over.",
    "improbable": "The model itself held the text for improbable.",
    "too_much_text": "More text than can be said in so short a time.",
    "repeated_end": "The last words are said twice.",
    "repeated_phrase": "Four words in a row come twice.",
    "few_unique_words": "A long text of very few different words.",
    "phantom_phrase": "A phrase that Whisper is known to write where nobody says it.",
    "not_speech": "The model held the sound for no speech, and the text for improbable.",
    "foreign_script": "Letters of another script than the language's.",
}
"""Every doubt the guard can have -> what it means, for people."""

LOOPING = frozenset({"repetition", "too_much_text", "repeated_end", "repeated_phrase", "few_unique_words"})
"""Doubts that forbidding repetition can remove."""

COMPRESSION = 1.9
"""First results above it are decoded again. OpenAI's 2.4 is meant for thirty seconds of text; shorter texts compress less."""

REPEATING = 1.5
"""Repeated words are held against a text from here on. In our corpora "tear down the fence, tear down the fence", which was
said, has 1.2; a prompt of eleven words that was written twice and said once has 1.8."""

HOPELESS_COMPRESSION = 2.4  # OpenAI's and faster-whisper's threshold
IMPROBABLE = -0.7
"""Mean log-probability below which a first result is decoded again, and what is left after that bears a flag. Speech played
backwards and the murmur of six voices come out as fluent sentences at -0.7 to -0.9; OpenAI's -1.0 would let them stand as if they
had been said (our measurements)."""

HOPELESS_LOGPROB = -1.0  # OpenAI's and faster-whisper's threshold
NO_SPEECH = 0.6  # OpenAI's and faster-whisper's threshold, valid together with HOPELESS_LOGPROB
TOKENS_PER_S = 6.5
SPARE_TOKENS = 6
"""More tokens than so many a second and these are too much for a first result (fastest in our corpora: 5 a second)."""

CHARACTERS_PER_S = 35.0
"""No language of the corpora and no auctioneer is above it; loops are."""

_UNIQUE_SHARE = 0.4
_UNIQUE_WORDS = 12  # below so many words a share says nothing
UNSAID_S = 2.0
"""Detected speech without a word in it that is looked at again: five words are said in that time."""

LONGEST_WORD_S = 1.5
"""A word that takes longer has been stretched over what was left out."""

Verdict = Literal["believe", "flag", "drop"]


@dataclass(frozen=True, slots=True)
class Heard:
    """What one decode of a chunk gave.

    Attributes:
        segments: In order.
        seconds: Length of the chunk's audio.
    """

    segments: tuple[HeardSegment, ...]
    seconds: float

    @property
    def text(self) -> str:
        """All segments' texts."""
        return " ".join(segment.text for segment in self.segments if segment.text)


def doubts(heard: Heard, language: str, *, careful: bool = False) -> tuple[str, ...]:
    """Why a chunk's result is not to be believed as it is; empty when it is.

    Args:
        heard: The result.
        language: Whisper's code of the language it was decoded in.
        careful: Whether it was decoded the careful way. A phrase that comes twice even so was most likely said twice; forbidding it
            would spoil "press 2 to kick all users, 3 to mute all users". The end is where loops are.
    """
    if not words_of(heard.text):
        return ("empty",)
    found = [doubt for segment in heard.segments for doubt in _segment_doubts(segment, language, COMPRESSION)]
    compression = max(segment.compression_ratio for segment in heard.segments)
    found += _repeats(heard.text, compression, end=REPEATING, phrase=COMPRESSION if careful else REPEATING)
    if sum(segment.tokens for segment in heard.segments) > TOKENS_PER_S * heard.seconds + SPARE_TOKENS:
        found.append("too_much_text")
    return _in_order(found)


def verdict(segment: HeardSegment, language: str, seconds: float) -> tuple[Verdict, tuple[str, ...]]:
    """What becomes of a segment of the careful result, and why.

    Dropped is what nobody can have said: text for a sound the model itself holds for no speech, phantom phrases with weak evidence,
    loops, more text than time. What is merely doubtful stays, with a flag.

    Args:
        segment: What the careful decode wrote.
        language: Whisper's code.
        seconds: Time in which it was said.
    """
    found = list(_segment_doubts(segment, language, HOPELESS_COMPRESSION))
    found += _repeats(segment.text, segment.compression_ratio, end=COMPRESSION, phrase=COMPRESSION)
    if len(segment.text) > CHARACTERS_PER_S * max(seconds, 0.5):
        found.append("too_much_text")
    reasons = _in_order(found)
    loop = "repetition" in reasons and ("few_unique_words" in reasons or "repeated_phrase" in reasons)
    weak = segment.avg_logprob < IMPROBABLE or segment.no_speech_prob > NO_SPEECH
    phantom = "phantom_phrase" in reasons and (weak or "too_much_text" in reasons)
    if "not_speech" in reasons or loop or phantom or ("too_much_text" in reasons and weak):
        return "drop", reasons
    return ("flag" if reasons else "believe"), reasons


def rank(heard: Heard, language: str) -> tuple[int, float]:
    """Orders careful results of one chunk, the better first: fewer doubts, then more probable."""
    probable = [segment.avg_logprob for segment in heard.segments if segment.text]
    return len(doubts(heard, language, careful=True)), -min(probable, default=-99.0)


def _segment_doubts(segment: HeardSegment, language: str, compression: float) -> list[str]:
    found = []
    if segment.compression_ratio > compression:
        found.append("repetition")
    if segment.avg_logprob < IMPROBABLE:
        found.append("improbable")
    if segment.no_speech_prob > NO_SPEECH and segment.avg_logprob < HOPELESS_LOGPROB:
        found.append("not_speech")
    if is_phantom(segment.text):
        found.append("phantom_phrase")
    if _foreign(segment.text, language):
        found.append("foreign_script")
    return found


def _repeats(text: str, compression: float, *, end: float, phrase: float) -> list[str]:
    """Signs of a loop, in a text that compresses well enough (from ``end``, from ``phrase`` on) to be one."""
    words = words_of(text)
    found = []
    if compression >= end and any(words[-n:] == words[-2 * n : -n] for n in range(3, len(words) // 2 + 1)):
        found.append("repeated_end")
    if compression < phrase:
        return found
    runs = list(zip(words, words[1:], words[2:], words[3:], strict=False))
    if len(set(runs)) < len(runs):
        found.append("repeated_phrase")
    if len(words) >= _UNIQUE_WORDS and len(set(words)) < _UNIQUE_SHARE * len(words):
        found.append("few_unique_words")
    return found


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; a character of a script without spaces counts as a word."""
    return re.findall(r"[぀-ヿ㐀-鿿]|[^\W぀-ヿ㐀-鿿]+(?:['’][^\W]+)*", text.lower())


_SCRIPTS = {
    "CJK": frozenset({"zh", "yue", "ja", "ko"}),
    "HIRAGANA": frozenset({"ja"}),
    "KATAKANA": frozenset({"ja"}),
    "HANGUL": frozenset({"ko"}),
    "CYRILLIC": frozenset({"ru", "uk", "be", "bg", "sr", "mk", "kk", "mn", "tg", "tt", "ba", "uz", "az", "tk", "bs"}),
    "ARABIC": frozenset({"ar", "fa", "ur", "ps", "sd", "ug", "pa", "ms", "ku"}),
    "HEBREW": frozenset({"he", "yi"}),
    "GREEK": frozenset({"el"}),
    "DEVANAGARI": frozenset({"hi", "mr", "ne", "sa"}),
    "THAI": frozenset({"th"}),
}
"""Scripts that only these languages are written in. Latin is at home everywhere: names and loan words."""


def _foreign(text: str, language: str) -> bool:
    """Whether a letter belongs to a script that the language is never written in."""
    for letter in set(text):
        if letter > "\u036f" and letter.isalpha():
            script = unicodedata.name(letter, "").split(" ", 1)[0]
            if language not in _SCRIPTS.get(script, {language}):
                return True
    return False


def _in_order(found: Sequence[str]) -> tuple[str, ...]:
    return tuple(doubt for doubt in DOUBTS if doubt in found)
