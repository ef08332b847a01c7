"""The ``enriched`` asset: what people read."""

import dagster as dg

from assets.common.checks import make_check_specs
from assets.common.partitions import batches
from assets.common.resources import OptionsResource, WorkspaceResource
from assets.common.step import GROUP, INFRASTRUCTURE_RETRY_POLICY, OWNERS, run_step
from assets.transcription.transcript import transcript
from recordings.steps import checks, verify
from recordings.steps import enriched as step
from speech.machine.resources import detect_resources


@dg.asset(
    deps=[transcript],
    partitions_def=batches,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "html"},
    code_version=step.VERSION,
    retry_policy=INFRASTRUCTURE_RETRY_POLICY,
    check_specs=make_check_specs("enriched", checks.AFTER_ENRICHED),
    description=(
        "What people read and other programs take in, under transcripts/: plain text, SRT and VTT subtitles, an annotated JSON "
        "with pauses and speech rate, and a page per recording on which every word plays its moment."
    ),
)
def enriched(
    context: dg.AssetExecutionContext, workspace: WorkspaceResource, options: OptionsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Run ``recordings.steps.enriched`` over the batch."""
    # Two workers per CPU, because half of the time is spent waiting for the disk (five small files per recording).
    return run_step(
        context,
        workspace,
        lambda opened, key, say: step.run(
            opened, key, options.enrich_options(), say, workers=2 * detect_resources().cpus
        ),
        verify.check_enriched,
    )
