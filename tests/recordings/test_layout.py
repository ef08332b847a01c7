"""Names of inputs and outputs: each stands for exactly one sequence of bytes, is printable and never too long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recordings.layout import ARTIFACTS, PAGE, Folder, decode_name, encode_name, list_output_keys, output_key

path_bytes = st.lists(
    st.binary(min_size=1, max_size=40).map(lambda b: b.replace(b"/", b"_").replace(b"\0", b"_")), min_size=1
).map(b"/".join)


@given(path_bytes)
def test_a_name_decodes_to_the_bytes_it_was_made_from(raw: bytes) -> None:
    assert decode_name(encode_name(raw)) == raw


@given(path_bytes)
def test_a_name_is_printable_text_whatever_the_bytes(raw: bytes) -> None:
    name = encode_name(raw)
    name.encode("utf-8")
    assert not any(ord(character) < 0x20 or ord(character) == 0x7F for character in name)


def test_ordinary_names_are_unchanged() -> None:
    for name in ("Meeting (1).mp3", "O'Brien & Söhne.m4a", "100%.wav", "会議/録音.wav"):
        assert encode_name(name.encode()) == name


def test_a_name_that_looks_like_an_escape_does_not_clash_with_the_escaped_bytes() -> None:
    assert encode_name(b"a%FF.wav") != encode_name(b"a\xff.wav")


def test_outputs_of_names_that_differ_only_in_their_suffix_do_not_clash() -> None:
    keys = {output_key(Folder.NORMALIZED, name, ".wav") for name in ("a/x.wav", "a/x.mp3", "b/x.wav", "x.wav")}
    assert len(keys) == 4


@given(st.text(alphabet="aé漢%", min_size=200, max_size=255))
def test_an_output_of_the_longest_name_still_fits_a_file_system(name: str) -> None:
    last = output_key(Folder.ENRICHED, name, ".html").rsplit("/", 1)[-1]
    assert len(last.encode()) <= 255


@pytest.mark.parametrize("suffix", [".TextGrid", ".a-suffix-longer-than-any"])
def test_a_longer_suffix_fits_too_and_changes_no_other_key(suffix: str) -> None:
    name = "x" * 255
    assert len(output_key(Folder.ENRICHED, name, suffix).rsplit("/", 1)[-1].encode()) <= 255
    page = PAGE.key(name).removesuffix(PAGE.suffix)
    short = [artifact for artifact in ARTIFACTS if len(artifact.suffix) <= len(PAGE.suffix)]
    assert {artifact.key(name).removesuffix(artifact.suffix).partition("/")[2] for artifact in short} == {
        page.partition("/")[2]
    }


def test_every_output_of_a_name_has_its_own_key() -> None:
    assert len(set(list_output_keys("a/x.wav"))) == len(ARTIFACTS)


def test_two_long_names_with_the_same_beginning_have_different_keys() -> None:
    first, second = "x" * 254 + "1", "x" * 254 + "2"
    assert output_key(Folder.ENRICHED, first, ".txt") != output_key(Folder.ENRICHED, second, ".txt")
