"""``stt fetch-model``; the other commands of this module are tested with the code that they call."""

from __future__ import annotations

from pathlib import Path

from tests.project import Project
from tests.stt_orchestration.cli.conftest import check_refusal


def test_the_catalogue_can_be_listed(bare_project: Project) -> None:
    listed = bare_project.invoke("fetch-model", "--list")
    assert listed.returncode == 0
    whisper, others = listed.stdout.split("\nFor other work than transcribing; STT_MODEL does not take these:\n")
    assert {"base", "tiny.en", "large-v3"} <= {line.split()[0] for line in whisper.splitlines()}
    assert [line.split()[0] for line in others.splitlines()] == [
        "silero-vad-v6",
        "pyannote-segmentation-3.0",
        "wespeaker-resnet34",
    ]
    assert "speaker embedding model, CC BY 4.0: WeSpeaker, https://" in others


def test_weights_of_any_kind_can_be_fetched(bare_project: Project) -> None:
    fetched = bare_project.invoke("fetch-model", "silero-vad-v6")
    assert fetched.returncode == 0, fetched.stderr
    assert "served by the installed package, 1 file verified" in fetched.stdout
    assert (Path(fetched.stdout.splitlines()[-1]) / "silero_vad_v6.onnx").is_file()
    check_refusal(bare_project, ["fetch-model", "wespeeker"], {}, 2, "transcribing: silero-vad-v6, pyannote")


def test_without_a_name_no_model_is_fetched(bare_project: Project) -> None:
    check_refusal(bare_project, ["fetch-model"], {}, 2, "Name a model")
