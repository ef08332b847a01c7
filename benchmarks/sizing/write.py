"""Writing a sizing: report, plots, figures and manifests into a folder, when all of them are made, and none before."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.files import Refused
from benchmarks.sizing import manifests, report
from benchmarks.sizing.plan import Plan

REPORT, FIGURES = "sizing_report.md", "sizing.json"


def write(plan: Plan, folder: Path, deployment: Path = manifests.DEPLOYMENT, hpa: Path = manifests.HPA) -> list[Path]:
    """Write what a plan has; returns the files.

    Args:
        plan: The sizing.
        folder: Where to; files of an earlier sizing are replaced.
        deployment: The Deployment to patch.
        hpa: The autoscaler to patch.

    Raises:
        Refused: A manifest is none; then nothing is written.
        OSError: The folder cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder} is a file; give a folder.")
    texts = {FIGURES: json.dumps(figures(plan), indent=2, ensure_ascii=False) + "\n", REPORT: report.text(plan)}
    if plan.service:
        fleet = plan.service.fleet
        base = manifests.read_manifest(deployment, "Deployment")
        texts["deployment.yaml"] = manifests.as_yaml(manifests.patched_deployment(base, fleet))
        scaler = manifests.read_manifest(hpa, "HorizontalPodAutoscaler")
        texts["hpa.yaml"] = manifests.as_yaml(manifests.patched_hpa(scaler, fleet))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".incoming-") as place:
        for name, content in texts.items():
            Path(place, name).write_text(content, encoding="utf-8")
        if plan.service:
            report.plot(plan.service, plan.basis, Path(place))
        made = sorted(Path(place).iterdir())
        return [Path(shutil.move(path, folder / path.name)) for path in made]


def figures(plan: Plan) -> dict[str, Any]:
    """The plan as plain data, for other programs."""
    found = asdict(plan)
    found["basis"]["mean_s"] = plan.basis.mean_s
    found["prices"] = plan.prices.model_dump(mode="json")
    for part in (found["service"], found["batch"]):
        for pair in (part or {}).get("candidates", ()):
            pair[1]["node"] = pair[1]["node"].model_dump()
        for pair in (part or {}).get("gpus", ()):
            pair[1]["node"] = pair[1]["node"].model_dump()
    return found
