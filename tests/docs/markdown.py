"""Reads Markdown as far as the tests of this folder need it: prose without code, links, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"^\s*(```|~~~)")
_ITEM = re.compile(r"^\s*(?:[*+-]|\d+\.|:)\s+")
_NO_PROSE = re.compile(r"^\s*(?:\||#|<|!!!|\?\?\?|===|---|\[[^\]]+\]:)")
_IMAGE = re.compile(r"!\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])?")
_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\](?:\([^)]*\)|\[[^\]]*\])(?:\{[^}]*\})?")
_CODE = re.compile(r"(`+)[^`]+\1")
_SPACE_IN_CODE = "\ue000"  # a private character, so that a sentence does not end inside code
_END = re.compile(r"(?<=[.!?])[\"')*_]*\s+(?=[(*_\[]*[A-Z0-9`\"'])")
_TARGET = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a text, with the line on which it begins."""

    line: int
    text: str

    @property
    def words(self) -> int:
        """How many words it has. A piece of code is one."""
        return sum(any(character.isalnum() for character in word) for word in _CODE.sub("code", self.text).split())


def list_sentences(text: str) -> Iterator[Sentence]:
    """The sentences of the prose. Code blocks, tables, headings, images and the targets of links are left out."""
    for paragraph in _list_paragraphs(text):
        joined = "\n".join(line for _, line in paragraph)
        # Code first: what it holds is no Markdown. All of it keeps its line ends, so that lines can be counted.
        joined = _CODE.sub(_hide_spaces, joined)
        joined = _LINK.sub(
            lambda link: link[1] + "\n" * (link[0].count("\n") - link[1].count("\n")), _IMAGE.sub("", joined)
        )
        at = 0
        for end in [*(match.end() for match in _END.finditer(joined)), len(joined)]:
            sentence = " ".join(joined[at:end].split())
            if sentence:
                begin = at + len(joined[at:end]) - len(joined[at:end].lstrip())
                line = paragraph[0][0] + joined.count("\n", 0, begin)
                yield Sentence(line, sentence.replace(_SPACE_IN_CODE, " "))
            at = end


def _hide_spaces(code: re.Match[str]) -> str:
    return _SPACE_IN_CODE.join(code[0].split()) + "\n" * code[0].count("\n")


def _list_paragraphs(text: str) -> Iterator[list[tuple[int, str]]]:
    """Paragraphs and list items of prose, as numbered lines."""
    paragraph: list[tuple[int, str]] = []
    after_blank, in_item = True, False
    for number, line in _list_lines_outside_fences(text):
        indent = len(line) - len(line.lstrip())
        if not line.strip() or _NO_PROSE.match(line):
            # What is indented below an admonition belongs to it, as below an item of a list.
            in_item = in_item or line.startswith(("!!!", "???"))
        elif after_blank and indent >= (8 if in_item else 4) and not _ITEM.match(line):
            continue
        elif not _ITEM.match(line) and not after_blank:
            paragraph.append((number, line.lstrip("> ")))
            continue
        else:
            in_item = bool(_ITEM.match(line)) or (in_item and indent > 0)
            if paragraph:
                yield paragraph
            paragraph, after_blank = [(number, _ITEM.sub("", line).lstrip("> "))], False
            continue
        if paragraph:
            yield paragraph
        paragraph, after_blank = [], True
    if paragraph:
        yield paragraph


def _list_lines_outside_fences(text: str) -> Iterator[tuple[int, str]]:
    fence = ""
    for number, line in enumerate(text.splitlines(), start=1):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1] == fence:
            fence = ""
        elif not fence:
            yield number, line


def list_links(text: str) -> list[str]:
    """The targets of the links and images outside of code, in order."""
    lines = "\n".join(line for _, line in _list_lines_outside_fences(text) if not line.startswith("    "))
    return [match[1] for match in _TARGET.finditer(_CODE.sub("code", lines))]


def list_anchors(text: str) -> set[str]:
    """The anchors that a repository's page gives to its headings."""
    headings = [line.lstrip("#").strip() for _, line in _list_lines_outside_fences(text) if re.match(r"#{1,6} ", line)]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
