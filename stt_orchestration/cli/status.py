"""``stt status``, ``stt show`` and ``stt retry``: what became of recordings, and trying again what did not work."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from recordings.intake.missing import iter_missing_of, restore_outputs
from recordings.layout import TRANSCRIPT_JSON, guess_names, list_output_keys
from recordings.ledger.rows import Member
from recordings.states import State
from recordings.steps.enriched import EnrichOptions
from recordings.steps.transcript import read_transcript
from recordings.workspace import Workspace
from stt_orchestration.cli.console import describe_impossible, format_time, make_console, make_recordings_table
from stt_orchestration.cli.exit_codes import ExitCode, errors_to_exit_codes, exit_with
from stt_orchestration.settings import Settings

_MOST_BROKEN = 20  # rows listed at most
_AUDIT_FIELDS = ("name", "ended_at", "looked_at", "wrong", "sentence")

status_app = typer.Typer()


@status_app.command()
@errors_to_exit_codes
def status(
    as_json: Annotated[
        bool,
        typer.Option("--json", help="As JSON: inputs, how many are in each state, and the last result of each audit."),
    ] = False,
) -> None:
    """How many recordings are in which state. Inputs always equal the sum over the states."""
    settings = Settings.read()
    with Workspace.open(settings.store, settings.ledger) as workspace:
        totals = workspace.ledger.count_totals()
        unfinished = workspace.ledger.count_open_batches()
        waiting = workspace.ledger.count_waiting()
        broken = [] if as_json else workspace.ledger.list_broken(_MOST_BROKEN)
        audits = workspace.ledger.list_audits()
    counts, inputs = totals.states, totals.inputs
    more_broken = counts[State.QUARANTINED] + counts[State.FAILED] - len(broken)
    if as_json:
        states = {str(state): n for state, n in counts.items()}
        results = [{name: getattr(audit, name) for name in _AUDIT_FIELDS} for audit in audits]
        typer.echo(json.dumps({"inputs": inputs, "states": states, "audits": results}))
    else:
        screen = make_console()
        table = Table(box=None, pad_edge=False, show_header=False)
        for state, count in counts.items():
            table.add_row(state.value, str(count))
        table.add_row("inputs", str(inputs), style="bold")
        screen.print(table)
        if broken:
            screen.print()
            screen.print(make_recordings_table(broken))
            more = f"{more_broken} more; " if more_broken > 0 else ""
            screen.print(f"{more}`stt retry NAME` or `stt retry --all` arms what is mended.")
        if waiting:
            screen.print(f"{waiting} wait for a batch: `stt run`, or let the sensor or the schedule take them.")
        if unfinished:
            screen.print(
                f"{unfinished} batches are unfinished: at work, or stopped. `stt run` goes on with those now; sensor and schedule "
                "ask for a stopped one again 2 minutes after its run, then later and later, up to 2 hours."
            )
        for audit in audits:
            screen.print(f"Last audit of {audit.name}, {format_time(audit.ended_at)}: {audit.sentence}.")
    if not totals.is_consistent:
        exit_with(
            f"{inputs} inputs, but {sum(counts.values())} over all states: the ledger is damaged.", ExitCode.MACHINE
        )


@status_app.command()
@errors_to_exit_codes
def show(
    recording: Annotated[
        str, typer.Argument(help="A name, part of one, the beginning of a sha256, or the key of a batch.")
    ],
) -> None:
    """Everything known of a recording: its state and why, its figures, where its outputs are, what was said.

    Of a batch, its recordings; also when Dagster has forgotten it.
    """
    settings = Settings.read()
    with Workspace.open(settings.store, settings.ledger) as workspace:
        if recording.isascii() and workspace.ledger.count_members(recording):
            screen = make_console()
            screen.print(make_recordings_table(workspace.ledger.list_members(recording)))
            screen.print(f"`stt run --batch {recording}` runs this batch again.")
            return
        meant = guess_names(recording)
        found = [member for name in meant for member in workspace.ledger.find(name)]
        if not found:
            exit_with(f"No recording has {recording!r} in its name or at the beginning of its sha256.", ExitCode.USAGE)
        exact = [m for m in found if m.delivery.name in meant]
        chosen = (exact or found)[0]
        screen = make_console()
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, value in _facts(workspace, chosen):
            table.add_row(Text(name, style="bold"), Text(value))
        screen.print(table)
        others = [m.delivery.name for m in found if m is not chosen]
        if others and not exact:
            screen.print(f"\nAlso found: {', '.join(others)}")


def _facts(workspace: Workspace, member: Member) -> Iterator[tuple[str, str]]:
    name, recording = member.delivery.name, member.recording
    yield "recording", name
    yield "state", member.state.value
    if member.shown_reason:
        yield "why", member.shown_reason
    yield from {**member.flags, **(recording.flags if recording else {})}.items()
    yield "batch", workspace.ledger.find_newest_batch(member.delivery.id) or "none yet"
    yield "bytes", str(member.delivery.size)
    if recording is None:
        return
    yield "sha256", recording.bytes_sha256
    if recording.options:
        yield "own options", ", ".join(f"{name}: {value}" for name, value in recording.options.items())
    if recording.seconds is not None:
        yield "seconds", f"{recording.seconds:.3f}, on {recording.channels} channel(s)"
    yield from ((name, text) for name, text in (("tracks", recording.tracks), ("language", recording.language)) if text)
    if recording.peak_dbfs is not None:
        yield "level", f"loudest sample at {recording.peak_dbfs:.1f} dBFS, after any gain"
    if recording.words is not None:
        yield "words", str(recording.words)
    if recording.timings:
        yield "took", ", ".join(f"{step} {seconds:.2f} s" for step, seconds in recording.timings.items())
    places = [workspace.store.locate(key) for key in list_output_keys(name) if workspace.store.exists(key)]
    if places:
        yield "outputs", "\n".join(places)
    transcript = TRANSCRIPT_JSON.key(name)
    if workspace.store.exists(transcript):
        yield "text", read_transcript(workspace, transcript).text


@status_app.command()
@errors_to_exit_codes
def retry(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names, parts of one that fit one alone, or beginnings of sha256 values.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every quarantined and failed one.")] = False,
) -> None:
    """Arm quarantined and failed recordings again, and finished ones that lack outputs, if they are named.

    The next run, tick or schedule takes them.
    """
    if bool(names) == everything:
        exit_with("Name recordings, or give --all.", ExitCode.USAGE)
    settings = Settings.read()
    with Workspace.open(settings.store, settings.ledger) as workspace:
        broken = workspace.ledger.list_broken()
        finished: list[str] = []
        if not everything:
            found = {name: _find_broken(broken, name) or _find_finished(workspace, name) for name in names or ()}
            broken = [member for members in found.values() for member in members if member.state is not State.DONE]
            finished = [m.delivery.name for members in found.values() for m in members if m.state is State.DONE]
        rearmed = workspace.ledger.reset_for_retry(broken)
        restored = restore_outputs(workspace, iter_missing_of(workspace, finished, (), settings.pick(EnrichOptions)))
    screen = make_console()
    again = sum(restored.recordings_by_step.values())
    if rearmed or not (again or finished):
        screen.print(
            f"{rearmed} armed again; `stt run` takes them now, the sensor at its next tick."
            if rearmed
            else "Nothing is quarantined or failed."
        )
    for step, count in restored.recordings_by_step.items():
        screen.print(f"{count} finished with outputs that are gone now: `stt run` does them again from {step} on.")
    for each in restored.impossible:
        screen.print(Text(describe_impossible(each)))
    if finished and not again and not restored.impossible:
        screen.print(f"{', '.join(finished)}: finished, and no output is gone.")
    if any(not each.has_results for each in restored.impossible):
        raise typer.Exit(ExitCode.SOME_BROKEN)


def _find_finished(workspace: Workspace, name: str) -> list[Member]:
    """The finished recording that a name means; ends the command when it means none or several."""
    meant = guess_names(name)
    found = [m for text in meant for m in workspace.ledger.find(text) if m.state is State.DONE]
    found = list({m.delivery.name: m for m in found}.values())
    exact = [m for m in found if m.delivery.name in meant]
    if not found:
        exit_with(
            f"No quarantined or failed recording is called {name!r}, and no finished one. `stt status` lists the broken ones.",
            ExitCode.USAGE,
        )
    if len(found) > 1 and not exact:
        several = ", ".join(m.delivery.name for m in found[:5])
        exit_with(
            f"{len(found)} finished recordings have {name!r} in their name: {several}. Name one whole.", ExitCode.USAGE
        )
    return exact or found


def _find_broken(broken: Sequence[Member], name: str) -> list[Member]:
    found = [
        m
        for m in broken
        if m.delivery.name in guess_names(name)
        or (m.recording is not None and m.recording.bytes_sha256.startswith(name))
    ]
    parts = [m for m in broken if any(meant in m.delivery.name for meant in guess_names(name))]
    if not found and len(parts) > 1:
        several = ", ".join(m.delivery.name for m in parts[:5])
        exit_with(
            f"{len(parts)} quarantined or failed recordings have {name!r} in their name: {several}. Name one whole.",
            ExitCode.USAGE,
        )
    return found or parts
