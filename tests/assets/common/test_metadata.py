"""The metadata of a materialization: a file of any name is one row with one link to its page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import dagster as dg
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from assets.common.metadata import make_metadata
from recordings.batches import BatchLimits, Delivery
from recordings.intake.intake import form_batches
from recordings.layout import PAGE, decode_name, encode_name
from recordings.ledger.ledger import Ledger
from recordings.ledger.rows import Member, Recording
from recordings.states import State
from recordings.steps import enriched, normalized, raw, transcript
from recordings.steps.report import StepReport
from recordings.storage.base import InputEntry
from recordings.storage.directory import DirectoryStore
from recordings.workspace import Workspace
from speech.asr.engine import Engine
from speech.asr.model_pool import EngineConfig
from speech.machine.cgroups import CpuCounters
from speech.models.registry import Weights
from speech.transcript import TranscribeOptions

PAGES = "http://127.0.0.1:3001/pages/"
LINK = re.compile(r'<a href="([^"]*)">(.*?)</a>', re.DOTALL)
HOSTILE = (
    "a|b.wav",
    "]|[.wav",
    "[x](http:elsewhere).wav",
    "![x](y).wav",
    "back\\slash\\|.wav",
    "`code`.wav",
    "*bold* _it_ ~~no~~.wav",
    "<script>alert(1)<",
    "100% & #1?.wav",
    "a &lt; b &amp; c.wav",
    "50%41.wav",
    "ünï 中.wav",
    "new\nline.wav",
    "# title/- item.wav",
    "(round) [square].wav",
)

names = st.one_of(
    st.sampled_from(HOSTILE),
    st.text("ab|[]()<>`*_\\!#%?\"' \n~-+.1\x80ü/", min_size=1, max_size=30),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30),
)


def make_recording(
    name: str, state: State, preview: str = "", tracks: str | None = None, peak_dbfs: float = -3.2
) -> Recording:
    facts = dict.fromkeys(("kind", "reason", "channels", "speech_seconds", "words"))
    keys = dict.fromkeys(("normalized_key", "transcript_key", "enriched_key"))
    return Recording(
        **facts,  # type: ignore[arg-type]
        **keys,  # type: ignore[arg-type]
        sha256="0" * 64,
        bytes_sha256="0" * 64,
        options={},
        name=name,
        size=1,
        state=state,
        flags={"no_speech": "nothing was said"},
        step_flags={"transcript": {"no_speech": "nothing was said"}},
        seconds=1.25,
        tracks=tracks,
        peak_dbfs=peak_dbfs,
        language="en",
        preview=preview,
        timings={},
        changed_at=0.0,
    )


def make_report(*members: Member) -> StepReport:
    return StepReport("enriched", "batch-1", members, worked=2, audio_seconds=30.0, wall_seconds=2.0)


def test_what_the_cpu_limit_cost_is_shown_where_there_is_one() -> None:
    counted = CpuCounters(periods=100, throttled=30, throttled_s=2.5)
    metadata = make_metadata(replace(make_report(), throttling=counted), "http://pages")
    assert [get_value(metadata, f"cpu_{name}") for name in ("periods", "periods_throttled", "seconds_throttled")] == [
        100,
        30,
        2.5,
    ]
    assert not any(name.startswith("cpu_") for name in make_metadata(make_report(), "http://pages"))


def get_value(metadata: Mapping[str, dg.MetadataValue], name: str) -> object:
    return metadata[name].value


def read_rows(metadata: Mapping[str, dg.MetadataValue], name: str) -> list[Mapping[str, object]]:
    table = metadata[name]
    assert isinstance(table, dg.TableMetadataValue)
    columns = [column.name for column in table.schema.columns]
    assert all(list(record.data) == columns for record in table.records)
    return [record.data for record in table.records]


def read_links(metadata: Mapping[str, dg.MetadataValue]) -> list[tuple[str, str]]:
    """Address and text of every link, as an independent Markdown renderer shows them."""
    markdown = metadata["pages"].value
    assert isinstance(markdown, str)
    html = MarkdownIt().enable("strikethrough").render(markdown)
    links = [(unescape(href), unescape(text)) for href, text in LINK.findall(html)]
    assert html.count("<li>") == html.count("<a ") == len(links), html
    tags = set(re.findall(r"<(/?[a-z]+)", html))
    assert tags == {"ul", "/ul", "li", "/li", "a", "/a"}, html
    return links


def decode_path(href: str) -> str:
    """The path that a server reads from the address."""
    parts = urlsplit(href)
    assert (parts.query, parts.fragment) == ("", ""), href
    assert re.fullmatch(r"[A-Za-z0-9/._~%:-]+", href), href
    return unquote(parts.path)


@given(st.lists(names, min_size=1, max_size=4, unique=True))
@settings(max_examples=150)
def test_a_recording_of_any_name_is_one_item_with_one_link_to_its_page(paths: list[str]) -> None:
    """Names are untrusted: one that closes its brackets early could hide other rows or link to another page."""
    encoded = [encode_name(path.encode()) for path in paths]
    members = [Member(Delivery(name, 1, "1"), make_recording(name, State.DONE)) for name in encoded]
    metadata = make_metadata(make_report(*members), PAGES)
    assert [row["recording"] for row in read_rows(metadata, "recordings")] == encoded
    links = read_links(metadata)
    for name, (href, text) in zip(encoded, links, strict=True):
        assert decode_path(href) == f"/pages/{PAGE.key(name).removeprefix('transcripts/')}"
        assert text.split() == name.split()


def test_a_row_shows_the_state_of_a_recording_and_only_finished_ones_have_a_page() -> None:
    done = Member(
        Delivery("a.wav", 1, "1"),
        make_recording("b.wav", State.DONE, "Ask not | what"),
        flags={"duplicate": "same bytes as b.wav"},
    )
    waiting = Member(Delivery("c.wav", 1, "1"), make_recording("c.wav", State.TRANSCRIBED))
    unread = Member(Delivery("d.wav", 1, "1"), None)
    metadata = make_metadata(make_report(done, waiting, unread), PAGES.rstrip("/"))
    finished, unfinished, new = read_rows(metadata, "recordings")
    row = " ".join(map(str, finished.values()))
    for expected in ("a.wav", "1.2", "en", "done", "duplicate", "no_speech", "Ask not | what"):
        assert expected in row
    assert "transcribed" in str(unfinished["state"])
    assert (new["recording"], new["state"], new["seconds"]) == ("d.wav", "received", "")
    assert read_links(metadata) == [("http://127.0.0.1:3001/pages/a.wav.html", "a.wav")]
    assert "broken" not in metadata


def test_recordings_with_several_audio_tracks_have_a_table() -> None:
    plain, several = (Member(Delivery(name, 1, "v"), make_recording(name, State.DONE)) for name in ("a.wav", "b.mkv"))
    assert "tracks" not in make_metadata(make_report(plain), PAGES)
    taken = "2 audio tracks. 1 (default): transcribed; 2: silent"
    several = Member(several.delivery, make_recording("b.mkv", State.DONE, tracks=taken))
    rows = read_rows(make_metadata(make_report(plain, several), PAGES), "tracks")
    assert rows == [{"recording": "b.mkv", "audio tracks": taken}]


def test_the_level_of_the_quietest_recording_is_plotted() -> None:
    loud, quiet = (
        Member(Delivery(name, 1, "v"), make_recording(name, State.DONE, peak_dbfs=peak))
        for name, peak in (("a.wav", -1.0), ("b.wav", -48.26))
    )
    assert get_value(make_metadata(make_report(loud, quiet), PAGES), "lowest_peak_dbfs") == -48.3
    assert "lowest_peak_dbfs" not in make_metadata(make_report(Member(Delivery("c.wav", 1, "1"), None)), PAGES)


def test_figures_are_totals_and_states_without_recordings_are_left_out() -> None:
    twice = make_recording("a.wav", State.DONE)
    members = [Member(Delivery(name, 1, "1"), twice) for name in ("a.wav", "b.wav")]
    metadata = make_metadata(make_report(*members, Member(Delivery("c.wav", 1, "1"), None)), PAGES)
    figures = {name: get_value(metadata, name) for name in metadata if name not in ("recordings", "pages")}
    assert figures == {
        "lowest_peak_dbfs": -3.2,
        "deliveries": 3,
        "done": 2,
        "received": 1,
        "audio_hours": round(2.5 / 3600, 4),
        "worked_on": 2,
        "seconds": 2.0,
        "times_realtime": 15.0,
    }


def test_without_work_there_is_no_speed_and_without_finished_recordings_there_are_no_pages() -> None:
    idle = StepReport("raw", "batch-1", (), worked=0, audio_seconds=0.0, wall_seconds=0.1)
    metadata = make_metadata(idle, PAGES)
    assert {"times_realtime", "pages", "broken"}.isdisjoint(metadata)
    assert read_rows(metadata, "recordings") == []


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    store = DirectoryStore(tmp_path / "data")
    store.prepare()
    return Workspace(store, Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}"))


def test_links_lead_to_existing_pages_and_a_broken_recording_has_its_reason(
    workspace: Workspace, tmp_path: Path
) -> None:
    """Real files of hostile names, through all four steps, down to the bytes on disk."""
    raw_audio = tmp_path / "data" / "raw_audio"
    for i, name in enumerate(HOSTILE):
        path = raw_audio / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(1600 + i, np.int16), 16_000, format="WAV")
    (raw_audio / "no|audio.mp3").write_text("<html>")
    entries = [entry for entry in workspace.store.list_inputs() if isinstance(entry, InputEntry)]
    assert {decode_name(entry.name).decode() for entry in entries} == {*HOSTILE, "no|audio.mp3"}
    workspace.ledger.register([Delivery(entry.name, entry.size, entry.version) for entry in entries])
    (key,) = form_batches(workspace, BatchLimits(), "test", max_batches=1)

    weights = Weights(name="none", path=Path("/nonexistent"), sha256="0" * 64, revision=None, source="model directory")
    config = EngineConfig()
    recipe = transcript.EngineFactory("0" * 64, config, TranscribeOptions(), lambda: Engine(weights, config))
    raw.run(workspace, key, print)
    normalized.run(workspace, key, normalized.NormalizeOptions(), print)
    transcript.run(workspace, key, recipe, print)
    metadata = make_metadata(enriched.run(workspace, key, enriched.EnrichOptions(), print), PAGES)

    links = read_links(metadata)
    assert len(links) == len(HOSTILE)
    for href, _ in links:
        page = tmp_path / "data" / "transcripts" / decode_path(href).removeprefix("/pages/")
        assert "</html>" in page.read_text(), href
    (row,) = read_rows(metadata, "broken")
    assert (row["recording"], row["state"], row["kind"]) == ("no|audio.mp3", "quarantined", "not_audio")
    assert len(str(row["reason"])) > 20
    workspace.ledger.close()
