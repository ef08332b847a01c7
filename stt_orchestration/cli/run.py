"""``stt run`` and ``stt samples``: take in what has arrived, transcribe it here, and show what came of it.

The batches themselves are run by ``stt_orchestration.cli.batch_runner``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from recordings.batches import BatchLimits
from recordings.intake.audit import audit_outputs
from recordings.intake.intake import IntakeResult, form_batches, run_intake
from recordings.intake.missing import MissingOutputs, iter_missing_of, restore_outputs
from recordings.intake.reprocess import Reprocessing, plan
from recordings.layout import Folder
from recordings.states import State
from recordings.steps.enriched import EnrichOptions
from recordings.workspace import Workspace
from speech.asr.capabilities import check_options, check_options_of_catalogued
from speech.models.registry import resolve
from speech.transcript import TranscribeOptions
from stt_orchestration.cli import interrupts
from stt_orchestration.cli.console import (
    describe_impossible,
    make_console,
    make_recordings_table,
    show_batch_progress,
)
from stt_orchestration.cli.exit_codes import ExitCode, errors_to_exit_codes, exit_with
from stt_orchestration.settings import PROJECT_ROOT, Settings

if TYPE_CHECKING:
    from stt_orchestration.cli.batch_runner import RunOutcome

_MOST_IMPOSSIBLE = 3  # said one by one

run_app = typer.Typer()


@run_app.command()
@errors_to_exit_codes
def run(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Files and folders to copy into the input folder first; default: what is there."),
    ] = None,
    only_new: Annotated[
        bool, typer.Option("--only-new", help="Leave finished recordings alone, whatever options they were made with.")
    ] = False,
    batch: Annotated[
        list[str] | None,
        typer.Option(
            "--batch",
            help="Run this batch again, even if it is finished or Dagster has forgotten it; `stt show` has its key. "
            "May be given several times.",
        ),
    ] = None,
) -> None:
    """Take in what has arrived and transcribe it now, in this process. Goes on with whatever was left unfinished.

    What was finished under other settings than now is done again from the first step that they change; with PATHs, only those.
    Outputs that are gone are made anew: those of PATHs, or else those that a bounded look at finished recordings finds.
    """
    raise typer.Exit(_run(paths or [], only_new, batch or ()))


@run_app.command()
@errors_to_exit_codes
def samples() -> None:
    """Run the bundled samples and check that each ends as it should: the broken one in quarantine, the others done."""
    _run([PROJECT_ROOT / "samples"])
    screen, settings = make_console(), Settings.read()
    with Workspace.open(settings.store, settings.ledger) as workspace:
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


def _run(paths: Sequence[Path], only_new: bool = False, again: Sequence[str] = ()) -> ExitCode:
    settings = Settings.read()
    screen = make_console()
    with interrupts.watch_interrupts(screen) as interrupted:
        try:
            return _take_in_and_run(settings, paths, only_new, again, screen, interrupted.is_set)
        except KeyboardInterrupt:
            exit_with(f"Interrupted. {interrupts.RESUME_HINT}", ExitCode.INTERRUPTED)


def _take_in_and_run(
    settings: Settings,
    paths: Sequence[Path],
    only_new: bool,
    again: Sequence[str],
    screen: Console,
    interrupted: Callable[[], bool],
) -> ExitCode:
    with Workspace.open(settings.store, settings.ledger) as workspace:
        _check_batches(workspace, again)
        limits = BatchLimits(settings.batch_recordings, settings.batch_bytes)
        taken = run_intake(workspace, paths, limits, "stt run")
        if taken.unsettled:
            screen.print(f"{taken.unsettled} files are still being written; they wait for the next run.")
        for sentence in taken.refused:
            screen.print(f"Not taken in: {sentence}")
        check_options_of_catalogued(settings.model, settings.pick(TranscribeOptions))
        weights = resolve(
            settings.model, model_dir=settings.model_dir, cache_dir=settings.cache_dir, progress=screen.print
        )
        check_options(weights, settings.pick(TranscribeOptions))
        named = taken if paths else None
        impossible = () if only_new and not paths else _restore_missing(workspace, named, settings, limits, screen)
        screen.print("Loading Dagster ...")
        # Importing Dagster takes seconds, so all validation is done before.
        from stt_orchestration.cli.batch_runner import (
            ORIGIN,
            RunFailedError,
            delete_old_runs,
            get_current_options,
            run_batches,
        )
        from stt_orchestration.definitions import build_defs, get_retention_rules
        from stt_orchestration.instance import InstanceUnusableError, open_instance

        definitions = build_defs(settings)
        try:
            with open_instance() as opened:
                if not only_new and not again:
                    wanted = get_current_options(definitions, weights)
                    found = plan(workspace, wanted, limits, ORIGIN, (named.names, named.folders) if named else None)
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
                delete_old_runs(workspace, opened, get_retention_rules(settings))
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
    return ExitCode.SOME_BROKEN if broken or taken.refused or impossible else ExitCode.DONE


def _check_batches(workspace: Workspace, keys: Sequence[str]) -> None:
    for key in keys:
        if not workspace.ledger.count_members(key):
            exit_with(f"There is no batch {key!r}. `stt show NAME` says which batch a recording is in.", ExitCode.USAGE)


def _restore_missing(
    workspace: Workspace, named: IntakeResult | None, settings: Settings, limits: BatchLimits, screen: Console
) -> Sequence[MissingOutputs]:
    """Make batches of finished recordings that lack outputs: those that the command names, or those that a bounded look finds.

    Returns:
        Those that are named and cannot be helped. Of others it is said, and no exit code follows: what was delivered and its
        outputs may have been removed on purpose.
    """
    options = settings.pick(EnrichOptions)
    if named:
        restored = restore_outputs(workspace, iter_missing_of(workspace, named.names, named.folders, options))
    else:
        restored = audit_outputs(workspace, options)
    for step, count in restored.recordings_by_step.items():
        screen.print(f"{count} finished with outputs that are gone now: done again from {step} on.")
    shown = restored.impossible if named else restored.impossible[:_MOST_IMPOSSIBLE]
    for each in shown:
        screen.print(Text(describe_impossible(each)))
    if more := len(restored.impossible) - len(shown):
        screen.print(f"{more} more lack outputs that cannot be made anew; `stt doctor --deep` lists them all.")
    while form_batches(workspace, limits, "stt run", max_batches=1000):
        pass
    return [each for each in restored.impossible if not each.has_results] if named else ()


def _describe_reprocessing(reprocessing: Reprocessing) -> Iterator[str]:
    for step, count in reprocessing.recordings_by_step.items():
        yield f"{count} finished under other settings: done again from {step} on."
    if reprocessing.recordings_by_step:
        yield f"That is {reprocessing.seconds / 3600:.2f} h of audio; `stt run --only-new` leaves finished recordings alone."
    if reprocessing.kept:
        yield (
            f"{reprocessing.kept} finished under other settings stay as they are: what they would be made of is gone. "
            "Where it is there again, `stt run PATH` does them."
        )


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
