"""Decides when an unfinished batch is run again, from its past runs and the current time. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

from recordings.ledger.engine import CLOCKS_DIFFER_S

FIRST_DELAY_S = 120.0
"""Steps already retry within half a minute. If that did not help, a person or a server needs more time."""

LONGEST_DELAY_S = 2 * 3600.0


@dataclass(frozen=True, slots=True)
class PastRuns:
    """The ended runs of a batch that is still unfinished.

    Attributes:
        count: How many there are.
        newest: Id of the newest one.
        ended_at: When that one ended, seconds since the epoch.
        cancelled: A person ended that one.
    """

    count: int = 0
    newest: str = ""
    ended_at: float = 0.0
    cancelled: bool = False


def compute_delay_s(past: PastRuns) -> float:
    """Seconds to wait after the newest run: doubled with every run, up to ``LONGEST_DELAY_S``.

    A cancelled run is followed by the longest delay, so that nobody who stops a batch sees it come back at once.
    """
    if not past.count:
        return 0.0
    if past.cancelled:
        return LONGEST_DELAY_S
    return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(past.count - 1, 30))


def is_due(past: PastRuns, now: float) -> bool:
    """Whether the batch may be asked for again at ``now``, seconds since the epoch.

    It may also when the newest run seems to end later than now: the clock was set back, and how long ago that was is not known.
    """
    waited = now - past.ended_at
    return waited >= compute_delay_s(past) or waited < -CLOCKS_DIFFER_S


def make_run_key(batch_key: str, past: PastRuns) -> str:
    """The key by which the orchestrator knows a request for a run.

    It contains the id of the run before, so each run is followed by one new run at most.
    """
    return f"{batch_key}-after-{past.newest}" if past.count else batch_key
