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

from k8s_run_launcher import records
from k8s_run_launcher.adapt import Lessons, final, learn
from k8s_run_launcher.config import STEP_FIELDS
from k8s_run_launcher.death import Cause, Death, death, why_dead
from k8s_run_launcher.evidence import Evidence, holds
from k8s_run_launcher.launcher import ProfiledK8sRunLauncher
from k8s_run_launcher.observe import PodWatch, gather
from k8s_run_launcher.profiles import Patience, StepProfile, read_patience, read_profiles
from k8s_run_launcher.trouble import API_TROUBLE, answer, passes
from k8s_run_launcher.waiting import Wait, refusal, unreachable, why_waiting

_ASK_AGAIN_S = (10.0, 120.0)
"""Seconds between two attempts to create a Job that quota forbids: at first, and at most. If the API server did not answer, or the
account lacks the right, the pause is always the first value."""

_SILENCE_S = 60.0
"""How long a pod that exited with 0 may have no end event of its step in the event log: the event can become visible a little after
the pod ends."""


@dataclass(slots=True)
class _Refused:
    """A Job that the API server would or could not create."""

    wait: Wait
    next_try: float
    pause_s: float


class ProfiledStepHandler(K8sStepHandler):
    """dagster-k8s's step handler with step profiles, failure diagnosis and pending timeouts.

    Args:
        profiles: Per step; ``default`` serves the others.
        patience: How long a pod may be pending, by reason.
        memory_factor: By how much memory grows after OOMKilled.
        per_step_k8s_config: Same as in dagster-k8s; overrides the profiles.
        others: dagster-k8s's arguments.
    """

    def __init__(
        self,
        *,
        profiles: Mapping[str, StepProfile],
        patience: Patience,
        memory_factor: float,
        per_step_k8s_config: Mapping[str, Any],
        **others: Any,
    ) -> None:
        super().__init__(per_step_k8s_config=dict(per_step_k8s_config), **others)
        self._profiles = profiles
        self._patience = patience
        self._memory_factor = memory_factor
        self._stated_per_step = per_step_k8s_config
        self._lessons: dict[tuple[str, int], Lessons] = {}
        self._deaths: dict[tuple[str, int], Death] = {}
        self._refused: dict[str, _Refused] = {}
        self._told: set[tuple[str, str]] = set()
        self._silent_since: dict[str, float] = {}
        self._unasked: set[str] = set()
        self._watch: PodWatch | None = None

    @property
    def name(self) -> str:
        """For the event log."""
        return type(self).__name__

    def death_of(self, step_key: str, attempt: int) -> Death | None:
        """The failure of an attempt's pod (attempts count from 0); None if none was recorded."""
        return self._deaths.get((step_key, attempt))

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Create the step's Job. Failures of earlier attempts change its resources and its placement."""
        context = step_handler_context
        step_key, attempt = self._get_step_key(context), self._attempt(context)
        if self._watch is None:
            self._watch = PodWatch(self._namespace(context), context.execute_step_args.run_id)
        if attempt and (step_key, attempt - 1) not in self._deaths:
            self._post_mortem(context, step_key, attempt - 1)
        if attempt or context.dagster_run.parent_run_id:
            deaths = records.earlier_deaths(context.instance, context.dagster_run, step_key)
            lessons = learn(self._profile(context), deaths, self._memory_factor)
            self._lessons[step_key, attempt] = lessons
            if lessons.sentences:
                self._tell(context, f"Attempt {attempt + 1} of {step_key} gets {'; '.join(lessons.sentences)}.")
        yield from self._create(context)

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Whether the step's pod is healthy. A pod that stays pending longer than its timeout is not."""
        context = step_handler_context
        job_name = self._get_k8s_step_job_name(context)
        if job_name in self._refused:
            return self._ask_again(context, job_name)
        if self._watch is not None and self._watch.sees_running(job_name):
            # Saves API requests every few seconds; a failure is reported by the same watch.
            return CheckStepHealthResult.healthy()
        try:
            healthy = super().check_step_health(context).is_healthy
            evidence = gather(
                self._api_client.batch_api, self._api_client.core_api, self._namespace(context), job_name, self._watch
            )
        except API_TROUBLE as error:
            # There is no sign that the pod failed; the next health check decides.
            if job_name not in self._unasked:
                self._unasked.add(job_name)
                self._tell(
                    context, f"How {job_name} is cannot be asked; its pod is taken to be at work: {answer(error)[1]}"
                )
            return CheckStepHealthResult.healthy()
        if healthy and not holds(evidence.job, "Failed"):
            return self._look_at_waiting(context, evidence)
        step_key, attempt = self._get_step_key(context), self._attempt(context)
        if records.has_ended(context.instance, context.execute_step_args.run_id, step_key, attempt):
            # The end event is already in the event log, and the executor reads it next.
            return CheckStepHealthResult.healthy()
        found = why_dead(evidence) or death(
            Cause.UNKNOWN, f"The Job {job_name} failed; Kubernetes keeps no trace of why."
        )
        return self._dead(context, found)

    def _get_container_context(self, step_handler_context: StepHandlerContext) -> K8sContainerContext:
        """Merge the layers of configuration.

        In this order, later wins: launcher, code location and executor; the profile; raw Kubernetes configuration in tags and in
        ``per_step_k8s_config``; the adjustments of a retry.
        """
        context = step_handler_context
        step_key = self._get_step_key(context)
        profile = self._profile(context)
        lessons = self._lessons.get((step_key, self._attempt(context)), Lessons())
        per_step = self._stated_per_step.get(context.get_step_context(step_key).step.op_name, {})
        layers = [
            UserDefinedDagsterK8sConfig.from_dict(profile.replacing(self._patience.longest_s)),
            UserDefinedDagsterK8sConfig.from_dict(profile.adding()),
            get_user_defined_k8s_config(context.step_tags[step_key]),
            UserDefinedDagsterK8sConfig.from_dict(per_step),
            UserDefinedDagsterK8sConfig.from_dict(lessons.memory_config()),
            UserDefinedDagsterK8sConfig.from_dict(lessons.placement_config()),
        ]
        merged = super()._get_container_context(context)
        for layer in layers:
            merged = merged.merge(K8sContainerContext(run_k8s_config=layer))
        return merged

    def _attempt(self, context: StepHandlerContext) -> int:
        """Which attempt it is, counted from 0."""
        known = context.execute_step_args.known_state
        return known.get_retry_state().get_attempt_count(self._get_step_key(context)) if known else 0

    def _profile(self, context: StepHandlerContext) -> StepProfile:
        op_name = context.get_step_context(self._get_step_key(context)).step.op_name
        return self._profiles.get(op_name) or self._profiles["default"]

    def _namespace(self, context: StepHandlerContext) -> str:
        return str(self._get_container_context(context).namespace)

    def _create(self, context: StepHandlerContext) -> Iterator[DagsterEvent]:
        job_name = self._get_k8s_step_job_name(context)
        try:
            yield from super().launch_step(context)
        except API_TROUBLE as error:
            earlier = self._refused.get(job_name)
            status, words = answer(error)
            if earlier and status == 409:
                del self._refused[job_name]  # the Job was created although the response was lost
                return
            since = earlier.wait.since if earlier else time.time()
            if status == 403:
                wait = refusal(words, since)
            elif passes(status):
                wait = unreachable(words, since)
            else:
                raise
            longer = min(earlier.pause_s * 2, _ASK_AGAIN_S[1]) if earlier else _ASK_AGAIN_S[0]
            pause = longer if wait.cause is Cause.QUOTA else _ASK_AGAIN_S[0]
            self._refused[job_name] = _Refused(wait, time.time() + pause, pause)
            self._tell_wait(context, job_name, wait)
        else:
            self._refused.pop(job_name, None)

    def _ask_again(self, context: StepHandlerContext, job_name: str) -> CheckStepHealthResult:
        refused, now = self._refused[job_name], time.time()
        found = refused.wait.over(self._patience, now)
        if found is not None:
            del self._refused[job_name]
            return self._dead(context, found)
        if now >= refused.next_try:
            list(self._create(context))
        return CheckStepHealthResult.healthy()

    def _look_at_waiting(self, context: StepHandlerContext, evidence: Evidence) -> CheckStepHealthResult:
        if holds(evidence.job, "Complete"):
            return self._look_at_silence(context, evidence)
        now = time.time()
        wait = why_waiting(evidence, now)
        if wait is None:
            return CheckStepHealthResult.healthy()
        self._tell_wait(context, evidence.name, wait)
        found = wait.over(self._patience, now)
        if found is None:
            return CheckStepHealthResult.healthy()
        # Otherwise the pod could start hours after the step was marked as failed, and occupy a GPU for no purpose.
        self._api_client.delete_job(job_name=evidence.name, namespace=self._namespace(context))
        return self._dead(context, found)

    def _look_at_silence(self, context: StepHandlerContext, evidence: Evidence) -> CheckStepHealthResult:
        """Fail a step whose pod exited with 0 and that has no end event: without this check the run would wait without end."""
        step_key, attempt = self._get_step_key(context), self._attempt(context)
        since = self._silent_since.setdefault(evidence.name, time.time())
        ended = records.has_ended(context.instance, context.execute_step_args.run_id, step_key, attempt)
        if ended or time.time() - since < _SILENCE_S:
            return CheckStepHealthResult.healthy()
        sentence = (
            f"The pod of {evidence.name} ended with exit code 0, but its step never noted an end in the event log."
        )
        return self._dead(context, death(Cause.SILENT, sentence))

    def _dead(self, context: StepHandlerContext, found: Death) -> CheckStepHealthResult:
        found = self._note(context, found, self._get_step_key(context), self._attempt(context))
        return CheckStepHealthResult.unhealthy(reason=found.sentence)

    def _post_mortem(self, context: StepHandlerContext, step_key: str, attempt: int) -> None:
        """Diagnose an earlier attempt whose process recorded its own end: its pod may have been deleted or evicted."""
        job_name = f"dagster-step-{get_k8s_job_name(context.execute_step_args.run_id, step_key)}"
        job_name += f"-{attempt}" if attempt else ""
        api = self._api_client
        try:
            evidence = gather(api.batch_api, api.core_api, self._namespace(context), job_name, self._watch)
        except API_TROUBLE as error:
            # The diagnosis only improves the retry. If the API server stays unreachable, creating the retry's Job waits for it.
            self._tell(context, f"Why attempt {attempt + 1} of {step_key} ended was not found out: {error}")
            return
        found = why_dead(evidence) if evidence.pod is not None else None
        if found is not None:
            self._note(context, found, step_key, attempt)

    def _note(self, context: StepHandlerContext, found: Death, step_key: str, attempt: int) -> Death:
        found = final(self._profile(context), found)
        self._deaths[step_key, attempt] = found
        self._tell(context, found.sentence, records.metadata(found, attempt=attempt + 1))
        return found

    def _tell_wait(self, context: StepHandlerContext, job_name: str, wait: Wait) -> None:
        if (job_name, wait.cause) not in self._told:
            self._told.add((job_name, wait.cause))
            self._tell(context, wait.sentence, {"waits_for": dg.MetadataValue.text(str(wait.cause))})

    def _tell(self, context: StepHandlerContext, sentence: str, metadata: Mapping[str, Any] | None = None) -> None:
        step_context = context.get_step_context(self._get_step_key(context))
        DagsterEvent.engine_event(step_context, sentence, EngineEventData(metadata))


class HealingExecutor(StepDelegatingExecutor):
    """Dagster's ``StepDelegatingExecutor``; a step whose failure is permanent is not retried."""

    def __init__(self, step_handler: ProfiledStepHandler, **others: Any) -> None:
        super().__init__(step_handler=step_handler, **others)
        self._handler = step_handler

    def _pop_events(self, *asked: Any) -> Sequence[DagsterEvent]:
        """Read new step events.

        If the database connection is lost during the query, the query is repeated once; opening the connection waits until the
        database is back.
        """
        try:
            return super()._pop_events(*asked)
        except OperationalError:
            return super()._pop_events(*asked)

    def log_failure_or_retry_event_after_error(
        self, step_context: Any, err_info: Any, known_state: Any
    ) -> DagsterEvent:
        """A retry, or the failure; its metadata say why the pod failed."""
        step_key = step_context.step.key
        attempt = known_state.get_retry_state().get_attempt_count(step_key)
        found = self._handler.death_of(step_key, attempt)
        if found is None or not found.lasting:
            return super().log_failure_or_retry_event_after_error(step_context, err_info, known_state)
        told = UserFailureData(str(found.cause), found.sentence, records.metadata(found, attempt=attempt + 1))
        return DagsterEvent.step_failure_event(step_context, StepFailureData(error=err_info, user_failure_data=told))


_FROM_CONFIG = (
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


def executor_schema() -> dg.Shape:
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
    checked = process_config(executor_schema(), init_context.executor_config)
    if not checked.success:
        raise dg.DagsterInvalidConfigError(
            "The configuration of the Kubernetes executor:", checked.errors or [], init_context.executor_config
        )
    config: Mapping[str, Any] = checked.value or {}
    launcher = init_context.instance.run_launcher
    theirs = launcher.step_config if isinstance(launcher, ProfiledK8sRunLauncher) else {}
    both: dict[str, Any] = {**theirs, **{key: config[key] for key in STEP_FIELDS if key in config}}
    connection: dict[str, Any] = {
        key: config.get(key, getattr(launcher, key, default))
        for key, default in (("load_incluster_config", True), ("kubeconfig_file", None))
    }
    handler = ProfiledStepHandler(
        profiles=read_profiles(theirs.get("step_profiles"), config.get("step_profiles")),
        patience=read_patience(theirs.get("step_patience"), config.get("step_patience")),
        memory_factor=both.get("memory_factor", 2.0),
        image=config.get("job_image"),
        container_context=K8sContainerContext(
            **{key: config.get(key) for key in _FROM_CONFIG},
            namespace=config.get("job_namespace"),
            run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(config.get("step_k8s_config", {})),
        ),
        per_step_k8s_config=config.get("per_step_k8s_config", {}),
        enable_owner_references=config["enable_owner_references"],
        **connection,
    )
    return HealingExecutor(
        handler,
        retries=RetryMode.from_config(config["retries"]),
        check_step_health_interval_seconds=both.get("health_interval_s", 10),
        max_concurrent=config.get("max_concurrent"),
        tag_concurrency_limits=config.get("tag_concurrency_limits"),
        should_verify_step=True,
        step_dependency_config=StepDependencyConfig.from_config(config.get("step_dependency_config")),
    )
