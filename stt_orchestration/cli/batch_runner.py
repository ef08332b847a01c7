"""Running batches in this process, on the instance that the UI shows: what ``stt run`` does after it has taken in."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from assets.common.partitions import batches
from assets.common.step import PROCESS_TAG, make_process_tag
from recordings.intake.reprocess import CurrentOptions
from recordings.ledger.rows import Member
from recordings.workspace import Workspace
from speech.models.registry import Weights
from stt_orchestration.jobs import JOB_NAME
from stt_orchestration.retention import RetentionRules, apply_retention, list_unfinished_batches
from stt_orchestration.runs import find_live_runs

log = logging.getLogger("stt")

ORIGIN = "stt run"

_LOOK_EVERY_S = 1.0

_RETENTION_S = 0.3
"""Longest work of a command on old runs. A run takes about 10 ms, so that every command deletes more than it makes."""

_QUEUE = "QUEUED_RUN_COORDINATOR"
"""The daemon that starts queued runs, as Dagster calls it."""


class RunFailedError(Exception):
    """A batch's run failed for an infrastructure reason; its recordings keep their states and a rerun goes on from there."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a run came to.

    Attributes:
        members: Deliveries of all batches that were unfinished, as they are now.
        transcribed: Those whose batches were worked on here; the others were waited for.
        seconds: Wall time of the runs here.
    """

    members: tuple[Member, ...]
    transcribed: tuple[Member, ...]
    seconds: float


def run_batches(
    workspace: Workspace,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    reprocessed: Sequence[str],
    around: Callable[[str], AbstractContextManager[None]],
    on_wait: Callable[[str], None],
    interrupted: Callable[[], bool],
) -> RunOutcome:
    """Run every unfinished batch, one after the other; wait for those that another process works on.

    Args:
        workspace: Store and ledger.
        definitions: The project's.
        instance: Where runs are noted.
        reprocessed: Batches to run again although the ledger says that they are finished.
        around: Given a batch's key, a context that its run happens in, such as a progress bar.
        on_wait: Told which batch is waited for, and whom it waits for.
        interrupted: Whether somebody wants it all to end.

    Raises:
        RunFailedError: At least one run failed; the others were still worked on.
        KeyboardInterrupt: It was interrupted. Dagster turns an interrupt into a failed step, or hides it between two steps.
    """
    done: list[str] = []
    here: list[str] = []
    failures: list[str] = []
    seconds = 0.0
    for key in dict.fromkeys((*list_unfinished_batches(workspace), *reprocessed)):
        with around(key):
            waited = _wait_for_others(instance, key, on_wait, interrupted)
            if waited and key not in list_unfinished_batches(workspace):
                done.append(key)
            else:
                began = time.monotonic()
                try:
                    _execute(definitions, instance, key)
                except dg.DagsterExecutionInterruptedError as error:
                    raise KeyboardInterrupt from error
                except RunFailedError as failed:
                    failures.append(str(failed))
                else:
                    here.append(key)
                    done.append(key)
                finally:
                    seconds += time.monotonic() - began
        # Check after a failure as well: Dagster reports an interrupt inside a step as a failure.
        if interrupted():
            raise KeyboardInterrupt
    if failures:
        raise RunFailedError("\n\n".join(failures))
    return RunOutcome(_members(workspace, done), _members(workspace, here), seconds)


def delete_old_runs(workspace: Workspace, instance: dg.DagsterInstance, rules: RetentionRules) -> None:
    """Delete some of what is old. For machines without Dagster's daemon, whose sensor ``retention`` does it."""
    try:
        apply_retention(instance, rules, lambda: frozenset(list_unfinished_batches(workspace)), _RETENTION_S)
    except (OSError, SQLAlchemyError) as error:
        log.warning("Old runs could not be deleted: %s", error)  # the recordings are done all the same


def get_current_options(definitions: dg.Definitions, weights: Weights) -> CurrentOptions:
    """The options that the definitions' steps work under."""
    resources = definitions.resources or {}
    options, engine = resources["options"], resources["engine"]
    return CurrentOptions(options.normalize_options(), weights.sha256, engine.key_options(), options.enrich_options())


def _members(workspace: Workspace, keys: Sequence[str]) -> tuple[Member, ...]:
    return tuple(member for key in keys for member in workspace.ledger.list_members(key))


def _wait_for_others(
    instance: dg.DagsterInstance, key: str, on_wait: Callable[[str], None], interrupted: Callable[[], bool]
) -> bool:
    """Wait until no run of a batch is at work or will be; returns whether there was one."""
    said: set[str] = set()
    while runs := find_live_runs(instance, key):
        run = runs[0]
        if all(each.status is dg.DagsterRunStatus.QUEUED for each in runs) and not _has_daemon(instance):
            on_wait(
                f"{key} waits in Dagster's queue, and no daemon is there that would start it: it is worked on here."
            )
            return False
        if run.run_id not in said:
            said.add(run.run_id)
            on_wait(
                f"{key} is being worked on by {_describe_owner(run)}. Waiting until that ends. Ctrl-C leaves it "
                "alone; in the UI (stt ui) "
                f"the run is {run.run_id[:8]} and can be terminated."
            )
        time.sleep(_LOOK_EVERY_S)
        if interrupted():
            raise KeyboardInterrupt
    return bool(said)


def _describe_owner(run: dg.DagsterRun) -> str:
    if run.status is dg.DagsterRunStatus.QUEUED:
        return "the Dagster daemon, in whose queue it stands"
    _, _, process = run.tags.get(PROCESS_TAG, "").partition("/")
    host, pid = (*process.split(":"), "", "")[:2]
    return f"another process ({pid} on {host})" if pid else "a run of Dagster"


def _has_daemon(instance: dg.DagsterInstance) -> bool:
    """Whether a daemon has lately shown that it takes runs from the queue."""
    return any(status.healthy for status in instance.get_daemon_statuses([_QUEUE]).values())


def _execute(definitions: dg.Definitions, instance: dg.DagsterInstance, key: str) -> None:
    instance.add_dynamic_partitions(batches.name or "", [key])
    run_id = str(uuid.uuid4())
    result = definitions.resolve_job_def(JOB_NAME).execute_in_process(
        instance=instance,
        partition_key=key,
        run_id=run_id,
        tags={PROCESS_TAG: make_process_tag(run_id), "stt/origin": ORIGIN},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )
    if result.success:
        return
    # A check that stops a batch says more than the error that Dagster makes of it.
    stopped = {
        event.step_key: event.asset_check_evaluation_data.description
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
        and _is_blocking_failure(event.asset_check_evaluation_data)
    }
    causes = [
        f"{event.step_key}: {stopped.get(event.step_key) or _root_cause(event.step_failure_data)}"
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.STEP_FAILURE
    ]
    raise RunFailedError(
        f"The run of {key} failed. {' '.join(causes) or 'See its log in the UI.'}\nNothing is lost: mend the cause and run "
        f"`stt run` again, it goes on where this stopped. The whole log is run {result.run_id} in the UI (stt ui)."
    )


def _is_blocking_failure(evaluation: dg.AssetCheckEvaluation) -> bool:
    return bool(evaluation.blocking) and not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR


def _root_cause(failure: object) -> str:
    error = getattr(failure, "error", None)
    while error is not None and error.cause is not None:
        error = error.cause
    user = getattr(failure, "user_failure_data", None)
    if user is not None and user.description:
        return str(user.description)
    return (error.message if error is not None else "unknown error").strip()
