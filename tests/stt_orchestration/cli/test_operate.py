"""``stt fetch-model``; the other commands of this module are tested with the code that they call."""

from __future__ import annotations

from tests.project import Project
from tests.stt_orchestration.cli.conftest import check_refusal


def test_the_catalogue_can_be_listed(bare_project: Project) -> None:
    listed = bare_project.invoke("fetch-model", "--list")
    assert listed.returncode == 0
    assert {"base", "tiny.en", "large-v3"} <= {line.split()[0] for line in listed.stdout.splitlines()}


def test_without_a_name_no_model_is_fetched(bare_project: Project) -> None:
    check_refusal(bare_project, ["fetch-model"], {}, 2, "Name a model")
