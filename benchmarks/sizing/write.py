"""Writes report, plots, values and manifests into a folder; nothing is written unless all of them could be made."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from benchmarks.files import RefusedError, check_writable, read_json
from benchmarks.sizing import manifests, plots, report
from benchmarks.sizing.manifests import Manifest
from benchmarks.sizing.plan import SizingPlan

REPORT, FIGURES = "sizing_report.md", "sizing.json"
_DEPLOYMENT, _HPA = "deployment.yaml", "hpa.yaml"
_NAMES = frozenset({REPORT, FIGURES, _DEPLOYMENT, _HPA, plots.LATENCY_PLOT, plots.LOAD_PLOT, plots.BATCH_PLOT})


@dataclass(frozen=True, slots=True)
class SizingOutput:
    """Where a sizing goes, and the manifests it is patched into, read before anything is replaced.

    Attributes:
        folder: Ours: empty of the names we write, or the place of an earlier sizing.
        deployment: The Deployment to patch.
        hpa: The autoscaler to patch.
    """

    folder: Path
    deployment: Manifest
    hpa: Manifest

    @classmethod
    def from_folder(cls, folder: Path, deployment: Path = manifests.DEPLOYMENT, hpa: Path = manifests.HPA) -> Self:
        """Make sure, before the work, that it can be written; nothing is made.

        Args:
            folder: Where to; an earlier sizing there will be replaced, and nothing else.
            deployment: File of the Deployment to patch.
            hpa: File of the autoscaler to patch.

        Raises:
            RefusedError: A file of somebody else's would be overwritten, or a manifest is none.
            OSError: The folder cannot be made or written.
        """
        check_writable(folder)
        base = manifests.read_manifest(deployment, "Deployment")
        scaler = manifests.read_manifest(hpa, "HorizontalPodAutoscaler")
        theirs = sorted(name for name in _NAMES if (folder / name).exists())
        if theirs and not _ours(folder / FIGURES):
            raise RefusedError(
                f"{folder} holds {', '.join(theirs)}, and no sizing wrote that. Give another --output; nothing was overwritten."
            )
        for patched in (deployment, hpa):
            if patched.resolve() in {(folder / name).resolve() for name in _NAMES}:
                raise RefusedError(f"{patched} would be overwritten by the sizing made from it. Give another --output.")
        return cls(folder, base, scaler)


def write_sizing(plan: SizingPlan, output: SizingOutput) -> list[Path]:
    """Write what a plan has, and remove what an earlier sizing had and this one has not; returns the files.

    Raises:
        OSError: The folder cannot be written.
    """
    folder = output.folder
    texts = {
        FIGURES: json.dumps(figures(plan), indent=2, ensure_ascii=False) + "\n",
        REPORT: report.format_report(plan),
    }
    if plan.service:
        fleet = plan.service.fleet
        texts[_DEPLOYMENT] = manifests.as_yaml(manifests.patch_deployment(output.deployment, fleet))
        texts[_HPA] = manifests.as_yaml(manifests.patch_hpa(output.hpa, fleet))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".incoming-") as incoming:
        for name, content in texts.items():
            Path(incoming, name).write_text(content, encoding="utf-8")
        plots.draw(plan, Path(incoming))
        written = [Path(shutil.move(path, folder / path.name)) for path in sorted(Path(incoming).iterdir())]
    for name in _NAMES - {path.name for path in written}:
        (folder / name).unlink(missing_ok=True)
    return written


def figures(plan: SizingPlan) -> dict[str, Any]:
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


def _ours(path: Path) -> bool:
    """Whether an earlier sizing wrote that file."""
    try:
        found = read_json(path)
    except RefusedError:
        return False
    return isinstance(found, dict) and {field.name for field in fields(SizingPlan)} <= found.keys()
