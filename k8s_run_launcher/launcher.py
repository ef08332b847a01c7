"""The run launcher: extends dagster-k8s's ``K8sRunLauncher`` and reports why the pod of a run failed.

``dagster.yaml`` names it::

    run_launcher:
      module: k8s_run_launcher.launcher
      class: ProfiledK8sRunLauncher
      config: {...}  # every key of K8sRunLauncher, and those of ``config``
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.events import EngineEventData
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import UserDefinedDagsterK8sConfig, get_job_name_from_run_id

from k8s_run_launcher import event_log
from k8s_run_launcher.api_errors import API_ERRORS
from k8s_run_launcher.cluster import ClusterClient
from k8s_run_launcher.config import RUN_FIELDS, STEP_FIELDS
from k8s_run_launcher.deprecated_profiles import DEPRECATED_PROFILES
from k8s_run_launcher.job_snapshot import JobSnapshot
from k8s_run_launcher.pending import diagnose_pending
from k8s_run_launcher.pod_failure import diagnose
from k8s_run_launcher.pod_watch import take_snapshot
from k8s_run_launcher.profiles import read_pending_timeouts, read_profiles

_RUN_DEADLINE_S = 86_400
_RUN_TTL_S = 3_600


class ProfiledK8sRunLauncher(K8sRunLauncher):
    """``K8sRunLauncher`` with step profiles, deadlines of runs, and reasons of failures.

    Args:
        run_deadline_s: Seconds after which Kubernetes ends a run's Job.
        run_ttl_s: Seconds that a finished Job is kept.
        run_k8s_config: Same as in dagster-k8s; its values override the two above.
        stock_config: Keys of ``STEP_FIELDS`` for the executor, and all keys of dagster-k8s's launcher.
    """

    def __init__(
        self,
        *,
        run_deadline_s: int = _RUN_DEADLINE_S,
        run_ttl_s: int = _RUN_TTL_S,
        run_k8s_config: Mapping[str, Any] | None = None,
        **stock_config: Any,
    ) -> None:
        self.step_config = {key: stock_config.pop(key) for key in STEP_FIELDS if key in stock_config}
        # Validate now: an invalid profile must fail when the instance loads, not when the first step starts.
        read_profiles(DEPRECATED_PROFILES, self.step_config.get("step_profiles"))
        read_pending_timeouts(self.step_config.get("step_patience"))
        stated = dict(run_k8s_config or {})
        limits = {
            "ttl_seconds_after_finished": run_ttl_s,
            "active_deadline_seconds": run_deadline_s,
            "backoff_limit": 0,
        }
        stated["job_spec_config"] = {**limits, **UserDefinedDagsterK8sConfig.from_dict(stated).job_spec_config}
        super().__init__(run_k8s_config=stated, **stock_config)
        self._cluster = ClusterClient()

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """The configuration's schema."""
        return {**K8sRunLauncher.config_type(), **STEP_FIELDS, **RUN_FIELDS}

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return dagster-k8s's result; for a failure add the reason, and write it to the run's event log as well.

        The daemon treats a worker in an unknown state as failed and starts the run a second time, while the first worker may still
        be running. So an unreachable API server is not reported as a failure; a missing Job is.
        """
        result: CheckRunHealthResult = super().check_run_worker_health(run)
        if result.status not in (WorkerStatus.FAILED, WorkerStatus.UNKNOWN):
            return result
        try:
            evidence = self._take_snapshot(run)
        except API_ERRORS as error:
            return CheckRunHealthResult(
                WorkerStatus.RUNNING, f"{result.msg}. Kubernetes cannot be asked: {error}", True
            )
        failure = diagnose(evidence)
        if failure is None:
            # The API server did not answer a moment ago and answers now: the Job exists and has not failed.
            is_running = result.status is WorkerStatus.UNKNOWN and evidence.job is not None
            return CheckRunHealthResult(WorkerStatus.RUNNING, result.msg, True) if is_running else result
        if result.status is WorkerStatus.FAILED:
            self._instance.report_engine_event(
                failure.sentence, run, EngineEventData(event_log.make_failure_metadata(failure)), cls=type(self)
            )
        return CheckRunHealthResult(result.status, f"{result.msg}. {failure.sentence}", result.transient)

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """dagster-k8s's debug info, preceded by one sentence: why the run's pod failed or is pending."""
        debug_info = super().get_run_worker_debug_info(run, include_container_logs=include_container_logs)
        evidence = self._take_snapshot(run)
        reason = diagnose(evidence) or diagnose_pending(evidence, time.time())
        return "\n\n".join(part for part in (reason.sentence if reason else None, debug_info) if part)

    def _take_snapshot(self, run: dg.DagsterRun) -> JobSnapshot:
        namespace = str(self.get_container_context_for_run(run).namespace)
        name = get_job_name_from_run_id(run.run_id, resume_attempt_number=self._get_resume_attempt_number(run))
        return take_snapshot(self._cluster, namespace, name)
