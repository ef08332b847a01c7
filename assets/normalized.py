"""The ``normalized`` asset: audio as 16 kHz WAV, the input of the engine."""

import dagster as dg

from assets.checks import specs
from assets.partitions import batches
from assets.raw import raw
from assets.resources import OptionsResource, WorkspaceResource
from assets.step import GROUP, OWNERS, RETRY_INFRASTRUCTURE, materialize
from recordings import checks
from recordings.steps import normalized as step
from speech.pinning import usable_cores


@dg.asset(
    deps=[raw],
    partitions_def=batches,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "wav"},
    code_version=step.VERSION,
    retry_policy=RETRY_INFRASTRUCTURE,
    check_specs=specs("normalized", checks.AFTER_NORMALIZED),
    description=(
        "The first audio stream of every recording as 16 kHz WAV under input_audio/, channels kept apart where they hold different "
        "speakers. Truncated and undecodable recordings are quarantined here."
    ),
)
def normalized(
    context: dg.AssetExecutionContext, workspace: WorkspaceResource, options: OptionsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Run ``recordings.steps.normalized`` over the batch."""
    return materialize(
        context,
        workspace,
        lambda opened, key, say: step.run(opened, key, options.normalize(), say, workers=len(usable_cores())),
        checks.after_normalized,
    )
