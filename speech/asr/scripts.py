"""Words, letters and compression of a text, in every script. Pure.

A letter is what a reader takes for one: a grapheme cluster of Unicode (UAX 29), so a vowel sign belongs to its consonant.
"""

from __future__ import annotations

import zlib

import regex

_SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that put no space between words. Tibetan is not among them: it marks the end of every syllable."""

_WORD = regex.compile(
    rf"(?V1)(?=[[{_SPACELESS}]&&\w])\X|[\w--[{_SPACELESS}]]+(?:['’][\w--[{_SPACELESS}]]+)*",
)
_LETTER_OR_DIGIT = regex.compile(r"[\p{L}\p{N}]")  # joiners of emoji count as parts of words too
_RUN = regex.compile(r"(?V1)[\w--\d]+")
_LETTER = regex.compile(r"\X")

_LONGEST_UNIT = 8
_MIN_REPEATS = 5
_MIN_LOOP_LETTERS = 20
"""A unit of up to ``_LONGEST_UNIT`` letters that fills so many letters of one word, so many times in a row, is a loop.
Laughter such as "hahahaha" is shorter. No published rule is known to us."""

_LATIN_ENDS = 0x0370  # Latin, its accents and phonetic letters lie before Greek
_SYLLABLES = ((0x1100, 0x1780), (0x2E80, 0x10000))
"""Blocks with more than 128 letters: Hangul, Ethiopic, Cherokee and Canadian syllables; all of Chinese and Japanese."""


def split_words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; a letter of a script without spaces counts as a word."""
    return [word for word in _WORD.findall(text.lower()) if _LETTER_OR_DIGIT.search(word)]


def has_letter_loop(text: str) -> bool:
    """Whether a few letters are written over and over inside one word, as the decoder does when it does not end."""
    return any(
        _has_period(letters, unit)
        for run in _RUN.findall(text)
        if len(letters := _LETTER.findall(run)) >= _MIN_LOOP_LETTERS
        for unit in range(1, _LONGEST_UNIT + 1)
    )


def _has_period(letters: list[str], unit: int) -> bool:
    """Whether a long enough part of the letters repeats itself every ``unit`` letters."""
    needed = max(_MIN_LOOP_LETTERS, _MIN_REPEATS * unit) - unit
    same = 0
    for earlier, later in zip(letters, letters[unit:], strict=False):
        same = same + 1 if earlier == later else 0
        if same >= needed:
            return True
    return False


def compute_compression_ratio(text: str) -> float:
    """Bytes of a text over bytes of it compressed by zlib, in an encoding that is as dense in every script.

    UTF-8 has one byte for a Latin letter and three for one of India's, two of which say only which script it is. They compress to
    nothing, so prose in Hindi would have the ratio of a loop in English. Here a letter of an alphabet is one byte, as in eight-bit
    encodings (ISCII, TIS-620, KOI8), and a syllable or an ideograph two. For Latin text it is OpenAI's ratio.
    """
    encoded = b"".join(_encode_letter(letter) for letter in text)
    return len(encoded) / len(zlib.compress(encoded)) if encoded else 0.0


def is_latin(text: str) -> bool:
    """Whether the ratio of a text is OpenAI's, because all its letters are Latin."""
    return b"".join(_encode_letter(letter) for letter in text) == text.encode()


def _encode_letter(letter: str) -> bytes:
    code = ord(letter)
    if code < _LATIN_ENDS or 0x1E00 <= code < 0x1F00 or 0x2000 <= code < 0x2E80 or code >= 0x10000:
        return letter.encode()  # Latin, punctuation and signs, and rare scripts
    if any(first <= code < end for first, end in _SYLLABLES):
        return code.to_bytes(2, "big")
    return bytes([0x80 | code & 0x7F])
