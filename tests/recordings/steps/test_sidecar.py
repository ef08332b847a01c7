"""The options file beside a recording: what YAML may say there, and files that are none."""

from __future__ import annotations

from typing import Any

import pytest

from recordings.options import InvalidOptionsError
from recordings.steps.sidecar import MAX_BYTES, read_options
from tests.recordings.backends import DirectoryBackend


def read(directory: DirectoryBackend, content: bytes) -> dict[str, Any]:
    directory.put(b"x.mp3.options.yaml", content)
    return read_options(directory.store, "x.mp3").dump()


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (b"", {}),
        (b"# nothing but a comment\n", {}),
        (b"\xef\xbb\xbflanguage: vi\r\ntranslate: yes\r\n", {"language": "vi", "translate": True}),
        (b"language: no\n", {"language": "no"}),  # Norwegian, which YAML 1.1 reads as false
        (b"language: 'EN'\nprompt: 1984\n", {"language": "en", "prompt": "1984"}),
        (b"prompt: |\n  Two\n  lines\n", {"prompt": "Two\nlines"}),
        (b"hotwords:\n  - Kubernetes\n  - on\n", {"hotwords": "Kubernetes, on"}),
        (b'{"language": "en", "hotwords": ["a", "b"]}', {"language": "en", "hotwords": "a, b"}),
        ("prompt: Ti\u1ebfng Vi\u1ec7t\n".encode(), {"prompt": "Ti\u1ebfng Vi\u1ec7t"}),
    ],
)
def test_options_are_read(directory: DirectoryBackend, content: bytes, options: dict[str, Any]) -> None:
    assert read(directory, content) == options


def test_a_recording_without_a_file_has_none(directory: DirectoryBackend) -> None:
    assert read_options(directory.store, "x.mp3").dump() == {}
    assert read_options(directory.store, "x" * 300).dump() == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- language\n", "the file is no YAML mapping; write lines such as `language: en`"),
        (b"vi", "the file is no YAML mapping"),
        (b"language: [en\n", r"the file is no YAML \(line 2\)"),
        (b"language: en\n---\nlanguage: vi\n", r"the file is no YAML \(line 2\)"),
        (b"language: en\nlanguage: vi\n", "'language' stands there twice"),
        (b"prompt: \xff\n", r"the file is no UTF-8 text \(byte 8\)"),
        (b"prompt: !!python/object/apply:os.getcwd []\n", "prompt: input should be a valid string"),
        (b"? [a, b]\n: c\n", "the file is no YAML"),
        (b"prompt: \x00\n", "the file is no YAML"),
        (b"[" * 5000, "the file is no YAML"),
        (b"#" * (MAX_BYTES + 1), "the file is larger than 64 KiB"),
        (b"a: &a [x, x]\nb: &b [*a, *a]\nhotwords: [*b, *b]\n", "the file refers to its own parts"),
        (b"".join(b"x%d: y\n" % i for i in range(5_000)), "; and 4995 more"),
        (b"x" * 300 + b": y\n", "there is no option 'x{40}[.]{3}'"),
    ],
)
def test_a_file_that_is_none_is_refused_with_a_reason(
    directory: DirectoryBackend, content: bytes, message: str
) -> None:
    with pytest.raises(InvalidOptionsError, match=message):
        read(directory, content)
