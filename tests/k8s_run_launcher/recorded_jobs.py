"""Jobs as Kubernetes 1.34 really showed them (``recorded/``, shortened)."""

from __future__ import annotations

import json
from pathlib import Path

from k8s_run_launcher.job_snapshot import JobSnapshot

RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> JobSnapshot:
    told = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    return JobSnapshot(told["name"], told["job"], told["pods"], told["events"])
