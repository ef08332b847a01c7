"""The ``normalized`` asset: audio as 16 kHz WAV, the input of the engine."""

import dagster as dg

from assets.common.checks import make_check_specs
from assets.common.partitions import batches
from assets.common.resources import OptionsResource, WorkspaceResource
from assets.common.step import GROUP, INFRASTRUCTURE_RETRY_POLICY, OWNERS, run_step
from assets.transcription.raw import raw
from recordings.steps import checks, verify
from recordings.steps import normalized as step
from speech.machine.resources import detect_resources


@dg.asset(
    deps=[raw],
    partitions_def=batches,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "wav"},
    code_version=step.VERSION,
    retry_policy=INFRASTRUCTURE_RETRY_POLICY,
    check_specs=make_check_specs("normalized", checks.AFTER_NORMALIZED),
    description=(
        "Every recording as 16 kHz WAV under input_audio/, channels and audio tracks kept apart where they hold different "
        "speakers. Truncated and undecodable recordings are quarantined here."
    ),
)
def normalized(
    context: dg.AssetExecutionContext, workspace: WorkspaceResource, options: OptionsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Run ``recordings.steps.normalized`` over the batch."""
    return run_step(
        context,
        workspace,
        lambda opened, key, say: step.run(
            opened, key, options.normalize_options(), say, workers=detect_resources().cpus
        ),
        verify.check_normalized,
    )
