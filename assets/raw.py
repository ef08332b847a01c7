"""The ``raw`` asset: what was delivered."""

import dagster as dg

from assets.checks import specs
from assets.partitions import batches
from assets.resources import WorkspaceResource
from assets.step import GROUP, OWNERS, RETRY_INFRASTRUCTURE, materialize
from recordings import checks
from recordings.steps import raw as step


@dg.asset(
    partitions_def=batches,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "file"},
    code_version=step.VERSION,
    retry_policy=RETRY_INFRASTRUCTURE,
    check_specs=specs("raw", checks.AFTER_RAW),
    description=(
        "The recordings of a batch as they were delivered: bytes read and identified by their sha256, the container probed, "
        "duplicates recognised. What is no recording is quarantined here with a sentence that says why."
    ),
)
def raw(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Run ``recordings.steps.raw`` over the batch."""
    return materialize(context, workspace, step.run, checks.after_raw)
