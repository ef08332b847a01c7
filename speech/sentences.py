"""Where a sentence ends, in any script. Pure."""

from __future__ import annotations

CLOSERS = "\"'”’»)]}」』）】》〉"
"""What may stand behind the mark that ends a sentence or clause and belongs to it."""

_ENDS = frozenset(".!?…。！？｡؟۔।॥።")


def ends_sentence(text: str) -> bool:
    """Whether a sentence ends with a text. A capital with a full stop close behind ("Mr.", "J.") is taken for an abbreviation."""
    text = text.strip().rstrip(CLOSERS)
    return text[-1:] in _ENDS and not (text.endswith(".") and len(text) <= 3 and text[:1].isupper())
