"""``stt run`` as a person meets it: real audio, the real base model, and for what matters most a real process."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project import Project
from tests.stt_orchestration.cli.conftest import SAMPLES, check_refusal


def test_a_folder_of_recordings_becomes_transcripts_and_every_one_is_accounted_for(own: Project) -> None:
    """One good, one silent, one broken, one under two names: run, look, rerun, retry."""
    folder, data = own.workdir / "inbox", own.data
    folder.mkdir()
    shutil.copyfile(SAMPLES / "jfk.opus", folder / "jfk [bold] 100%.opus")
    shutil.copyfile(SAMPLES / "jfk.opus", folder / "again.opus")
    shutil.copyfile(SAMPLES / "silence.wav", folder / "silence.wav")
    shutil.copyfile(SAMPLES / "broken.mp3", folder / "broken.mp3")

    command = own.start("run", "inbox", stderr=subprocess.PIPE)
    out, err = command.communicate(timeout=240)
    assert command.returncode == 3, err
    assert "Traceback" not in err
    assert "ask not what your country can do for you" in out.replace("\n", " ")
    assert "jfk [bold] 100%.opus" in out
    assert "times realtime" in out
    assert own.read_states() == {"done": 3, "quarantined": 1}
    for name in ("jfk [bold] 100%.opus", "again.opus", "silence.wav"):
        for suffix in (".txt", ".srt", ".vtt", ".json", ".html"):
            assert (data / "transcripts/inbox" / f"{name}{suffix}").is_file()
        told = json.loads((data / "whisper_json/inbox" / f"{name}.json").read_text())
        assert told["file"] == f"inbox/{name}"
    assert "country can do for you" in (data / "transcripts/inbox/again.opus.txt").read_text()
    assert (data / "transcripts/inbox/silence.wav.srt").read_text() == ""
    assert not any((data / "transcripts").rglob("broken*"))

    shown = own.invoke("show", "broken.mp3")
    assert shown.returncode == 0
    assert "quarantined" in shown.stdout
    assert "Not a recording" in shown.stdout
    assert "no_speech" in own.invoke("show", "silence.wav").stdout
    assert "same bytes as" in own.invoke("show", "jfk [bold]").stdout + own.invoke("show", "again").stdout

    before = {path: path.stat().st_mtime_ns for path in data.rglob("*.*") if "ledger" not in path.name}
    again = own.invoke("run", "inbox")
    assert again.returncode == 0, again.stderr
    assert "Nothing new" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*.*") if "ledger" not in path.name} == before

    listed = own.invoke("status").stdout
    assert "inbox/broken.mp3" in listed
    assert "Not a recording" in listed
    assert own.invoke("retry", "broken").returncode == 0
    assert own.read_states() == {"done": 3, "received": 1}
    assert own.invoke("run").returncode == 3
    assert own.read_states() == {"done": 3, "quarantined": 1}


def made_at(data: Path, pattern: str) -> dict[str, int]:
    return {str(path.relative_to(data)): path.stat().st_mtime_ns for path in data.glob(pattern)}


def test_a_changed_setting_does_finished_work_again_from_its_step_on(own: Project) -> None:
    """It said "Nothing new": whoever asked for another model got the old texts."""
    for folder in ("one", "two"):
        (own.workdir / folder).mkdir()
        shutil.copyfile(SAMPLES / "silence.wav", own.workdir / folder / "a.wav")
        with (own.workdir / folder / "a.wav").open("ab") as file:
            file.write(folder.encode())  # other bytes, the same sound
    assert own.invoke("run", *(str(own.workdir / folder) for folder in ("one", "two"))).returncode == 0
    heard, written = made_at(own.data, "whisper_json/*/*"), made_at(own.data, "transcripts/*/*.json")

    again = own.invoke("run", STT_PROSODY="false")
    assert again.returncode == 0, again.stderr
    assert "2 finished under other settings: done again from enriched on." in again.stdout
    assert made_at(own.data, "whisper_json/*/*") == heard
    assert not set(made_at(own.data, "transcripts/*/*.json").values()) & set(written.values())
    assert "Nothing new" in own.invoke("run", STT_PROSODY="false").stdout

    assert "Nothing new" in own.invoke("run", "--only-new", STT_PROSODY="false", STT_BEAM_SIZE="2").stdout
    for named in (own.workdir / "one", own.raw / "one"):
        only = own.invoke(
            "run", str(named), STT_PROSODY="false", STT_BEAM_SIZE="1" if named.parent == own.workdir else "3"
        )
        assert "1 finished under other settings: done again from transcript on." in only.stdout, only.stdout
        now = made_at(own.data, "whisper_json/*/*")
        assert {name for name in now if now[name] != heard[name]} == {"whisper_json/one/a.wav.json"}, (
            "the other was not named"
        )
        assert own.read_states() == {"done": 2}


def test_a_stolen_name_is_refused_before_anything_is_overwritten(own: Project) -> None:
    own.raw.mkdir(parents=True)
    (own.raw / "silence.wav").write_bytes(b"somebody else's recording")
    refused = own.invoke("run", str(SAMPLES / "silence.wav"))
    assert refused.returncode == 2
    assert "would overwrite" in refused.stderr
    assert (own.raw / "silence.wav").read_bytes() == b"somebody else's recording"


def test_a_refused_file_is_named_and_the_others_that_were_named_run(own: Project) -> None:
    own.raw.mkdir(parents=True)
    (own.raw / "taken.wav").write_bytes((SAMPLES / "silence.wav").read_bytes()[:-2])
    (own.workdir / "taken.wav").write_bytes(b"others")
    ran = own.invoke("run", "taken.wav", str(SAMPLES / "silence.wav"))
    assert ran.returncode == 3, ran.stderr
    assert "Not taken in: " in ran.stdout
    assert "taken.wav would overwrite" in ran.stdout.replace("\n", "")
    assert own.read_states() == {"done": 2}
    nowhere = own.invoke("run", str(SAMPLES / "jfk.opus"), "nowhere.wav")
    assert nowhere.returncode == 2
    assert own.read_states() == {"done": 2}, "a slip of the pen is said before anything is copied"


@pytest.mark.parametrize(
    ("arguments", "more", "code", "sentence"),
    [
        (["run", "nowhere.wav"], {}, 2, "nowhere.wav does not exist"),
        (["run"], {"STT_DEVICE": "gpu"}, 2, "STT_DEVICE='gpu' is not allowed"),
        (["run"], {"STT_STORE_URL": "ftp://x"}, 2, "No store is known for 'ftp://x'"),
        (["run"], {"STT_MODEL": "gigantic"}, 2, "gigantic"),
    ],
)
def test_what_a_person_can_mend_is_a_sentence_and_an_exit_code(
    own: Project, arguments: list[str], more: dict[str, str], code: int, sentence: str
) -> None:
    check_refusal(own, arguments, more, code, sentence)


def test_a_gpu_that_is_not_there_fails_the_step_and_nothing_turns_into_a_cpu_run(own: Project) -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("a GPU is here")
    failed = own.invoke("run", str(SAMPLES / "jfk.opus"), STT_DEVICE="cuda")
    assert failed.returncode == 1
    assert "none is visible here" in failed.stderr
    assert own.read_states() == {"normalized": 1}
    assert own.invoke("run").returncode == 0
    assert own.read_states() == {"done": 1}
