"""``python -m docs.generator``: write the pages below ``docs/reference/`` anew."""

from __future__ import annotations

from docs.generator.pages import REFERENCE, make_pages

if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for name, text in make_pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
