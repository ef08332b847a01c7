"""How many recordings a step works on at once: as many as its workers, and never more than fit into the memory that is free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, Lock

from speech.machine.resources import FreeMemory, format_size


class MemoryGate:
    """Lets work begin while all that is at work fits into memory, in the order of arrival. Threads share it.

    Work that alone needs more than there is waits until nothing else is at work, and then begins.
    """

    def __init__(self, usable_bytes: int | None = None) -> None:
        """Open it for so many bytes; None: for everything."""
        self._usable_bytes = usable_bytes
        self.is_limited = usable_bytes is not None
        self._held: list[int] = []
        self._changed = Condition()
        self._turn = Lock()
        self.most = 0
        """Most that was at work at once."""

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Wait until so many bytes are free, and hold them while the block runs."""
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._fits(size))
            self._held.append(size)
            self.most = max(self.most, len(self._held))
        try:
            yield
        finally:
            with self._changed:
                self._held.remove(size)
                self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return not self._held or self._usable_bytes is None or sum(self._held) + size <= self._usable_bytes


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many recordings of a step are worked on at once.

    Attributes:
        workers: At most so many.
        gate: Holds back what does not fit into memory beside the others.
        decided: What memory decided, as a sentence; None where it decides nothing.
        warning: What does not fit at all, as a sentence with need and remedy; None where all fits.
    """

    workers: int
    gate: MemoryGate = field(default_factory=MemoryGate)
    decided: str | None = None
    warning: str | None = None


def plan_concurrency(
    wanted: int, sizes: Sequence[int], usable_bytes: int, free: FreeMemory, kind: str = ""
) -> Concurrency:
    """How many recordings can be worked on at once.

    Args:
        wanted: As many as the CPUs can work on.
        sizes: Estimated memory of each recording, bytes.
        usable_bytes: What they may use together.
        free: What was found of memory, for the sentences.
        kind: What the recordings are taken for, where that is not known of each.
    """
    largest = sorted(sizes, reverse=True)[:wanted]
    fitting = _count_fitting(largest, usable_bytes)
    if fitting == len(largest):
        return Concurrency(wanted)
    decided = warning = None
    if len(largest) > 1:
        named = f"{kind} recording{'s' if fitting > 1 else ''}" if kind else "of the largest recordings"
        decided = (
            f"Memory decides: {max(1, fitting)} {named} at once in place of {len(largest)}, which would need "
            f"about {format_size(sum(largest))}; {format_size(usable_bytes)} may be used. {free.sentence}"
        )
    if not fitting:
        named = f"A {kind} recording" if kind else "The largest recording"
        warning = (
            f"{named} needs about {format_size(largest[0])} of memory, and {format_size(usable_bytes)} may be used. "
            f"{free.sentence} It is tried alone, and the step may be killed for memory. Give the step more memory."
        )
    return Concurrency(wanted, MemoryGate(usable_bytes), decided, warning)


def _count_fitting(sizes: Sequence[int], usable_bytes: int) -> int:
    for count, size in enumerate(sizes):
        usable_bytes -= size
        if usable_bytes < 0:
            return count
    return len(sizes)
