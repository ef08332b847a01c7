"""Texts written by hand have short sentences: 18 words on average, and none above 35."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import Sentence, list_sentences

PROJECT = Path(__file__).resolve().parents[2]
MOST_WORDS = 35
MOST_WORDS_ON_AVERAGE = 18
BESIDE_DOCS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "deploy/README.md", "samples/README.md")
NOT_BY_HAND = ("docs/reference/", "docs/requirements.md")


def list_texts() -> list[str]:
    """The texts written by hand, by their path in the project."""
    pages = sorted(file.relative_to(PROJECT).as_posix() for file in (PROJECT / "docs").rglob("*.md"))
    return [*BESIDE_DOCS, *(page for page in pages if not page.startswith(NOT_BY_HAND))]


@pytest.mark.parametrize("name", list_texts())
def test_sentences_are_short(name: str) -> None:
    sentences = list(list_sentences((PROJECT / name).read_text(encoding="utf-8")))
    long = [f"{name}:{each.line}: {each.words} words: {each.text}" for each in sentences if each.words > MOST_WORDS]
    assert not long, f"No sentence may have more than {MOST_WORDS} words; make two of each:\n" + "\n".join(long)
    average = sum(each.words for each in sentences) / len(sentences)
    longest = sorted(sentences, key=lambda each: -each.words)[:5]
    assert average <= MOST_WORDS_ON_AVERAGE, (
        f"{name}: {average:.1f} words on average, {MOST_WORDS_ON_AVERAGE} are allowed. Its longest:\n"
        + "\n".join(f"{name}:{each.line}: {each.words} words: {each.text}" for each in longest)
    )


def test_sentences_are_found_in_prose_alone() -> None:
    text = """\
# A heading of no matter how many words

First one. Second one, with `code. That has four` words
and [a link](https://example.org/a.b) to follow! Is this
the third?

    code, indented. Not read.

| a table | is left out |
|---|---|

* An item
  on two lines. `code` begins it

  in a paragraph.

```text
Not this. Nor that.
```

!!! note "Title"

    A note. It counts.
"""
    assert list(list_sentences(text)) == [
        Sentence(3, "First one."),
        Sentence(3, "Second one, with `code. That has four` words and a link to follow!"),
        Sentence(4, "Is this the third?"),
        Sentence(12, "An item on two lines."),
        Sentence(13, "`code` begins it"),
        Sentence(15, "in a paragraph."),
        Sentence(23, "A note."),
        Sentence(23, "It counts."),
    ]
    assert Sentence(1, "Second one, with `code. That has four` words.").words == 5
