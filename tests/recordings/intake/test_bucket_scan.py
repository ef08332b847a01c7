"""Scans of a bucket: limited ticks, and one transcript of each content, also with late and unordered listings."""

from __future__ import annotations

import hashlib
import io
import random
import shutil
import tempfile
import wave
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings.batches import BatchLimits, Delivery
from recordings.intake.bucket_scan import BucketScanCursor, BucketScanLimits, reconcile, scan_recent
from recordings.intake.intake import form_batches, scan_bucket
from recordings.layout import Folder
from recordings.ledger.ledger import Ledger
from recordings.states import State
from recordings.steps import raw
from recordings.storage.base import IgnoredEntry, InputEntry
from recordings.storage.directory import DirectoryStore
from recordings.workspace import Workspace
from tests.recordings.backends import MEMORY_DIR

LIMITS = BucketScanLimits(max_recent=3, max_reconciled=2, margin_s=10.0)
NOW = 1e9


def make_entry(name: str, modified: float, version: str = "1") -> InputEntry:
    return InputEntry(name, 1, version, modified)


def has_no_time_limit() -> bool:
    return False


class KnownIds:
    """Returns the known ids, like a ledger, and records how many ids each call looked up."""

    def __init__(self, entries: Sequence[InputEntry] = ()) -> None:
        self.ids = {Delivery(e.name, e.size, e.version).id for e in entries}
        self.lookups: list[int] = []

    def __call__(self, ids: Sequence[str]) -> set[str]:
        self.lookups.append(len(ids))
        return self.ids & set(ids)


def scan_all(
    listing: Sequence[InputEntry], known: KnownIds, cursor: BucketScanCursor
) -> tuple[list[str], BucketScanCursor]:
    """Scan until nothing is left. Returns the names that arrived, which are known from then on, and the cursor."""
    arrived: list[str] = []
    while True:
        scan = scan_recent([e for e in listing if e.name > cursor.after], known, cursor, LIMITS, NOW, has_no_time_limit)
        arrived += [d.name for d in scan.arrived]
        known.ids |= {d.id for d in scan.arrived}
        cursor = BucketScanCursor.load(scan.cursor.dump())
        if not scan.has_more:
            return arrived, cursor


def test_the_first_scan_takes_everything_in_limited_ticks() -> None:
    known = KnownIds()
    arrived, _ = scan_all([make_entry(f"{i:02}", i) for i in range(10)], known, BucketScanCursor())
    assert arrived == [f"{i:02}" for i in range(10)]
    assert max(known.lookups) == LIMITS.max_recent


def test_old_known_objects_need_no_lookup_and_equal_times_are_looked_up() -> None:
    old = [make_entry(f"{i:02}", i) for i in range(50)]
    known, cursor = KnownIds(), BucketScanCursor()
    for _ in range(2):
        _, cursor = scan_all(old, known, cursor)
    known.lookups.clear()
    same_moment = make_entry("00-new", 49.0 - LIMITS.margin_s)
    too_old = make_entry("01-new", 48.9 - LIMITS.margin_s)
    arrived, _ = scan_all(sorted([*old, same_moment, too_old], key=lambda e: e.name), known, cursor)
    assert arrived == ["00-new"]
    assert sum(known.lookups) == 11 + 1


def test_an_object_that_appears_behind_a_running_scan_is_found_by_the_next() -> None:
    """Although the first scan has seen newer objects, the next one must look this one up."""
    known = KnownIds()
    first = [make_entry(name, 100.0) for name in "bcd"]
    _, cursor = scan_all(first, known, BucketScanCursor())
    _, cursor = scan_all(first, known, cursor)
    scan = scan_recent(
        [*first, make_entry("e", 200.0), make_entry("f", 300.0)],
        known,
        cursor,
        BucketScanLimits(4, 2, 10.0),
        NOW,
        has_no_time_limit,
    )
    known.ids |= {d.id for d in scan.arrived}
    everything = [make_entry("a", 150.0), *first, make_entry("e", 200.0), make_entry("f", 300.0)]
    arrived, cursor = scan_all(everything, known, scan.cursor)
    again, _ = scan_all(everything, known, cursor)
    assert sorted(arrived + again) == ["a", "f"]


def test_an_object_dated_in_the_future_hides_no_other() -> None:
    known = KnownIds()
    future = [make_entry("a", NOW + 1e6)]
    cursor = BucketScanCursor()
    for _ in range(3):
        _, cursor = scan_all(future, known, cursor)
    arrived, _ = scan_all([*future, make_entry("b", NOW)], known, cursor)
    assert arrived == ["b"]


def test_a_tick_out_of_time_is_continued_by_the_next() -> None:
    listing = [make_entry(f"{i:05}", 1.0) for i in range(12_000)]
    known, cursor, ticks = KnownIds(listing), BucketScanCursor(), 0
    limits = BucketScanLimits(max_recent=10**6)
    while True:
        scan = scan_recent([e for e in listing if e.name > cursor.after], known, cursor, limits, NOW, lambda: True)
        cursor, ticks = scan.cursor, ticks + 1
        if not scan.has_more:
            break
    assert sum(known.lookups) == len(listing)
    assert ticks == 4


def test_reconciling_looks_up_everything_and_starts_again() -> None:
    listing = [make_entry(f"{i}", 0.0) for i in range(5)]
    known, cursor, names = KnownIds(listing[:4]), BucketScanCursor(since=1e9), []
    for _ in range(6):
        part = reconcile([e for e in listing if e.name > cursor.reconciled_to], known, cursor, LIMITS)
        cursor = part.cursor
        names += [d.name for d in part.arrived]
    assert names == ["4", "4"]
    assert sum(known.lookups) == 10


@given(st.text() | st.none() | st.just('{"version":1,"since":[]}') | st.just('{"version":1,"else":1}') | st.just("[]"))
def test_a_cursor_that_cannot_be_read_begins_anew(text: str | None) -> None:
    assert BucketScanCursor.load(text) == BucketScanCursor()


@dataclass(frozen=True)
class Upload:
    """An upload of bytes under a name.

    Attributes:
        name, content: Few different ones, so that there are duplicates and overwrites.
        later_s: Seconds since the upload before; 0 gives equal times.
        dated_back_s: How many seconds earlier it is dated.
        late: Number of ticks during which listings show the earlier version.
        ticks: How many ticks follow, and for each whether its listing comes out of order and whether waiting batches are run.
    """

    name: str
    content: int
    later_s: float
    dated_back_s: float
    late: int
    ticks: list[tuple[bool, bool]]


uploads = st.builds(
    Upload,
    st.sampled_from(["a.wav", "a/b.wav", "b.wav", "c.wav", "d/e.wav", "z.wav"]),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.0, 1.0, 100.0]),
    st.sampled_from([0.0, 0.0, 50.0]),
    st.sampled_from([0, 0, 1, 4]),
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=3),
)


def make_wav(content: int) -> bytes:
    with io.BytesIO() as file:
        with wave.open(file, "wb") as writer:
            writer.setparams((1, 2, 16_000, 0, "NONE", ""))
            writer.writeframes(bytes(200 * content))
        return file.getvalue()


SOUNDS = {content: make_wav(content) for content in range(1, 6)}
SHA256 = {content: hashlib.sha256(wav).hexdigest() for content, wav in SOUNDS.items()}


@dataclass
class UnreliableStore(DirectoryStore):
    """A bucket whose listings are late and out of order. No real server can be made to do that. A single object is always current.

    Attributes:
        visible_versions: Name -> its versions: the tick from which listings show it, content, date.
    """

    root: Path
    tick: int = 0
    shuffled: int | None = None
    visible_versions: dict[str, list[tuple[int, int, float]]] = field(default_factory=dict)

    has_atomic_writes = True

    def list_inputs(self, after: str = "") -> Iterator[InputEntry | IgnoredEntry]:
        listed = []
        for name, versions in sorted(self.visible_versions.items()):
            visible = [v for v in versions if v[0] <= self.tick]
            if visible and name > after:
                listed.append(self._entry(name, *visible[-1][1:]))
        if self.shuffled is not None:
            random.Random(self.shuffled).shuffle(listed)  # noqa: S311
        yield from listed

    def find_input(self, name: str) -> InputEntry | None:
        return self._entry(name, *self.visible_versions[name][-1][1:])

    @contextmanager
    def fetch(self, key: str) -> Iterator[Path]:
        path = self.root / "fetched"
        path.write_bytes(SOUNDS[self.visible_versions[key.removeprefix(f"{Folder.RAW}/")][-1][1]])
        yield path

    def _entry(self, name: str, content: int, modified: float) -> InputEntry:
        return InputEntry(name, len(SOUNDS[content]), f"etag-{content}", modified)


@pytest.fixture(scope="module")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    Ledger.open(f"sqlite:///{path}").close()
    return path


def transcribe(workspace: Workspace, key: str, transcripts: Counter[str]) -> None:
    """Run the real raw step; the other steps are replaced by their changes of state."""
    raw.run(workspace, key, lambda line: None)
    for member in workspace.ledger.list_members(key):
        recording = member.recording
        if recording is None or member.superseded or recording.state is not State.RECEIVED:
            continue
        workspace.ledger.transition(recording.sha256, State.RECEIVED, State.NORMALIZED)
        if workspace.ledger.transition(recording.sha256, State.NORMALIZED, State.TRANSCRIBED):
            transcripts[recording.sha256] += 1
        workspace.ledger.transition(recording.sha256, State.TRANSCRIBED, State.DONE)


@settings(max_examples=100)  # of ten deliveries each
@given(
    st.lists(uploads, min_size=10, max_size=10),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([0.0, 5.0]),
)
def test_every_content_is_transcribed_once_and_every_name_has_its_newest_content(
    empty_ledger: Path, upload_sequence: list[Upload], max_recent: int, reconciled: int, margin_s: float
) -> None:
    limits = BucketScanLimits(max_recent, reconciled, margin_s)
    with tempfile.TemporaryDirectory(dir=MEMORY_DIR) as folder:
        copy = shutil.copy(empty_ledger, folder)
        ledger, store = Ledger.open(f"sqlite:///{copy}"), UnreliableStore(Path(folder))
        workspace = Workspace(store, ledger)
        cursor, waiting, transcripts, now = BucketScanCursor(), list[str](), Counter[str](), 1_000.0

        def tick(run: bool) -> bool:
            nonlocal cursor
            store.tick += 1
            scan = scan_bucket(workspace, BucketScanCursor.load(cursor.dump()), limits)
            cursor = scan.cursor
            waiting.extend(form_batches(workspace, BatchLimits(max_recordings=2), "test", max_batches=2))
            while run and waiting:
                transcribe(workspace, waiting.pop(), transcripts)
            return bool(scan.arrived or ledger.list_waiting(1))

        for upload in upload_sequence:
            now += upload.later_s
            visible_from = store.tick + 1 + upload.late
            store.visible_versions.setdefault(upload.name, []).append(
                (visible_from, upload.content, now - upload.dated_back_s)
            )
            for shuffled, run in upload.ticks:
                store.shuffled = store.tick if shuffled else None
                tick(run)
        store.shuffled = None
        store.tick += 10  # from now on listings show everything
        quiet_ticks = 0
        while quiet_ticks < 2 * (
            len(store.visible_versions) // reconciled + 1
        ):  # two full reconciliations that find nothing
            quiet_ticks = 0 if tick(run=True) else quiet_ticks + 1

        totals = ledger.count_totals()
        assert totals.is_consistent
        for name, versions in store.visible_versions.items():
            members = [m for m in ledger.find(name) if m.delivery.name == name and m.recording is not None]
            newest = SHA256[versions[-1][1]]
            assert newest in {m.recording.sha256 for m in members if m.state is State.DONE and m.recording}
            assert newest in {
                m.recording.sha256 for m in ledger.list_current(newest) if m.delivery.name == name and m.recording
            }
            assert transcripts[newest] == 1
        assert set(transcripts.values()) <= {1}
        ledger.close()
