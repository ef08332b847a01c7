"""Running batches in this process, on the instance that the UI shows: what ``stt run`` does after it has taken in."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import dagster as dg

from assets.partitions import batches
from assets.step import PROCESS_TAG, process_tag
from recordings.ledger import Member
from recordings.workspace import Workspace
from stt_orchestration.jobs import JOB_NAME
from stt_orchestration.runs import live_runs

ORIGIN = "stt run"


class RunFailed(Exception):  # noqa: N818 - reads as what it says
    """A batch's run failed for the machine's sake; its recordings keep their states and a rerun goes on from there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        batch_keys: The batches worked on, those left over from before among them.
        elsewhere: Batches that another process is working on; they were left to it.
        members: Their deliveries as they are now.
        seconds: Wall time of the batches' runs.
    """

    batch_keys: tuple[str, ...]
    elsewhere: tuple[str, ...]
    members: tuple[Member, ...]
    seconds: float


def run_batches(
    workspace: Workspace,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    around: Callable[[str], AbstractContextManager[None]],
    interrupted: Callable[[], bool],
) -> Outcome:
    """Run every unfinished batch, one after the other.

    Args:
        workspace: Store and ledger.
        definitions: The project's.
        instance: Where runs are noted.
        around: Given a batch's key, a context that its run happens in, such as a progress bar.
        interrupted: Whether somebody wants it all to end.

    Raises:
        RunFailed: At least one run failed; the others were still worked on.
        KeyboardInterrupt: It was interrupted. Dagster makes a failed step of that, or keeps it to itself between two steps.
    """
    done: list[str] = []
    elsewhere: list[str] = []
    failures: list[str] = []
    start = time.monotonic()
    for key in workspace.ledger.open_batches(made_before=time.time() + 1, limit=10**6):
        if live_runs(instance, key):
            elsewhere.append(key)
            continue
        try:
            with around(key):
                _execute(definitions, instance, key)
        except dg.DagsterExecutionInterruptedError as error:
            raise KeyboardInterrupt from error
        except RunFailed as failed:
            failures.append(str(failed))
        else:
            done.append(key)
        if interrupted():
            raise KeyboardInterrupt
    if failures:
        raise RunFailed("\n\n".join(failures))
    members = tuple(member for key in done for member in workspace.ledger.members(key))
    return Outcome(tuple(done), tuple(elsewhere), members, time.monotonic() - start)


def _execute(definitions: dg.Definitions, instance: dg.DagsterInstance, key: str) -> None:
    instance.add_dynamic_partitions(batches.name or "", [key])
    run_id = str(uuid.uuid4())
    result = definitions.resolve_job_def(JOB_NAME).execute_in_process(
        instance=instance,
        partition_key=key,
        run_id=run_id,
        tags={PROCESS_TAG: process_tag(run_id), "stt/origin": ORIGIN},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )
    if result.success:
        return
    # A check that stops a batch says more than the error that Dagster makes of it.
    stopped = {
        event.step_key: event.asset_check_evaluation_data.description
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION and _stops(event.asset_check_evaluation_data)
    }
    causes = [
        f"{event.step_key}: {stopped.get(event.step_key) or _root_cause(event.step_failure_data)}"
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.STEP_FAILURE
    ]
    raise RunFailed(
        f"The run of {key} failed. {' '.join(causes) or 'See its log in the UI.'}\nNothing is lost: mend the cause and run "
        f"`stt run` again, it goes on where this stopped. The whole log is run {result.run_id} in the UI (stt ui)."
    )


def _stops(found: dg.AssetCheckEvaluation) -> bool:
    return bool(found.blocking) and not found.passed and found.severity is dg.AssetCheckSeverity.ERROR


def _root_cause(failure: object) -> str:
    error = getattr(failure, "error", None)
    while error is not None and error.cause is not None:
        error = error.cause
    user = getattr(failure, "user_failure_data", None)
    if user is not None and user.description:
        return str(user.description)
    return (error.message if error is not None else "unknown error").strip()
