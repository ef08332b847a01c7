"""Times the ticks of the sensor on a bucket and prints the figures as JSON; ``benchmarks.lab.arrivals`` shows them.

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

from recordings.batches import BatchLimits
from recordings.intake.bucket_scan import BucketScanCursor, BucketScanLimits
from recordings.intake.intake import RUNS_PER_TICK, form_batches, scan_bucket
from recordings.intake.settling import to_delivery
from recordings.layout import Folder
from recordings.ledger.ledger import Ledger
from recordings.storage.base import IgnoredEntry, InputEntry
from recordings.storage.directory import DirectoryStore
from recordings.storage.s3 import BucketStore
from recordings.storage.s3_client import S3Client
from recordings.workspace import Workspace


class _GeneratedStore(DirectoryStore):
    """A store that lists generated entries from memory, so that listing costs almost nothing."""

    has_atomic_writes = True

    def __init__(self, root: Path, entries: Sequence[InputEntry]) -> None:
        super().__init__(root)
        self._entries = entries
        self._places = {entry.name: i for i, entry in enumerate(entries)}

    def list_inputs(self, after: str = "") -> Iterator[InputEntry | IgnoredEntry]:
        """See ``Store.list_inputs``."""
        begin = self._places[after] + 1 if after else 0
        return iter(self._entries[begin:] if begin else self._entries)


def measure(known: int = 1_000_000, new: int = 100_000) -> dict[str, Any]:
    """Fill ledgers by the sensor's own ticks, and time them.

    Returns:
        ``known`` and ``new``; ``steady`` and ``taking``: seconds of processor time of ticks with everything known, and of those in
        which the new objects are registered and the first become batches; ``served``: seconds by the clock with a real server
        (``listing`` once, ticks that take everything, ticks with everything known), or None.
    """
    entries = _generate_entries(known)
    with tempfile.TemporaryDirectory() as folder:
        taking = _ticks_until_all(_create_workspace(Path(folder, "new"), entries[:new]), new, time.process_time)
        workspace = _create_workspace(Path(folder, "known"), entries)
        _insert_known_deliveries(workspace.ledger.address, entries)
        newest = entries[-1].modified
        cursor = BucketScanCursor(since=newest, began_with=newest, newest=newest)  # as after two scans
        steady = []
        for _ in range(20):
            began = time.process_time()
            cursor = _tick(workspace, cursor)
            steady.append(time.process_time() - began)
        workspace.ledger.close()
        served = _measure_real_server(Path(folder, "served"))
    return {"known": known, "new": new, "steady": steady, "taking": taking, "served": served}


def _generate_entries(count: int) -> list[InputEntry]:
    """Uploads of one day in the order of their names, at most a second apart."""
    begin = time.time() - 86_400
    return [
        InputEntry(f"2026/11/{i // 1000:05}/call-{i:08}.mp3", 480_000, f"{i:032x}", begin + 80_000 * i / count)
        for i in range(count)
    ]


def _insert_known_deliveries(address: str, entries: Sequence[InputEntry]) -> None:
    """Insert rows as if they had been registered and batched long ago; directly in SQL, as the ledger would take minutes."""
    columns = "id, name, size, version, attempt, flags, placed, batch_key, received_at"
    engine = sa.create_engine(address)
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA cache_size = -500000")  # KiB: the indexes of a million rows
        for begin in range(0, len(entries), 50_000):
            deliveries = [to_delivery(entry) for entry in entries[begin : begin + 50_000]]
            rows = [(d.id, d.name, d.size, d.version, 0, "{}", "{}", "long-ago", 0.0) for d in deliveries]
            connection.exec_driver_sql(f"INSERT INTO deliveries ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608
    engine.dispose()


def _create_workspace(root: Path, entries: Sequence[InputEntry]) -> Workspace:
    root.mkdir()
    return Workspace(_GeneratedStore(root, entries), Ledger.open(f"sqlite:///{root / 'ledger.db'}"))


def _tick(workspace: Workspace, cursor: BucketScanCursor) -> BucketScanCursor:
    """One tick of the sensor, without Dagster's own work on its result."""
    result = scan_bucket(workspace, cursor, BucketScanLimits())
    form_batches(workspace, BatchLimits(), "benchmark", RUNS_PER_TICK)
    return result.cursor


def _ticks_until_all(workspace: Workspace, count: int, clock: Callable[[], float]) -> list[float]:
    seconds = []
    cursor = BucketScanCursor()
    while workspace.ledger.count_totals().inputs < count:
        began = clock()
        cursor = _tick(workspace, cursor)
        seconds.append(clock() - began)
    return seconds


def _measure_real_server(root: Path, count: int = 10_000) -> dict[str, Any] | None:
    url = os.environ.get("STT_STORE_URL", "")
    if not url.startswith("s3://"):
        return None
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    test_prefix = "/".join(filter(None, [prefix.strip("/"), f"benchmark-{secrets.token_hex(4)}"]))
    objects = S3Client(bucket)
    root.mkdir()
    empty_file = root / "nothing"
    empty_file.touch()
    keys = [f"{test_prefix}/{Folder.RAW}/{i // 1000:03}/{i:08}.mp3" for i in range(count)]
    store = BucketStore(objects, test_prefix)
    with ThreadPoolExecutor(16) as pool:
        try:
            list(pool.map(lambda key: objects.upload(empty_file, key), keys))
            began = time.perf_counter()
            listed = sum(1 for _ in store.list_inputs())
            listing_s = time.perf_counter() - began
            workspace = Workspace(store, Ledger.open(f"sqlite:///{root / 'ledger.db'}"))
            taking = _ticks_until_all(workspace, count, time.perf_counter)
            cursor, steady = BucketScanCursor(), []
            for _ in range(7):
                began = time.perf_counter()
                cursor = _tick(workspace, cursor)
                steady.append(time.perf_counter() - began)
            workspace.ledger.close()
        finally:
            list(pool.map(objects.remove, keys))
    # The first two scans ask about everything.
    return {"objects": listed, "listing": listing_s, "taking": taking, "steady": steady[2:]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure()))
