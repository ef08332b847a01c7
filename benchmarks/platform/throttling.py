"""Whether a CPU limit stopped the engine: the verdict over counters and latencies. Pure.

Only the kernel's counters, of periods in which a group had used up its quota, show throttling. Latency does not: threads that share
a core are slow without being throttled, and a throttled group on idle cores can be as fast as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from speech.machine.cgroups import THROTTLED_SHARE, CpuCounters

ThrottlingVerdict = Literal["throttled", "oversubscribed", "clear"]

OVERSUBSCRIBED_SLOWDOWN = 2.0
"""Against one thread: from here on latency confirms that throttling hurts, or, without throttling, tells of too many threads."""


def judge_throttling(counters: CpuCounters | None, slowdown: float) -> ThrottlingVerdict:
    """The verdict on one run.

    Args:
        counters: Of the limit in force, over the run; None without a limit, where nothing can be throttled.
        slowdown: Mean latency against that of one thread.
    """
    if counters is not None and counters.share >= THROTTLED_SHARE:
        return "throttled"
    return "oversubscribed" if slowdown > OVERSUBSCRIBED_SLOWDOWN else "clear"


def explain_verdicts(verdicts: Sequence[tuple[int, ThrottlingVerdict, float, CpuCounters | None]]) -> str:
    """One or more sentences over all thread counts, each given as threads, verdict, slowdown and counters."""
    sentences = []
    for threads, verdict, slowdown, counters in verdicts:
        if verdict == "throttled" and counters is not None:
            effect = (
                f"and a request takes {slowdown:.1f} times as long as with one"
                if slowdown > OVERSUBSCRIBED_SLOWDOWN
                else f"though a request takes only {slowdown:.2f} times as long as with one"
            )
            sentences.append(
                f"Throttled with {_threads(threads)}: the kernel stopped it in {counters.throttled} of {counters.periods} periods "
                f"({counters.share:.0%}), for {counters.throttled_s:.1f} s of CPU time in all, "
                + (f"{effect}." if threads > 1 else "even alone.")
            )
        elif verdict == "oversubscribed":
            sentences.append(
                f"Oversubscribed with {_threads(threads)}: a request takes {slowdown:.1f} times as long as with one, and the "
                "kernel did not stop it: the threads wait for each other and for the core."
            )
    if not sentences:
        counted = any(counters is not None for _, _, _, counters in verdicts)
        finding = (
            "the kernel counted no throttling worth naming" if counted else "no quota is in force that could throttle"
        )
        return f"Clear: {finding}, and no number of threads doubles the latency."
    return " ".join(sentences)


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"
