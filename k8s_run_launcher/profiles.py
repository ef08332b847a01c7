"""Step profiles: resources and placement of each step's pod, one typed profile per step. ``dagster.yaml`` states them.

A profile says everything about where and with what a step's pod runs. dagster-k8s receives it as two raw configurations, because
its merge either replaces (SHALLOW) or adds (DEEP): what replaces the launcher's (resources, placement, limits of time) and what is
added to it (volumes, environment).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from k8s_run_launcher.cluster import parse_k8s_quantity
from speech.machine.resources import CPU_REQUEST_ENV_VAR

CACHE_MOUNT = "/cache/huggingface"
"""Where a model cache is mounted."""


class ProfileError(ValueError):
    """The configuration of profiles or patience is not allowed. The message names the step, the key and the value."""


class Placement(BaseModel):
    """The nodes on which a pod may run, and its priority class. Nested keys are Kubernetes' own, in snake or camel case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    node_selector: dict[str, str] = Field(default_factory=dict)
    affinity: dict[str, Any] | None = None
    tolerations: list[dict[str, Any]] = Field(default_factory=list)
    priority_class: str | None = None

    def pod_spec(self) -> dict[str, Any]:
        """The part of a pod's spec that this placement sets. Empty values are left out, so the launcher's apply."""
        stated = {
            "node_selector": self.node_selector,
            "affinity": self.affinity,
            "tolerations": self.tolerations,
            "priority_class_name": self.priority_class,
        }
        return {key: value for key, value in stated.items() if value}


class StepProfile(Placement):
    """The resources and the placement of one step's pod. CPU and memory are Kubernetes quantities.

    Attributes:
        cpu: Requested CPU.
        cpu_limit: None: no limit, or the request where ``guaranteed``.
        memory: Requested memory.
        memory_limit: None: the request.
        memory_cap: What a retry after OOMKilled may raise the limit to; None: the limit, so that memory is never raised.
        gpu: How many.
        gpu_resource: Their name on the nodes.
        spot: Whether its nodes may be taken away; then ``after_loss`` must say where the retry runs.
        after_loss: Where a retry runs after preemption, eviction or the loss of the node; None: where the first attempt ran.
        volumes: Added to the launcher's.
        volume_mounts: Added to the launcher's.
        model_cache: Claim with model weights, mounted at ``CACHE_MOUNT``.
        env: Added to the launcher's.
        deadline_s: Seconds at most from the pod's start on a node.
        ttl_s: Seconds that the ended Job stays to be looked at.
        guaranteed: Limits equal requests and CPUs are whole, so that a static CPU manager pins them.
    """

    cpu: str
    cpu_limit: str | None = None
    memory: str
    memory_limit: str | None = None
    memory_cap: str | None = None
    gpu: int = Field(default=0, ge=0)
    gpu_resource: str = "nvidia.com/gpu"
    spot: bool = False
    after_loss: Placement | None = None
    volumes: list[dict[str, Any]] = Field(default_factory=list)
    volume_mounts: list[dict[str, Any]] = Field(default_factory=list)
    model_cache: str | None = None
    env: dict[str, str] = Field(default_factory=dict)
    deadline_s: int = Field(default=6 * 3600, gt=0)
    ttl_s: int = Field(default=3600, ge=300)
    guaranteed: bool = False

    @field_validator("cpu", "cpu_limit", "memory", "memory_limit", "memory_cap")
    @classmethod
    def _validate_quantity(cls, value: str | None) -> str | None:
        if value is not None and parse_k8s_quantity(value) <= 0:
            raise ValueError("not above 0")
        return value

    @model_validator(mode="after")
    def _validate_consistency(self) -> Self:
        if self.cpu_limit is not None and parse_k8s_quantity(self.cpu) > parse_k8s_quantity(self.cpu_limit):
            raise ValueError(f"cpu {self.cpu} is above cpu_limit {self.cpu_limit}")
        if parse_k8s_quantity(self.memory) > self.limit_bytes:
            raise ValueError(f"memory {self.memory} is above memory_limit {self.memory_limit}")
        if self.limit_bytes > self.cap_bytes:
            raise ValueError(f"memory_limit {self.memory_limit or self.memory} is above memory_cap {self.memory_cap}")
        if self.guaranteed and not self._is_guaranteed():
            raise ValueError("guaranteed needs whole CPUs, and limits that equal the requests (or are left out)")
        if self.spot and self.after_loss is None:
            raise ValueError("a step on spot nodes needs after_loss: where its retry goes when the node is taken away")
        return self

    def _is_guaranteed(self) -> bool:
        cpu = parse_k8s_quantity(self.cpu)
        return (
            cpu == int(cpu)
            and cpu == parse_k8s_quantity(self.cpu_limit or self.cpu)
            and self.limit_bytes == parse_k8s_quantity(self.memory)
        )

    @property
    def limit_bytes(self) -> int:
        """The memory limit of the first attempt."""
        return int(parse_k8s_quantity(self.memory_limit or self.memory))

    @property
    def cap_bytes(self) -> int:
        """The memory limit that no attempt goes beyond."""
        return int(parse_k8s_quantity(self.memory_cap or self.memory_limit or self.memory))

    def resources(self) -> dict[str, dict[str, str]]:
        """Requests and limits of the container."""
        limits = {"memory": self.memory_limit or self.memory}
        cpu_limit = self.cpu_limit or (self.cpu if self.guaranteed else None)
        if cpu_limit is not None:
            limits["cpu"] = cpu_limit
        if self.gpu:
            limits[self.gpu_resource] = str(self.gpu)
        return {"requests": {"cpu": self.cpu, "memory": self.memory}, "limits": limits}

    def build_shallow_config(self, max_pending_s: int) -> dict[str, Any]:
        """dagster-k8s configuration that takes the place of the launcher's, key by key.

        Args:
            max_pending_s: Longest time, in seconds, that a Job may wait for quota and a node. The Job's own deadline, which also
                ends a pod that never started, is later than the pod's by that time.
        """
        return {
            "container_config": {"resources": self.resources()},
            # The pod's deadline counts from its start on a node, the Job's from its creation.
            "pod_spec_config": {**self.pod_spec(), "active_deadline_seconds": self.deadline_s},
            "job_spec_config": {
                # No retry by Kubernetes: a second pod of the same Job would exit at once and the step would never end. Dagster
                # retries instead.
                "backoff_limit": 0,
                "ttl_seconds_after_finished": self.ttl_s,
                "active_deadline_seconds": self.deadline_s + max_pending_s,
            },
            "merge_behavior": "SHALLOW",
        }

    def build_deep_config(self) -> dict[str, Any]:
        """dagster-k8s configuration that is added to the launcher's."""
        volumes, mounts = list(self.volumes), list(self.volume_mounts)
        if self.model_cache:
            volumes.append({"name": "model-cache", "persistent_volume_claim": {"claim_name": self.model_cache}})
            mounts.append({"name": "model-cache", "mount_path": CACHE_MOUNT})
        env: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in self.env.items()]
        if CPU_REQUEST_ENV_VAR not in self.env:
            field = {"resource": "requests.cpu", "divisor": "1m"}
            env.append({"name": CPU_REQUEST_ENV_VAR, "value_from": {"resource_field_ref": field}})
        return {
            "container_config": {**({"volume_mounts": mounts} if mounts else {}), "env": env},
            # A step talks to the database and the store, never to Kubernetes.
            "pod_spec_config": {"automount_service_account_token": False, **({"volumes": volumes} if volumes else {})},
            "merge_behavior": "DEEP",
        }


class PendingTimeouts(BaseModel):
    """Timeouts, in seconds, of each reason for which a step's pod can be pending; after one of them the step fails with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unschedulable_s: int = Field(default=900, gt=0)
    image_s: int = Field(default=300, gt=0)
    setup_s: int = Field(default=300, gt=0)
    quota_s: int = Field(default=3600, gt=0)

    @property
    def total_s(self) -> int:
        """Waiting for quota, then for a node, then for image and volumes."""
        return self.quota_s + self.unschedulable_s + self.image_s + self.setup_s


DEFAULT_STEP = "default"
"""The name of the profile for every step that has no profile of its own."""

DEFAULT_PROFILE: Mapping[str, Any] = {
    "cpu": "250m",
    "cpu_limit": "1",
    "memory": "512Mi",
    "memory_limit": "512Mi",
    "memory_cap": "2Gi",
}
"""A step starts from these keys, and its configuration changes them."""

_LIMITS = ("cpu_limit", "memory_limit")


def read_profiles(*layers: Mapping[str, Mapping[str, Any]] | None) -> dict[str, StepProfile]:
    """The profile of every step that a layer of configuration names, and of ``DEFAULT_STEP``.

    Args:
        layers: Step -> keys of its profile; later ones win, key by key. Under all of them lies ``DEFAULT_PROFILE``. A step that
            its first layer calls guaranteed takes no limits from there: its limits are its requests.

    Raises:
        ProfileError: A key or value is not allowed.
    """
    stated: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for step, keys in (layer or {}).items():
            stated[step] = {**(stated[step] if step in stated else _get_default(keys)), **keys}
    stated[DEFAULT_STEP] = stated.pop(DEFAULT_STEP, dict(DEFAULT_PROFILE))
    profiles = {}
    for step, keys in stated.items():
        try:
            profiles[step] = StepProfile.model_validate(keys)
        except ValidationError as error:
            raise ProfileError(_explain(f"step_profiles: {step}", error)) from None
    return profiles


def _get_default(keys: Mapping[str, Any]) -> dict[str, Any]:
    omitted_keys = _LIMITS if keys.get("guaranteed") else ()
    return {key: value for key, value in DEFAULT_PROFILE.items() if key not in omitted_keys}


def read_pending_timeouts(*layers: Mapping[str, Any] | None) -> PendingTimeouts:
    """The timeouts of pending pods: the defaults, and each layer of configuration over them.

    Raises:
        ProfileError: A key or value is not allowed.
    """
    try:
        return PendingTimeouts.model_validate({key: value for layer in layers for key, value in (layer or {}).items()})
    except ValidationError as error:
        raise ProfileError(_explain("step_patience", error)) from None


def _explain(where: str, error: ValidationError) -> str:
    problems = [
        f"{where}: {'.'.join(str(part) for part in problem['loc']) or 'as a whole'}: {problem['msg'].removeprefix('Value error, ')}"
        + (f" (it is {problem['input']!r})" if problem["loc"] else "")
        for problem in error.errors()
    ]
    return "; ".join(problems)


def format_memory(size: float) -> str:
    """Bytes as a Kubernetes quantity of whole MiB, rounded up."""
    return f"{-int(-size // 1024**2)}Mi"
