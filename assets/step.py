"""What the four step assets share: their look in Dagster, their retries, and which errors no retry can mend."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg

from assets.metadata import of_report
from assets.resources import WorkspaceResource
from recordings.steps.common import StepFailed
from recordings.steps.report import StepReport
from recordings.trouble import NOT_WRITABLE, in_words
from recordings.workspace import Workspace
from speech.decoder import DeviceUnavailable
from speech.weights import UnknownModel, WrongWeights

GROUP = "transcription"
OWNERS = ["team:speech"]

PROCESS_TAG = "stt/process"
"""On a run: host and id of the process that executes it, so that others can see whether it still lives."""

RETRY_INFRASTRUCTURE = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL)
"""A step only fails for the machine's sake, and a full disk or a lost database is often mended within a minute."""

_NO_RETRY_MENDS = (DeviceUnavailable, WrongWeights, UnknownModel, LookupError, StepFailed)


def this_process() -> str:
    """Value of ``PROCESS_TAG`` for a run of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


@contextmanager
def _permanent_failures() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as error:
        # Somebody wants it to end; a retry would go on in spite of them.
        raise dg.Failure(description="Interrupted.", allow_retries=False) from error
    except _NO_RETRY_MENDS as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except OSError as error:
        raise dg.Failure(description=in_words(error), allow_retries=error.errno not in NOT_WRITABLE) from error


def materialize(
    context: dg.AssetExecutionContext,
    workspace: WorkspaceResource,
    step: Callable[[Workspace, str, Callable[[str], None]], StepReport],
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Run a step over the run's batch and turn its report into a materialization.

    Args:
        context: Of the asset; its partition is the batch.
        workspace: Where the bytes and states are.
        step: Takes workspace, batch key and a place for lines of progress; returns the report.

    Raises:
        dg.Failure: An error in words: one that no retry mends, or that the operating system gave.
    """
    context.instance.add_run_tags(context.run.run_id, {PROCESS_TAG: this_process()})
    with _permanent_failures(), workspace.open() as opened:
        report = step(opened, context.partition_key, context.log.info)
    for member in report.broken:
        context.log.warning("%s is %s: %s", member.delivery.name, member.state, member.why)
    return dg.MaterializeResult(metadata=of_report(report, workspace.pages_url))
