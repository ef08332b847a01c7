"""The ``enriched`` asset: what people read."""

import dagster as dg

from assets.checks import specs
from assets.partitions import batches
from assets.resources import OptionsResource, WorkspaceResource
from assets.step import GROUP, OWNERS, RETRY_INFRASTRUCTURE, materialize
from assets.transcript import transcript
from recordings import checks
from recordings.steps import enriched as step
from speech.pinning import usable_cores


@dg.asset(
    deps=[transcript],
    partitions_def=batches,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "html"},
    code_version=step.VERSION,
    retry_policy=RETRY_INFRASTRUCTURE,
    check_specs=specs("enriched", checks.AFTER_ENRICHED),
    description=(
        "What people read and other programs take in, under transcripts/: plain text, SRT and VTT subtitles, an annotated JSON "
        "with pauses and speech rate, and a page per recording on which every word plays its moment."
    ),
)
def enriched(
    context: dg.AssetExecutionContext, workspace: WorkspaceResource, options: OptionsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Run ``recordings.steps.enriched`` over the batch."""
    # Two workers per core, because half of the time is spent waiting for the disk (five small files per recording).
    return materialize(
        context,
        workspace,
        lambda opened, key, say: step.run(opened, key, options.enrich(), say, workers=2 * len(usable_cores())),
        checks.after_enriched,
    )
