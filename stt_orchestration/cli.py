"""The ``stt`` command.

Exit codes: 0 all done, 1 the machine's trouble, 2 usage or settings, 3 something quarantined or failed, 130 interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recordings.batches import BatchLimits
from recordings.ingest import take_in
from recordings.ledger import Ledger, Member
from recordings.names import Folder, as_names
from recordings.outdated import Again, gather
from recordings.states import State
from recordings.steps import transcript as transcript_step
from recordings.steps.places import output_keys
from recordings.store import open_store, store_at
from recordings.workspace import Workspace
from speech.weights import catalogue, resolve
from stt_orchestration import interrupts
from stt_orchestration.capacity_cli import capacity
from stt_orchestration.exits import Exit, spoken_errors, stop
from stt_orchestration.settings import PROJECT_ROOT, Settings
from stt_orchestration.show import batch_progress, console, recordings_table
from stt_orchestration.sizing_cli import sizing

if TYPE_CHECKING:
    from stt_orchestration.run_now import Outcome

_MOST_BROKEN = 20  # rows listed at most

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turn recordings into transcripts people can trust. Exit codes: 0 all done; 1 the machine's trouble (disk, ledger, "
    "model, GPU); 2 wrong usage or settings; 3 finished, with something quarantined or failed; 130 interrupted.",
)


@contextmanager
def _workspace(settings: Settings) -> Iterator[Workspace]:
    ledger = Ledger.open(settings.ledger)
    try:
        yield Workspace(open_store(settings.store), ledger)
    finally:
        ledger.close()


@app.command()
@spoken_errors
def run(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Files and folders to copy into the input folder first; default: what is there."),
    ] = None,
    only_new: Annotated[
        bool, typer.Option("--only-new", help="Leave finished recordings alone, whatever options they were made with.")
    ] = False,
) -> None:
    """Take in what has arrived and transcribe it now, in this process. Goes on with whatever was left unfinished.

    What was finished under other settings than now is done again from the first step that they change; with PATHs, only those.
    """
    raise typer.Exit(_run(paths or [], only_new))


@app.command()
@spoken_errors
def samples() -> None:
    """Run the bundled samples and check that each ends as it should: the broken one in quarantine, the others done."""
    _run([PROJECT_ROOT / "samples"])
    screen = console()
    with _workspace(Settings.read()) as workspace:
        found = [m for m in workspace.ledger.newest(10_000) if m.delivery.name.startswith("samples/")]
    unexpected = [m for m in found if (m.state is State.QUARANTINED) != m.delivery.name.endswith("/broken.mp3")]
    unexpected += [m for m in found if m.state not in (State.DONE, State.QUARANTINED)]
    if not found or unexpected:
        names = ", ".join(m.delivery.name for m in unexpected) or "none was found"
        stop(f"The samples did not end as they should: {names}. Look with `stt show`.", Exit.MACHINE)
    screen.print("\nEvery sample ended as it should: the broken one is in quarantine, the others are done.")
    screen.print(
        "Your turn: put recordings into the input folder and type `.venv/bin/stt run`, or `.venv/bin/stt run YOUR_FOLDER`."
    )


def _run(paths: Sequence[Path], only_new: bool = False) -> Exit:
    settings = Settings.read()
    screen = console()
    with interrupts.watched(screen) as interrupted:
        try:
            return _take_in_and_run(settings, paths, only_new, screen, interrupted.is_set)
        except KeyboardInterrupt:
            stop(f"Interrupted. {interrupts.GO_ON}", Exit.INTERRUPTED)


def _take_in_and_run(
    settings: Settings, paths: Sequence[Path], only_new: bool, screen: Console, interrupted: Callable[[], bool]
) -> Exit:
    with _workspace(settings) as workspace:
        limits = BatchLimits(settings.batch_recordings, settings.batch_bytes)
        taken = take_in(workspace, paths, limits, "stt run")
        if taken.unsettled:
            screen.print(f"{taken.unsettled} files are still being written; they wait for the next run.")
        for sentence in taken.refused:
            screen.print(f"Not taken in: {sentence}")
        weights = resolve(
            settings.model, model_dir=settings.model_dir, cache_dir=settings.cache_dir, progress=screen.print
        )
        screen.print("Loading Dagster ...")
        # Importing Dagster takes seconds, so all validation is done before.
        from stt_orchestration.definitions import build_defs
        from stt_orchestration.instance import InstanceUnusable, instance
        from stt_orchestration.run_now import ORIGIN, RunFailed, options_of, run_batches

        definitions = build_defs(settings)
        try:
            with instance() as opened:
                again: Sequence[str] = ()
                if not only_new:
                    wanted = options_of(definitions, weights)
                    found = gather(workspace, wanted, taken.meant, limits, ORIGIN)
                    for line in _announced(found):
                        screen.print(line)
                    again = found.batches
                outcome = run_batches(
                    workspace,
                    definitions,
                    opened,
                    again,
                    lambda key: batch_progress(screen, workspace.ledger, key),
                    screen.print,
                    interrupted,
                )
        except (RunFailed, InstanceUnusable) as error:
            stop(str(error), Exit.MACHINE)
        members = outcome.members or tuple(workspace.ledger.newest(20))
        if not members:
            place = workspace.store.locate(Folder.RAW)
            screen.print(f"There are no recordings in {place} yet: put some there, or type `stt run YOUR_FOLDER`.")
            return Exit.SOME_BROKEN if taken.refused else Exit.DONE
        if not outcome.members:
            screen.print("Nothing new to transcribe. The newest recordings:")
        screen.print()
        screen.print(recordings_table(members))
        for line in _epilogue(workspace, outcome):
            screen.print(line)
    broken = [m for m in outcome.members if m.state in (State.QUARANTINED, State.FAILED)]
    return Exit.SOME_BROKEN if broken or taken.refused else Exit.DONE


def _announced(again: Again) -> Iterator[str]:
    for step, count in again.first.items():
        yield f"{count} finished under other settings: done again from {step} on."
    if again.first:
        yield f"That is {again.seconds / 3600:.2f} h of audio; `stt run --only-new` leaves finished recordings alone."


def _epilogue(workspace: Workspace, outcome: Outcome) -> Iterator[str]:
    yield ""
    heard = {m.recording.sha256: m.recording.seconds or 0.0 for m in outcome.heard if m.recording}
    audio, seconds = sum(heard.values()), outcome.seconds
    if audio:
        yield f"{audio:.1f} s of audio in {seconds:.1f} s, {audio / seconds:.1f} times realtime, model loading and all."
    broken = sum(m.state in (State.QUARANTINED, State.FAILED) for m in outcome.members)
    if broken:
        yield f"{broken} quarantined or failed: mend what the table says, then `stt retry --all` and `stt run`."
    yield f"Outputs: {workspace.store.locate(Folder.ENRICHED)} (TXT, SRT, VTT, JSON, and a page to listen to: HTML)"
    yield "The UI: make ui, then http://127.0.0.1:3000 (runs, lineage, every recording's page)"


@app.command()
@spoken_errors
def status(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON: inputs, and how many are in each state.")] = False,
) -> None:
    """How many recordings are in which state. Inputs always equal the sum over the states."""
    settings = Settings.read()
    with _workspace(settings) as workspace:
        totals = workspace.ledger.totals()
        unfinished = len(workspace.ledger.open_batches(made_before=float("inf"), limit=10**6))
        waiting = len(workspace.ledger.waiting(10**6))
        broken = [] if as_json else workspace.ledger.broken()
    counts, inputs = totals.states, totals.inputs
    if as_json:
        typer.echo(json.dumps({"inputs": inputs, "states": {str(state): n for state, n in counts.items()}}))
    else:
        screen = console()
        table = Table(box=None, pad_edge=False, show_header=False)
        for state, count in counts.items():
            table.add_row(state.value, str(count))
        table.add_row("inputs", str(inputs), style="bold")
        screen.print(table)
        if broken:
            screen.print()
            screen.print(recordings_table(broken[:_MOST_BROKEN]))
            more = f"{len(broken) - _MOST_BROKEN} more; " if len(broken) > _MOST_BROKEN else ""
            screen.print(f"{more}`stt retry NAME` or `stt retry --all` arms what is mended.")
        if waiting:
            screen.print(f"{waiting} wait for a batch: `stt run`, or let the sensor or the schedule take them.")
        if unfinished:
            screen.print(
                f"{unfinished} batches are unfinished: at work, or stopped. `stt run` goes on with those now; sensor and schedule "
                "ask for a stopped one again 2 minutes after its run, then later and later, up to 2 hours."
            )
    if not totals.reconciled:
        stop(f"{inputs} inputs, but {sum(counts.values())} over all states: the ledger is damaged.", Exit.MACHINE)


@app.command()
@spoken_errors
def show(recording: Annotated[str, typer.Argument(help="A name, part of one, or the beginning of a sha256.")]) -> None:
    """Everything known of a recording: its state and why, its figures, where its outputs are, what was said."""
    with _workspace(Settings.read()) as workspace:
        meant = as_names(recording)
        found = [member for name in meant for member in workspace.ledger.find(name)]
        if not found:
            stop(f"No recording has {recording!r} in its name or at the beginning of its sha256.", Exit.USAGE)
        exact = [m for m in found if m.delivery.name in meant]
        chosen = (exact or found)[0]
        screen = console()
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
    if member.why:
        yield "why", member.why
    yield from {**member.flags, **(recording.flags if recording else {})}.items()
    yield "bytes", str(member.delivery.size)
    if recording is None:
        return
    yield "sha256", recording.sha256
    if recording.seconds is not None:
        yield "seconds", f"{recording.seconds:.3f}, on {recording.channels} channel(s)"
    if recording.language:
        yield "language", recording.language
    if recording.words is not None:
        yield "words", str(recording.words)
    if recording.timings:
        yield "took", ", ".join(f"{step} {seconds:.2f} s" for step, seconds in recording.timings.items())
    places = [workspace.store.locate(key) for key in output_keys(name) if workspace.store.exists(key)]
    if places:
        yield "outputs", "\n".join(places)
    transcript = transcript_step.json_key(name)
    if workspace.store.exists(transcript):
        yield "text", transcript_step.read(workspace, transcript).text


@app.command()
@spoken_errors
def retry(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names, parts of one that fit one alone, or beginnings of sha256 values.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every quarantined and failed one.")] = False,
) -> None:
    """Arm quarantined and failed recordings again; the next run, tick or schedule takes them."""
    if bool(names) == everything:
        stop("Name recordings, or give --all.", Exit.USAGE)
    with _workspace(Settings.read()) as workspace:
        broken = workspace.ledger.broken()
        if not everything:
            broken = [member for name in names or () for member in _matching(broken, name)]
        rearmed = workspace.ledger.rearm(broken)
    console().print(
        f"{rearmed} armed again; `stt run` takes them now, the sensor at its next tick."
        if rearmed
        else "Nothing is quarantined or failed."
    )


def _matching(broken: Sequence[Member], name: str) -> list[Member]:
    found = [
        m
        for m in broken
        if m.delivery.name in as_names(name) or (m.recording is not None and m.recording.sha256.startswith(name))
    ]
    parts = [m for m in broken if any(meant in m.delivery.name for meant in as_names(name))]
    if not found and len(parts) > 1:
        several = ", ".join(m.delivery.name for m in parts[:5])
        stop(
            f"{len(parts)} quarantined or failed recordings have {name!r} in their name: {several}. Name one whole.",
            Exit.USAGE,
        )
    if not found and not parts:
        stop(f"No quarantined or failed recording is called {name!r}. `stt status` lists them.", Exit.USAGE)
    return found or parts


@app.command()
@spoken_errors
def doctor(
    kubernetes: Annotated[
        bool,
        typer.Option(
            "--kubernetes", help="Look at the cluster: rights, quota, volumes, GPU nodes, image, database, store."
        ),
    ] = False,
    image: Annotated[
        str | None, typer.Option(help="With --kubernetes: try to pull this image; default: the launcher's.")
    ] = None,
) -> None:
    """Look at everything a run needs, and say what is broken and how to mend it. Exit code 1 when something is."""
    from stt_orchestration.doctor import Verdict, examine, examine_cluster

    screen = console()
    broken = False
    styles = {Verdict.GOOD: "green", Verdict.NOTE: "yellow", Verdict.BROKEN: "red"}
    for finding in examine_cluster(image) if kubernetes else examine():
        broken = broken or finding.verdict is Verdict.BROKEN
        screen.print(
            Text.assemble((f"{finding.verdict:<7}", styles[finding.verdict]), f"{finding.subject}: {finding.detail}")
        )
        if finding.remedy:
            screen.print(Text(f"        {finding.remedy}"))
    if broken:
        raise typer.Exit(Exit.MACHINE)


@app.command()
@spoken_errors
def janitor(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """On Kubernetes: remove Jobs and pods whose run has ended or is unknown, and ended runs past their days."""
    from k8s_run_launcher.janitor import Janitor, NoCluster, Rules, connect
    from stt_orchestration.instance import InstanceUnusable, instance
    from stt_orchestration.jobs import LOCATION

    screen = console()
    try:
        namespace = connect()
        with instance() as opened:
            work = Janitor(opened, namespace, LOCATION, Rules(run_days=Settings.read().janitor_run_days))
            planned = work.plan()
            for removal in planned if dry_run else work.remove(planned):
                screen.print(Text(f"{removal.kind} {removal.name}: {removal.why}"))
    except (NoCluster, InstanceUnusable) as error:
        stop(str(error), Exit.MACHINE)
    screen.print(f"{len(planned)} {'would be' if dry_run else 'were'} removed in {namespace}.")


@app.command("fetch-model")
@spoken_errors
def fetch_model(
    name: Annotated[str | None, typer.Argument(help="A model of the catalogue.")] = None,
    listing: Annotated[bool, typer.Option("--list", help="Show the catalogue.")] = False,
) -> None:
    """Bring a model's weights onto this machine and check every file."""
    screen = console()
    if listing:
        for model in catalogue().values():
            screen.print(f"{model.name:18} {model.size / 1e6:8.0f} MB  {model.repository}@{model.revision[:8]}")
        return
    if name is None:
        stop("Name a model; `stt fetch-model --list` shows them.", Exit.USAGE)
        return
    settings = Settings.read()
    weights = resolve(name, model_dir=settings.model_dir, cache_dir=settings.cache_dir, progress=screen.print)
    screen.print(str(weights.path))


@app.command()
@spoken_errors
def prepare(
    patience: Annotated[float, typer.Option(help="Seconds to wait for a database that does not answer yet.")] = 180.0,
) -> None:
    """Make folders and tables that are missing, and wait for the database before: the init container of a pod."""
    from stt_orchestration.instance import InstanceUnusable
    from stt_orchestration.prepare import prepare as make_ready

    try:
        make_ready(Settings.read(), patience, console().print)
    except InstanceUnusable as error:
        stop(str(error), Exit.MACHINE)


@app.command()
@spoken_errors
def ui(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Open the Dagster UI with its daemon, sensors and schedules, and serve the recordings' pages. Ctrl-C ends it."""
    from stt_orchestration.instance import InstanceUnusable
    from stt_orchestration.ui import serve

    try:
        raise typer.Exit(serve(Settings.read(), host, port))
    except InstanceUnusable as error:
        stop(str(error), Exit.MACHINE)


@app.command()
@spoken_errors
def pages(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3001,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve the recordings' pages alone, read-only, with their sound. `stt ui` does it by itself. Ctrl-C ends it."""
    from stt_orchestration.pages import LOOPBACK, build, listen, serve

    settings = Settings.read()
    hosts = LOOPBACK if host in LOOPBACK else ("*",)
    application, listening = build(store_at(settings.store), settings.pages_path, hosts), listen(host, port)
    console().print(f"The page of a recording a/x.mp3 is http://{host}:{port}{settings.pages_path}/a/x.mp3.html")
    serve(application, listening)


app.add_typer(capacity)
app.add_typer(sizing)


def main() -> None:
    """Entry point of the ``stt`` command."""
    app()


if __name__ == "__main__":
    main()
