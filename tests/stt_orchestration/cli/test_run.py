"""``stt run`` with real audio and the real base model, once in a process of its own."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.project import Project
from tests.stt_orchestration.cli.conftest import SAMPLES, check_refusal


def test_a_folder_becomes_transcripts_and_each_recording_has_a_state(bare_project: Project) -> None:
    """One good recording under two names, a silent one and a broken one: run, status, show, a second run, retry."""
    folder, data = bare_project.workdir / "inbox", bare_project.data
    folder.mkdir()
    shutil.copyfile(SAMPLES / "jfk.opus", folder / "jfk [bold] 100%.opus")
    shutil.copyfile(SAMPLES / "jfk.opus", folder / "again.opus")
    shutil.copyfile(SAMPLES / "silence.wav", folder / "silence.wav")
    shutil.copyfile(SAMPLES / "broken.mp3", folder / "broken.mp3")

    command = bare_project.start("run", "inbox", stderr=subprocess.PIPE)
    out, err = command.communicate(timeout=240)
    assert command.returncode == 3, err
    assert "Traceback" not in err
    assert "ask not what your country can do for you" in out.replace("\n", " ")
    assert "jfk [bold] 100%.opus" in out
    assert "times realtime" in out
    assert bare_project.read_states() == {"done": 3, "quarantined": 1}
    for name in ("jfk [bold] 100%.opus", "again.opus", "silence.wav"):
        for suffix in (".txt", ".srt", ".vtt", ".json", ".html"):
            assert (data / "transcripts/inbox" / f"{name}{suffix}").is_file()
        transcript = json.loads((data / "whisper_json/inbox" / f"{name}.json").read_text())
        assert transcript["file"] == f"inbox/{name}"
    assert "country can do for you" in (data / "transcripts/inbox/again.opus.txt").read_text()
    assert (data / "transcripts/inbox/silence.wav.srt").read_text() == ""
    assert not any((data / "transcripts").rglob("broken*"))

    shown = bare_project.invoke("show", "broken.mp3")
    assert shown.returncode == 0
    assert "quarantined" in shown.stdout
    assert "Not a recording" in shown.stdout
    assert "no_speech" in bare_project.invoke("show", "silence.wav").stdout
    assert (
        "same bytes as"
        in bare_project.invoke("show", "jfk [bold]").stdout + bare_project.invoke("show", "again").stdout
    )
    assert "loudest sample at " in bare_project.invoke("show", "again").stdout

    shown = bare_project.invoke("show", "silence.wav").stdout
    (key,) = re.findall("batch-[0-9a-f]{16}", shown)
    assert read_history(bare_project) == ([key], [key])
    date_history_back(bare_project)
    mtimes = {path: path.stat().st_mtime_ns for path in data.rglob("*.*") if "ledger" not in path.name}
    again = bare_project.invoke("run", "inbox")
    assert again.returncode == 0, again.stderr
    assert "Nothing new" in again.stdout
    assert read_history(bare_project) == ([], [key]), "without a daemon, the command deletes old runs"
    forget_partitions(bare_project)
    assert "inbox/again.opus" in bare_project.invoke("show", key).stdout
    assert bare_project.invoke("run", "--batch", key).returncode == 3, "its broken recording is still broken"
    assert read_history(bare_project) == ([key], [key]), "what Dagster has forgotten can still be asked for"
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*.*") if "ledger" not in path.name} == mtimes

    listed = bare_project.invoke("status").stdout
    assert "inbox/broken.mp3" in listed
    assert "Not a recording" in listed
    assert bare_project.invoke("retry", "broken").returncode == 0
    assert bare_project.read_states() == {"done": 3, "received": 1}
    assert bare_project.invoke("run").returncode == 3
    assert bare_project.read_states() == {"done": 3, "quarantined": 1}


def read_history(project: Project) -> tuple[list[str], list[str]]:
    """The batches that Dagster has runs of, and its partitions."""
    with closing(sqlite3.connect(project.home / "history/runs.db")) as runs:
        of_runs = runs.execute("SELECT value FROM run_tags WHERE key = 'dagster/partition'").fetchall()
    with closing(sqlite3.connect(project.home / "history/runs/index.db")) as events:
        partitions = events.execute("SELECT partition FROM dynamic_partitions").fetchall()
    return [row[0] for row in of_runs], [row[0] for row in partitions]


def date_history_back(project: Project) -> None:
    """Let all runs be forty days old."""
    with closing(sqlite3.connect(project.home / "history/runs.db")) as runs, runs:
        runs.execute("UPDATE runs SET update_timestamp = datetime('now', '-40 days')")


def forget_partitions(project: Project) -> None:
    """What the next look for leftovers does, a day later."""
    with closing(sqlite3.connect(project.home / "history/runs/index.db")) as events, events:
        events.execute("DELETE FROM dynamic_partitions")


def test_outputs_that_were_deleted_can_be_had_back(bare_project: Project) -> None:
    """By ``stt run PATH``, ``stt retry NAME`` and a plain ``stt run``; ``stt doctor --deep`` finds them all."""
    for name in ("silence.wav", "lj-printing.mp3"):
        shutil.copyfile(SAMPLES / name, bare_project.workdir / name)
    code, output = bare_project.stt("run", "silence.wav", "lj-printing.mp3")
    assert code == 0, output
    text, page = (bare_project.data / f"transcripts/{name}" for name in ("lj-printing.mp3.txt", "silence.wav.html"))
    said = text.read_bytes()
    text.unlink()
    page.unlink()

    code, output = bare_project.stt("doctor", "--deep")
    assert code == 1
    output = " ".join(output.split())
    assert f"broken outputs: lj-printing.mp3: {text} is gone" in output
    assert "stt retry silence.wav, then stt run" in output
    code, output = bare_project.stt("run", "lj-printing.mp3")
    assert code == 0, output
    assert "1 finished with outputs that are gone now: done again from enriched on." in output
    assert (text.read_bytes(), page.exists()) == (said, False)

    code, output = bare_project.stt("retry", "silence")
    assert (code, "`stt run` does them again from enriched on" in output) == (0, True), output
    assert "1 wait for a batch" in bare_project.stt("status")[1]
    text.unlink()
    code, output = bare_project.stt("run")
    assert code == 0, output
    assert "1 finished with outputs that are gone now: done again from enriched on." in output
    assert (text.read_bytes(), page.exists()) == (said, True)

    for path in (bare_project.raw / "silence.wav", bare_project.data / "input_audio/silence.wav.wav", page):
        path.unlink()
    code, output = bare_project.stt("retry", "silence.wav")
    assert (code, "deliver the same file again" in " ".join(output.split())) == (3, True), output
    code, output = bare_project.stt("run", "silence.wav")  # which delivers it again
    assert code == 0, output
    assert page.exists()
    assert "all outputs of 2 finished recordings are there" in bare_project.stt("doctor", "--deep")[1]
    told = " ".join(bare_project.stt("status")[1].split()).split("Last audit of ")[1:]
    assert [line.strip().partition(" UTC: ")[2] for line in told] == [
        "among 2 finished recordings in folders that changed, 1 lacked outputs that are made anew.",
        "the states of 2 deliveries were counted, and the stored counts are the same.",
        "all outputs of 2 finished recordings are there.",
        "among 2 of 2 finished recordings, 1 lacked outputs that are made anew.",
    ]


def read_mtimes(data: Path, pattern: str) -> dict[str, int]:
    return {str(path.relative_to(data)): path.stat().st_mtime_ns for path in data.glob(pattern)}


def test_a_changed_setting_repeats_finished_work_from_the_step_it_affects(bare_project: Project) -> None:
    """A regression test: the command once reported "Nothing new" and kept the outputs of the old settings."""
    for folder in ("one", "two"):
        (bare_project.workdir / folder).mkdir()
        shutil.copyfile(SAMPLES / "silence.wav", bare_project.workdir / folder / "a.wav")
        with (bare_project.workdir / folder / "a.wav").open("ab") as file:
            file.write(folder.encode())  # other bytes, the same sound
    assert (
        bare_project.invoke("run", *(str(bare_project.workdir / folder) for folder in ("one", "two"))).returncode == 0
    )
    transcripts, texts = (
        read_mtimes(bare_project.data, "whisper_json/*/*"),
        read_mtimes(bare_project.data, "transcripts/*/*.json"),
    )

    again = bare_project.invoke("run", STT_PROSODY="false")
    assert again.returncode == 0, again.stderr
    assert "2 finished under other settings: done again from enriched on." in again.stdout
    assert read_mtimes(bare_project.data, "whisper_json/*/*") == transcripts
    assert not set(read_mtimes(bare_project.data, "transcripts/*/*.json").values()) & set(texts.values())
    assert "Nothing new" in bare_project.invoke("run", STT_PROSODY="false").stdout

    assert "Nothing new" in bare_project.invoke("run", "--only-new", STT_PROSODY="false", STT_BEAM_SIZE="2").stdout
    for argument in (bare_project.workdir / "one", bare_project.raw / "one"):
        result = bare_project.invoke(
            "run",
            str(argument),
            STT_PROSODY="false",
            STT_BEAM_SIZE="1" if argument.parent == bare_project.workdir else "3",
        )
        assert "1 finished under other settings: done again from transcript on." in result.stdout, result.stdout
        now = read_mtimes(bare_project.data, "whisper_json/*/*")
        assert {name for name in now if now[name] != transcripts[name]} == {"whisper_json/one/a.wav.json"}, (
            "the other recording was not an argument"
        )
        assert bare_project.read_states() == {"done": 2}


def test_options_beside_a_recording_go_with_it_and_win_over_the_settings(bare_project: Project) -> None:
    folder = bare_project.workdir / "calls"
    folder.mkdir()
    for name in ("plain.opus", "own.opus", "wrong.opus"):
        shutil.copyfile(SAMPLES / "jfk.opus", folder / name)
    (folder / "own.opus.options.yaml").write_text("language: en\nprompt: A speech of 1961.\n")
    (folder / "wrong.opus.options.yaml").write_text("languages: [en]\n")
    result = bare_project.invoke("run", str(folder), STT_LANGUAGE="auto")
    assert result.returncode == 3, result.stdout
    assert bare_project.read_states() == {"done": 2, "quarantined": 1}
    assert "there is no option 'languages'" in bare_project.invoke("status").stdout.replace("\n", " ")
    own, plain = (
        json.loads((bare_project.data / "whisper_json/calls" / f"{name}.opus.json").read_text())
        for name in ("own", "plain")
    )
    assert own["meta"]["options"]["initial_prompt"] == "A speech of 1961."
    assert (own["meta"]["options"]["language"], plain["meta"]["options"]["language"]) == ("en", None)
    assert own["meta"]["audio_sha256"] == plain["meta"]["audio_sha256"]
    shown = bare_project.invoke("show", "calls/own.opus").stdout
    assert "language: en, prompt: A speech of 1961." in shown
    assert plain["meta"]["audio_sha256"] in shown
    (folder / "wrong.opus.options.yaml").write_text("language: en\n")
    assert bare_project.invoke("run", str(folder), STT_LANGUAGE="auto").returncode == 0
    assert bare_project.read_states() == {"done": 4}, "the delivery with wrong options is the corrected one now"


def test_a_name_that_is_taken_by_another_file_is_refused_and_nothing_is_overwritten(bare_project: Project) -> None:
    bare_project.raw.mkdir(parents=True)
    (bare_project.raw / "silence.wav").write_bytes(b"somebody else's recording")
    refused = bare_project.invoke("run", str(SAMPLES / "silence.wav"))
    assert refused.returncode == 2
    assert "would overwrite" in refused.stderr
    assert (bare_project.raw / "silence.wav").read_bytes() == b"somebody else's recording"


def test_a_refused_file_is_named_and_the_other_arguments_are_processed(bare_project: Project) -> None:
    bare_project.raw.mkdir(parents=True)
    (bare_project.raw / "taken.wav").write_bytes((SAMPLES / "silence.wav").read_bytes()[:-2])
    (bare_project.workdir / "taken.wav").write_bytes(b"others")
    result = bare_project.invoke("run", "taken.wav", str(SAMPLES / "silence.wav"))
    assert result.returncode == 3, result.stderr
    assert "Not taken in: " in result.stdout
    assert "taken.wav would overwrite" in result.stdout.replace("\n", "")
    assert bare_project.read_states() == {"done": 2}
    missing = bare_project.invoke("run", str(SAMPLES / "jfk.opus"), "nowhere.wav")
    assert missing.returncode == 2
    assert bare_project.read_states() == {"done": 2}, "a misspelled argument is refused before anything is copied"


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "sentence"),
    [
        (["run", "nowhere.wav"], {}, 2, "nowhere.wav does not exist"),
        (["run", "--batch", "batch-x"], {}, 2, "There is no batch 'batch-x'"),
        (["run"], {"STT_DEVICE": "gpu"}, 2, "STT_DEVICE='gpu' is not allowed"),
        (["run"], {"STT_STORE_URL": "ftp://x"}, 2, "No store is known for 'ftp://x'"),
        (["run"], {"STT_MODEL": "gigantic"}, 2, "gigantic"),
        (["run"], {"STT_MODEL": "silero-vad-v6"}, 2, "silero-vad-v6 is a voice-activity detector, and a Whisper model"),
    ],
)
def test_a_user_error_gives_a_sentence_and_an_exit_code(
    bare_project: Project, arguments: list[str], variables: dict[str, str], code: int, sentence: str
) -> None:
    check_refusal(bare_project, arguments, variables, code, sentence)


def test_a_missing_gpu_fails_the_step_and_the_cpu_is_not_used_instead(bare_project: Project) -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("a GPU is here")
    failed = bare_project.invoke("run", str(SAMPLES / "jfk.opus"), STT_DEVICE="cuda")
    assert failed.returncode == 1
    assert "none is visible here" in failed.stderr
    assert bare_project.read_states() == {"normalized": 1}
    assert bare_project.invoke("run").returncode == 0
    assert bare_project.read_states() == {"done": 1}
