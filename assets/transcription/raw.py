"""The ``raw`` asset: what was delivered."""

import dagster as dg

from assets.common.checks import make_check_specs
from assets.common.partitions import batches
from assets.common.resources import WorkspaceResource
from assets.common.step import GROUP, INFRASTRUCTURE_RETRY_POLICY, OWNERS, run_step
from recordings.steps import checks, verify
from recordings.steps import raw as step


@dg.asset(
    partitions_def=batches,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "file"},
    code_version=step.VERSION,
    retry_policy=INFRASTRUCTURE_RETRY_POLICY,
    check_specs=make_check_specs("raw", checks.AFTER_RAW),
    description=(
        "The recordings of a batch as they were delivered: bytes read and identified by their sha256, the container probed, "
        "duplicates recognised. What is no recording is quarantined here with a sentence that says why."
    ),
)
def raw(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Run ``recordings.steps.raw`` over the batch."""
    return run_step(context, workspace, step.run, verify.check_raw)
