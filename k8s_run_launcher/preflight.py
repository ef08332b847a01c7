"""Preflight: checks that the account has the permissions of a run and that the cluster can hold the step profiles.

It leaves nothing in the cluster. The functions that check are pure and take API objects; ``run_preflight`` makes the API
requests. Checks of the database and the store are passed in as callables, because this package may not import them.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from k8s_run_launcher.cluster import ApiError, ClusterClient, K8sObject, parse_k8s_quantity
from k8s_run_launcher.job_snapshot import get_nested
from k8s_run_launcher.pending import diagnose_pending
from k8s_run_launcher.pod_watch import take_snapshot
from k8s_run_launcher.profiles import StepProfile

REQUIRED_PERMISSIONS: Sequence[tuple[str, str, str]] = (
    *(("batch", "jobs", verb) for verb in ("create", "get", "list", "delete")),
    ("batch", "jobs/status", "get"),
    *(("", "pods", verb) for verb in ("get", "list", "watch", "delete")),
    ("", "pods/log", "get"),
    ("", "events", "list"),
)
"""API group, resource and verb: what launcher, executor and janitor use, and nothing else."""

_IMAGE_PULL_TIMEOUT_S = 90.0
"""Seconds until the image probe gives up: pulling one GB takes about a minute on a common network."""


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """What was looked at and found; ``passed`` is None where it could not be looked at."""

    subject: str
    passed: bool | None
    detail: str
    remedy: str = ""


Probe = Callable[[], str]
"""Returns what it found; raises OSError or RuntimeError when it does not work."""


def run_preflight(
    namespace: str, profiles: Mapping[str, StepProfile], image: str | None, probes: Mapping[str, Probe]
) -> Iterator[PreflightResult]:
    """Look at everything, in the order in which a run would need it.

    Args:
        namespace: Where runs and steps become Jobs.
        profiles: Of the steps.
        image: Of the steps, pulled by a Job that does nothing; None: not tried.
        probes: Subject -> probe, for what is not Kubernetes.
    """
    cluster = ClusterClient()
    yield from _check_permissions(cluster, namespace)
    yield from _run_check("quota", lambda: check_quotas(cluster.list_resource_quotas(namespace), profiles))
    yield from _run_check(
        "volumes",
        lambda: check_volume_claims(cluster.list_volume_claims(namespace), cluster.list_storage_classes),
    )
    yield from _run_check("GPU nodes", lambda: check_gpu_nodes(cluster.list_nodes(), profiles))
    if image is not None:
        yield from _run_check("image", lambda: [_check_image_pull(cluster, namespace, image)])
    for subject, probe in probes.items():
        try:
            yield PreflightResult(subject, True, probe())
        except (OSError, RuntimeError) as error:
            yield PreflightResult(subject, False, str(error), "Check its address, its credentials and whether it runs.")


def _run_check(subject: str, check: Callable[[], Sequence[PreflightResult]]) -> Iterator[PreflightResult]:
    try:
        yield from check()
    except ApiError as error:
        if error.status != 403:
            raise
        yield PreflightResult(
            subject,
            None,
            "this account may not look there",
            "Ask somebody who may: the launcher does not need that right.",
        )


def _check_permissions(cluster: ClusterClient, namespace: str) -> Iterator[PreflightResult]:
    missing = [
        f"{verb} {resource}"
        for group, resource, verb in REQUIRED_PERMISSIONS
        if not cluster.is_allowed(namespace, verb, resource, group)
    ]
    if missing:
        remedy = "Bind the role of deploy/base/access.yaml to the account of the runs, or add these to yours."
        yield PreflightResult("rights", False, f"in {namespace} this account may not {', '.join(missing)}", remedy)
    else:
        yield PreflightResult(
            "rights", True, f"all {len(REQUIRED_PERMISSIONS)} that runs and steps use, in {namespace}"
        )


def check_quotas(quotas: Sequence[K8sObject], profiles: Mapping[str, StepProfile]) -> list[PreflightResult]:
    """Whether each quota can hold each profile at all, and now.

    A quota with scopes is left out: to which pods it applies only the API server knows.
    """
    looks = []
    for quota in quotas:
        name = f"quota {get_nested(quota, 'metadata', 'name')}"
        if get_nested(quota, "spec", "scopes") or get_nested(quota, "spec", "scopeSelector"):
            looks.append(PreflightResult(name, None, "it has a scope, so it was not looked at"))
            continue
        hard, used = get_nested(quota, "status", "hard") or {}, get_nested(quota, "status", "used") or {}
        never, later = [], []
        for step, profile in profiles.items():
            for resource, wanted in compute_quota_usage(profile).items():
                if resource in hard and wanted > float(parse_k8s_quantity(hard[resource])):
                    never.append(f"{step} asks for more {resource} than the {hard[resource]} there are in all")
                elif resource in hard and wanted > float(parse_k8s_quantity(hard[resource])) - float(
                    parse_k8s_quantity(used.get(resource, "0"))
                ):
                    later.append(
                        f"{step} has to wait for {resource} ({used.get(resource)} of {hard[resource]} are used)"
                    )
        if never:
            looks.append(
                PreflightResult(name, False, "; ".join(never), "Raise the quota, or give the step a smaller profile.")
            )
        elif later:
            looks.append(
                PreflightResult(name, None, "; ".join(later), "Nothing, if what uses it ends; else raise the quota.")
            )
        else:
            looks.append(PreflightResult(name, True, f"every profile fits ({', '.join(sorted(hard))})"))
    return looks or [PreflightResult("quota", True, "there is none")]


def compute_quota_usage(profile: StepProfile) -> dict[str, float]:
    """What a pod of the profile counts for in a quota: resource as quotas name it -> amount."""
    resources = profile.resources()
    counted = {f"{kind}.{name}": value for kind in ("requests", "limits") for name, value in resources[kind].items()}
    if profile.gpu:
        counted[f"requests.{profile.gpu_resource}"] = str(profile.gpu)
    counted |= {name: counted[f"requests.{name}"] for name in ("cpu", "memory")}
    return {"pods": 1.0, **{name: float(parse_k8s_quantity(value)) for name, value in counted.items()}}


def check_volume_claims(
    claims: Sequence[K8sObject], storage_classes: Callable[[], Sequence[K8sObject]]
) -> list[PreflightResult]:
    """Whether every claim is bound; for unbound ones the storage classes give the reason."""
    unbound = [claim for claim in claims if get_nested(claim, "status", "phase") != "Bound"]
    if not unbound:
        names = ", ".join(get_nested(claim, "metadata", "name") for claim in claims)
        return [
            PreflightResult("volumes", True, f"{len(claims)} claims, all bound ({names})" if claims else "no claims")
        ]
    known = {get_nested(c, "metadata", "name"): c for c in storage_classes()}
    default_mark = "storageclass.kubernetes.io/is-default-class"
    default = next(
        (n for n, c in known.items() if (get_nested(c, "metadata", "annotations") or {}).get(default_mark) == "true"),
        None,
    )
    looks = []
    for claim in unbound:
        name, wanted = get_nested(claim, "metadata", "name"), get_nested(claim, "spec", "storageClassName") or default
        if wanted is None or wanted not in known:
            detail = f"{name} is {get_nested(claim, 'status', 'phase')}: " + (
                f"its storage class {wanted} is not there"
                if wanted
                else "it names no storage class and none is the default"
            )
            looks.append(
                PreflightResult(
                    "volumes", False, detail, f"Name one of: {', '.join(sorted(known)) or 'none is there'}."
                )
            )
        elif known[wanted].get("volumeBindingMode") == "WaitForFirstConsumer":
            looks.append(PreflightResult("volumes", True, f"{name} is bound when the first pod wants it ({wanted})"))
        else:
            detail = f"{name} is {get_nested(claim, 'status', 'phase')} with storage class {wanted}"
            looks.append(PreflightResult("volumes", False, detail, f"Look at: kubectl describe pvc {name}"))
    return looks


def check_gpu_nodes(nodes: Sequence[K8sObject], profiles: Mapping[str, StepProfile]) -> list[PreflightResult]:
    """Whether some node could take each step that wants GPUs: as many as asked for, and the labels of its selector."""
    looks = []
    for step, profile in profiles.items():
        if not profile.gpu:
            continue
        fitting = [get_nested(node, "metadata", "name") for node in nodes if _can_schedule(node, profile)]
        wanted = f"{step} wants {profile.gpu} {profile.gpu_resource}"
        if fitting:
            looks.append(PreflightResult("GPU nodes", True, f"{wanted}: {', '.join(fitting[:5])}"))
        else:
            remedy = "Add such a node and its device plugin; or run on CPU on purpose (gpu: 0 in its profile, STT_DEVICE=cpu)."
            selector = f" with labels {profile.node_selector}" if profile.node_selector else ""
            looks.append(PreflightResult("GPU nodes", False, f"{wanted}{selector}, and no node has them", remedy))
    return looks or [PreflightResult("GPU nodes", True, "no profile wants a GPU")]


def _can_schedule(node: K8sObject, profile: StepProfile) -> bool:
    has = (get_nested(node, "status", "allocatable") or {}).get(profile.gpu_resource, "0")
    labels = get_nested(node, "metadata", "labels") or {}
    return int(has) >= profile.gpu and all(labels.get(key) == value for key, value in profile.node_selector.items())


def _check_image_pull(cluster: ClusterClient, namespace: str, image: str) -> PreflightResult:
    """Start a container of the image that does nothing, and see whether it can."""
    name = f"stt-preflight-{uuid.uuid4().hex[:8]}"
    cluster.create_job(namespace, _probe_job(name, image))
    start = time.monotonic()
    said = "the pod was not even made"
    try:
        while time.monotonic() - start < _IMAGE_PULL_TIMEOUT_S:
            evidence = take_snapshot(cluster, namespace, name)
            if get_nested(evidence.pod, "status", "phase") in ("Running", "Succeeded", "Failed"):
                return PreflightResult(
                    "image", True, f"{image} is there {time.monotonic() - start:.0f} s after it was asked for"
                )
            waiting = diagnose_pending(evidence, time.time())
            said = (
                waiting.sentence if waiting is not None else f"the pod is {get_nested(evidence.pod, 'status', 'phase')}"
            )
            time.sleep(1)
    finally:
        cluster.delete_job(namespace, name)
    return PreflightResult(
        "image",
        False,
        f"{image} after {_IMAGE_PULL_TIMEOUT_S:.0f} s: {said}",
        "Check its name, its tag and the pull secret.",
    )


def _probe_job(name: str, image: str) -> dict[str, Any]:
    container = {
        "name": "probe",
        "image": image,
        "command": ["true"],
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        # The restricted pod security standard, so that the probe is refused for no other reason than its image.
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    job = {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": 300,
        "activeDeadlineSeconds": int(_IMAGE_PULL_TIMEOUT_S),
        "template": {"spec": spec},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": job}
