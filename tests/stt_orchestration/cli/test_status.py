"""``stt status``, ``stt show`` and ``stt retry`` where they are refused; what they show is proven with the run that made it."""

from __future__ import annotations

import pytest

from tests.project import Project
from tests.stt_orchestration.cli.conftest import check_refusal


@pytest.mark.parametrize(
    ("arguments", "more", "code", "sentence"),
    [
        (["status"], {"STT_LEDGER_URL": "sqlite:////proc/none/ledger.db"}, 1, "/proc/none"),
        (["show", "nothing"], {}, 2, "No recording has 'nothing'"),
        (["retry"], {}, 2, "Name recordings, or give --all"),
        (["retry", "nothing"], {}, 2, "No quarantined or failed recording is called 'nothing'"),
    ],
)
def test_what_a_person_can_mend_is_a_sentence_and_an_exit_code(
    own: Project, arguments: list[str], more: dict[str, str], code: int, sentence: str
) -> None:
    check_refusal(own, arguments, more, code, sentence)
