"""What a materialization shows an operator: figures first, then every recording, then what went wrong and why."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

import dagster as dg

from recordings.layout import PAGE, Folder
from recordings.ledger.rows import Member
from recordings.states import State
from recordings.steps.report import StepReport, shorten_text

_MAX_ROWS = 200  # Dagster stores these tables in every event, so they are limited; 200 is also the default batch size


def make_metadata(report: StepReport, pages_url: str) -> Mapping[str, dg.MetadataValue]:
    """The metadata of a step's materialization."""
    counts = report.counts
    audio = sum(m.recording.seconds or 0.0 for m in report.members if m.recording) / 3600
    metadata: dict[str, dg.MetadataValue] = {
        "deliveries": dg.MetadataValue.int(len(report.members)),
        **{state.value: dg.MetadataValue.int(counts[state]) for state in State if counts[state]},
        "audio_hours": dg.MetadataValue.float(round(audio, 4)),
        "worked_on": dg.MetadataValue.int(report.worked),
        "seconds": dg.MetadataValue.float(round(report.wall_seconds, 3)),
    }
    if report.realtime_factor is not None:
        metadata["times_realtime"] = dg.MetadataValue.float(round(report.realtime_factor, 2))
    metadata.update({name: dg.MetadataValue.int(number) for name, number in sorted(report.figures.items())})
    if report.most_at_once:
        metadata["most_at_once"] = dg.MetadataValue.int(report.most_at_once)
    if report.memory_decided:
        metadata["memory_decided"] = dg.MetadataValue.text(report.memory_decided)
    if report.throttling is not None:
        counted = report.throttling
        metadata["cpu_periods"] = dg.MetadataValue.int(counted.periods)
        metadata["cpu_periods_throttled"] = dg.MetadataValue.int(counted.throttled)
        metadata["cpu_seconds_throttled"] = dg.MetadataValue.float(counted.throttled_s)
    metadata["recordings"] = make_table(
        _RECORDING_COLUMNS, [_make_recording_row(member) for member in report.members[:_MAX_ROWS]]
    )
    peaks = [m.recording.peak_dbfs for m in report.members if m.recording and m.recording.peak_dbfs is not None]
    if peaks:
        metadata["lowest_peak_dbfs"] = dg.MetadataValue.float(round(min(peaks), 1))
    tracks = [(m.delivery.name, m.recording.tracks) for m in report.members if m.recording and m.recording.tracks]
    if tracks:
        metadata["tracks"] = make_table(_TRACK_COLUMNS, tracks[:_MAX_ROWS])
    links = [_make_page_link(member, pages_url) for member in report.members[:_MAX_ROWS] if member.state is State.DONE]
    if links:
        metadata["pages"] = dg.MetadataValue.md("\n".join(links))
    if report.broken:
        metadata["broken"] = make_table(
            _BROKEN_COLUMNS, [_make_broken_row(member) for member in report.broken[:_MAX_ROWS]]
        )
    return metadata


def make_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> dg.TableMetadataValue:
    """Rows of text under named columns."""
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows],
        schema=dg.TableSchema(columns=[dg.TableColumn(name) for name in columns]),
    )


_MAX_CELL_CHARS = 36  # characters; the UI makes a table's last column narrow and its rows high
_RECORDING_COLUMNS = ("recording", "seconds", "language", "state", "first words")
_TRACK_COLUMNS = ("recording", "audio tracks")
_BROKEN_COLUMNS = ("recording", "state", "kind", "reason")


def _make_recording_row(member: Member) -> tuple[str, ...]:
    recording = member.recording
    seconds = f"{recording.seconds:.1f}" if recording and recording.seconds is not None else ""
    flags = {**member.flags, **(recording.flags if recording else {})}
    state = " ".join([member.state, *(f"({flag})" for flag in flags)])
    language, words = (recording.language or "", recording.preview or "") if recording else ("", "")
    return member.delivery.name, seconds, language, state, shorten_text(words, _MAX_CELL_CHARS)


def _make_broken_row(member: Member) -> tuple[str, ...]:
    kind = member.recording.kind if member.recording else member.kind
    return member.delivery.name, str(member.state), kind or "", member.shown_reason or ""


def _make_page_link(member: Member, pages_url: str) -> str:
    name = member.delivery.name
    page = PAGE.key(name).removeprefix(f"{Folder.ENRICHED}/")
    return f"* [{_escape_markdown(name)}]({pages_url.rstrip('/')}/{quote(page)})"


def _escape_markdown(text: str) -> str:
    """Escape text so that Markdown shows it unchanged."""
    escaped = html.escape(text, quote=False)
    for character in "\\`*_[]~|!#":
        escaped = escaped.replace(character, "\\" + character)
    return escaped
