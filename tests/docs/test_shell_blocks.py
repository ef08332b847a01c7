"""Every shell block of every page is run as it stands, or says beside it why not. How blocks are found is tested at the end."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.docs.checkout import Checkout
from tests.docs.commands import find_unknown_names
from tests.docs.shell_blocks import Page, ShellBlock, list_pages, parse_page, read_page

PAGES = {name: read_page(name) for name in list_pages()}


@pytest.mark.parametrize(
    "name", [name for name, page in PAGES.items() if any(block.runs_here for block in page.blocks)]
)
def test_the_blocks_of_a_page_run_one_after_the_other(name: str, checkout: Checkout) -> None:
    for block in PAGES[name].blocks:
        if block.runs_here:
            checkout.run(block)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_hides_no_shell_and_its_markers_are_well_formed(name: str) -> None:
    assert "\n".join(PAGES[name].problems) == ""


@pytest.mark.parametrize("name", ["README.md", "docs/quickstart.md"])
def test_the_first_pages_of_a_newcomer_have_blocks_that_run(name: str) -> None:
    assert any(block.runs_here for block in PAGES[name].blocks)


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if page.blocks])
def test_a_block_that_is_not_run_here_is_valid_bash_and_names_what_exists(name: str) -> None:
    for block in PAGES[name].blocks:
        if not block.runs_here:
            read = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True, check=False)
            assert (read.returncode, read.stderr) == (0, ""), f"{name}:{block.line}"
            assert find_unknown_names(block.text) == [], f"{name}:{block.line}"


# What the tests above rest on.

PAGE = """\
# A page

```sh
echo first
```

A list:

1. Wait.

   <!-- not run: it never ends -->
   ```sh
   sleep infinity
   ```

<!-- run: cluster -->
```sh
kubectl get pods
```

<!-- A remark of the writer. -->
```sh
echo second
```

```yaml
key: value
```
"""


def test_blocks_are_found_in_order_with_place_text_and_marker() -> None:
    assert parse_page("page.md", PAGE) == Page(
        "page.md",
        (
            ShellBlock("page.md", 3, "echo first\n"),
            ShellBlock("page.md", 12, "sleep infinity\n", reason="it never ends"),
            ShellBlock("page.md", 17, "kubectl get pods\n", on_cluster=True),
            ShellBlock("page.md", 22, "echo second\n"),
        ),
        (),
    )
    assert [block.runs_here for block in parse_page("page.md", PAGE).blocks] == [True, False, False, True]


@pytest.mark.parametrize(
    "text",
    [
        "<!-- not run -->\n```sh\ntrue\n```",
        "<!-- not run: -->\n```sh\ntrue\n```",
        "<!-- not run: slow -->\n```sh\ntrue\n```",
        "<!-- Not run: it takes minutes -->\n```sh\ntrue\n```",
        "<!-- no run: it takes minutes -->\n```sh\ntrue\n```",
        "<!-- run: later -->\n```sh\ntrue\n```",
        "<!-- skip -->\n```sh\ntrue\n```",
        "<!-- not run: it takes minutes -->\n\n```sh\ntrue\n```",
        "<!-- not run: it takes minutes -->\nSome words.\n\n```sh\ntrue\n```",
        "<!-- not run: it takes minutes -->\n<!-- run: cluster -->\n\n```sh\ntrue\n```",
    ],
)
def test_a_marker_that_is_not_well_formed_is_a_problem_and_the_block_runs(text: str) -> None:
    page = parse_page("page.md", text)
    assert page.problems
    assert all(problem.startswith("page.md:") for problem in page.problems)
    assert [block.runs_here for block in page.blocks] == [True]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Words.\n\n    make run\n", "page.md:3: an indented block"),
        ("- Words.\n\n      make run\n", "page.md:3: an indented block"),
        ("<details>\n```sh\nmake run\n```\n</details>", "page.md:1: a block inside HTML"),
        ("Words.\n\n<pre>make run</pre>\n", "page.md:3: a block inside HTML"),
        ("```\nmake run\n```", "page.md:1: a fence without a language"),
        ("```bash\nmake run\n```", "page.md:1: write sh and not bash"),
        ("~~~Console\n$ make run\n~~~", "page.md:1: write sh and not Console"),
        ("<!-- not run: it takes minutes -->\n```text\nmake run\n```", "page.md:1: 'not run: it takes minutes' is not"),
        ("```sh\ntrue\n```\n<!-- run: cluster -->", "page.md:4: 'run: cluster' is not on the line directly before"),
    ],
)
def test_shell_that_would_not_be_run_is_a_problem(text: str, words: str) -> None:
    (problem,) = parse_page("page.md", text).problems
    assert problem.startswith(words)


def test_every_markdown_file_of_the_project_is_a_page_and_none_of_its_environment(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text(".venv*/\n/data/\n")
    for name in (
        "README.md",
        "docs/operations/backup.md",
        ".venv-3.13/lib/README.md",
        "data/notes.md",
        ".git/x.md",
        "a.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list_pages(tmp_path) == ["README.md", "docs/operations/backup.md"]
    assert {"README.md", "CONTRIBUTING.md", "docs/glossary.md"} <= set(PAGES)
