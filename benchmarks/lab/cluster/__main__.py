"""``python -m benchmarks.lab.cluster``: seconds from a step's launch to its first line, and from an upload to its transcript.

It needs kubectl and a deployment of ours (docs/operations/kubernetes.md) that may be used for it: every repeat leaves a
recording of eleven seconds there. Nothing else should be at work on the nodes meanwhile.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.lab.cluster import imports, ours, theirs
from benchmarks.lab.cluster.kubectl import ClusterError
from benchmarks.lab.cluster.steps import ClusterTimings
from benchmarks.platform.machine import format_header


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write where asked to; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lab.cluster", description=__doc__)
    parser.add_argument(
        "--image", required=True, help="the project's image, as the nodes know it; both projects run in it"
    )
    parser.add_argument(
        "--postgres-image", required=True, help="the image of PostgreSQL, for the other project's storage"
    )
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, four steps a run")
    parser.add_argument("--out", type=Path, help="also write every figure as JSON")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error(f"--repeats is {options.repeats}; one is the least that can be measured.")
    print(format_header(), flush=True)
    try:
        measured = measure(options.image, options.postgres_image, options.repeats)
    except (ClusterError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(measured.table())
    if options.out:
        options.out.write_text(json.dumps(measured.as_json(), indent=1) + "\n", encoding="utf-8")
    return 0


def measure(image: str, postgres_image: str, repeats: int) -> ClusterTimings:
    """Run both in turn.

    Raises:
        ClusterError: A command failed, a run did not succeed, or something never came.
    """
    with ours.open_deployment() as our_namespace, theirs.create_deployment(image, postgres_image) as their_namespace:
        theirs.time_stock_run(
            their_namespace
        )  # warm-up: pulls the image, mounts and fills caches; our deployment has done that already
        ours.time_upload(our_namespace, "warm-up")
        their_runs, our_runs = [], []
        for i in range(repeats):
            their_runs.append(theirs.time_stock_run(their_namespace))
            our_runs.append(ours.time_upload(our_namespace, str(i)))
            print(f"repeat {i + 1} of {repeats}: {our_runs[-1].seconds:.1f} s from the tick to the outputs", flush=True)
        return ClusterTimings(
            tuple(our_runs), tuple(their_runs), imports.measure_imports(their_namespace, image, repeats)
        )


if __name__ == "__main__":
    # On SIGTERM exit normally, so that everything created in the cluster is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
