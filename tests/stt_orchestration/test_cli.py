"""The ``stt`` command as a person meets it: real processes, real audio, the real base model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from speech.weights import Weights

PROJECT = Path(__file__).resolve().parents[2]
SAMPLES = PROJECT / "samples"
Stt = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def stt(tmp_path: Path, data: Path, base_weights: Weights) -> Stt:
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copyfile(PROJECT / "dagster.yaml", home / "dagster.yaml")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("STT_", "WHISPER_", "ENABLE_"))
    }
    environment |= {"STT_DATA_DIR": str(data), "DAGSTER_HOME": str(home), "STT_MODEL_DIR": str(base_weights.path)}

    def call(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stt_orchestration.cli", *arguments],
            env={**environment, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    return call


def states(stt: Stt) -> dict[str, int]:
    told = json.loads(stt("status", "--json").stdout)
    assert told["inputs"] == sum(told["states"].values())
    return {state: count for state, count in told["states"].items() if count}


def test_a_folder_of_recordings_becomes_transcripts_and_every_one_is_accounted_for(stt: Stt, data: Path) -> None:
    """One good, one silent, one broken, one under two names: run, look, rerun, retry."""
    folder = data.parent / "inbox"
    folder.mkdir()
    shutil.copyfile(SAMPLES / "jfk.opus", folder / "jfk [bold] 100%.opus")
    shutil.copyfile(SAMPLES / "jfk.opus", folder / "again.opus")
    shutil.copyfile(SAMPLES / "silence.wav", folder / "silence.wav")
    shutil.copyfile(SAMPLES / "broken.mp3", folder / "broken.mp3")

    ran = stt("run", str(folder))
    assert ran.returncode == 3, ran.stderr
    assert "ask not what your country can do for you" in ran.stdout.replace("\n", " ")
    assert "jfk [bold] 100%.opus" in ran.stdout
    assert "times realtime" in ran.stdout
    assert states(stt) == {"done": 3, "quarantined": 1}
    for name in ("jfk [bold] 100%.opus", "again.opus", "silence.wav"):
        for suffix in (".txt", ".srt", ".vtt", ".json", ".html"):
            assert (data / "transcripts/inbox" / f"{name}{suffix}").is_file()
        told = json.loads((data / "whisper_json/inbox" / f"{name}.json").read_text())
        assert told["file"] == f"inbox/{name}"
    assert "country can do for you" in (data / "transcripts/inbox/again.opus.txt").read_text()
    assert (data / "transcripts/inbox/silence.wav.srt").read_text() == ""
    assert not any((data / "transcripts").rglob("broken*"))

    shown = stt("show", "broken.mp3")
    assert shown.returncode == 0
    assert "quarantined" in shown.stdout
    assert "Not a recording" in shown.stdout
    assert "no_speech" in stt("show", "silence.wav").stdout
    assert "same bytes as" in stt("show", "jfk [bold]").stdout + stt("show", "again").stdout

    before = {path: path.stat().st_mtime_ns for path in data.rglob("*.*") if "ledger" not in path.name}
    again = stt("run", str(folder))
    assert again.returncode == 0, again.stderr
    assert "Nothing new" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*.*") if "ledger" not in path.name} == before

    listed = stt("status").stdout
    assert "inbox/broken.mp3" in listed
    assert "Not a recording" in listed
    assert stt("retry", "broken").returncode == 0
    assert states(stt) == {"done": 3, "received": 1}
    assert stt("run").returncode == 3
    assert states(stt) == {"done": 3, "quarantined": 1}


def made_at(data: Path, pattern: str) -> dict[str, int]:
    return {str(path.relative_to(data)): path.stat().st_mtime_ns for path in data.glob(pattern)}


def test_a_changed_setting_does_finished_work_again_from_its_step_on(stt: Stt, data: Path) -> None:
    """It said "Nothing new": whoever asked for another model got the old texts."""
    for folder in ("one", "two"):
        (data.parent / folder).mkdir()
        shutil.copyfile(SAMPLES / "silence.wav", data.parent / folder / "a.wav")
        with (data.parent / folder / "a.wav").open("ab") as file:
            file.write(folder.encode())  # other bytes, the same sound
    assert stt("run", *(str(data.parent / folder) for folder in ("one", "two"))).returncode == 0
    heard, written = made_at(data, "whisper_json/*/*"), made_at(data, "transcripts/*/*.json")

    again = stt("run", STT_PROSODY="false")
    assert again.returncode == 0, again.stderr
    assert "2 finished under other settings: done again from enriched on." in again.stdout
    assert made_at(data, "whisper_json/*/*") == heard
    assert not set(made_at(data, "transcripts/*/*.json").values()) & set(written.values())
    assert "Nothing new" in stt("run", STT_PROSODY="false").stdout

    assert "Nothing new" in stt("run", "--only-new", STT_PROSODY="false", STT_BEAM_SIZE="2").stdout
    for named in (data.parent / "one", data / "raw_audio" / "one"):
        only = stt("run", str(named), STT_PROSODY="false", STT_BEAM_SIZE="1" if named.parent == data.parent else "3")
        assert "1 finished under other settings: done again from transcript on." in only.stdout, only.stdout
        now = made_at(data, "whisper_json/*/*")
        assert {name for name in now if now[name] != heard[name]} == {"whisper_json/one/a.wav.json"}, (
            "the other was not named"
        )
        assert states(stt) == {"done": 2}


def test_a_stolen_name_is_refused_before_anything_is_overwritten(stt: Stt, data: Path) -> None:
    (data / "raw_audio").mkdir(parents=True)
    (data / "raw_audio" / "silence.wav").write_bytes(b"somebody else's recording")
    refused = stt("run", str(SAMPLES / "silence.wav"))
    assert refused.returncode == 2
    assert "would overwrite" in refused.stderr
    assert (data / "raw_audio" / "silence.wav").read_bytes() == b"somebody else's recording"


def test_a_refused_file_is_named_and_the_others_that_were_named_run(stt: Stt, data: Path) -> None:
    (data / "raw_audio").mkdir(parents=True)
    (data / "raw_audio" / "taken.wav").write_bytes((SAMPLES / "silence.wav").read_bytes()[:-2])
    (data.parent / "taken.wav").write_bytes(b"others")
    ran = stt("run", "taken.wav", str(SAMPLES / "silence.wav"))
    assert ran.returncode == 3, ran.stderr
    assert "Not taken in: " in ran.stdout
    assert "taken.wav would overwrite" in ran.stdout.replace("\n", "")
    assert states(stt) == {"done": 2}
    nowhere = stt("run", str(SAMPLES / "jfk.opus"), "nowhere.wav")
    assert nowhere.returncode == 2
    assert states(stt) == {"done": 2}, "a slip of the pen is said before anything is copied"


@pytest.mark.parametrize(
    ("arguments", "more", "code", "sentence"),
    [
        (["run", "nowhere.wav"], {}, 2, "nowhere.wav does not exist"),
        (["run"], {"STT_DEVICE": "gpu"}, 2, "STT_DEVICE='gpu' is not allowed"),
        (["run"], {"STT_STORE_URL": "ftp://x"}, 2, "No store is known for 'ftp://x'"),
        (["run"], {"STT_MODEL": "gigantic"}, 2, "gigantic"),
        (["status"], {"STT_LEDGER_URL": "sqlite:////proc/none/ledger.db"}, 1, "/proc/none"),
        (["show", "nothing"], {}, 2, "No recording has 'nothing'"),
        (["retry"], {}, 2, "Name recordings, or give --all"),
        (["retry", "nothing"], {}, 2, "No quarantined or failed recording is called 'nothing'"),
        (["fetch-model"], {}, 2, "Name a model"),
    ],
)
def test_what_a_person_can_mend_is_a_sentence_and_an_exit_code(
    stt: Stt, arguments: list[str], more: dict[str, str], code: int, sentence: str
) -> None:
    ended = stt(*arguments, **more)
    assert (ended.returncode, "Traceback" in ended.stderr) == (code, False), ended.stderr
    assert sentence in ended.stderr


def test_a_gpu_that_is_not_there_fails_the_step_and_nothing_turns_into_a_cpu_run(stt: Stt) -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("a GPU is here")
    failed = stt("run", str(SAMPLES / "jfk.opus"), STT_DEVICE="cuda")
    assert failed.returncode == 1
    assert "none is visible here" in failed.stderr
    assert states(stt) == {"normalized": 1}
    assert stt("run").returncode == 0
    assert states(stt) == {"done": 1}


def test_the_doctor_says_what_is_broken_and_how_to_mend_it(stt: Stt, data: Path) -> None:
    good = stt("doctor")
    assert good.returncode == 0, good.stdout
    assert "checksums right" in good.stdout
    data.mkdir(exist_ok=True)
    shutil.rmtree(data)
    data.write_text("a file where the folder should be")
    bad = stt("doctor", STT_MODLE="x", ENABLE_EMOTION="true")
    assert bad.returncode == 1
    for said in ("broken store", "STT_DATA_DIR", "Did you mean STT_MODEL?", "no model for them"):
        assert said in bad.stdout, bad.stdout


def test_the_catalogue_can_be_listed(stt: Stt) -> None:
    listed = stt("fetch-model", "--list")
    assert listed.returncode == 0
    assert {"base", "tiny.en", "large-v3"} <= {line.split()[0] for line in listed.stdout.splitlines()}
