"""The shell blocks of the project's pages, and what a page says about running them.

A fenced block with the language ``sh`` is shell. It is run as it stands, from the project's root, unless a comment on the line
directly before it says otherwise::

    <!-- not run: it never ends -->      a reason of two words or more
    <!-- run: cluster -->                it needs a cluster: tests/cluster/test_docs.py runs it

Nothing else can hold shell: indented blocks, fences without a language and other names of shells are problems of the page. So a
block that is forgotten is run, and a block that is not run has its reason beside it.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

PROJECT = Path(__file__).resolve().parents[2]

_NAMES_OF_SHELL = frozenset({"bash", "console", "sh", "shell", "shell-session", "shellsession", "terminal", "zsh"})
_COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
_LIKE_A_MARKER = re.compile(r"(not|no|never|don'?t)?[\s_-]*(run|skip)\b", re.IGNORECASE)
_CODE_IN_HTML = re.compile(r"<pre\b|```|~~~", re.IGNORECASE)
_NOT_RUN = re.compile(r"not run: (\S+\s+\S.*)", re.DOTALL)
_ON_A_CLUSTER = "run: cluster"


@dataclass(frozen=True)
class ShellBlock:
    """A fenced block of shell.

    Attributes:
        page: The page's path below the project's root.
        line: Line of the opening fence, counted from 1.
        text: The commands.
        on_cluster: Whether it needs a cluster.
        reason: Why it is not run at all; None for a block that is run, here or on a cluster.
    """

    page: str
    line: int
    text: str
    on_cluster: bool = False
    reason: str | None = None

    @property
    def runs_here(self) -> bool:
        """Whether it is run without a cluster, which every block is that has no marker."""
        return not self.on_cluster and self.reason is None


@dataclass(frozen=True)
class Page:
    """The shell of a page.

    Attributes:
        name: Its path below the project's root.
        blocks: Its blocks, in order.
        problems: What is wrong with its blocks and markers, as sentences with the line.
    """

    name: str
    blocks: tuple[ShellBlock, ...]
    problems: tuple[str, ...]


def read_ignored_names(root: Path) -> list[str]:
    """List what ``.gitignore`` leaves out, and ``.git``, as patterns for ``shutil.ignore_patterns``."""
    lines = (root / ".gitignore").read_text(encoding="utf-8").split()
    return [".git", *(line.strip("/") for line in lines)]


def list_pages(root: Path = PROJECT) -> list[str]:
    """The names of all Markdown files of the project, README.md first."""
    ignore = shutil.ignore_patterns(*read_ignored_names(root))
    names = []
    for folder, folders, files in os.walk(root):
        folders[:] = set(folders) - ignore(folder, folders)
        names += [(Path(folder) / name).relative_to(root).as_posix() for name in files if name.endswith(".md")]
    return sorted(names, key=lambda name: (name != "README.md", name))


def parse_page(name: str, text: str) -> Page:
    """Find the shell blocks of a page.

    Args:
        name: The page's path below the project's root, for messages.
        text: The page, in Markdown.
    """
    tokens = MarkdownIt("commonmark").parse(text)
    markers = [marker for token in tokens if token.type == "html_block" for marker in _find_markers(token)]
    blocks: list[ShellBlock] = []
    problems: list[tuple[int, str]] = []
    for token in tokens:
        if token.map is None:
            continue
        line = token.map[0] + 1
        problem = _find_problem(token)
        if _is_shell(token):
            marker = next((marker for marker in markers if marker.next_line == line), None)
            if marker:
                markers.remove(marker)
            reason = _NOT_RUN.fullmatch(marker.text) if marker else None
            on_cluster = marker is not None and marker.text == _ON_A_CLUSTER
            if marker and not reason and not on_cluster:
                problem = f"{marker.text!r} is neither 'not run: REASON', in two words or more, nor {_ON_A_CLUSTER!r}."
            blocks.append(ShellBlock(name, line, token.content, on_cluster, reason.group(1) if reason else None))
        if problem:
            problems.append((line, problem))
    problems += [(m.line, f"{m.text!r} is not on the line directly before a block of sh.") for m in markers]
    return Page(name, tuple(blocks), tuple(f"{name}:{line}: {problem}" for line, problem in sorted(problems)))


def read_page(name: str, root: Path = PROJECT) -> Page:
    """Read a page of the project; see ``parse_page``."""
    return parse_page(name, (root / name).read_text(encoding="utf-8"))


@dataclass(frozen=True)
class _Marker:
    line: int
    next_line: int  # the line after the comment
    text: str


def _find_markers(token: Token) -> list[_Marker]:
    """The comments of an HTML block that are markers, or were meant to be."""
    assert token.map is not None
    comments = [comment.strip() for comment in _COMMENT.findall(token.content)]
    return [_Marker(token.map[0] + 1, token.map[1] + 1, text) for text in comments if _LIKE_A_MARKER.match(text)]


def _get_language(token: Token) -> str:
    return token.info.split()[0] if token.info.strip() else ""


def _is_shell(token: Token) -> bool:
    return token.type == "fence" and _get_language(token) == "sh"


def _find_problem(token: Token) -> str:
    """What hides shell in a block of a page; empty if nothing does."""
    language = _get_language(token)
    if token.type == "code_block":
        return "an indented block; write a fence with a language."
    if token.type == "html_block" and _CODE_IN_HTML.search(token.content):
        return "a block inside HTML; put an empty line before its fence."
    if token.type == "fence" and not language:
        return "a fence without a language; write sh for shell, text for anything else."
    if token.type == "fence" and not _is_shell(token) and language.lower() in _NAMES_OF_SHELL:
        return f"write sh and not {language}."
    return ""
