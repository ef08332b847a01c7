"""What a step says when it has ended: figures and a row per delivery, as plain data."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from recordings.ledger import Ledger, Member
from recordings.states import State


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
    """

    step: str
    batch_key: str
    members: tuple[Member, ...]
    worked: int
    audio_seconds: float
    wall_seconds: float

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
class Tally:
    """Counts while a step runs. Threads may share it."""

    say: Callable[[str], None]
    total: int
    worked: int = 0
    audio_seconds: float = 0.0
    _lock: Lock = field(default_factory=Lock)
    _began: float = field(default_factory=time.monotonic)
    _said: float = field(default_factory=time.monotonic)

    def add(self, name: str, audio_seconds: float) -> None:
        """Note a recording worked on, and say how far we are, but not more often than every ten seconds."""
        with self._lock:
            self.worked += 1
            self.audio_seconds += audio_seconds
            now = time.monotonic()
            due = now - self._said >= 10
            self._said = now if due else self._said
        if due:
            self.say(
                f"{self.worked} of {self.total} recordings, {self.audio_seconds / 3600:.2f} h of audio so far; last {name}"
            )

    def report(self, step: str, batch_key: str, ledger: Ledger) -> StepReport:
        """The step's report, with the members as they are now."""
        return StepReport(
            step=step,
            batch_key=batch_key,
            members=tuple(ledger.members(batch_key)),
            worked=self.worked,
            audio_seconds=self.audio_seconds,
            wall_seconds=time.monotonic() - self._began,
        )


def words_of(text: str, limit: int = 80) -> str:
    """The first words of a text, for a table cell."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1].rsplit(" ", 1)[0] + "…"
