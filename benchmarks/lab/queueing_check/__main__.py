"""``python -m benchmarks.lab.queueing_check --out FOLDER``: load this machine at random, predict it, write queueing.{json,md,svg}.

Every load is calibrated anew, with nothing in line, between its stretches, and predicted from that alone. A load that is in the
JSON already is not run again, so an interrupted measurement goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.lab.queueing_check import report
from benchmarks.lab.queueing_check.compare import as_json, compare_load, compare_with_simulation
from benchmarks.lab.queueing_check.load import (
    ServedRequest,
    calibrate,
    generate_load,
    make_clips,
    select_decoded_once,
    start_workers,
)
from benchmarks.platform.machine import collect_facts
from speech.models.registry import get_default_cache_dir, resolve


def main(arguments: list[str]) -> int:
    """Measure what is missing, and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lab.queueing_check", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder of the results")
    parser.add_argument("--model", default="tiny.en", help="model of the catalogue")
    parser.add_argument("--loads", default="0.3,0.45,0.6,0.7,0.8", help="utilizations to run, between 0 and 1")
    parser.add_argument("--seconds", type=float, default=120, help="how long requests arrive at each load")
    parser.add_argument("--stretches", type=int, default=5, help="in how many stretches, with a calibration between")
    parser.add_argument("--workers", type=int, default=1, help="engines, a core each")
    options = parser.parse_args(arguments)
    loads = [float(load) for load in options.loads.split(",")]
    if not all(0 < load < 1 for load in loads) or options.seconds <= 0 or options.stretches < 1:
        parser.error("Loads lie between 0 and 1, seconds and stretches above 0.")
    target = options.out / "queueing.json"
    result: dict[str, Any] = (
        json.loads(target.read_text()) if target.exists() else {"machine": collect_facts(), "loads": []}
    )
    weights = resolve(options.model, model_dir=None, cache_dir=get_default_cache_dir())
    with tempfile.TemporaryDirectory() as folder:
        phrases = make_clips(Path(folder))
        for load in loads:
            if any(entry["asked"] == load and entry["servers"] == options.workers for entry in result["loads"]):
                continue
            print(f"utilization {load:.0%} for {options.seconds:.0f} s ...", flush=True)
            with start_workers(weights.path, options.workers) as workers:
                # The warm-up says which phrases are decoded once.
                clips = select_decoded_once(phrases, calibrate(workers, phrases, 1))
                alone = calibrate(workers, clips, 1)
                rate = load * options.workers / (sum(request.service_s for request in alone) / len(alone))
                answered: list[ServedRequest] = []
                for stretch in range(options.stretches):
                    seconds = options.seconds / options.stretches
                    answered += generate_load(workers, clips, rate, seconds, seed=1000 * round(100 * load) + stretch)
                    alone += calibrate(workers, clips, 1)
            compared = compare_load(alone, answered, options.workers, rate)
            result["model"] = options.model
            result["clips"] = len(clips)
            result["service_s"] = [*result.get("service_s", []), *(round(request.service_s, 4) for request in alone)]
            result["loads"].append(
                {
                    "asked": load,
                    **as_json(compared),
                    "cpu_share": sum(request.cpu for request in answered)
                    / sum(request.service_s for request in answered),
                }
            )
            _write(target, result)
    if not result["loads"]:
        parser.error("No load was run.")
    result["simulation"] = compare_with_simulation(result["service_s"])
    _write(target, result)
    (options.out / "queueing.md").write_text(report.format_report(result), encoding="utf-8")
    report.plot(result, options.out / "queueing.svg")
    print(report.format_report(result))
    return 0


def _write(target: Path, result: dict[str, Any]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    incoming = target.with_suffix(".incoming")
    incoming.write_text(json.dumps(result, indent=1), encoding="utf-8")
    incoming.replace(target)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
