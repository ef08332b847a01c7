"""Times the ticks of the sensor on a bucket and prints the figures as JSON; ``benchmarks.arrivals`` shows them.

The planner and a real ledger (SQLite) on a generated listing. Where ``STT_STORE_URL`` names a bucket, a real server too: 10,000
empty objects are put below a prefix of their own there, listed, and removed again.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from recordings.arrivals import delivery_of
from recordings.batches import BatchLimits
from recordings.bucket import BucketStore
from recordings.ingest import form_batches, look_in_bucket
from recordings.ledger import Ledger
from recordings.names import Folder
from recordings.objects import Objects
from recordings.skimming import SkimCursor, SkimLimits
from recordings.store import DirectoryStore, Entry, Ignored
from recordings.workspace import Workspace
from stt_orchestration.sensors import RUNS_PER_TICK


class _Listed(DirectoryStore):
    """A store that lists what was generated, as fast as a list is read."""

    lists_whole = True

    def __init__(self, root: Path, entries: Sequence[Entry]) -> None:
        super().__init__(root)
        self._entries = entries
        self._places = {entry.name: i for i, entry in enumerate(entries)}

    def inputs(self, after: str = "") -> Iterator[Entry | Ignored]:
        """See ``Store.inputs``."""
        begin = self._places[after] + 1 if after else 0
        return iter(self._entries[begin:] if begin else self._entries)


def measure(known: int = 1_000_000, new: int = 100_000) -> dict[str, Any]:
    """Fill ledgers by the sensor's own ticks, and time them.

    Returns:
        ``known`` and ``new``; ``steady`` and ``taking``: seconds of processor time of ticks with everything known, and of those in
        which the new objects are registered and the first become batches; ``served``: seconds by the clock with a real server
        (``listing`` once, ticks that take everything, ticks with everything known), or None.
    """
    everything = _generated(known)
    with tempfile.TemporaryDirectory() as folder:
        taking = _ticks_until_all(_workspace(Path(folder, "new"), everything[:new]), new, time.process_time)
        workspace = _workspace(Path(folder, "known"), everything)
        _note(workspace.ledger.address, everything)
        newest = everything[-1].modified
        cursor = SkimCursor(since=newest, began_with=newest, newest=newest)  # as after two walks
        steady = []
        for _ in range(20):
            began = time.process_time()
            cursor = _tick(workspace, cursor)
            steady.append(time.process_time() - began)
        workspace.ledger.close()
        served = _served(Path(folder, "served"))
    return {"known": known, "new": new, "steady": steady, "taking": taking, "served": served}


def _generated(count: int) -> list[Entry]:
    """Uploads of a day, a second apart or less, in the order of their names."""
    begin = time.time() - 86_400
    return [
        Entry(f"2026/11/{i // 1000:05}/call-{i:08}.mp3", 480_000, f"{i:032x}", begin + 80_000 * i / count)
        for i in range(count)
    ]


def _note(address: str, entries: Sequence[Entry]) -> None:
    """Insert rows as if they had been registered and batched long ago; directly in SQL, as the ledger would take minutes."""
    columns = "id, name, size, version, attempt, flags, placed, batch_key, received_at"
    engine = sa.create_engine(address)
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA cache_size = -500000")  # KiB: the indexes of a million rows
        for begin in range(0, len(entries), 50_000):
            some = [delivery_of(entry) for entry in entries[begin : begin + 50_000]]
            rows = [(d.id, d.name, d.size, d.version, 0, "{}", "{}", "long-ago", 0.0) for d in some]
            connection.exec_driver_sql(f"INSERT INTO deliveries ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608
    engine.dispose()


def _workspace(root: Path, entries: Sequence[Entry]) -> Workspace:
    root.mkdir()
    return Workspace(_Listed(root, entries), Ledger.open(f"sqlite:///{root / 'ledger.db'}"))


def _tick(workspace: Workspace, cursor: SkimCursor) -> SkimCursor:
    """One tick of the sensor, without Dagster's own work on its result."""
    found = look_in_bucket(workspace, cursor, SkimLimits())
    form_batches(workspace, BatchLimits(), "benchmark", RUNS_PER_TICK)
    return found.cursor


def _ticks_until_all(workspace: Workspace, count: int, clock: Callable[[], float]) -> list[float]:
    seconds = []
    cursor = SkimCursor()
    while workspace.ledger.size() < count:
        began = clock()
        cursor = _tick(workspace, cursor)
        seconds.append(clock() - began)
    return seconds


def _served(root: Path, count: int = 10_000) -> dict[str, Any] | None:
    url = os.environ.get("STT_STORE_URL", "")
    if not url.startswith("s3://"):
        return None
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    own = "/".join(filter(None, [prefix.strip("/"), f"benchmark-{secrets.token_hex(4)}"]))
    objects = Objects(bucket)
    root.mkdir()
    nothing = root / "nothing"
    nothing.touch()
    keys = [f"{own}/{Folder.RAW}/{i // 1000:03}/{i:08}.mp3" for i in range(count)]
    store = BucketStore(objects, own)
    with ThreadPoolExecutor(16) as pool:
        try:
            list(pool.map(lambda key: objects.upload(nothing, key), keys))
            began = time.perf_counter()
            listed = sum(1 for _ in store.inputs())
            listing = time.perf_counter() - began
            workspace = Workspace(store, Ledger.open(f"sqlite:///{root / 'ledger.db'}"))
            first = _ticks_until_all(workspace, count, time.perf_counter)
            cursor, steady = SkimCursor(), []
            for _ in range(7):
                began = time.perf_counter()
                cursor = _tick(workspace, cursor)
                steady.append(time.perf_counter() - began)
            workspace.ledger.close()
        finally:
            list(pool.map(objects.remove, keys))
    # The first two walks ask about everything.
    return {"objects": listed, "listing": listing, "taking": first, "steady": steady[2:]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure()))
