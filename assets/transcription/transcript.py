"""The ``transcript`` asset: what was said."""

import time

import dagster as dg

from assets.capacity.production import COST_AS_PREDICTED, check_cost
from assets.common.checks import make_check_specs
from assets.common.partitions import batches
from assets.common.resources import CapacityResource, EngineResource, OptionsResource, WorkspaceResource
from assets.common.step import GROUP, INFRASTRUCTURE_RETRY_POLICY, OWNERS, run_step
from assets.transcription.normalized import normalized
from recordings.steps import checks, verify
from recordings.steps import transcript as step
from speech.asr.engine import ENGINE_VERSION


@dg.asset(
    deps=[normalized],
    partitions_def=batches,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "whisper"},
    code_version=ENGINE_VERSION,
    retry_policy=INFRASTRUCTURE_RETRY_POLICY,
    check_specs=make_check_specs("transcript", (*checks.AFTER_TRANSCRIPT, COST_AS_PREDICTED)),
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
    return run_step(
        context,
        workspace,
        lambda opened, key, say: step.run(opened, key, engine.make_engine_factory(), say),
        lambda opened, report: [
            *verify.check_transcript(opened, report, options.max_wer),
            check_cost(opened, report, capacity.path, time.process_time() - began),
        ],
    )
