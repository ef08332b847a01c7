"""The report of a step: counts, times, and the state of every delivery."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock

from recordings.ledger.ledger import Ledger
from recordings.ledger.rows import Member
from recordings.states import State
from recordings.steps.concurrency import Concurrency
from speech.machine.cgroups import CpuCounters

log = logging.getLogger("stt")

_LOG_INTERVAL_S = 10.0


@dataclass(frozen=True, slots=True)
class StepReport:
    """The outcome of a step over a batch.

    Attributes:
        step: Name of the step.
        batch_key: Which batch.
        members: Its deliveries as the ledger shows them after the step.
        worked: Recordings this run worked on; the others were finished before.
        audio_seconds: Audio of the recordings worked on.
        wall_seconds: How long the step took, with everything.
        figures: What the step counts beside that, by name.
        throttling: What the kernel counted of the CPU limit meanwhile; None without a limit, or where it was not looked at.
        most_at_once: Most recordings that were in work at the same time.
        memory_decided: What memory decided of it, or what does not fit into it, as a sentence; None where all fits.
    """

    step: str
    batch_key: str
    members: tuple[Member, ...]
    worked: int
    audio_seconds: float
    wall_seconds: float
    figures: Mapping[str, int] = field(default_factory=dict)
    throttling: CpuCounters | None = None
    most_at_once: int = 0
    memory_decided: str | None = None

    @property
    def counts(self) -> dict[State, int]:
        """Deliveries of the batch by state."""
        found = Counter(member.state for member in self.members)
        return {state: found[state] for state in State}

    @property
    def broken(self) -> list[Member]:
        """Deliveries that are quarantined or failed."""
        return [member for member in self.members if member.state in (State.QUARANTINED, State.FAILED)]

    @property
    def realtime_factor(self) -> float | None:
        """Seconds of audio per second of wall time; None when nothing was worked on."""
        return self.audio_seconds / self.wall_seconds if self.worked and self.audio_seconds else None


@dataclass
class ProgressTracker:
    """Counts progress while a step runs and reports it as text. Thread-safe.

    Attributes:
        progress: Takes a line of progress.
        total: Recordings to work on.
        total_seconds: Seconds of their audio, used to estimate the remaining time; None if the work does not depend on the length
            of the audio.
    """

    progress: Callable[[str], None]
    total: int
    total_seconds: float | None = None
    worked: int = 0
    audio_seconds: float = 0.0
    figures: Counter[str] = field(default_factory=Counter)
    concurrency: Concurrency = field(default_factory=lambda: Concurrency(1))
    _partial_seconds: dict[str, float] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    _started_at: float = field(default_factory=time.monotonic)
    _last_logged_at: float = field(default_factory=time.monotonic)

    def note_concurrency(self, concurrency: Concurrency) -> None:
        """Note how many recordings are worked on at once, and log what memory decides of it and what does not fit."""
        self.concurrency = concurrency
        if concurrency.decided:
            self.progress(concurrency.decided)
        if concurrency.warning:
            log.warning("%s", concurrency.warning)

    def add(self, name: str, audio_seconds: float) -> None:
        """Note a recording worked on."""
        with self._lock:
            self.worked += 1
            self.audio_seconds += audio_seconds
            self._partial_seconds.pop(name, None)
        self._log_progress(f"last {name}")

    def add_partial(self, name: str, audio_seconds: float, share: float) -> None:
        """Record partial progress of one recording, because a long one may take hours."""
        with self._lock:
            self._partial_seconds[name] = audio_seconds * share
        self._log_progress(f"{name} at {share:.0%}")

    def add_figures(self, figures: Mapping[str, int]) -> None:
        """Add to the step's own figures."""
        with self._lock:
            self.figures.update(figures)

    def _log_progress(self, where: str) -> None:
        """Report progress, at most every ten seconds."""
        now = time.monotonic()
        with self._lock:
            due = now - self._last_logged_at >= _LOG_INTERVAL_S
            if not due:
                return
            self._last_logged_at = now
            heard = self.audio_seconds + sum(self._partial_seconds.values())
        left = ""
        if self.total_seconds and heard:
            left = (
                f", about {_format_duration((now - self._started_at) * max(0.0, self.total_seconds / heard - 1))} left"
            )
        self.progress(
            f"{self.worked} of {self.total} recordings, {_format_duration(heard)} of audio so far{left}; {where}"
        )

    def make_report(self, step: str, batch_key: str, ledger: Ledger) -> StepReport:
        """The step's report, with the members as they are now."""
        return StepReport(
            step=step,
            batch_key=batch_key,
            members=tuple(ledger.list_members(batch_key)),
            worked=self.worked,
            audio_seconds=self.audio_seconds,
            wall_seconds=time.monotonic() - self._started_at,
            figures=dict(self.figures),
            most_at_once=self.concurrency.gate.most,
            memory_decided=" ".join(filter(None, (self.concurrency.decided, self.concurrency.warning))) or None,
        )


def _format_duration(seconds: float) -> str:
    """Hours, minutes or seconds, whichever reads best."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def shorten_text(text: str, limit: int = 80) -> str:
    """The first words of a text, for a table cell."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1].rsplit(" ", 1)[0] + "…"
