"""The step handler and the executor: they apply step profiles, diagnose failed pods and adjust retries.

Both extend dagster-k8s's. Importing this module takes seconds, so only the pod of a run imports it; ``executor`` is what
definitions name.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._config import process_config
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.plan.objects import StepFailureData, UserFailureData
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig
from dagster._core.executor.base import Executor
from dagster._core.executor.step_delegating import CheckStepHealthResult, StepDelegatingExecutor, StepHandlerContext
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.executor import K8sStepHandler, k8s_job_executor
from dagster_k8s.job import UserDefinedDagsterK8sConfig, get_k8s_job_name, get_user_defined_k8s_config
from sqlalchemy.exc import OperationalError

from k8s_run_launcher import event_log
from k8s_run_launcher.api_errors import API_ERRORS, is_transient, parse_api_error
from k8s_run_launcher.cluster import ClusterClient
from k8s_run_launcher.config import STEP_FIELDS
from k8s_run_launcher.deprecated_profiles import DEPRECATED_PROFILES
from k8s_run_launcher.job_snapshot import JobSnapshot, is_condition_true
from k8s_run_launcher.launcher import ProfiledK8sRunLauncher
from k8s_run_launcher.pending import PendingState, diagnose_pending, diagnose_refusal, diagnose_unreachable
from k8s_run_launcher.pod_failure import FailureCause, PodFailure, diagnose, make_failure
from k8s_run_launcher.pod_watch import PodWatch, take_snapshot
from k8s_run_launcher.profiles import (
    DEFAULT_STEP,
    PendingTimeouts,
    StepProfile,
    read_pending_timeouts,
    read_profiles,
)
from k8s_run_launcher.retry import RetryAdjustments, adjust, mark_permanent_at_cap

_CREATE_RETRY_S = (10.0, 120.0)
"""Seconds between two attempts to create a Job that quota forbids: at first, and at most. If the API server did not answer, or the
account lacks the right, the pause is always the first value."""

_MISSING_END_GRACE_S = 60.0
"""How long a pod that exited with 0 may have no end event of its step in the event log: the event can become visible a little after
the pod ends."""


@dataclass(slots=True)
class _RefusedJob:
    """A Job that the API server would or could not create."""

    pending: PendingState
    next_try: float
    pause_s: float


class ProfiledStepHandler(K8sStepHandler):
    """dagster-k8s's step handler with step profiles, failure diagnosis and pending timeouts.

    Args:
        profiles: Per step; ``DEFAULT_STEP`` serves the others.
        timeouts: How long a pod may be pending, by reason.
        memory_factor: By how much memory grows after OOMKilled.
        per_step_k8s_config: Same as in dagster-k8s; overrides the profiles.
        stock_config: The arguments of dagster-k8s's step handler.
    """

    def __init__(
        self,
        *,
        profiles: Mapping[str, StepProfile],
        timeouts: PendingTimeouts,
        memory_factor: float,
        per_step_k8s_config: Mapping[str, Any],
        **stock_config: Any,
    ) -> None:
        super().__init__(per_step_k8s_config=dict(per_step_k8s_config), **stock_config)
        self._cluster = ClusterClient()
        self._profiles = profiles
        self._timeouts = timeouts
        self._memory_factor = memory_factor
        self._per_step_overrides = per_step_k8s_config
        self._adjustments: dict[tuple[str, int], RetryAdjustments] = {}
        self._failures: dict[tuple[str, int], PodFailure] = {}
        self._refused_jobs: dict[str, _RefusedJob] = {}
        self._reported_pending: set[tuple[str, str]] = set()
        self._completed_since: dict[str, float] = {}
        self._reported_unreachable: set[str] = set()
        self._pod_watch: PodWatch | None = None

    @property
    def name(self) -> str:
        """For the event log."""
        return type(self).__name__

    def get_failure(self, step_key: str, attempt: int) -> PodFailure | None:
        """The failure of an attempt's pod (attempts count from 0); None if none was recorded."""
        return self._failures.get((step_key, attempt))

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Create the step's Job. Failures of earlier attempts change its resources and its placement."""
        context = step_handler_context
        step_key, attempt = self._get_step_key(context), self._get_attempt(context)
        if self._pod_watch is None:
            self._pod_watch = PodWatch(self._cluster, self._get_namespace(context), context.execute_step_args.run_id)
        if attempt and (step_key, attempt - 1) not in self._failures:
            self._diagnose_attempt(context, step_key, attempt - 1)
        if attempt or context.dagster_run.parent_run_id:
            earlier_failures = event_log.load_earlier_failures(context.instance, context.dagster_run, step_key)
            adjustments = adjust(self._get_profile(context), earlier_failures, self._memory_factor)
            self._adjustments[step_key, attempt] = adjustments
            if adjustments.sentences:
                self._log_engine_event(
                    context, f"Attempt {attempt + 1} of {step_key} gets {'; '.join(adjustments.sentences)}."
                )
        yield from self._create_job(context)

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Whether the step's pod is healthy. A pod that stays pending longer than its timeout is not."""
        context = step_handler_context
        job_name = self._get_k8s_step_job_name(context)
        if job_name in self._refused_jobs:
            return self._retry_create_job(context, job_name)
        if self._pod_watch is not None and self._pod_watch.is_running(job_name):
            # Saves API requests every few seconds; a failure is reported by the same watch.
            return CheckStepHealthResult.healthy()
        try:
            is_healthy = super().check_step_health(context).is_healthy
            evidence = take_snapshot(self._cluster, self._get_namespace(context), job_name, self._pod_watch)
        except API_ERRORS as error:
            # There is no sign that the pod failed; the next health check decides.
            if job_name not in self._reported_unreachable:
                self._reported_unreachable.add(job_name)
                self._log_engine_event(
                    context,
                    f"How {job_name} is cannot be asked; its pod is taken to be at work: {parse_api_error(error)[1]}",
                )
            return CheckStepHealthResult.healthy()
        if is_healthy and not is_condition_true(evidence.job, "Failed"):
            return self._check_pending(context, evidence)
        step_key, attempt = self._get_step_key(context), self._get_attempt(context)
        if event_log.has_step_ended(context.instance, context.execute_step_args.run_id, step_key, attempt):
            # The end event is already in the event log, and the executor reads it next.
            return CheckStepHealthResult.healthy()
        failure = diagnose(evidence) or make_failure(
            FailureCause.UNKNOWN, f"The Job {job_name} failed; Kubernetes keeps no trace of why."
        )
        return self._fail_step(context, failure)

    def _get_container_context(self, step_handler_context: StepHandlerContext) -> K8sContainerContext:
        """Merge the layers of configuration.

        In this order, later wins: launcher, code location and executor; the profile; raw Kubernetes configuration in tags and in
        ``per_step_k8s_config``; the adjustments of a retry.
        """
        context = step_handler_context
        step_key = self._get_step_key(context)
        profile = self._get_profile(context)
        adjustments = self._adjustments.get((step_key, self._get_attempt(context)), RetryAdjustments())
        step_override = self._per_step_overrides.get(context.get_step_context(step_key).step.op_name, {})
        layers = [
            UserDefinedDagsterK8sConfig.from_dict(profile.build_shallow_config(self._timeouts.total_s)),
            UserDefinedDagsterK8sConfig.from_dict(profile.build_deep_config()),
            get_user_defined_k8s_config(context.step_tags[step_key]),
            UserDefinedDagsterK8sConfig.from_dict(step_override),
            UserDefinedDagsterK8sConfig.from_dict(adjustments.memory_config()),
            UserDefinedDagsterK8sConfig.from_dict(adjustments.placement_config()),
        ]
        merged = super()._get_container_context(context)
        for layer in layers:
            merged = merged.merge(K8sContainerContext(run_k8s_config=layer))
        return merged

    def _get_attempt(self, context: StepHandlerContext) -> int:
        """Which attempt it is, counted from 0."""
        known_state = context.execute_step_args.known_state
        return known_state.get_retry_state().get_attempt_count(self._get_step_key(context)) if known_state else 0

    def _get_profile(self, context: StepHandlerContext) -> StepProfile:
        op_name = context.get_step_context(self._get_step_key(context)).step.op_name
        return self._profiles.get(op_name) or self._profiles[DEFAULT_STEP]

    def _get_namespace(self, context: StepHandlerContext) -> str:
        return str(self._get_container_context(context).namespace)

    def _create_job(self, context: StepHandlerContext) -> Iterator[DagsterEvent]:
        job_name = self._get_k8s_step_job_name(context)
        try:
            yield from super().launch_step(context)
        except API_ERRORS as error:
            earlier = self._refused_jobs.get(job_name)
            status, message = parse_api_error(error)
            if earlier and status == 409:
                del self._refused_jobs[job_name]  # the Job was created although the response was lost
                return
            since = earlier.pending.since if earlier else time.time()
            if status == 403:
                pending = diagnose_refusal(message, since)
            elif is_transient(status):
                pending = diagnose_unreachable(message, since)
            else:
                raise
            quota_pause = min(earlier.pause_s * 2, _CREATE_RETRY_S[1]) if earlier else _CREATE_RETRY_S[0]
            pause_s = quota_pause if pending.cause is FailureCause.QUOTA else _CREATE_RETRY_S[0]
            self._refused_jobs[job_name] = _RefusedJob(pending, time.time() + pause_s, pause_s)
            self._log_pending(context, job_name, pending)
        else:
            self._refused_jobs.pop(job_name, None)

    def _retry_create_job(self, context: StepHandlerContext, job_name: str) -> CheckStepHealthResult:
        refused, now = self._refused_jobs[job_name], time.time()
        failure = refused.pending.check_timeout(self._timeouts, now)
        if failure is not None:
            del self._refused_jobs[job_name]
            return self._fail_step(context, failure)
        if now >= refused.next_try:
            list(self._create_job(context))
        return CheckStepHealthResult.healthy()

    def _check_pending(self, context: StepHandlerContext, evidence: JobSnapshot) -> CheckStepHealthResult:
        if is_condition_true(evidence.job, "Complete"):
            return self._check_missing_end(context, evidence)
        now = time.time()
        pending = diagnose_pending(evidence, now)
        if pending is None:
            return CheckStepHealthResult.healthy()
        self._log_pending(context, evidence.name, pending)
        failure = pending.check_timeout(self._timeouts, now)
        if failure is None:
            return CheckStepHealthResult.healthy()
        # Otherwise the pod could start hours after the step was marked as failed, and occupy a GPU for no purpose.
        self._api_client.delete_job(job_name=evidence.name, namespace=self._get_namespace(context))
        return self._fail_step(context, failure)

    def _check_missing_end(self, context: StepHandlerContext, evidence: JobSnapshot) -> CheckStepHealthResult:
        """Fail a step whose pod exited with 0 and that has no end event: without this check the run would wait without end."""
        step_key, attempt = self._get_step_key(context), self._get_attempt(context)
        since = self._completed_since.setdefault(evidence.name, time.time())
        ended = event_log.has_step_ended(context.instance, context.execute_step_args.run_id, step_key, attempt)
        if ended or time.time() - since < _MISSING_END_GRACE_S:
            return CheckStepHealthResult.healthy()
        sentence = (
            f"The pod of {evidence.name} ended with exit code 0, but its step never noted an end in the event log."
        )
        return self._fail_step(context, make_failure(FailureCause.NO_RESULT, sentence))

    def _fail_step(self, context: StepHandlerContext, failure: PodFailure) -> CheckStepHealthResult:
        failure = self._record_failure(context, failure, self._get_step_key(context), self._get_attempt(context))
        return CheckStepHealthResult.unhealthy(reason=failure.sentence)

    def _diagnose_attempt(self, context: StepHandlerContext, step_key: str, attempt: int) -> None:
        """Diagnose an earlier attempt whose process recorded its own end: its pod may have been deleted or evicted."""
        job_name = f"dagster-step-{get_k8s_job_name(context.execute_step_args.run_id, step_key)}"
        job_name += f"-{attempt}" if attempt else ""
        try:
            evidence = take_snapshot(self._cluster, self._get_namespace(context), job_name, self._pod_watch)
        except API_ERRORS as error:
            # The diagnosis only improves the retry. If the API server stays unreachable, creating the retry's Job waits for it.
            self._log_engine_event(context, f"Why attempt {attempt + 1} of {step_key} ended was not found out: {error}")
            return
        failure = diagnose(evidence) if evidence.pod is not None else None
        if failure is not None:
            self._record_failure(context, failure, step_key, attempt)

    def _record_failure(
        self, context: StepHandlerContext, failure: PodFailure, step_key: str, attempt: int
    ) -> PodFailure:
        failure = mark_permanent_at_cap(self._get_profile(context), failure)
        self._failures[step_key, attempt] = failure
        self._log_engine_event(context, failure.sentence, event_log.make_failure_metadata(failure, attempt=attempt + 1))
        return failure

    def _log_pending(self, context: StepHandlerContext, job_name: str, pending: PendingState) -> None:
        if (job_name, pending.cause) not in self._reported_pending:
            self._reported_pending.add((job_name, pending.cause))
            self._log_engine_event(context, pending.sentence, {"waits_for": dg.MetadataValue.text(str(pending.cause))})

    def _log_engine_event(
        self, context: StepHandlerContext, sentence: str, metadata: Mapping[str, Any] | None = None
    ) -> None:
        step_context = context.get_step_context(self._get_step_key(context))
        DagsterEvent.engine_event(step_context, sentence, EngineEventData(metadata))


class ProfiledK8sExecutor(StepDelegatingExecutor):
    """Dagster's ``StepDelegatingExecutor``; a step whose failure is permanent is not retried."""

    def __init__(self, step_handler: ProfiledStepHandler, **stock_config: Any) -> None:
        super().__init__(step_handler=step_handler, **stock_config)
        self._handler = step_handler

    def _pop_events(self, *arguments: Any) -> Sequence[DagsterEvent]:
        """Read new step events.

        If the database connection is lost during the query, the query is repeated once; opening the connection waits until the
        database is back.
        """
        try:
            return super()._pop_events(*arguments)
        except OperationalError:
            return super()._pop_events(*arguments)

    def log_failure_or_retry_event_after_error(
        self, step_context: Any, err_info: Any, known_state: Any
    ) -> DagsterEvent:
        """A retry, or the failure; its metadata say why the pod failed."""
        step_key = step_context.step.key
        attempt = known_state.get_retry_state().get_attempt_count(step_key)
        failure = self._handler.get_failure(step_key, attempt)
        if failure is None or not failure.is_permanent:
            return super().log_failure_or_retry_event_after_error(step_context, err_info, known_state)
        failure_data = UserFailureData(
            str(failure.cause), failure.sentence, event_log.make_failure_metadata(failure, attempt=attempt + 1)
        )
        return DagsterEvent.step_failure_event(
            step_context, StepFailureData(error=err_info, user_failure_data=failure_data)
        )


_CONTAINER_CONTEXT_KEYS = (
    "image_pull_policy",
    "image_pull_secrets",
    "service_account_name",
    "env_config_maps",
    "env_secrets",
    "env_vars",
    "volume_mounts",
    "volumes",
    "labels",
    "resources",
    "scheduler_name",
    "security_context",
)


def build_executor_schema() -> dg.Shape:
    """The config schema: every key of ``k8s_job_executor``, and the keys of this package."""
    stock: Any = k8s_job_executor.config_schema.as_field().config_type
    owners = dg.Field(
        bool,
        is_required=False,
        default_value=True,
        description="The Job of a step belongs to the pod of its run, and goes with it.",
    )
    return dg.Shape({**stock.fields, **STEP_FIELDS, "enable_owner_references": owners})


def build_executor(init_context: dg.InitExecutorContext) -> Executor:
    """The executor, from its own configuration over the launcher's.

    Raises:
        dg.DagsterInvalidConfigError: A key or value of dagster-k8s's is not allowed.
        ProfileError: A profile is not allowed.
    """
    checked = process_config(build_executor_schema(), init_context.executor_config)
    if not checked.success:
        raise dg.DagsterInvalidConfigError(
            "The configuration of the Kubernetes executor:", checked.errors or [], init_context.executor_config
        )
    config: Mapping[str, Any] = checked.value or {}
    launcher = init_context.instance.run_launcher
    launcher_config = launcher.step_config if isinstance(launcher, ProfiledK8sRunLauncher) else {}
    merged_config: dict[str, Any] = {**launcher_config, **{key: config[key] for key in STEP_FIELDS if key in config}}
    connection: dict[str, Any] = {
        key: config.get(key, getattr(launcher, key, default))
        for key, default in (("load_incluster_config", True), ("kubeconfig_file", None))
    }
    handler = ProfiledStepHandler(
        profiles=read_profiles(DEPRECATED_PROFILES, launcher_config.get("step_profiles"), config.get("step_profiles")),
        timeouts=read_pending_timeouts(launcher_config.get("step_patience"), config.get("step_patience")),
        memory_factor=merged_config.get("memory_factor", 2.0),
        image=config.get("job_image"),
        container_context=K8sContainerContext(
            **{key: config.get(key) for key in _CONTAINER_CONTEXT_KEYS},
            namespace=config.get("job_namespace"),
            run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(config.get("step_k8s_config", {})),
        ),
        per_step_k8s_config=config.get("per_step_k8s_config", {}),
        enable_owner_references=config["enable_owner_references"],
        **connection,
    )
    return ProfiledK8sExecutor(
        handler,
        retries=RetryMode.from_config(config["retries"]),
        check_step_health_interval_seconds=merged_config.get("health_interval_s", 10),
        max_concurrent=config.get("max_concurrent"),
        tag_concurrency_limits=config.get("tag_concurrency_limits"),
        should_verify_step=True,
        step_dependency_config=StepDependencyConfig.from_config(config.get("step_dependency_config")),
    )
