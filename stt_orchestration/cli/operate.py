"""The commands of operation: ``stt doctor``, ``stt janitor``, ``stt fetch-model`` and ``stt prepare``.

This file only parses options and prints results. The checks are in ``stt_orchestration.cli.doctor``, the making of folders and
tables in ``stt_orchestration.cli.prepare``, the rest in ``k8s_run_launcher.janitor`` and ``speech.models.registry``.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from speech.models.catalogue import KIND_NAMES, load_catalogue
from speech.models.registry import resolve
from stt_orchestration.cli.console import make_console
from stt_orchestration.cli.exit_codes import ExitCode, errors_to_exit_codes, exit_with
from stt_orchestration.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

operate_app = typer.Typer()


@operate_app.command()
@errors_to_exit_codes
def doctor(
    kubernetes: Annotated[
        bool,
        typer.Option(
            "--kubernetes", help="Look at the cluster: rights, quota, volumes, GPU nodes, image, database, store."
        ),
    ] = False,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Count the ledger anew and look at every output of every finished recording; it takes long."
        ),
    ] = False,
    image: Annotated[
        str | None, typer.Option(help="With --kubernetes: try to pull this image; default: the launcher's.")
    ] = None,
) -> None:
    """Look at everything a run needs, and say what is broken and how to mend it. Exit code 1 when something is."""
    from stt_orchestration.cli.doctor import check_cluster, check_history, check_installation

    screen = make_console()
    results = check_cluster(image) if kubernetes else check_installation()
    broken = False
    labels = {True: ("ok", "green"), None: ("note", "yellow"), False: ("broken", "red")}
    for result in chain(results, check_history() if deep else ()):
        broken = broken or result.passed is False
        label, style = labels[result.passed]
        screen.print(Text.assemble((f"{label:<7}", style), f"{result.check.name}: {result.sentence}"))
        if result.remedy:
            screen.print(Text(f"        {result.remedy}"))
    if broken:
        raise typer.Exit(ExitCode.MACHINE)


@operate_app.command()
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


@operate_app.command("fetch-model")
@errors_to_exit_codes
def fetch_model(
    name: Annotated[str | None, typer.Argument(help="A model of the catalogue.")] = None,
    listing: Annotated[bool, typer.Option("--list", help="Show the catalogue.")] = False,
) -> None:
    """Bring a model's weights onto this machine and check every file."""
    screen = make_console()
    if listing:
        _list_catalogue(screen)
        return
    if name is None:
        exit_with("Name a model; `stt fetch-model --list` shows them.", ExitCode.USAGE)
        return
    settings = Settings.read()
    weights = resolve(
        name, kind=None, model_dir=settings.model_dir, cache_dir=settings.cache_dir, progress=screen.print
    )
    screen.print(str(weights.path))


def _list_catalogue(screen: Console) -> None:
    for model in load_catalogue("whisper").values():
        screen.print(f"{model.name:18} {model.size / 1e6:8.0f} MB  {model.repository}@{model.version[:8]}")
    screen.print("\nFor other work than transcribing; STT_MODEL does not take these:")
    for model in load_catalogue().values():
        if model.kind != "whisper":
            what = f"{KIND_NAMES[model.kind]}, {model.licence}: {model.origin}"
            screen.print(f"{model.name:25} {model.size / 1e6:8.0f} MB  {what}")


@operate_app.command()
@errors_to_exit_codes
def prepare(
    patience: Annotated[float, typer.Option(help="Seconds to wait for a database that does not answer yet.")] = 180.0,
) -> None:
    """Make folders and tables that are missing, and wait for the database before: the init container of a pod."""
    from stt_orchestration.cli.prepare import prepare_storage
    from stt_orchestration.instance import InstanceUnusableError

    try:
        prepare_storage(Settings.read(), patience, make_console().print)
    except InstanceUnusableError as error:
        exit_with(str(error), ExitCode.MACHINE)
