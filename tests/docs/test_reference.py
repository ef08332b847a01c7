"""The generated pages: they are what the code says today, and the same on every machine."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel, Field

from benchmarks.files import RefusedError
from docs.generator.errors_page import find_exit_codes, list_errors
from docs.generator.pages import PAGES, REFERENCE, make_pages
from docs.generator.schemas import list_fields
from recordings.ledger.engine import LedgerError
from speech.transcript import Segment
from stt_orchestration.cli.app import app
from stt_orchestration.cli.exit_codes import errors_to_exit_codes
from stt_orchestration.definitions import build_defs
from stt_orchestration.settings import PROJECT_ROOT, Settings, SettingsError, list_environment_names


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return make_pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says_today(pages: dict[str, str], name: str) -> None:
    committed = (REFERENCE / name).read_text(encoding="utf-8")
    assert committed == pages[name], (
        f"docs/reference/{name} is out of date: run `make docs` and commit what it changes."
    )


def test_no_page_is_left_over() -> None:
    assert {file.name for file in REFERENCE.iterdir()} == set(PAGES)


def test_pages_do_not_depend_on_the_machine(
    pages: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert not [name for name, text in pages.items() if str(PROJECT_ROOT) in text or str(Path.home()) in text]
    changes = {"STT_DEVICE": "cuda", "STT_SCHEDULE_ENABLED": "true", "WHISPER_LANGUAGE": "vi"}
    changes |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    assert make_pages() == pages
    assert {name: os.environ[name] for name in changes} == changes, "and the environment is as it was"


def test_every_setting_and_each_of_its_names_is_there(pages: dict[str, str]) -> None:
    text = pages["settings.md"]
    assert [name for name in list_environment_names() if f"`{name}`" not in text] == []


def test_every_command_is_there_with_all_that_it_takes(pages: dict[str, str]) -> None:
    groups = [group.typer_instance for group in app.registered_groups]
    commands = [command for group in groups if group for command in group.registered_commands]
    assert len(commands) > 10
    for command in commands:
        assert command.callback
        name = command.name or command.callback.__name__.replace("_", "-")
        _, _, section = pages["commands.md"].partition(f"## `stt {name}`\n")
        taken = inspect.signature(command.callback).parameters
        assert section.partition("\n## ")[0].count("\n:   ") == len(taken), name
    assert "`--json`" in pages["commands.md"], "under the name that is typed"


def test_every_field_of_a_segment_is_there(pages: dict[str, str]) -> None:
    assert [name for name in Segment.model_fields if f"\n`segments[].{name}`\n:   " not in pages["transcript.md"]] == []
    assert "`segments[].words[].start`\n:   *Number of seconds, 0 or more.*" in pages["transcript.md"]


def test_a_field_without_a_description_is_refused() -> None:
    class Bare(BaseModel):
        said: str = Field(description="What was said.")
        when: float

    schema = Bare.model_json_schema()
    with pytest.raises(ValueError, match=r"Bare\.when has no description"):
        list(list_fields(schema, {}))


def test_every_exception_is_there(pages: dict[str, str]) -> None:
    errors = [error.__name__ for error in list_errors()]
    assert "BadAudioError" in errors
    assert len(errors) == len(set(errors)), "links go by name"
    assert [name for name in errors if f"### `{name}`\n" not in pages["errors.md"]] == []


@pytest.mark.parametrize("error", [SettingsError, RefusedError, LedgerError])
def test_the_exit_code_that_is_told_is_the_one_a_command_ends_with(error: type[Exception]) -> None:
    @errors_to_exit_codes
    def command() -> None:
        raise error("It is broken.")

    with pytest.raises(typer.Exit) as ended:
        command()
    assert ended.value.exit_code == find_exit_codes()[error.__name__]


def test_every_asset_and_check_is_there(pages: dict[str, str]) -> None:
    graph = build_defs(Settings()).resolve_asset_graph()
    text = pages["assets.md"]
    assert [key for key in graph.get_all_asset_keys() if f"### `{key.to_user_string()}`\n" not in text] == []
    assert [key for key in graph.asset_check_keys if f"\n`{key.name}`\n:   " not in text] == []
    for name in (
        "transcribe_batch",
        "janitor",
        "audio_directory",
        "audio_bucket",
        "transcribe_every_6h",
        "janitor_daily",
    ):
        assert f"### `{name}`\n" in text
