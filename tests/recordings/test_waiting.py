"""Messages while something is waited for."""

from __future__ import annotations

from tenacity import RetryCallState, Retrying

from recordings.waiting import log_every


def test_a_wait_is_reported_at_once_and_then_once_per_interval() -> None:
    reported: list[float] = []
    before_sleep = log_every(60.0, lambda state: reported.append(state.seconds_since_start or 0.0))
    state = RetryCallState(Retrying(), None, (), {})
    for second in range(0, 150, 7):
        state.outcome_timestamp = state.start_time + second
        before_sleep(state)
    assert [round(second) for second in reported] == [0, 63, 126]
