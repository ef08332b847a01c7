"""Preflight: checks that the account has the permissions of a run and that the cluster can hold the step profiles.

It leaves nothing in the cluster. The functions that check are pure and take API objects; ``run_preflight`` makes the API
requests. Checks of the database and the store are passed in as callables, because this package may not import them.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from k8s_run_launcher.cluster import ApiError, ClusterClient, K8sObject, parse_k8s_quantity
from k8s_run_launcher.job_snapshot import get_nested
from k8s_run_launcher.pending import diagnose_pending
from k8s_run_launcher.pod_watch import take_snapshot
from k8s_run_launcher.profiles import StepProfile
from speech.checks import Check, CheckResult

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


RIGHTS = Check("rights", "The account may do in the namespace all that runs and steps do there.")
QUOTA = Check("quota", "Every step profile fits into every quota, at all and now.")
VOLUMES = Check("volumes", "Every volume claim is bound, or will be when a pod wants it.")
GPU_NODES = Check("GPU nodes", "Some node has the GPUs and the labels that a step asks for.")
IMAGE = Check("image", "The image of runs and steps can be pulled.")

Probe = Callable[[], str]
"""Returns what it found; raises OSError or RuntimeError when it does not work."""


def run_preflight(
    namespace: str, profiles: Mapping[str, StepProfile], image: str | None, probes: Mapping[Check, Probe]
) -> Iterator[CheckResult]:
    """Run all checks, in the order in which a run would need what they check.

    Args:
        namespace: The namespace of the Jobs of runs and steps.
        profiles: The profiles of the steps.
        image: The image of the steps, pulled by a Job that does nothing; None: not tried.
        probes: Checks of what is not Kubernetes, each with its probe.
    """
    cluster = ClusterClient()
    yield from _check_permissions(cluster, namespace)
    yield from _run_check(QUOTA, lambda: check_quotas(cluster.list_resource_quotas(namespace), profiles))
    yield from _run_check(
        VOLUMES,
        lambda: check_volume_claims(cluster.list_volume_claims(namespace), cluster.list_storage_classes),
    )
    yield from _run_check(GPU_NODES, lambda: check_gpu_nodes(cluster.list_nodes(), profiles))
    if image is not None:
        yield from _run_check(IMAGE, lambda: [_check_image_pull(cluster, namespace, image)])
    for check, probe in probes.items():
        try:
            yield CheckResult(check, True, probe())
        except (OSError, RuntimeError) as error:
            yield CheckResult(check, False, str(error), "Check its address, its credentials and whether it runs.")


def _run_check(check: Check, run: Callable[[], Sequence[CheckResult]]) -> Iterator[CheckResult]:
    try:
        yield from run()
    except ApiError as error:
        if error.status != 403:
            raise
        yield CheckResult(
            check,
            None,
            "this account may not look there",
            "Ask somebody who may: the launcher does not need that right.",
        )


def _check_permissions(cluster: ClusterClient, namespace: str) -> Iterator[CheckResult]:
    missing = [
        f"{verb} {resource}"
        for group, resource, verb in REQUIRED_PERMISSIONS
        if not cluster.is_allowed(namespace, verb, resource, group)
    ]
    if missing:
        remedy = "Bind the role of deploy/base/access.yaml to the account of the runs, or add these to yours."
        yield CheckResult(RIGHTS, False, f"in {namespace} this account may not {', '.join(missing)}", remedy)
    else:
        yield CheckResult(RIGHTS, True, f"all {len(REQUIRED_PERMISSIONS)} that runs and steps use, in {namespace}")


def check_quotas(quotas: Sequence[K8sObject], profiles: Mapping[str, StepProfile]) -> list[CheckResult]:
    """Whether each quota can hold each profile at all, and now.

    A quota with scopes is left out: only the API server knows to which pods it applies.
    """
    results = []
    for quota in quotas:
        check = replace(QUOTA, name=f"quota {get_nested(quota, 'metadata', 'name')}")
        if get_nested(quota, "spec", "scopes") or get_nested(quota, "spec", "scopeSelector"):
            results.append(CheckResult(check, None, "it has a scope, so it was not looked at"))
            continue
        hard, used = get_nested(quota, "status", "hard") or {}, get_nested(quota, "status", "used") or {}
        too_large, must_wait = [], []
        for step, profile in profiles.items():
            for resource, amount in compute_quota_usage(profile).items():
                if resource in hard and amount > float(parse_k8s_quantity(hard[resource])):
                    too_large.append(f"{step} asks for more {resource} than the {hard[resource]} there are in all")
                elif resource in hard and amount > float(parse_k8s_quantity(hard[resource])) - float(
                    parse_k8s_quantity(used.get(resource, "0"))
                ):
                    must_wait.append(
                        f"{step} has to wait for {resource} ({used.get(resource)} of {hard[resource]} are used)"
                    )
        if too_large:
            results.append(
                CheckResult(check, False, "; ".join(too_large), "Raise the quota, or give the step a smaller profile.")
            )
        elif must_wait:
            results.append(
                CheckResult(check, None, "; ".join(must_wait), "Nothing, if what uses it ends; else raise the quota.")
            )
        else:
            results.append(CheckResult(check, True, f"every profile fits ({', '.join(sorted(hard))})"))
    return results or [CheckResult(QUOTA, True, "there is none")]


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
) -> list[CheckResult]:
    """Whether every claim is bound; for unbound ones the storage classes give the reason."""
    unbound = [claim for claim in claims if get_nested(claim, "status", "phase") != "Bound"]
    if not unbound:
        names = ", ".join(get_nested(claim, "metadata", "name") for claim in claims)
        return [CheckResult(VOLUMES, True, f"{len(claims)} claims, all bound ({names})" if claims else "no claims")]
    classes_by_name = {get_nested(c, "metadata", "name"): c for c in storage_classes()}
    default_mark = "storageclass.kubernetes.io/is-default-class"
    default = next(
        (
            n
            for n, c in classes_by_name.items()
            if (get_nested(c, "metadata", "annotations") or {}).get(default_mark) == "true"
        ),
        None,
    )
    results = []
    for claim in unbound:
        name, class_name = (
            get_nested(claim, "metadata", "name"),
            get_nested(claim, "spec", "storageClassName") or default,
        )
        if class_name is None or class_name not in classes_by_name:
            detail = f"{name} is {get_nested(claim, 'status', 'phase')}: " + (
                f"its storage class {class_name} is not there"
                if class_name
                else "it names no storage class and none is the default"
            )
            results.append(
                CheckResult(
                    VOLUMES, False, detail, f"Name one of: {', '.join(sorted(classes_by_name)) or 'none is there'}."
                )
            )
        elif classes_by_name[class_name].get("volumeBindingMode") == "WaitForFirstConsumer":
            results.append(CheckResult(VOLUMES, True, f"{name} is bound when the first pod wants it ({class_name})"))
        else:
            detail = f"{name} is {get_nested(claim, 'status', 'phase')} with storage class {class_name}"
            results.append(CheckResult(VOLUMES, False, detail, f"Look at: kubectl describe pvc {name}"))
    return results


def check_gpu_nodes(nodes: Sequence[K8sObject], profiles: Mapping[str, StepProfile]) -> list[CheckResult]:
    """Whether some node could take each step that wants GPUs: as many as asked for, and the labels of its selector."""
    results = []
    for step, profile in profiles.items():
        if not profile.gpu:
            continue
        fitting = [get_nested(node, "metadata", "name") for node in nodes if _can_schedule(node, profile)]
        requirement = f"{step} wants {profile.gpu} {profile.gpu_resource}"
        if fitting:
            results.append(CheckResult(GPU_NODES, True, f"{requirement}: {', '.join(fitting[:5])}"))
        else:
            remedy = "Add such a node and its device plugin; or run on CPU on purpose (gpu: 0 in its profile, STT_DEVICE=cpu)."
            selector = f" with labels {profile.node_selector}" if profile.node_selector else ""
            results.append(CheckResult(GPU_NODES, False, f"{requirement}{selector}, and no node has them", remedy))
    return results or [CheckResult(GPU_NODES, True, "no profile wants a GPU")]


def _can_schedule(node: K8sObject, profile: StepProfile) -> bool:
    gpu_count = (get_nested(node, "status", "allocatable") or {}).get(profile.gpu_resource, "0")
    labels = get_nested(node, "metadata", "labels") or {}
    return int(gpu_count) >= profile.gpu and all(
        labels.get(key) == value for key, value in profile.node_selector.items()
    )


def _check_image_pull(cluster: ClusterClient, namespace: str, image: str) -> CheckResult:
    """Start a container of the image that does nothing, and see whether it can."""
    name = f"stt-preflight-{uuid.uuid4().hex[:8]}"
    cluster.create_job(namespace, _probe_job(name, image))
    start = time.monotonic()
    last_state = "the pod was not even made"
    try:
        while time.monotonic() - start < _IMAGE_PULL_TIMEOUT_S:
            evidence = take_snapshot(cluster, namespace, name)
            if get_nested(evidence.pod, "status", "phase") in ("Running", "Succeeded", "Failed"):
                return CheckResult(
                    IMAGE, True, f"{image} is there {time.monotonic() - start:.0f} s after it was asked for"
                )
            waiting = diagnose_pending(evidence, time.time())
            last_state = (
                waiting.sentence if waiting is not None else f"the pod is {get_nested(evidence.pod, 'status', 'phase')}"
            )
            time.sleep(1)
    finally:
        cluster.delete_job(namespace, name)
    return CheckResult(
        IMAGE,
        False,
        f"{image} after {_IMAGE_PULL_TIMEOUT_S:.0f} s: {last_state}",
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
