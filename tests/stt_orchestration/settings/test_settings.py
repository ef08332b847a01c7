"""Settings: which name wins, and how a bad value is refused."""

from __future__ import annotations

from collections import Counter

import pytest
from pydantic import BaseModel

from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from speech.asr.model_pool import EngineOptions
from speech.transcript import TranscribeOptions
from stt_orchestration.settings import Settings, SettingsError, find_misspelled, list_environment_names
from stt_orchestration.settings.groups import GROUPS


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list_environment_names():
        monkeypatch.delenv(name, raising=False)


def test_every_key_of_the_config_map_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "WHISPER_MODEL": "large-v3",
        "WHISPER_DEVICE": "cuda",
        "WHISPER_COMPUTE_TYPE": "float16",
        "WHISPER_LANGUAGE": "en",
        "ENABLE_AUDIO_ENRICHMENT": "false",
        "ENABLE_PROSODY": "false",
        "ENABLE_EMOTION": "true",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = Settings.read()
    assert (settings.model, settings.device, settings.effective_compute_type, settings.language) == (
        "large-v3",
        "cuda",
        "float16",
        "en",
    )
    assert (settings.page, settings.prosody, settings.emotion) == (False, False, True)


def test_values_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "WHISPER_DEVICE": " CUDA ",
        "STT_TASK": "Translate",
        "STT_SIZE_GPU": "A100=120, L4=30@x,",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings.read()
    assert (settings.device, settings.task, settings.gpus) == ("cuda", "translate", ["A100=120", "L4=30@x"])
    assert settings.pick(EngineOptions).device == "cuda"


def test_no_validator_of_an_option_model_is_hidden_by_another_of_its_name() -> None:
    """A regression test: the device was no longer put into lower case."""
    names = [
        name
        for model in Settings.__mro__
        if "__pydantic_decorators__" in vars(model)
        for name in vars(model)["__pydantic_decorators__"].field_validators
        if name in vars(model)
    ]
    assert len(names) > 8
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_an_stt_variable_has_priority_over_a_whisper_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_MODEL", "small")
    monkeypatch.setenv("STT_MODEL", "tiny.en")
    assert Settings.read().model == "tiny.en"


def test_auto_and_empty_mean_that_the_language_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("auto", "AUTO", ""):
        monkeypatch.setenv("WHISPER_LANGUAGE", value)
        assert Settings.read().language is None


def test_the_compute_type_follows_the_device_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.read().effective_compute_type == "int8"
    monkeypatch.setenv("STT_DEVICE", "cuda")
    assert Settings.read().effective_compute_type == "float16"
    monkeypatch.setenv("STT_COMPUTE_TYPE", "int8_float16")
    assert Settings.read().effective_compute_type == "int8_float16"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("STT_DEVICE", "gpu", "cpu or cuda"),
        ("WHISPER_LANGUAGE", "english", "language code such as en"),
        ("WHISPER_BEAM_SIZE", "0", "from 1 to 20"),
        ("STT_COMPUTE_TYPE", "float8", "int8, int8_float32"),
        ("STT_SCHEDULE_CRON", "every day", "cron expression"),
        ("STT_SCHEDULE_TIMEZONE", "Mars/Olympus", "Europe/Berlin"),
        ("ENABLE_PROSODY", "perhaps", "true or false"),
        ("STT_PAGES_URL", "http://127.0.0.1:30o1", "A URL"),
        ("STT_PAGES_URL", "http://", "A URL"),
        ("STT_BATCH_RECORDINGS", "many", "from 1 to 10000"),
    ],
)
def test_a_bad_value_is_refused_with_name_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        Settings.read()
    sentence = str(refused.value)
    assert name in sentence
    assert repr(value) in sentence
    assert allowed in sentence


def test_two_bad_values_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_DEVICE", "gpu")
    monkeypatch.setenv("STT_WORKERS", "0")
    with pytest.raises(SettingsError) as refused:
        Settings.read()
    assert len(str(refused.value).splitlines()) == 2


def test_a_misspelled_variable_is_reported() -> None:
    assert find_misspelled({"STT_MODLE": "base", "STT_MODEL": "base", "OTHER": "x"}) == [
        "STT_MODLE sets nothing. Did you mean STT_MODEL?"
    ]


@pytest.mark.parametrize("model", [TranscribeOptions, NormalizeOptions, EnrichOptions])
def test_every_option_of_a_step_is_a_setting_with_its_limits_and_reaches_the_step(
    model: type[BaseModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {field: name for name, field in list_environment_names().items() if name.startswith("STT_")}
    assert model.model_fields.keys() <= environment.keys()
    assert all(field.description for field in model.model_fields.values())
    assert Settings.read().pick(model) == model(), "with the same defaults"
    changes = {"beam_size": "3", "initial_prompt": "Ask not", "max_hours": "2", "embed_minutes": "1", "page": "false"}
    for name, value in changes.items():
        monkeypatch.setenv(environment[name], value)
    changed = {name: value for name, value in changes.items() if name in model.model_fields}
    assert Settings.read().pick(model) == model(**changed)


def test_every_setting_is_in_one_group() -> None:
    grouped = [name for group in GROUPS for model in group.models for name in model.model_fields]
    assert sorted(grouped) == sorted(Settings.model_fields)


def test_variables_of_other_programs_set_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Desktops set LANGUAGE to a locale, and build systems set WORKERS or MODEL."""
    untouched = Settings.read()
    for name in Settings.model_fields:
        monkeypatch.setenv(name.upper(), "en_US:en")
        monkeypatch.setenv(name, "en_US:en")
    assert Settings.read() == untouched
