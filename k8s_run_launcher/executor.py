"""The executor that definitions name. Every step's pod imports this module, so it must import quickly; ``steps`` does the work.

dagster-k8s and the Kubernetes client take as long to import as Dagster itself, and only the pod of a run needs them. That is why
the configuration is checked when a run starts, against the full schema, and not in the launchpad.
"""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.executor.base import Executor


@dg.executor(
    name="profiled_k8s",
    config_schema=dg.Field(
        dg.Permissive(),
        is_required=False,
        default_value={},
        description="Keys of dagster-k8s's k8s_job_executor, and step_profiles, step_patience, memory_factor, health_interval_s.",
    ),
    requirements=multiple_process_executor_requirements(),
)
def profiled_k8s_job_executor(init_context: dg.InitExecutorContext) -> Executor:
    """Each step is a Kubernetes Job with the profile of its step."""
    from k8s_run_launcher.step_handler import build_executor

    return build_executor(init_context)
