"""Steps die on a real cluster: the event log says why, the retry adapts, and nothing is left over."""

from __future__ import annotations

import json

import pytest
from faulty import Faults

pytestmark = pytest.mark.timeout(400)

ANYWHERE = {"step_profiles": {"sleeper": {"node_selector": {}, "spot": False, "after_loss": None}}}


def test_a_killed_pod_is_retried_and_its_death_is_explained(cluster: Faults) -> None:
    run = cluster.launch("run_sleeper", {"sleeper": {"seconds": 120}}, ANYWHERE)
    pod = cluster.wait_at_work(run)["metadata"]["name"]
    cluster.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
    log = cluster.wait_for_end(run, "SUCCESS")
    cause = log.find_cause("deleted")
    assert cause is not None, log
    assert cause["node"] == "node-1"
    assert len(log.of("STEP_UP_FOR_RETRY")) == 1
    cluster.wait_until_gone(run)


def test_oom_killed_gets_more_memory_and_succeeds(cluster: Faults) -> None:
    run = cluster.launch("run_glutton", {"glutton": {"mebibytes": 192}})
    log = cluster.wait_for_end(run, "SUCCESS")
    cause = log.find_cause("OOMKilled")
    assert cause is not None, log
    assert cause["limit"] == "224Mi"
    assert 100 * 1024**2 < int(cause["last_use_bytes"]) < 224 * 1024**2
    assert log.find_engine_event("Attempt 2", "memory limit 448Mi in place of 224Mi")
    limits = [pod["spec"]["containers"][0]["resources"] for pod in cluster.step_pods(run)]
    assert [(r["requests"]["memory"], r["limits"]["memory"]) for r in limits] == [
        ("224Mi", "224Mi"),
        ("448Mi", "448Mi"),
    ]


def test_memory_ends_at_the_cap_and_then_nothing_is_retried(cluster: Faults) -> None:
    capped = {"step_profiles": {"glutton": {"memory_cap": "224Mi"}}}
    run = cluster.launch("run_glutton", {"glutton": {"mebibytes": 640}}, capped)
    log = cluster.wait_for_end(run, "FAILURE")
    assert not log.of("STEP_UP_FOR_RETRY")
    (failure,) = log.of("STEP_FAILURE")
    assert "That is the cap (memory_cap 224Mi)" in failure["error"]["message"]
    assert failure["failureMetadata"]["label"] == "OOMKilled"


def test_an_evicted_pod_goes_to_the_other_node_class(cluster: Faults) -> None:
    cluster.kubectl("label", "node", "--all", "faults/class=spot", "--overwrite")
    try:
        run = cluster.launch("run_sleeper", {"sleeper": {"seconds": 120}})
        pod = cluster.wait_at_work(run)
        assert pod["spec"]["nodeSelector"] == {"faults/class": "spot"}
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod["metadata"]["name"], "namespace": cluster.namespace},
        }
        path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod['metadata']['name']}/eviction"
        cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
        log = cluster.wait_for_end(run, "SUCCESS")
    finally:
        cluster.kubectl("label", "node", "--all", "faults/class-")
    assert log.find_cause("evicted"), log
    assert log.find_engine_event("Attempt 2", "another node class (kubernetes.io/os=linux)")
    assert cluster.step_pods(run)[-1]["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}


def test_a_missing_gpu_fails_the_step_with_the_schedulers_message(cluster: Faults) -> None:
    run = cluster.launch("run_plain", execution={"step_profiles": {"plain": {"gpu": 3}}})
    log = cluster.wait_for_end(run, "FAILURE")
    assert not log.of("STEP_UP_FOR_RETRY"), "a GPU that is not there is not there a second time"
    (failure,) = log.of("STEP_FAILURE")
    assert failure["failureMetadata"]["label"] == "unschedulable"
    assert "Insufficient nvidia.com/gpu" in failure["error"]["message"]
    cluster.wait_until_gone(run)
    assert not cluster.objects("jobs", f"dagster/run-id={run},app.kubernetes.io/component=step_worker")


def test_a_missing_image_fails_the_step_at_once(cluster: Faults) -> None:
    run = cluster.launch("run_plain", execution={"job_image": "localhost/nowhere:1"})
    log = cluster.wait_for_end(run, "FAILURE")
    assert not log.of("STEP_UP_FOR_RETRY")
    (failure,) = log.of("STEP_FAILURE")
    assert failure["failureMetadata"]["label"] == "image"
    assert "localhost/nowhere:1" in failure["error"]["message"]
    cluster.wait_until_gone(run)


def test_a_step_waits_for_quota_and_starts_when_it_is_free(cluster: Faults) -> None:
    name = f"{cluster.namespace}-quota"
    cluster.apply(
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": -10}
    )
    try:
        scope = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": [name]}]}
        quota = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "small"},
            "spec": {"hard": {"requests.cpu": "60m"}, "scopeSelector": scope},
        }
        cluster.apply(quota)
        blocker = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "blocker"},
            "spec": {
                "priorityClassName": name,
                "containers": [
                    {
                        "name": "sleep",
                        "image": cluster.objects("pods", "app=webserver")[0]["spec"]["containers"][0]["image"],
                        "command": ["sleep", "600"],
                        "resources": {"requests": {"cpu": "30m"}},
                    }
                ],
            },
        }
        cluster.apply(blocker)
        run = cluster.launch(
            "run_plain", execution={"step_profiles": {"plain": {"cpu": "50m", "priority_class": name}}}
        )
        cluster.wait_until(
            run, "waiting for the quota", lambda log: log.find_engine_event("quota is used up", "requests.cpu=50m")
        )
        cluster.kubectl("delete", "pod", "blocker", "--grace-period=0", "--force")
        cluster.wait_for_end(run, "SUCCESS")

        too_much = {"step_profiles": {"plain": {"cpu": "100m", "priority_class": name}}}
        log = cluster.wait_for_end(cluster.launch("run_plain", execution=too_much), "FAILURE")
        assert "can never hold this step (requests.cpu: 100m of 60m)" in log.of("STEP_FAILURE")[0]["error"]["message"]
    finally:
        cluster.kubectl("delete", "priorityclass", name)


def test_a_cancelled_run_leaves_no_pods(cluster: Faults) -> None:
    run = cluster.launch("run_sleeper", {"sleeper": {"seconds": 300}}, ANYWHERE)
    cluster.wait_at_work(run)
    (owner,) = [
        job["metadata"]["ownerReferences"][0]
        for job in cluster.objects("jobs", f"dagster/run-id={run},dagster/op=sleeper")
    ]
    assert owner["kind"] == "Pod"
    cluster.terminate(run)
    cluster.wait_until_gone(run)
    cluster.wait_until_removed(run)


def test_the_steps_of_a_deleted_run_are_removed(cluster: Faults) -> None:
    run = cluster.launch("run_sleeper", {"sleeper": {"seconds": 300}}, ANYWHERE)
    cluster.wait_at_work(run)
    cluster.kubectl("delete", "job", f"dagster-run-{run}", "--cascade=background")
    cluster.wait_until_gone(run)


def test_a_lost_run_worker_is_explained_and_its_steps_are_removed(cluster: Faults) -> None:
    run = cluster.launch("run_sleeper", {"sleeper": {"seconds": 300}}, ANYWHERE)
    cluster.wait_at_work(run)
    (worker,) = cluster.objects("pods", f"dagster/run-id={run},app.kubernetes.io/component=run_worker")
    cluster.kubectl("delete", "pod", worker["metadata"]["name"], "--grace-period=0", "--force")
    cluster.wait_until_gone(run)
    # The question of the daemon's run monitoring.
    code = (
        "import dagster as dg, sys; instance = dg.DagsterInstance.get(); run = instance.get_run_by_id(sys.argv[1]);"
        "print(instance.run_launcher.check_run_worker_health(run))"
    )
    health = run_in_webserver(cluster, "python", "-P", "-c", code, run)
    assert health.startswith("FAILED"), health
    assert "somebody deleted it" in health
    assert cluster.log(run).find_cause("deleted")


def run_in_webserver(cluster: Faults, *command: str) -> str:
    return cluster.kubectl("exec", "deployment/webserver", "--", *command)


def test_the_janitor_removes_an_orphan_and_leaves_the_rest(cluster: Faults) -> None:
    image = cluster.objects("pods", "app=webserver")[0]["spec"]["containers"][0]["image"]
    container = {"name": "sleep", "image": image, "command": ["sleep", "600"]}
    for name, location in (("orphan", "faults"), ("foreign", "another")):
        labels = {"dagster/run-id": "00000000-0000-0000-0000-000000000000", "dagster/code-location": location}
        spec = {
            "template": {"metadata": {"labels": labels}, "spec": {"restartPolicy": "Never", "containers": [container]}}
        }
        cluster.apply(
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labels}, "spec": spec}
        )
    code = (
        "import dagster as dg; from k8s_run_launcher.cluster import connect_to_cluster; from k8s_run_launcher.janitor import *;"
        "work = Janitor(dg.DagsterInstance.get(), connect_to_cluster(), 'faults', RetentionRules(grace_s=0));"
        "print([(r.kind, r.name) for r in work.plan_removals()]);"
        "print([(r.kind, r.name) for r in work.remove(work.plan_removals())])"
    )
    planned, removed = run_in_webserver(cluster, "python", "-P", "-c", code).splitlines()
    assert "('Job', 'orphan')" in planned
    assert "foreign" not in planned
    assert removed == planned
    remaining = {job["metadata"]["name"] for job in cluster.objects("jobs")}
    assert "foreign" in remaining
    assert "orphan" not in remaining


def test_preflight_reports_permissions_and_image(cluster: Faults) -> None:
    image = cluster.objects("pods", "app=webserver")[0]["spec"]["containers"][0]["image"]
    code = (
        "from k8s_run_launcher.cluster import connect_to_cluster; from k8s_run_launcher.preflight import run_preflight;"
        "from k8s_run_launcher.profiles import read_profiles; import sys;"
        "[print(result.check.name, result.passed, result.sentence) for result in run_preflight(connect_to_cluster(), "
        "read_profiles(), sys.argv[1], {})]"
    )
    lines = run_in_webserver(cluster, "python", "-P", "-c", code, image).splitlines()
    assert any(line.startswith("rights True all ") for line in lines), lines
    assert any(line.startswith(f"image True {image}") for line in lines), lines
    # The account of the runs has no right to look at nodes, and preflight says so.
    assert "GPU nodes None this account may not look there" in lines
    cluster.kubectl("delete", "rolebinding", "runs")
    try:
        lines = run_in_webserver(cluster, "python", "-P", "-c", code.replace("sys.argv[1]", "None")).splitlines()
        assert any(line.startswith("rights False") and "create jobs" in line for line in lines), lines
    finally:
        cluster.kubectl("create", "rolebinding", "runs", "--role=runs", f"--serviceaccount={cluster.namespace}:runs")
