"""The jobs an operator launches.

Without postponed annotations: Dagster reads the type of ``context`` when an op is made.
"""

import dagster as dg

from k8s_run_launcher.cluster import connect_to_cluster
from k8s_run_launcher.janitor import Janitor, RetentionRules
from recordings.states import Step

JOB_NAME = "transcribe_batch"

transcribe_batch = dg.define_asset_job(
    JOB_NAME,
    selection=dg.AssetSelection.assets(*Step),
    description="Turns a batch of recordings into transcripts, step by step. Work that is finished is left as it is.",
)

measure_platform = dg.define_asset_job(
    "measure_platform",
    selection=dg.AssetSelection.assets("benchmark"),
    config={"ops": {"benchmark": {"config": {"measure": True}}}},
    description="Measures the machine that the run is on, 50 iterations of 30 s of audio, and puts the result into the folder.",
)

JANITOR_NAME = "janitor"
CODE_LOCATION = "stt"
"""The code location's name: it stands on every Job of a run of ours."""


def build_janitor(run_days: int | None) -> dg.JobDefinition:
    """The job that removes what is left over on the cluster, and ended runs older than ``run_days`` (None: keeps them)."""

    @dg.op(
        name="remove_what_is_left_over",
        retry_policy=dg.RetryPolicy(max_retries=2, delay=30),
        config_schema={"dry_run": dg.Field(bool, default_value=False, description="Only say what would be removed.")},
    )
    def remove(context: dg.OpExecutionContext) -> None:
        work = Janitor(context.instance, connect_to_cluster(), CODE_LOCATION, RetentionRules(run_days=run_days))
        planned = work.plan_removals()
        dry_run = context.op_config["dry_run"]
        for removal in planned if dry_run else work.remove(planned):
            context.log.info("%s %s: %s", removal.kind, removal.name, removal.reason)
        counts = {kind: sum(removal.kind == kind for removal in planned) for kind in ("Job", "Pod", "run")}
        context.add_output_metadata({**counts, "dry_run": dry_run})

    @dg.job(
        name=JANITOR_NAME,
        executor_def=dg.in_process_executor,
        description="Removes Jobs and pods whose run has ended or is unknown, and ended runs past their days.",
    )
    def janitor() -> None:
        remove()

    return janitor
