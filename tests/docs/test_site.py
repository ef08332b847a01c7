"""The site: it builds, every link in it leads somewhere, and nothing in it is loaded from elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.markdown import list_anchors, list_links

PROJECT = Path(__file__).resolve().parents[2]
BESIDE_DOCS = (
    "README.md",
    "CONTRIBUTING.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "deploy/README.md",
    "samples/README.md",
)


class Page(HTMLParser):
    """What a page links to, what it loads, and which anchors it has."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"id", "name"} and value:
                self.anchors.add(value)
            elif name == "href" and tag == "a":
                self.links.append(value or "")
            elif name in {"src", "href"} and value:
                self.loaded.append(value)


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Run mkdocs as `make docs` does."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", project / "mkdocs.yml", "-d", site]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """Every page of the site."""
    site = tmp_path_factory.mktemp("site")
    built = build(PROJECT, site)
    assert built.returncode == 0, built.stderr
    return {file: Page(file) for file in site.rglob("*.html")}


def test_every_link_of_the_site_leads_to_a_file_and_an_anchor(pages: dict[Path, Page]) -> None:
    broken = []
    # 404.html is served for any address, so its links begin at the root of a site whose address nobody knows.
    for file, page in ((file, page) for file, page in pages.items() if file.name != "404.html"):
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if target.is_dir():
                target /= "index.html"
            anchors = pages[target].anchors if target in pages else set()
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in anchors):
                broken.append(f"{file.name}: {link}")
    assert not broken
    assert sum(len(page.links) for page in pages.values()) > 100


def test_no_page_loads_anything_from_elsewhere(pages: dict[Path, Page]) -> None:
    assert {link for page in pages.values() for link in page.loaded if urlsplit(link).netloc} == set()


def test_no_file_of_the_generator_is_published(pages: dict[Path, Page]) -> None:
    site = next(file for file in pages if file.name == "404.html").parent
    assert [file for file in site.rglob("*") if file.suffix in {".py", ".pyc"}] == []


def test_a_broken_link_and_a_broken_anchor_fail_the_build(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(PROJECT / "mkdocs.yml", tmp_path / "mkdocs.yml")
    with (tmp_path / "docs/glossary.md").open("a", encoding="utf-8") as page:
        page.write("\n[a page](missing.md), [a heading](index.md#missing)\n")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    assert "'missing.md'" in built.stderr
    assert "#missing" in built.stderr


@pytest.mark.parametrize("name", BESIDE_DOCS)
def test_every_relative_link_of_a_text_beside_the_site_leads_to_a_file_and_a_heading(name: str) -> None:
    text = (PROJECT / name).read_text(encoding="utf-8")
    broken = []
    for link in list_links(text):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (PROJECT / name).parent / unquote(parts.path) if parts.path else PROJECT / name
        if not target.exists() or (
            parts.fragment and parts.fragment not in list_anchors(target.read_text(encoding="utf-8"))
        ):
            broken.append(link)
    assert not broken
