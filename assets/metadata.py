"""What a materialization shows an operator: figures first, then every recording, then what went wrong and why."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import dagster as dg

from recordings.ledger import Member
from recordings.names import Folder
from recordings.states import State
from recordings.steps import enriched
from recordings.steps.report import StepReport

_ROWS = 200  # every event row stores its tables; a batch is no larger by default


def of_report(report: StepReport, pages_url: str) -> Mapping[str, dg.MetadataValue]:
    """The metadata of a step's materialization."""
    counts = report.counts
    audio = sum(m.recording.seconds or 0.0 for m in report.members if m.recording) / 3600
    metadata: dict[str, dg.MetadataValue] = {
        "deliveries": dg.MetadataValue.int(len(report.members)),
        **{state.value: dg.MetadataValue.int(counts[state]) for state in State if counts[state]},
        "audio_hours": dg.MetadataValue.float(round(audio, 4)),
        "worked_on": dg.MetadataValue.int(report.worked),
        "seconds": dg.MetadataValue.float(round(report.wall_seconds, 3)),
        "recordings": dg.MetadataValue.md(_table(report.members[:_ROWS], pages_url)),
    }
    if report.realtime_factor is not None:
        metadata["times_realtime"] = dg.MetadataValue.float(round(report.realtime_factor, 2))
    if report.broken:
        metadata["broken"] = dg.MetadataValue.table(
            records=[_broken(member) for member in report.broken[:_ROWS]],
            schema=dg.TableSchema(columns=[dg.TableColumn(name) for name in ("recording", "state", "kind", "reason")]),
        )
    return metadata


def _table(members: tuple[Member, ...], pages_url: str) -> str:
    lines = ["| recording | seconds | language | state | first words |", "|---|---:|---|---|---|"]
    lines += [_line(member, pages_url) for member in members]
    return "\n".join(lines)


def _line(member: Member, pages_url: str) -> str:
    recording = member.recording
    name = _cell(member.delivery.name)
    if recording is not None and recording.state is State.DONE:
        page = enriched.output(member.delivery.name, ".html").removeprefix(f"{Folder.ENRICHED}/")
        name = f"[{name}]({pages_url.rstrip('/')}/{quote(page)})"
    seconds = f"{recording.seconds:.1f}" if recording and recording.seconds is not None else ""
    language = (recording.language or "") if recording else ""
    flags = {**member.flags, **(recording.flags if recording else {})}
    state = " ".join([member.state, *(f"({flag})" for flag in flags)])
    words = _cell((recording.preview or "") if recording else "")
    return f"| {name} | {seconds} | {language} | {state} | {words} |"


def _broken(member: Member) -> dg.TableRecord:
    kind = member.recording.kind if member.recording else member.kind
    return dg.TableRecord(
        {"recording": member.delivery.name, "state": str(member.state), "kind": kind or "", "reason": member.why or ""}
    )


def _cell(text: str) -> str:
    """Text that cannot end a Markdown table's cell or begin a link."""
    for character in "\\|[]<>`*_":
        text = text.replace(character, "\\" + character)
    return text
