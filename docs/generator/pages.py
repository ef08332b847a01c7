"""The list of generated pages, and the environment that they are made in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from docs.generator.assets_page import make_assets_page
from docs.generator.commands_page import make_commands_page
from docs.generator.errors_page import make_errors_page
from docs.generator.settings_page import make_settings_page
from docs.generator.transcript_page import make_transcript_page
from stt_orchestration.settings import list_environment_names

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
"""The folder of the generated pages."""

HEADER = "<!-- Generated from the code by `make docs`. Change the code, not this file. -->\n\n"

PAGES: Mapping[str, Callable[[], str]] = {
    "settings.md": make_settings_page,
    "commands.md": make_commands_page,
    "transcript.md": make_transcript_page,
    "errors.md": make_errors_page,
    "assets.md": make_assets_page,
}
"""File name -> the function that makes its text, without the header."""


def make_pages() -> dict[str, str]:
    """File name -> text of every page, the same on every machine."""
    with _hide_environment():
        return {name: HEADER + make() for name, make in PAGES.items()}


@contextmanager
def _hide_environment() -> Iterator[None]:
    """Unset what settings and their defaults are read from, until the block ends."""
    hidden = {*list_environment_names(), "XDG_CACHE_HOME"} & set(os.environ)
    values = {name: os.environ.pop(name) for name in hidden}
    try:
        yield
    finally:
        os.environ.update(values)
