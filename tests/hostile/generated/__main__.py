"""Runs many generated recordings: ``python -m tests.hostile.generated --seeds 0-50``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from speech.asr.engine import Engine
from speech.models.registry import get_default_cache_dir, resolve
from tests.hostile.generated.hearing import hear
from tests.hostile.generated.oracle import Outcome, judge
from tests.hostile.generated.recordings import KINDS, Recording, make_recording


def main() -> int:
    """Make, transcribe and judge recordings; 1 if anything is wrong with one of them."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.hostile.generated")
    parser.add_argument("--seeds", default="0-9", help="a seed, or the first and the last one, of each kind: 3 or 0-50")
    parser.add_argument("--kinds", default="", help=f"some of these, with commas; default all: {', '.join(KINDS)}")
    parser.add_argument(
        "--all", action="store_true", help="print also what came of recordings with which nothing is wrong"
    )
    parser.add_argument("--keep", type=Path, help="folder to which the files are written with which something is wrong")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition("-")
    kinds = [kind.strip() for kind in arguments.kinds.split(",") if kind.strip()] or list(KINDS)
    made, failed, began = Counter[str](), Counter[str](), time.monotonic()
    weights = resolve("base", model_dir=None, cache_dir=get_default_cache_dir())
    with Engine(weights) as engine, tempfile.TemporaryDirectory() as folder:
        for seed in range(int(first), int(last or first) + 1):
            print(f"seed {seed}, {time.monotonic() - began:.0f} s, {sum(failed.values())} failed so far", flush=True)
            for kind in kinds:
                recording = make_recording(kind, seed)
                outcome = hear(engine, recording, Path(folder))
                findings = judge(recording, outcome)
                made[kind] += 1
                failed[kind] += bool(findings)
                if findings or arguments.all:
                    print(
                        describe(recording, outcome), *(f"  ** {finding}" for finding in findings), sep="\n", flush=True
                    )
                if findings and arguments.keep:
                    arguments.keep.mkdir(parents=True, exist_ok=True)
                    (arguments.keep / recording.name).write_bytes(recording.content)
    print(f"\n{sum(failed.values())} of {sum(made.values())} recordings failed, {time.monotonic() - began:.0f} s")
    for kind in kinds:
        print(f"  {kind:16} {failed[kind]:4} of {made[kind]}")
    return int(any(failed.values()))


def describe(recording: Recording, outcome: Outcome) -> str:
    """A recording, how it was made, and what came of it."""
    lines = [f"{recording.kind}, seed {recording.seed} ({recording.name}): {recording.plan}"]
    if outcome.transcript is None:
        return "\n".join([*lines, f"  refused: {outcome.refusal}"])
    transcript = outcome.transcript
    channel_of = (lambda item: f" channel {item.channel}") if transcript.meta.channels > 1 else (lambda item: "")
    path = transcript.meta.decoding.path if transcript.meta.decoding else "no decoding"
    speech = ", ".join(f"{span.start:.1f}-{span.end:.1f}{channel_of(span)}" for span in transcript.meta.speech)
    lines.append(f"  {transcript.meta.audio_duration_sec:.1f} s, {transcript.language}, {path}; speech heard: {speech}")
    lines += [f"  flag {flag}: {reason}" for flag, reason in transcript.meta.flags.items()]
    for segment in transcript.segments:
        flags = f" {', '.join(segment.flags)}" if segment.flags else ""
        lines.append(f"  {segment.start:.1f}-{segment.end:.1f}{channel_of(segment)} {segment.text}{flags}")
    for drop in transcript.meta.dropped:
        lines.append(
            f"  dropped {drop.start:.1f}-{drop.end:.1f}{channel_of(drop)} {drop.text!r} {', '.join(drop.reasons)}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
