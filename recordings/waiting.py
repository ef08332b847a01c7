"""What waits and asks again, beside tenacity's own: saying so, but not at every attempt."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import RetryCallState


def log_every(interval_s: float, log: Callable[[RetryCallState], None]) -> Callable[[RetryCallState], None]:
    """A ``before_sleep`` for ``tenacity.Retrying``: speaks before the first wait, and then at most once per interval.

    Args:
        interval_s: Seconds between two messages.
        log: Says what is waited for.
    """
    logged_at = float("-inf")

    def before_sleep(state: RetryCallState) -> None:
        nonlocal logged_at
        waited_s = state.seconds_since_start or 0.0
        if waited_s - logged_at >= interval_s:
            log(state)
            logged_at = waited_s

    return before_sleep
