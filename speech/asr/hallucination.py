"""Whether a text was said or invented by the model: suspicions from the text and the model's evidence. Pure.

A suspicion has a short name. The names stand in transcripts as reasons and flags. ``find_suspicions`` says whether a chunk's first
hypothesis must be decoded again, ``judge`` whether what is left after that may stand, and ``rank`` which of two is better.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from speech.asr.hypothesis import SegmentHypothesis
from speech.asr.repetition import MAX_CHARACTERS_PER_S
from speech.asr.scripts import has_letter_loop, split_words
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
    "repeated_letters": "A few letters over and over inside one word.",
    "phantom_phrase": "A phrase that Whisper is known to write where nobody says it.",
    "not_speech": "The model held the sound for no speech, and the text for improbable.",
    "foreign_script": "Letters of another script than the language's.",
}
"""Every suspicion -> what it means, for people."""

LOOP_SUSPICIONS = frozenset(
    {"repetition", "too_much_text", "repeated_end", "repeated_phrase", "few_unique_words", "repeated_letters"}
)
"""Suspicions that forbidding repetition can remove."""

TIMED_SUSPICIONS = LOOP_SUSPICIONS - {"too_much_text", "repeated_letters"}
"""Those of them that the words' times can refute: what takes its time was said again and again."""

_LOOP_SIGNS = frozenset({"few_unique_words", "repeated_phrase", "repeated_letters"})
"""Signs that make a text that compresses far too well a loop."""

COMPRESSION_RATIO_THRESHOLD = 1.9
"""First results above it are decoded again. OpenAI's 2.4 is meant for thirty seconds of text; shorter texts compress less.

Ratios are those of ``speech.asr.scripts.compute_compression_ratio``. Prose of 97 to 327 characters in 19 languages has 0.97 to
1.61, and from 1.89 on where it is written twice (tests/speech/asr/test_scripts.py)."""

REPEAT_COMPRESSION_RATIO_THRESHOLD = 1.5
"""Compression ratio from which on repeated words make a text suspect. In our corpora "tear down the fence, tear down the fence",
which was said, has 1.2. A prompt of eleven words that was written twice and said once has 1.8."""

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

CONFIDENT_LOG_PROB_THRESHOLD = -0.35
"""Mean log-probability from which on a segment stands unmarked in a result that is doubtful as a whole: about half of the best that
was invented (-0.67, see ``SUSPECT_LOG_PROB_THRESHOLD``), so that what a repeated sentence lifts stays below it."""

WEAK_LOG_PROB_THRESHOLD = -0.7
"""Mean log-probability below which evidence is weak enough to drop what other signs speak against, and to prefer another result.
No margin is added: a wrong drop loses speech, and what is not dropped is flagged."""

MIN_SHARED_WORDS = 0.5
"""Share of the words of two decodes of a chunk that is the same in both, below which they are different texts. Speech played
backwards mostly gives less, but not always, so this is a second sign and never the only one: it marks what lies below
``CONFIDENT_LOG_PROB_THRESHOLD``. Four chunks of the 121 real recordings were improbable at first; none of them was unstable."""

LOG_PROB_THRESHOLD = -1.0  # OpenAI's and faster-whisper's threshold
NO_SPEECH_THRESHOLD = 0.6  # OpenAI's and faster-whisper's threshold, valid together with LOG_PROB_THRESHOLD
SUSPECT_TOKENS_PER_S = 6.5
SUSPECT_SPARE_TOKENS = 6
"""A first result has too many tokens if it has more than ``SUSPECT_TOKENS_PER_S`` a second plus these (our fastest recording: 5 a
second)."""

_MIN_UNIQUE_SHARE = 0.4
_MIN_WORDS_FOR_SHARE = 12  # below so many words a share says nothing
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

    @property
    def is_weak(self) -> bool:
        """Whether a segment's evidence is weak enough to prefer another result."""
        return any(segment.avg_logprob < WEAK_LOG_PROB_THRESHOLD for segment in self.segments if segment.text)


def find_suspicions(
    hypothesis: ChunkHypothesis,
    language: str,
    *,
    careful: bool = False,
    log_prob_threshold: float = SUSPECT_LOG_PROB_THRESHOLD,
) -> tuple[str, ...]:
    """Why a chunk's result is not to be believed as it is; empty when it is.

    Args:
        hypothesis: The result.
        language: Whisper's code of the language it was decoded in.
        careful: Whether it was decoded the careful way. A phrase that comes twice even so was most likely said twice; forbidding it
            would spoil "press 2 to kick all users, 3 to mute all users". The end is where loops are.
        log_prob_threshold: Mean log-probability below which a text is improbable.
    """
    if not split_words(hypothesis.text):
        return ("empty",)
    suspicions = [
        suspicion
        for segment in hypothesis.segments
        for suspicion in _find_segment_suspicions(segment, language, COMPRESSION_RATIO_THRESHOLD, log_prob_threshold)
    ]
    compression = max(segment.compression_ratio for segment in hypothesis.segments)
    suspicions += _find_repetitions(
        hypothesis.text,
        compression,
        end=REPEAT_COMPRESSION_RATIO_THRESHOLD,
        phrase=COMPRESSION_RATIO_THRESHOLD if careful else REPEAT_COMPRESSION_RATIO_THRESHOLD,
    )
    if (
        sum(segment.token_count for segment in hypothesis.segments)
        > SUSPECT_TOKENS_PER_S * hypothesis.seconds + SUSPECT_SPARE_TOKENS
    ):
        suspicions.append("too_much_text")
    return _sort_suspicions(suspicions)


def find_shared_suspicions(
    hypothesis: ChunkHypothesis, fast_hypothesis: ChunkHypothesis | None = None
) -> tuple[str, ...]:
    """Suspicions that all segments of a careful result have in common, whatever the evidence of a single one is.

    The model's figures are those of a window, and a sentence that it repeats looks more probable each time. So one improbable
    segment makes its neighbours suspect too, and so does a first result of improbable words that are not the careful result's.

    Args:
        hypothesis: The careful result.
        fast_hypothesis: The result of the fast decode of the same chunk, if there was one.
    """
    suspicions = []
    if _is_improbable(hypothesis):
        suspicions.append("improbable")
    if fast_hypothesis and _is_improbable(fast_hypothesis) and not _share_words(fast_hypothesis.text, hypothesis.text):
        suspicions.append("unstable")
    return _sort_suspicions(suspicions)


def judge(
    segment: SegmentHypothesis,
    language: str,
    seconds: float,
    shared: Sequence[str] = (),
    *,
    is_voiced: bool = False,
    is_repeated: bool = False,
) -> tuple[Judgement, tuple[str, ...]]:
    """What becomes of a segment of the careful result, and why.

    Text that nobody can have said is dropped. That is a loop or a weak text that does not fit into the time. Where the detector
    is not sure of speech, it is also any loop, a phantom phrase with weak evidence, and text for a sound that the model takes for
    no speech. Text that is only doubtful stays, with a flag. Short answers have weak evidence by nature, and "okay" is both a
    phantom phrase and a common answer.

    Args:
        segment: A segment of the careful result.
        language: Whisper's code.
        seconds: Time in which it was said.
        shared: Suspicions of the whole result, see ``find_shared_suspicions``. They hold for every segment below
            ``CONFIDENT_LOG_PROB_THRESHOLD``.
        is_voiced: Whether the detector is sure that somebody speaks there.
        is_repeated: Whether the words' times show that what is repeated was said repeatedly, see ``speech.asr.repetition``. It
            counts only where somebody speaks.
    """
    suspicions = list(
        _find_segment_suspicions(segment, language, HOPELESS_COMPRESSION_RATIO_THRESHOLD, SUSPECT_LOG_PROB_THRESHOLD)
    )
    if segment.avg_logprob < CONFIDENT_LOG_PROB_THRESHOLD:
        suspicions += shared
    suspicions += _find_repetitions(
        segment.text, segment.compression_ratio, end=COMPRESSION_RATIO_THRESHOLD, phrase=COMPRESSION_RATIO_THRESHOLD
    )
    if len(segment.text) > MAX_CHARACTERS_PER_S * max(seconds, 0.5):
        suspicions.append("too_much_text")
    reasons = _sort_suspicions(suspicions)
    if is_repeated and is_voiced:
        reasons = tuple(reason for reason in reasons if reason not in TIMED_SUSPICIONS)
    has_words = bool(split_words(segment.text))
    # Hundreds of full stops repeat no word, but nobody has said them.
    is_loop = "repetition" in reasons and (not _LOOP_SIGNS.isdisjoint(reasons) or not has_words)
    is_weak = segment.avg_logprob < WEAK_LOG_PROB_THRESHOLD or segment.no_speech_prob > NO_SPEECH_THRESHOLD
    is_phantom = "phantom_phrase" in reasons and (is_weak or "too_much_text" in reasons)
    is_sure = is_voiced and has_words
    has_too_much = "too_much_text" in reasons and (is_weak or not _LOOP_SIGNS.isdisjoint(reasons))
    if has_too_much or (not is_sure and ("not_speech" in reasons or is_loop or is_phantom)):
        return "drop", reasons
    return ("flag" if reasons else "believe"), reasons


def rank(hypothesis: ChunkHypothesis, language: str) -> tuple[int, float]:
    """Sort key for careful results of one chunk. The better one is smaller: fewer suspicions, then a more probable text."""
    probable = [segment.avg_logprob for segment in hypothesis.segments if segment.text]
    # Inside the margin of improbability a loop is the worse of the two.
    return len(find_suspicions(hypothesis, language, careful=True, log_prob_threshold=WEAK_LOG_PROB_THRESHOLD)), -min(
        probable, default=-99.0
    )


def _is_improbable(hypothesis: ChunkHypothesis) -> bool:
    return any(segment.avg_logprob < SUSPECT_LOG_PROB_THRESHOLD for segment in hypothesis.segments if segment.text)


def _share_words(first: str, second: str) -> bool:
    return SequenceMatcher(None, split_words(first), split_words(second), autojunk=False).ratio() >= MIN_SHARED_WORDS


def _find_segment_suspicions(
    segment: SegmentHypothesis, language: str, compression_ratio_threshold: float, log_prob_threshold: float
) -> list[str]:
    suspicions = []
    if segment.compression_ratio > compression_ratio_threshold:
        suspicions.append("repetition")
    if segment.avg_logprob < log_prob_threshold:
        suspicions.append("improbable")
    if segment.no_speech_prob > NO_SPEECH_THRESHOLD and segment.avg_logprob < LOG_PROB_THRESHOLD:
        suspicions.append("not_speech")
    if is_stock_phrase(segment.text):
        suspicions.append("phantom_phrase")
    if _has_foreign_script(segment.text, language):
        suspicions.append("foreign_script")
    return suspicions


def _find_repetitions(text: str, compression_ratio: float, *, end: float, phrase: float) -> list[str]:
    """Signs of a loop, in a text that compresses well enough (from ``end``, from ``phrase`` on) to be one."""
    words = split_words(text)
    suspicions = []
    if compression_ratio >= end and any(words[-n:] == words[-2 * n : -n] for n in range(3, len(words) // 2 + 1)):
        suspicions.append("repeated_end")
    if compression_ratio >= end and has_letter_loop(text):
        suspicions.append("repeated_letters")
    if compression_ratio < phrase:
        return suspicions
    runs = list(zip(words, words[1:], words[2:], words[3:], strict=False))
    if len(set(runs)) < len(runs):
        suspicions.append("repeated_phrase")
    if len(words) >= _MIN_WORDS_FOR_SHARE and len(set(words)) < _MIN_UNIQUE_SHARE * len(words):
        suspicions.append("few_unique_words")
    return suspicions


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
"""Scripts that only these languages are written in. Latin is not listed: every language has names and loan words in it."""


def _has_foreign_script(text: str, language: str) -> bool:
    """Whether a letter belongs to a script that the language is never written in."""
    for letter in set(text):
        if letter > "\u036f" and letter.isalpha():
            script = unicodedata.name(letter, "").split(" ", 1)[0]
            if language not in _SCRIPTS.get(script, {language}):
                return True
    return False


def _sort_suspicions(suspicions: Sequence[str]) -> tuple[str, ...]:
    return tuple(suspicion for suspicion in SUSPICIONS if suspicion in suspicions)
