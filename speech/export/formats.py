"""The registry of formats, in the order in which they are made. Names, media types, links and pages follow from it."""

from __future__ import annotations

from speech.export.annotated import ANNOTATED_JSON
from speech.export.page.format import PAGE
from speech.export.plain import TEXT
from speech.export.subtitles import SRT, VTT

FORMATS = (TEXT, SRT, VTT, ANNOTATED_JSON, PAGE)
