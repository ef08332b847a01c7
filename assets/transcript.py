"""The ``transcript`` asset: what was said."""

import time

import dagster as dg

from assets.checks import specs
from assets.normalized import normalized
from assets.partitions import batches
from assets.production import PREDICTED, as_predicted
from assets.resources import CapacityResource, EngineResource, OptionsResource, WorkspaceResource
from assets.step import GROUP, OWNERS, RETRY_INFRASTRUCTURE, materialize
from recordings import checks
from recordings.steps import transcript as step
from speech.engine import ENGINE_VERSION


@dg.asset(
    deps=[normalized],
    partitions_def=batches,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "whisper"},
    code_version=ENGINE_VERSION,
    retry_policy=RETRY_INFRASTRUCTURE,
    check_specs=specs("transcript", (*checks.AFTER_TRANSCRIPT, PREDICTED)),
    pool="gpu",
    description=(
        "What was said, as JSON under whisper_json/: segments and words with times and the evidence for each. The model is "
        "loaded once for the batch, and not at all where nothing is left to hear. Silence gives an empty transcript and a reason."
    ),
)
def transcript(
    context: dg.AssetExecutionContext,
    workspace: WorkspaceResource,
    engine: EngineResource,
    options: OptionsResource,
    capacity: CapacityResource,
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Run ``recordings.steps.transcript`` over the batch."""
    began = time.process_time()
    return materialize(
        context,
        workspace,
        lambda opened, key, say: step.run(opened, key, engine.recipe(), say),
        lambda opened, report: [
            *checks.after_transcript(opened, report, options.max_wer),
            as_predicted(opened, report, capacity.path, time.process_time() - began),
        ],
    )
