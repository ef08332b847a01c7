"""``stt fetch-model``; the other commands of operation have their proofs with the work behind them."""

from __future__ import annotations

from tests.project import Project
from tests.stt_orchestration.cli.conftest import check_refusal


def test_the_catalogue_can_be_listed(own: Project) -> None:
    listed = own.invoke("fetch-model", "--list")
    assert listed.returncode == 0
    assert {"base", "tiny.en", "large-v3"} <= {line.split()[0] for line in listed.stdout.splitlines()}


def test_without_a_name_no_model_is_fetched(own: Project) -> None:
    check_refusal(own, ["fetch-model"], {}, 2, "Name a model")
