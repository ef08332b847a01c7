"""Whether a text repeats the prompt or the hotwords instead of what was said. Pure.

Whisper takes both for text that came before. Where little is said, it may go on with them (SYSTRAN/faster-whisper#1356,
huggingface/transformers#28822). A word of the prompt that was really said is heard without the prompt as well, perhaps misspelt; so
a second result without prompt and hotwords tells the two apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from speech.asr.scripts import split_words

MIN_ECHO_WORDS = 3
"""So many words in a row are looked at; shorter runs of a prompt's words are ordinary speech, unless a text has no others."""

MIN_SIMILARITY = 0.55
"""Likeness of two spellings of the same speech, as ``difflib`` computes it over letters without spaces: 0.61 for ``cooper netties``
and ``kubernetes``, 0.8 for ``cubernetis``; between sentences that have nothing in common about 0.35."""


def find_echoes(text: str, prompts: Sequence[str | None]) -> list[str]:
    """Parts of a text that stand in a prompt: runs of at least ``MIN_ECHO_WORDS`` words, or the whole text.

    Args:
        text: What was decoded.
        prompts: The prompt and the hotwords; None where there are none.
    """
    words = split_words(text)
    prompt_words = [split_words(prompt) for prompt in prompts if prompt]
    if words and set(words) <= {word for prompt in prompt_words for word in prompt}:
        return [" ".join(words)]
    return [run for prompt in prompt_words for run in _find_runs(words, prompt)]


def is_confirmed(echo: str, text: str) -> bool:
    """Whether a text that was decoded without prompts has something like an echo in it: then it was really said.

    Args:
        echo: One of ``find_echoes``.
        text: What was decoded without prompt and hotwords.
    """
    words, length = split_words(text), len(echo.split())
    windows = (
        "".join(words[start : start + size])
        for size in range(max(1, length - 1), length + 3)
        for start in range(max(1, len(words) - size + 1))
    )
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(echo.replace(" ", ""))
    for window in windows:
        matcher.set_seq1(window)
        if matcher.real_quick_ratio() >= MIN_SIMILARITY and matcher.ratio() >= MIN_SIMILARITY:
            return True
    return False


def _find_runs(words: Sequence[str], prompt: Sequence[str]) -> Iterator[str]:
    matcher = SequenceMatcher(None, words, prompt, autojunk=False)
    for match in matcher.get_matching_blocks():
        if match.size >= MIN_ECHO_WORDS:
            yield " ".join(words[match.a : match.a + match.size])
