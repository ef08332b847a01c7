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
from recordings.intake.intake import run_intake
from recordings.intake.reprocess import Reprocessing, plan
from recordings.layout import TRANSCRIPT_JSON, Folder, guess_names, list_output_keys
from recordings.ledger.ledger import Ledger, Member
from recordings.states import State
from recordings.steps.transcript import read_transcript
from recordings.storage.open import open_store, store_from_url
from recordings.workspace import Workspace
from speech.models.catalogue import load_catalogue
from speech.models.registry import resolve
from stt_orchestration.cli import interrupts
from stt_orchestration.cli.benchmark import capacity_app
from stt_orchestration.cli.console import make_console, make_recordings_table, show_batch_progress
from stt_orchestration.cli.exit_codes import ExitCode, errors_to_exit_codes, exit_with
from stt_orchestration.cli.size import sizing_app
from stt_orchestration.settings import PROJECT_ROOT, Settings

if TYPE_CHECKING:
    from stt_orchestration.cli.run import RunOutcome

_MOST_BROKEN = 20  # rows listed at most

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turn recordings into transcripts people can trust. Exit codes: 0 all done; 1 the machine's trouble (disk, ledger, "
    "model, GPU); 2 wrong usage or settings; 3 finished, with something quarantined or failed; 130 interrupted.",
)


@contextmanager
def _open_workspace(settings: Settings) -> Iterator[Workspace]:
    ledger = Ledger.open(settings.ledger)
    try:
        yield Workspace(open_store(settings.store), ledger)
    finally:
        ledger.close()


@app.command()
@errors_to_exit_codes
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
@errors_to_exit_codes
def samples() -> None:
    """Run the bundled samples and check that each ends as it should: the broken one in quarantine, the others done."""
    _run([PROJECT_ROOT / "samples"])
    screen = make_console()
    with _open_workspace(Settings.read()) as workspace:
        found = [m for m in workspace.ledger.list_newest(10_000) if m.delivery.name.startswith("samples/")]
    unexpected = [m for m in found if (m.state is State.QUARANTINED) != m.delivery.name.endswith("/broken.mp3")]
    unexpected += [m for m in found if m.state not in (State.DONE, State.QUARANTINED)]
    if not found or unexpected:
        names = ", ".join(m.delivery.name for m in unexpected) or "none was found"
        exit_with(f"The samples did not end as they should: {names}. Look with `stt show`.", ExitCode.MACHINE)
    screen.print("\nEvery sample ended as it should: the broken one is in quarantine, the others are done.")
    screen.print(
        "Your turn: put recordings into the input folder and type `.venv/bin/stt run`, or `.venv/bin/stt run YOUR_FOLDER`."
    )


def _run(paths: Sequence[Path], only_new: bool = False) -> ExitCode:
    settings = Settings.read()
    screen = make_console()
    with interrupts.watch_interrupts(screen) as interrupted:
        try:
            return _take_in_and_run(settings, paths, only_new, screen, interrupted.is_set)
        except KeyboardInterrupt:
            exit_with(f"Interrupted. {interrupts.RESUME_HINT}", ExitCode.INTERRUPTED)


def _take_in_and_run(
    settings: Settings, paths: Sequence[Path], only_new: bool, screen: Console, interrupted: Callable[[], bool]
) -> ExitCode:
    with _open_workspace(settings) as workspace:
        limits = BatchLimits(settings.batch_recordings, settings.batch_bytes)
        taken = run_intake(workspace, paths, limits, "stt run")
        if taken.unsettled:
            screen.print(f"{taken.unsettled} files are still being written; they wait for the next run.")
        for sentence in taken.refused:
            screen.print(f"Not taken in: {sentence}")
        weights = resolve(
            settings.model, model_dir=settings.model_dir, cache_dir=settings.cache_dir, progress=screen.print
        )
        screen.print("Loading Dagster ...")
        # Importing Dagster takes seconds, so all validation is done before.
        from stt_orchestration.cli.run import ORIGIN, RunFailedError, get_current_options, run_batches
        from stt_orchestration.definitions import build_defs
        from stt_orchestration.instance import InstanceUnusableError, open_instance

        definitions = build_defs(settings)
        try:
            with open_instance() as opened:
                again: Sequence[str] = ()
                if not only_new:
                    wanted = get_current_options(definitions, weights)
                    found = plan(workspace, wanted, taken.is_selected, limits, ORIGIN)
                    for line in _describe_reprocessing(found):
                        screen.print(line)
                    again = found.batches
                outcome = run_batches(
                    workspace,
                    definitions,
                    opened,
                    again,
                    lambda key: show_batch_progress(screen, workspace.ledger, key),
                    screen.print,
                    interrupted,
                )
        except (RunFailedError, InstanceUnusableError) as error:
            exit_with(str(error), ExitCode.MACHINE)
        members = outcome.members or tuple(workspace.ledger.list_newest(20))
        if not members:
            place = workspace.store.locate(Folder.RAW)
            screen.print(f"There are no recordings in {place} yet: put some there, or type `stt run YOUR_FOLDER`.")
            return ExitCode.SOME_BROKEN if taken.refused else ExitCode.DONE
        if not outcome.members:
            screen.print("Nothing new to transcribe. The newest recordings:")
        screen.print()
        screen.print(make_recordings_table(members))
        for line in _summary_lines(workspace, outcome):
            screen.print(line)
    broken = [m for m in outcome.members if m.state in (State.QUARANTINED, State.FAILED)]
    return ExitCode.SOME_BROKEN if broken or taken.refused else ExitCode.DONE


def _describe_reprocessing(reprocessing: Reprocessing) -> Iterator[str]:
    for step, count in reprocessing.recordings_by_step.items():
        yield f"{count} finished under other settings: done again from {step} on."
    if reprocessing.recordings_by_step:
        yield f"That is {reprocessing.seconds / 3600:.2f} h of audio; `stt run --only-new` leaves finished recordings alone."


def _summary_lines(workspace: Workspace, outcome: RunOutcome) -> Iterator[str]:
    yield ""
    heard = {m.recording.sha256: m.recording.seconds or 0.0 for m in outcome.transcribed if m.recording}
    audio, seconds = sum(heard.values()), outcome.seconds
    if audio:
        yield f"{audio:.1f} s of audio in {seconds:.1f} s, {audio / seconds:.1f} times realtime, model loading and all."
    broken = sum(m.state in (State.QUARANTINED, State.FAILED) for m in outcome.members)
    if broken:
        yield f"{broken} quarantined or failed: mend what the table says, then `stt retry --all` and `stt run`."
    yield f"Outputs: {workspace.store.locate(Folder.ENRICHED)} (TXT, SRT, VTT, JSON, and a page to listen to: HTML)"
    yield "The UI: make ui, then http://127.0.0.1:3000 (runs, lineage, every recording's page)"


@app.command()
@errors_to_exit_codes
def status(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON: inputs, and how many are in each state.")] = False,
) -> None:
    """How many recordings are in which state. Inputs always equal the sum over the states."""
    settings = Settings.read()
    with _open_workspace(settings) as workspace:
        totals = workspace.ledger.count_totals()
        unfinished = len(workspace.ledger.list_open_batches(made_before=float("inf"), limit=10**6))
        waiting = len(workspace.ledger.list_waiting(10**6))
        broken = [] if as_json else workspace.ledger.list_broken()
    counts, inputs = totals.states, totals.inputs
    if as_json:
        typer.echo(json.dumps({"inputs": inputs, "states": {str(state): n for state, n in counts.items()}}))
    else:
        screen = make_console()
        table = Table(box=None, pad_edge=False, show_header=False)
        for state, count in counts.items():
            table.add_row(state.value, str(count))
        table.add_row("inputs", str(inputs), style="bold")
        screen.print(table)
        if broken:
            screen.print()
            screen.print(make_recordings_table(broken[:_MOST_BROKEN]))
            more = f"{len(broken) - _MOST_BROKEN} more; " if len(broken) > _MOST_BROKEN else ""
            screen.print(f"{more}`stt retry NAME` or `stt retry --all` arms what is mended.")
        if waiting:
            screen.print(f"{waiting} wait for a batch: `stt run`, or let the sensor or the schedule take them.")
        if unfinished:
            screen.print(
                f"{unfinished} batches are unfinished: at work, or stopped. `stt run` goes on with those now; sensor and schedule "
                "ask for a stopped one again 2 minutes after its run, then later and later, up to 2 hours."
            )
    if not totals.is_consistent:
        exit_with(
            f"{inputs} inputs, but {sum(counts.values())} over all states: the ledger is damaged.", ExitCode.MACHINE
        )


@app.command()
@errors_to_exit_codes
def show(recording: Annotated[str, typer.Argument(help="A name, part of one, or the beginning of a sha256.")]) -> None:
    """Everything known of a recording: its state and why, its figures, where its outputs are, what was said."""
    with _open_workspace(Settings.read()) as workspace:
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
    places = [workspace.store.locate(key) for key in list_output_keys(name) if workspace.store.exists(key)]
    if places:
        yield "outputs", "\n".join(places)
    transcript = TRANSCRIPT_JSON.key(name)
    if workspace.store.exists(transcript):
        yield "text", read_transcript(workspace, transcript).text


@app.command()
@errors_to_exit_codes
def retry(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names, parts of one that fit one alone, or beginnings of sha256 values.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every quarantined and failed one.")] = False,
) -> None:
    """Arm quarantined and failed recordings again; the next run, tick or schedule takes them."""
    if bool(names) == everything:
        exit_with("Name recordings, or give --all.", ExitCode.USAGE)
    with _open_workspace(Settings.read()) as workspace:
        broken = workspace.ledger.list_broken()
        if not everything:
            broken = [member for name in names or () for member in _find_broken(broken, name)]
        rearmed = workspace.ledger.reset_for_retry(broken)
    make_console().print(
        f"{rearmed} armed again; `stt run` takes them now, the sensor at its next tick."
        if rearmed
        else "Nothing is quarantined or failed."
    )


def _find_broken(broken: Sequence[Member], name: str) -> list[Member]:
    found = [
        m
        for m in broken
        if m.delivery.name in guess_names(name) or (m.recording is not None and m.recording.sha256.startswith(name))
    ]
    parts = [m for m in broken if any(meant in m.delivery.name for meant in guess_names(name))]
    if not found and len(parts) > 1:
        several = ", ".join(m.delivery.name for m in parts[:5])
        exit_with(
            f"{len(parts)} quarantined or failed recordings have {name!r} in their name: {several}. Name one whole.",
            ExitCode.USAGE,
        )
    if not found and not parts:
        exit_with(f"No quarantined or failed recording is called {name!r}. `stt status` lists them.", ExitCode.USAGE)
    return found or parts


@app.command()
@errors_to_exit_codes
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
    from stt_orchestration.cli.doctor import check_cluster, check_installation

    screen = make_console()
    broken = False
    labels = {True: ("ok", "green"), None: ("note", "yellow"), False: ("broken", "red")}
    for result in check_cluster(image) if kubernetes else check_installation():
        broken = broken or result.passed is False
        label, style = labels[result.passed]
        screen.print(Text.assemble((f"{label:<7}", style), f"{result.check.name}: {result.sentence}"))
        if result.remedy:
            screen.print(Text(f"        {result.remedy}"))
    if broken:
        raise typer.Exit(ExitCode.MACHINE)


@app.command()
@errors_to_exit_codes
def janitor(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """On Kubernetes: remove Jobs and pods whose run has ended or is unknown, and ended runs past their days."""
    from k8s_run_launcher.cluster import NoClusterError, connect_to_cluster
    from k8s_run_launcher.janitor import Janitor, RetentionRules
    from stt_orchestration.instance import InstanceUnusableError, open_instance
    from stt_orchestration.jobs import CODE_LOCATION

    screen = make_console()
    try:
        namespace = connect_to_cluster()
        with open_instance() as opened:
            work = Janitor(opened, namespace, CODE_LOCATION, RetentionRules(run_days=Settings.read().janitor_run_days))
            planned = work.plan_removals()
            for removal in planned if dry_run else work.remove(planned):
                screen.print(Text(f"{removal.kind} {removal.name}: {removal.reason}"))
    except (NoClusterError, InstanceUnusableError) as error:
        exit_with(str(error), ExitCode.MACHINE)
    screen.print(f"{len(planned)} {'would be' if dry_run else 'were'} removed in {namespace}.")


@app.command("fetch-model")
@errors_to_exit_codes
def fetch_model(
    name: Annotated[str | None, typer.Argument(help="A model of the catalogue.")] = None,
    listing: Annotated[bool, typer.Option("--list", help="Show the catalogue.")] = False,
) -> None:
    """Bring a model's weights onto this machine and check every file."""
    screen = make_console()
    if listing:
        for model in load_catalogue().values():
            screen.print(f"{model.name:18} {model.size / 1e6:8.0f} MB  {model.repository}@{model.revision[:8]}")
        return
    if name is None:
        exit_with("Name a model; `stt fetch-model --list` shows them.", ExitCode.USAGE)
        return
    settings = Settings.read()
    weights = resolve(name, model_dir=settings.model_dir, cache_dir=settings.cache_dir, progress=screen.print)
    screen.print(str(weights.path))


@app.command()
@errors_to_exit_codes
def prepare(
    patience: Annotated[float, typer.Option(help="Seconds to wait for a database that does not answer yet.")] = 180.0,
) -> None:
    """Make folders and tables that are missing, and wait for the database before: the init container of a pod."""
    from stt_orchestration.cli.prepare import prepare_storage as make_ready
    from stt_orchestration.instance import InstanceUnusableError

    try:
        make_ready(Settings.read(), patience, make_console().print)
    except InstanceUnusableError as error:
        exit_with(str(error), ExitCode.MACHINE)


@app.command()
@errors_to_exit_codes
def ui(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Open the Dagster UI with its daemon, sensors and schedules, and serve the recordings' pages. Ctrl-C ends it."""
    from stt_orchestration.cli.serve import run_ui
    from stt_orchestration.instance import InstanceUnusableError

    try:
        raise typer.Exit(run_ui(Settings.read(), host, port))
    except InstanceUnusableError as error:
        exit_with(str(error), ExitCode.MACHINE)


@app.command()
@errors_to_exit_codes
def pages(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3001,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve the recordings' pages alone, read-only, with their sound. `stt ui` does it by itself. Ctrl-C ends it."""
    from stt_orchestration.pages import LOOPBACK, build_app, listen, serve

    settings = Settings.read()
    hosts = LOOPBACK if host in LOOPBACK else ("*",)
    application, listening = build_app(store_from_url(settings.store), settings.pages_path, hosts), listen(host, port)
    make_console().print(f"The page of a recording a/x.mp3 is http://{host}:{port}{settings.pages_path}/a/x.mp3.html")
    serve(application, listening)


app.add_typer(capacity_app)
app.add_typer(sizing_app)


def main() -> None:
    """Entry point of the ``stt`` command."""
    app()
