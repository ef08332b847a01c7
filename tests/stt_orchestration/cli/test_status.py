"""Errors of ``stt status``, ``stt show`` and ``stt retry``; what they show is tested in test_run.py."""

from __future__ import annotations

import pytest

from tests.project import Project
from tests.stt_orchestration.cli.conftest import check_refusal


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "sentence"),
    [
        (["status"], {"STT_LEDGER_URL": "sqlite:////proc/none/ledger.db"}, 1, "/proc/none"),
        (["show", "nothing"], {}, 2, "No recording has 'nothing'"),
        (["retry"], {}, 2, "Name recordings, or give --all"),
        (["retry", "nothing"], {}, 2, "No quarantined or failed recording is called 'nothing'"),
    ],
)
def test_a_user_error_gives_a_sentence_and_an_exit_code(
    bare_project: Project, arguments: list[str], variables: dict[str, str], code: int, sentence: str
) -> None:
    check_refusal(bare_project, arguments, variables, code, sentence)
