"""Times what ticks and commands ask of a ledger with a long history, and prints the figures as JSON.

``benchmarks.lab.history`` shows them. ``python -m recordings.intake.history_timing ROWS [URL]``: the ledger is made in a temporary
folder, or in the empty database that the URL names.
"""

from __future__ import annotations

import hashlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice, pairwise, repeat
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from recordings.batches import BatchLimits, Delivery
from recordings.intake.intake import find_unattended_batches, form_batches
from recordings.intake.reprocess import CurrentOptions, plan
from recordings.ledger.ledger import Ledger
from recordings.ledger.rows import Recipes
from recordings.states import PIPELINE, State
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from recordings.storage.directory import DirectoryStore
from recordings.workspace import Workspace
from speech.transcript import Options

_BATCH = 32  # deliveries of a batch
_BROKEN_EVERY = 1000  # one of so many is quarantined
_OPEN = 20 * _BATCH  # the newest deliveries, which are at work
_FIRST_DAY = 1_767_225_600.0  # 2026-01-01, seconds since the epoch
_PER_DAY = 100_000
_TIMES = 9  # each question is asked so often; the median counts
_OPTIONS = CurrentOptions(NormalizeOptions(), "0" * 64, Options(language="en"), EnrichOptions())

Row = tuple[Any, ...]


def measure(rows: int, url: str | None) -> dict[str, Any]:
    """Fill a ledger and time it.

    Returns:
        ``rows``, ``database``, ``bytes`` (size of the database), ``filled_s``, and ``seconds``: question -> median seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.open(url or f"sqlite:///{folder}/ledger.db")
        began = time.perf_counter()
        fill(ledger, rows, _OPTIONS.recipes)
        filled_s = time.perf_counter() - began
        try:
            seconds = time_questions(Workspace(DirectoryStore(Path(folder, "data")), ledger), rows)
            return {
                "rows": rows,
                "database": ledger.address.partition(":")[0],
                "bytes": get_size(ledger),
                "filled_s": filled_s,
                "seconds": seconds,
            }
        finally:
            ledger.close()


def time_questions(workspace: Workspace, rows: int) -> dict[str, float]:
    """Seconds of each question by the clock, the median of some. Those that write are undone or leave the history as it is."""
    ledger = workspace.ledger
    old = _name(rows // 3)
    questions: dict[str, Callable[[], Any]] = {
        "tick: nothing waits, 20 batches at work": lambda: _tick(workspace),
        "stt status": lambda: (
            ledger.count_totals(),
            ledger.count_open_batches(),
            ledger.count_waiting(),
            ledger.list_broken(20),
        ),
        "stt run: which were made under other settings": lambda: plan(workspace, _OPTIONS, BatchLimits(), "timing"),
        "newest 20": lambda: ledger.list_newest(20),
        "broken 20": lambda: ledger.list_broken(20),
        "find a name": lambda: ledger.find(old),
        "find a part that one old name has": lambda: ledger.find(old[13:-4]),
        "find a part that all names have": lambda: ledger.find("call"),
        "find a part that no name has": lambda: ledger.find("call-99999999"),
        "find the beginning of a sha256": lambda: ledger.find(_sha256(rows // 3)[:12]),
    }
    numbers = count()
    questions["register a delivery"] = lambda: _register(ledger, next(numbers))
    questions["a recording through all states"] = lambda: _take_through(ledger, next(numbers))
    seconds = {question: take_time(ask, _TIMES) for question, ask in questions.items()}
    seconds["audit of the counts"] = take_time(ledger.audit_counts, 1)
    return seconds


def _tick(workspace: Workspace) -> None:
    form_batches(workspace, BatchLimits(), "timing", 20)
    live = set(workspace.ledger.list_open_batches(time.time(), 20))
    find_unattended_batches(workspace, live, lambda _: {}, 20)


def _register(ledger: Ledger, number: int) -> Delivery:
    delivery = Delivery(f"new/call-{number}.mp3", 480_000, str(number))
    ledger.register([delivery])
    return delivery


def _take_through(ledger: Ledger, number: int) -> None:
    """A new recording through all states: six transactions."""
    delivery = _register(ledger, number)
    ledger.claim(f"timing-{number}", [delivery], "timing")
    sha256 = hashlib.sha256(delivery.name.encode()).hexdigest()
    ledger.assign_recording(delivery, sha256, delivery.size)
    for source, target in pairwise(PIPELINE):
        ledger.transition(sha256, source, target, enriched_key="0" * 64)


def take_time(ask: Callable[[], Any], times: int) -> float:
    """Seconds of a call by the clock, the median of so many."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _name(i: int) -> str:
    day, month = i // _PER_DAY % 28 + 1, i // _PER_DAY // 28 % 12 + 1
    return f"2026/{month:02}/{day:02}/call-{i * 7919 % 100_000_000:08}.mp3"


def _sha256(i: int) -> str:
    return hashlib.sha256(str(i).encode()).hexdigest()


def fill(ledger: Ledger, rows: int, recipes: Recipes) -> None:
    """Write a history past the ledger: finished recordings, a few quarantined, and the newest at work.

    Args:
        ledger: An empty one.
        rows: How many deliveries.
        recipes: Under which the finished ones are up to date.
    """
    write = copy_to_postgres if ledger.address.startswith("postgresql") else _insert_into_sqlite
    engine = sa.create_engine(ledger._engine.url)  # noqa: SLF001 - with the password, which the address hides
    with engine.begin() as connection, _without_indexes(connection):
        write(connection, "recordings", _RECORDING_COLUMNS, (_make_recording(i, rows, recipes) for i in range(rows)))
        write(connection, "deliveries", _DELIVERY_COLUMNS, (_make_delivery(i, rows) for i in range(rows)))
        batches = range(0, rows, _BATCH)
        write(connection, "batches", ("key", "origin", "made_at"), ((_batch(i), "timing", _date(i)) for i in batches))
        members = ((_batch(i), i % _BATCH, _id(i)) for i in range(rows))
        write(connection, "batch_members", ("batch_key", "position", "delivery_id"), members)
        of_state = "SELECT COUNT(*) FROM deliveries WHERE state = counts.name OR counts.name = 'inputs'"
        connection.exec_driver_sql(f"UPDATE counts SET deliveries = ({of_state})")  # noqa: S608 - a constant
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")  # as its daemon does by itself
    engine.dispose()


@contextmanager
def _without_indexes(connection: sa.Connection) -> Iterator[None]:
    """Take away what is kept for each row, and make it anew at the end, which is faster."""
    is_postgres = connection.dialect.name == "postgresql"
    query = (
        "SELECT 'INDEX', indexname, indexdef FROM pg_indexes WHERE indexname LIKE 'ix_%%' AND schemaname = current_schema()"
        if is_postgres
        else "SELECT type, name, sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
    )
    kept = connection.exec_driver_sql(query).all()
    for kind, name, _ in kept:
        connection.exec_driver_sql(f"DROP {kind} {name}")
    yield
    if not is_postgres:
        connection.exec_driver_sql("INSERT INTO delivery_names (name) SELECT name FROM deliveries")
    for _, _, statement in kept:
        connection.exec_driver_sql(statement)


def _state(i: int, rows: int) -> State:
    if i >= rows - _OPEN:
        return State.NORMALIZED
    return State.QUARANTINED if i % _BROKEN_EVERY == 0 else State.DONE


def _date(i: int) -> float:
    return _FIRST_DAY + i * 86_400 / _PER_DAY


def _id(i: int) -> str:
    return f"{i * 0x9E3779B97F4A7C15 % 2**64:032x}"


def _batch(i: int) -> str:
    return f"batch-{i // _BATCH:012}"


_RECORDING_COLUMNS = (
    *(
        "sha256",
        "name",
        "size",
        "state",
        "kind",
        "reason",
        "flags",
        "step_flags",
        "seconds",
        "channels",
        "speech_seconds",
    ),
    *("language", "words", "preview", "normalized_key", "transcript_key", "enriched_key", "timings", "changed_at"),
    *("normalized_recipe", "transcript_recipe", "enriched_recipe"),
)


def _make_recording(i: int, rows: int, recipes: Recipes) -> Row:
    sha256, state = _sha256(i), _state(i, rows)
    wrong = ("damaged", "It cannot be decoded.") if state is State.QUARANTINED else (None, None)
    said = ("en", 60, "What was said at the beginning of this call, as tables show it ...")
    keys = (sha256, sha256[::-1], _key(sha256))
    timings = '{"raw": 0.1, "normalized": 0.2, "transcript": 1.5, "enriched": 0.1}'
    facts = (sha256, _name(i), 480_000, str(state), *wrong, "{}", "{}", 30.0, 1, 25.0)
    return (*facts, *said, *keys, timings, _date(i) + 600, *recipes)


def _key(sha256: str) -> str:
    return f"{sha256[32:]}{sha256[:32]}"


_DELIVERY_COLUMNS = (
    "id",
    "name",
    "size",
    "version",
    "sha256",
    "batch_key",
    "attempt",
    "flags",
    "placed",
    "received_at",
    "state",
    "open",
)


def _make_delivery(i: int, rows: int) -> Row:
    state, sha256 = _state(i, rows), _sha256(i)
    placed = json.dumps({"enriched": _key(sha256)}) if state is State.DONE else "{}"
    facts = (_id(i), _name(i), 480_000, f"{i:032x}", sha256, _batch(i), 0, "{}", placed, _date(i), str(state))
    return (*facts, state is State.NORMALIZED)


def _insert_into_sqlite(connection: sa.Connection, table: str, columns: tuple[str, ...], rows: Iterator[Row]) -> None:
    connection.exec_driver_sql("PRAGMA cache_size = -2000000")  # KiB: the keys of millions of rows
    marks = ", ".join(repeat("?", len(columns)))
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
    cursor = connection.connection.cursor()
    while part := list(islice(rows, 50_000)):
        cursor.executemany(statement, part)


def copy_to_postgres(connection: sa.Connection, table: str, columns: tuple[str, ...], rows: Iterator[Row]) -> None:
    """Write rows of JSON texts, numbers and texts without tabs into a table; None is null."""
    cursor = connection.connection.cursor()
    while part := list(islice(rows, 50_000)):
        lines = ("\t".join("\\N" if value is None else str(value) for value in row) for row in part)
        cursor.copy_expert(f"COPY {table} ({', '.join(columns)}) FROM STDIN", io.StringIO("\n".join(lines) + "\n"))


def get_size(ledger: Ledger) -> int:
    """Bytes of the database."""
    with ledger._read() as connection:  # noqa: SLF001
        if connection.dialect.name == "postgresql":
            return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar() or 0)
        pages, page = (connection.exec_driver_sql(f"PRAGMA {each}").scalar() for each in ("page_count", "page_size"))
        return int(pages or 0) * int(page or 0)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)))
