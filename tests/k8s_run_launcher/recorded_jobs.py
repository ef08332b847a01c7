"""Snapshots of Jobs that were recorded on Kubernetes 1.34 (``recorded/``, shortened)."""

from __future__ import annotations

import json
from pathlib import Path

from k8s_run_launcher.job_snapshot import JobSnapshot

RECORDED = Path(__file__).parent / "recorded"


def load_recorded(name: str) -> JobSnapshot:
    snapshot = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    return JobSnapshot(snapshot["name"], snapshot["job"], snapshot["pods"], snapshot["events"])
