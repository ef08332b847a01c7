"""Finds the ends of sentences, in any script. Pure functions: no I/O, no state."""

from __future__ import annotations

CLOSERS = "\"'”’»)]}」』）】》〉"
"""Quotes and brackets that may follow the final mark of a sentence or clause."""

_ENDS = frozenset(".!?…。！？｡؟۔।॥።")


def ends_sentence(text: str) -> bool:
    """Whether the text ends a sentence. A short capitalized word with a full stop ("Mr.", "J.") counts as an abbreviation."""
    text = text.strip().rstrip(CLOSERS)
    return text[-1:] in _ENDS and not (text.endswith(".") and len(text) <= 3 and text[:1].isupper())
