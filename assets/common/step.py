"""Shared by the four step assets: group and owners in Dagster, retry policy, and the errors that a retry cannot fix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg

from assets.common.checks import to_check_result
from assets.common.metadata import make_metadata
from assets.common.resources import WorkspaceResource
from k8s_run_launcher.memory_peak import is_in_step_pod, record_memory_peak
from recordings.ledger.locks import LocksUnavailableError
from recordings.ledger.processes import get_process_identity, host_and_pid, is_gone
from recordings.steps.report import StepReport
from recordings.steps.runner import StepFailedError
from recordings.storage.errors import NOT_WRITABLE_ERRNOS, explain
from recordings.workspace import Workspace
from speech.asr.capabilities import UnsupportedOptionError
from speech.asr.runtime.allocator import give_back_memory
from speech.asr.whisper import DeviceUnavailableError
from speech.checks import CheckResult
from speech.machine.resources import detect_resources, measure_free_memory
from speech.models.errors import UnknownModelError, WrongWeightsError

GROUP = "transcription"
OWNERS = ["team:speech"]

PROCESS_TAG = "stt/process"
"""On a run: which process executes it, so that others can see whether it still lives; see ``make_process_tag``."""

INFRASTRUCTURE_RETRY_POLICY = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL)
"""A step fails only because of infrastructure errors, and a full disk or a lost database connection is often repaired within a
minute."""

PERMANENT_ERRORS = (
    LocksUnavailableError,
    DeviceUnavailableError,
    UnsupportedOptionError,
    WrongWeightsError,
    UnknownModelError,
    LookupError,
    StepFailedError,
)


def make_process_tag(run_id: str) -> str:
    """Value of ``PROCESS_TAG`` for a run that this process executes.

    It names the run too, because Dagster copies a run's tags to the runs that repeat it, whoever executes those.
    """
    return f"{run_id}/{get_process_identity()}"


def is_abandoned(run: dg.DagsterRun) -> bool:
    """Whether the process that executed a run is known to be gone. Other hosts' processes are not known here."""
    run_id, _, identity = run.tags.get(PROCESS_TAG, "").partition("/")
    return run_id == run.run_id and is_gone(identity)


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as error:
        # Outside a step pod an interrupt comes from a person, so the step must not be retried. A step pod is also stopped when its
        # node is drained or preempted, and then a retry is right; when a person cancels the run, the pod that would retry is
        # stopped too.
        raise dg.Failure(description="Interrupted.", allow_retries=is_in_step_pod()) from error
    except PERMANENT_ERRORS as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except OSError as error:
        raise dg.Failure(description=explain(error), allow_retries=error.errno not in NOT_WRITABLE_ERRNOS) from error


def run_step(
    context: dg.AssetExecutionContext,
    workspace: WorkspaceResource,
    step: Callable[[Workspace, str, Callable[[str], None]], StepReport],
    check: Callable[[Workspace, StepReport], list[CheckResult]],
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Lock the batch of this run, run the step, run its checks, and return both as a Dagster materialization.

    If another process works on the same batch, wait until it ends; work it has finished is not repeated.

    Args:
        context: Of the asset; its partition is the batch.
        workspace: Where the bytes and states are.
        step: Takes workspace, batch key and a place for lines of progress; returns the report.
        check: Takes workspace and report; returns a verdict per check of the asset.

    Raises:
        dg.Failure: An error with a sentence for the operator: permanent errors without retries, OSErrors with retries unless the
            path is not writable.
    """
    key, say = context.partition_key, context.log.info
    # Log which process does the work. benchmarks/lab/cluster also uses the time of this line to measure the launch time.
    say(f"At work on {key}, process {host_and_pid()}.")
    give_back_memory()  # of an earlier step of this process, so that what is free is found free
    found = detect_resources().sentence
    say(found)
    say(measure_free_memory().sentence)
    context.instance.add_run_tags(context.run.run_id, {PROCESS_TAG: make_process_tag(context.run.run_id)})
    with record_memory_peak(), _translate_errors(), workspace.open() as opened, opened.ledger.lock_batch(key, say):
        report = step(opened, key, say)
        verdicts = check(opened, report)
    for member in report.broken:
        context.log.warning("%s is %s: %s", member.delivery.name, member.state, member.shown_reason)
    for verdict in verdicts:
        if not verdict.passed:
            context.log.warning("%s: %s", verdict.check.name, verdict.sentence)
    return dg.MaterializeResult(
        metadata={**make_metadata(report, workspace.pages_url), "resources": dg.MetadataValue.text(found)},
        check_results=[to_check_result(verdict) for verdict in verdicts],
    )
