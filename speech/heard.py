"""What the model wrote, with its evidence, before anybody judged it: the values the engine's parts hand to each other.

Times are seconds from the start of the chunk that was decoded.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HeardWord:
    """A word with its times and the mean probability of its tokens."""

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class HeardSegment:
    """A text the model wrote in one go.

    Attributes:
        text: Without spaces around it.
        start: Where it begins, as far as the model said.
        end: Where it ends.
        words: Empty when no word times were asked for.
        tokens: Text tokens.
        avg_logprob: Mean natural logarithm of the tokens' probabilities.
        compression_ratio: Bytes of the text over bytes of it compressed by zlib.
        no_speech_prob: Probability of the model's no-speech token.
        temperature: Of the sampling; 0 is a search.
    """

    text: str
    start: float
    end: float
    words: tuple[HeardWord, ...]
    tokens: int
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    temperature: float = 0.0
