"""The annotators, in the order in which they run and stand in the JSON."""

from __future__ import annotations

from speech.enrichment.emotion import EMOTION
from speech.enrichment.pauses import PAUSES

ANNOTATORS = (PAUSES, EMOTION)
