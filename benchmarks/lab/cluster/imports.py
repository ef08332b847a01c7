"""What imports cost in a pod of the image, with its read-only code and its limits, one process after the other."""

from __future__ import annotations

import json
from statistics import median

from benchmarks.lab.cluster.kubectl import Namespace, wait_until
from benchmarks.lab.cluster.steps import ImportTiming

_STEP = "import dagster._cli, dagster_postgres"
_TIMED = {
    "python": "pass",
    "dagster": _STEP,
    "theirs": f"{_STEP}, dagster_k8s",
    "ours": f"{_STEP}, stt_orchestration.definitions",
}
_TIMER = """
import json, subprocess, sys, time
def seconds(code):
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.monotonic() - began
timed, repeats = json.loads(sys.argv[1]), int(sys.argv[2])
print(json.dumps([{name: seconds(code) for name, code in timed.items()} for _ in range(repeats + 1)]))
"""
_POD = "imports"


def measure_imports(namespace: Namespace, image: str, repeats: int) -> ImportTiming:
    """Medians over the repeats, the first round not counted."""
    container = {
        "name": _POD,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", _TIMER, json.dumps(_TIMED), str(repeats)],
        "env": [{"name": "STT_EXECUTOR", "value": "kubernetes"}],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
        "securityContext": {"readOnlyRootFilesystem": True},
    }
    spec = {"restartPolicy": "Never", "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": _POD}, "spec": spec}
    namespace.kubectl("create", "--filename=-", stdin=json.dumps(pod).encode())

    def has_ended() -> bool | None:
        phase = namespace.kubectl("get", "pod", _POD, "--output=jsonpath={.status.phase}")
        return True if phase in ("Succeeded", "Failed") else None

    wait_until(60.0 + 30.0 * repeats, f"the end of pod {_POD}", has_ended)
    rounds = json.loads(namespace.kubectl("logs", _POD))[1:]
    medians = {name: median(timing[name] for timing in rounds) for name in _TIMED}
    return ImportTiming(
        python=round(medians["python"], 3),
        dagster=round(medians["dagster"] - medians["python"], 3),
        theirs=round(medians["theirs"] - medians["dagster"], 3),
        ours=round(medians["ours"] - medians["dagster"], 3),
    )
