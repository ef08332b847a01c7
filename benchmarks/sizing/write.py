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
        folder: The folder to write to; it holds no file with a name that we write, or an earlier sizing.
        deployment: The Deployment to patch.
        hpa: The autoscaler to patch.
    """

    folder: Path
    deployment: Manifest
    hpa: Manifest

    @classmethod
    def from_folder(cls, folder: Path, deployment: Path = manifests.DEPLOYMENT, hpa: Path = manifests.HPA) -> Self:
        """Check, before the work, that the sizing can be written; nothing is created.

        Args:
            folder: The folder to write to; an earlier sizing there will be replaced, and nothing else.
            deployment: File of the Deployment to patch.
            hpa: File of the autoscaler to patch.

        Raises:
            RefusedError: A file that no sizing wrote would be overwritten, or a manifest is of another kind.
            OSError: The folder cannot be made or written.
        """
        check_writable(folder)
        base = manifests.read_manifest(deployment, "Deployment")
        scaler = manifests.read_manifest(hpa, "HorizontalPodAutoscaler")
        foreign = sorted(name for name in _NAMES if (folder / name).exists())
        if foreign and not _is_sizing(folder / FIGURES):
            raise RefusedError(
                f"{folder} holds {', '.join(foreign)}, and no sizing wrote that. Give another --output; nothing was overwritten."
            )
        for patched in (deployment, hpa):
            if patched.resolve() in {(folder / name).resolve() for name in _NAMES}:
                raise RefusedError(f"{patched} would be overwritten by the sizing made from it. Give another --output.")
        return cls(folder, base, scaler)


def write_sizing(plan: SizingPlan, output: SizingOutput) -> list[Path]:
    """Write the files of a plan, and remove files of an earlier sizing that this one does not have; returns the written files.

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
        files = [Path(shutil.move(path, folder / path.name)) for path in sorted(Path(incoming).iterdir())]
    for name in _NAMES - {path.name for path in files}:
        (folder / name).unlink(missing_ok=True)
    return files


def figures(plan: SizingPlan) -> dict[str, Any]:
    """The plan as plain data, for other programs."""
    data = asdict(plan)
    data["basis"]["mean_s"] = plan.basis.mean_s
    data["prices"] = plan.prices.model_dump(mode="json")
    for section in (data["service"], data["batch"]):
        for pair in (section or {}).get("candidates", ()):
            pair[1]["node"] = pair[1]["node"].model_dump()
        for pair in (section or {}).get("gpus", ()):
            pair[1]["node"] = pair[1]["node"].model_dump()
    return data


def _is_sizing(path: Path) -> bool:
    """Whether an earlier sizing wrote that file."""
    try:
        content = read_json(path)
    except RefusedError:
        return False
    return isinstance(content, dict) and {field.name for field in fields(SizingPlan)} <= content.keys()
