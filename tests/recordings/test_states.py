"""The transitions between the states of a recording."""

from __future__ import annotations

from itertools import pairwise

from recordings.states import PIPELINE, TRANSITIONS, State


def test_every_good_state_leads_to_done_and_every_end_can_be_armed_again() -> None:
    for here, following in pairwise(PIPELINE):
        assert (here, following) in TRANSITIONS
    for end in (State.QUARANTINED, State.FAILED):
        assert {target for source, target in TRANSITIONS if source is end} == {State.RECEIVED}
