"""The guard: from what the model wrote and its evidence, the reasons not to believe it. Pure.

A doubt has a short name; the names stand in transcripts as reasons and flags. Three questions are asked: whether a chunk's first
result must be decoded again (``find_suspicions``), whether what is left after that may stand (``judge``), and which of two is
better.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from speech.asr.hypothesis import SegmentHypothesis
from speech.asr.stock_phrases import is_stock_phrase

SUSPICIONS = {
    "empty": "Speech was detected, and the model wrote nothing.",
    "repetition": "The text compresses too well: it says the same thing over and over.",
    "improbable": "The model itself held the text for improbable.",
    "unstable": "Heard twice, the model wrote two different texts, and was sure of neither.",
    "too_much_text": "More text than can be said in so short a time.",
    "repeated_end": "The last words are said twice.",
    "repeated_phrase": "Four words in a row come twice.",
    "few_unique_words": "A long text of very few different words.",
    "phantom_phrase": "A phrase that Whisper is known to write where nobody says it.",
    "not_speech": "The model held the sound for no speech, and the text for improbable.",
    "foreign_script": "Letters of another script than the language's.",
}
"""Every doubt the guard can have -> what it means, for people."""

LOOP_SUSPICIONS = frozenset({"repetition", "too_much_text", "repeated_end", "repeated_phrase", "few_unique_words"})
"""Doubts that forbidding repetition can remove."""

COMPRESSION_RATIO_THRESHOLD = 1.9
"""First results above it are decoded again. OpenAI's 2.4 is meant for thirty seconds of text; shorter texts compress less."""

REPEAT_COMPRESSION_RATIO_THRESHOLD = 1.5
"""Repeated words are held against a text from here on. In our corpora "tear down the fence, tear down the fence", which was
said, has 1.2; a prompt of eleven words that was written twice and said once has 1.8."""

HOPELESS_COMPRESSION_RATIO_THRESHOLD = 2.4  # OpenAI's and faster-whisper's threshold
SUSPECT_LOG_PROB_THRESHOLD = -0.55
"""Mean log-probability below which a first result is decoded again, and what is left after that bears a flag.

int8 products round differently from one processor to the next, so the bound keeps away from what was measured on any one. On an AMD
EPYC with AVX-512 VNNI the model heard speech played backwards (four samples and halves of them) and the murmur of six to ten
voices, and eight of these also with noise at -60 dB, 20, 60 and 160 ms later and with oneDNN and CTranslate2 held to AVX2, most of
them in float32 or by Intel's MKL. First results with no other sign against them had -0.70 at most, what was kept of careful ones
-0.67 at most. Of 121 real recordings in six languages, as they are, two segments lie between here and -0.7, both misheard; the
next lie at -0.535 among first results, which would only be decoded again, and at -0.48 among careful ones. OpenAI's -1.0 would
let more than half of what was invented stand."""

SURE = -0.35
"""Mean log-probability from which on a segment stands unmarked in a result that is doubtful as a whole: about half of the best that
was invented (-0.67, see ``SUSPECT_LOG_PROB_THRESHOLD``), so that what a repeated sentence lifts stays below it."""

WEAK = -0.7
"""Mean log-probability below which evidence is weak enough to drop what other signs speak against, and to prefer another result.
No margin is added: a wrong drop loses speech, and what is not dropped is flagged."""

ALIKE = 0.5
"""Share of the words of two decodes of a chunk that is the same in both, below which they are different texts. Speech played
backwards mostly gives less, but not always, so this is a second sign and never the only one: it marks what lies below ``SURE``.
Four chunks of the 121 real recordings were improbable at first; none of them was unstable."""

LOG_PROB_THRESHOLD = -1.0  # OpenAI's and faster-whisper's threshold
NO_SPEECH_THRESHOLD = 0.6  # OpenAI's and faster-whisper's threshold, valid together with HOPELESS_LOGPROB
SUSPECT_TOKENS_PER_S = 6.5
SUSPECT_SPARE_TOKENS = 6
"""More tokens than so many a second and these are too much for a first result (fastest in our corpora: 5 a second)."""

MAX_CHARACTERS_PER_S = 35.0
"""No language of the corpora and no auctioneer is above it; loops are."""

_MIN_UNIQUE_SHARE = 0.4
_MIN_WORDS_FOR_SHARE = 12  # below so many words a share says nothing
UNTRANSCRIBED_S = 2.0
"""Detected speech without a word in it that is looked at again: five words are said in that time."""

LONGEST_WORD_S = 1.5
"""A word that takes longer has been stretched over what was left out."""

Judgement = Literal["believe", "flag", "drop"]


@dataclass(frozen=True, slots=True)
class ChunkHypothesis:
    """What one decode of a chunk gave.

    Attributes:
        segments: In order.
        seconds: Length of the chunk's audio.
    """

    segments: tuple[SegmentHypothesis, ...]
    seconds: float

    @property
    def text(self) -> str:
        """All segments' texts."""
        return " ".join(segment.text for segment in self.segments if segment.text)


def find_suspicions(
    hypothesis: ChunkHypothesis, language: str, *, careful: bool = False, improbable: float = SUSPECT_LOG_PROB_THRESHOLD
) -> tuple[str, ...]:
    """Why a chunk's result is not to be believed as it is; empty when it is.

    Args:
        hypothesis: The result.
        language: Whisper's code of the language it was decoded in.
        careful: Whether it was decoded the careful way. A phrase that comes twice even so was most likely said twice; forbidding it
            would spoil "press 2 to kick all users, 3 to mute all users". The end is where loops are.
        improbable: Mean log-probability below which a text is improbable.
    """
    if not split_words(hypothesis.text):
        return ("empty",)
    found = [
        doubt
        for segment in hypothesis.segments
        for doubt in _find_segment_suspicions(segment, language, COMPRESSION_RATIO_THRESHOLD, improbable)
    ]
    compression = max(segment.compression_ratio for segment in hypothesis.segments)
    found += _find_repetitions(
        hypothesis.text,
        compression,
        end=REPEAT_COMPRESSION_RATIO_THRESHOLD,
        phrase=COMPRESSION_RATIO_THRESHOLD if careful else REPEAT_COMPRESSION_RATIO_THRESHOLD,
    )
    if (
        sum(segment.token_count for segment in hypothesis.segments)
        > SUSPECT_TOKENS_PER_S * hypothesis.seconds + SUSPECT_SPARE_TOKENS
    ):
        found.append("too_much_text")
    return _sort_suspicions(found)


def shared_doubts(heard: ChunkHypothesis, first: ChunkHypothesis | None = None) -> tuple[str, ...]:
    """Doubts that all segments of a careful result have in common, however a single one's evidence came out.

    The model's figures are those of a window, and a sentence that it repeats looks more probable each time. So one improbable
    segment makes its neighbours doubtful too, and so does a first result of improbable words that are not the careful result's.

    Args:
        heard: The careful result.
        first: What the fast decode of the same chunk wrote, if there was one.
    """
    found = []
    if _improbable(heard):
        found.append("improbable")
    if first and _improbable(first) and not _alike(first.text, heard.text):
        found.append("unstable")
    return _sort_suspicions(found)


def judge(
    segment: SegmentHypothesis, language: str, seconds: float, shared: Sequence[str] = ()
) -> tuple[Judgement, tuple[str, ...]]:
    """What becomes of a segment of the careful result, and why.

    Dropped is what nobody can have said: text for a sound the model itself holds for no speech, phantom phrases with weak evidence,
    loops, more text than time. What is merely doubtful stays, with a flag.

    Args:
        segment: What the careful decode wrote.
        language: Whisper's code.
        seconds: Time in which it was said.
        shared: Doubts of the whole result, see ``shared_doubts``; they hold of every segment that the model is not sure of.
    """
    found = list(
        _find_segment_suspicions(segment, language, HOPELESS_COMPRESSION_RATIO_THRESHOLD, SUSPECT_LOG_PROB_THRESHOLD)
    )
    if segment.avg_logprob < SURE:
        found += shared
    found += _find_repetitions(
        segment.text, segment.compression_ratio, end=COMPRESSION_RATIO_THRESHOLD, phrase=COMPRESSION_RATIO_THRESHOLD
    )
    if len(segment.text) > MAX_CHARACTERS_PER_S * max(seconds, 0.5):
        found.append("too_much_text")
    reasons = _sort_suspicions(found)
    loop = "repetition" in reasons and ("few_unique_words" in reasons or "repeated_phrase" in reasons)
    weak = segment.avg_logprob < WEAK or segment.no_speech_prob > NO_SPEECH_THRESHOLD
    phantom = "phantom_phrase" in reasons and (weak or "too_much_text" in reasons)
    if "not_speech" in reasons or loop or phantom or ("too_much_text" in reasons and weak):
        return "drop", reasons
    return ("flag" if reasons else "believe"), reasons


def rank(hypothesis: ChunkHypothesis, language: str) -> tuple[int, float]:
    """Orders careful results of one chunk, the better first: fewer doubts, then more probable."""
    probable = [segment.avg_logprob for segment in hypothesis.segments if segment.text]
    # Inside the margin of improbability a loop is the worse of the two.
    return len(find_suspicions(hypothesis, language, careful=True, improbable=WEAK)), -min(probable, default=-99.0)


def _improbable(heard: ChunkHypothesis) -> bool:
    return any(segment.avg_logprob < SUSPECT_LOG_PROB_THRESHOLD for segment in heard.segments if segment.text)


def _alike(one: str, other: str) -> bool:
    return SequenceMatcher(None, split_words(one), split_words(other), autojunk=False).ratio() >= ALIKE


def _find_segment_suspicions(
    segment: SegmentHypothesis, language: str, compression_ratio_threshold: float, improbable: float
) -> list[str]:
    found = []
    if segment.compression_ratio > compression_ratio_threshold:
        found.append("repetition")
    if segment.avg_logprob < improbable:
        found.append("improbable")
    if segment.no_speech_prob > NO_SPEECH_THRESHOLD and segment.avg_logprob < LOG_PROB_THRESHOLD:
        found.append("not_speech")
    if is_stock_phrase(segment.text):
        found.append("phantom_phrase")
    if _has_foreign_script(segment.text, language):
        found.append("foreign_script")
    return found


def _find_repetitions(text: str, compression_ratio: float, *, end: float, phrase: float) -> list[str]:
    """Signs of a loop, in a text that compresses well enough (from ``end``, from ``phrase`` on) to be one."""
    words = split_words(text)
    found = []
    if compression_ratio >= end and any(words[-n:] == words[-2 * n : -n] for n in range(3, len(words) // 2 + 1)):
        found.append("repeated_end")
    if compression_ratio < phrase:
        return found
    runs = list(zip(words, words[1:], words[2:], words[3:], strict=False))
    if len(set(runs)) < len(runs):
        found.append("repeated_phrase")
    if len(words) >= _MIN_WORDS_FOR_SHARE and len(set(words)) < _MIN_UNIQUE_SHARE * len(words):
        found.append("few_unique_words")
    return found


def split_words(text: str) -> list[str]:
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


def _has_foreign_script(text: str, language: str) -> bool:
    """Whether a letter belongs to a script that the language is never written in."""
    for letter in set(text):
        if letter > "\u036f" and letter.isalpha():
            script = unicodedata.name(letter, "").split(" ", 1)[0]
            if language not in _SCRIPTS.get(script, {language}):
                return True
    return False


def _sort_suspicions(suspicions: Sequence[str]) -> tuple[str, ...]:
    return tuple(doubt for doubt in SUSPICIONS if doubt in suspicions)
