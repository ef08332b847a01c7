"""``python -m benchmarks.lab.peers``: compare the engine with its peers on a corpus; writes JSON, a table and a plot."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lab.nonspeech import RATE, generate_clips
from benchmarks.lab.peers import report
from benchmarks.lab.peers.corpus import SETS, CorpusItem, read_corpus
from benchmarks.lab.peers.race import SETUPS, Setup, run_setup
from benchmarks.platform.machine import collect_facts
from speech.asr.scripts import split_words
from speech.models.registry import get_default_cache_dir, resolve

PEER = "whisper-ctranslate2==0.5.8"
"""Installed for the comparison alone, into a folder of its own; its dependencies are ours."""


def main(arguments: Sequence[str]) -> int:
    """Measure, write, print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lab.peers", description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with manifest.tsv and the recordings")
    parser.add_argument("--groups", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--setups", nargs="+", default=[setup.name for setup in SETUPS])
    parser.add_argument("--every", type=int, default=1, help="take every so manieth recording of each set")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--words", action="store_true", help="with word times")
    parser.add_argument("--invented", type=int, default=0, help="also count words invented on so many generated clips")
    parser.add_argument(
        "--most", nargs="+", default=[], metavar="GROUP=PERCENT", help="fail where our word error rate is above it"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="the JSON file; races of an earlier call in it are kept"
    )
    options = parser.parse_args(arguments)
    setups = [setup for setup in SETUPS if setup.name in options.setups]
    weights = resolve("base", model_dir=None, cache_dir=get_default_cache_dir())
    result: dict[str, Any] = {"machine": collect_facts(), "calls": [], "races": []}
    if options.out.exists():
        result = json.loads(options.out.read_text(encoding="utf-8"))
    result["calls"].append(
        shlex.join(["python", "-m", "benchmarks.lab.peers", *arguments]).replace(str(options.corpus), "CORPUS")
    )
    with tempfile.TemporaryDirectory() as folder:
        if any(setup.contestant == "command_line" for setup in setups):
            _install(folder)
        for group in options.groups if options.repeats else []:
            items = read_corpus(options.corpus, [group], options.every)
            race = _race(group, items, setups, weights.path, options, folder)
            result["races"] = [
                earlier for earlier in result["races"] if (earlier["group"], earlier["words"]) != (group, options.words)
            ] + [race]
            _write(options.out, result)
        if options.invented:
            result["invented"] = _invented(options.invented, setups, weights.path, folder)
            _write(options.out, result)
    print(report.format_table(result))
    violations = [
        f"{group}: {rate:.2f} % word errors, {limit} % allowed"
        for group, limit in (most.rsplit("=", 1) for most in options.most)
        if (rate := _get_our_wer(result, group)) > float(limit)
    ]
    print("\n".join(violations), file=sys.stderr)
    return 1 if violations else 0


def _get_our_wer(result: dict[str, Any], group: str) -> float:
    """Our word error rate on a group, in percent."""
    (race,) = [race for race in result["races"] if race["group"] == group and not race["words"]]
    return float(race["setups"]["ours"]["wer"])


def _install(folder: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, PEER, "sounddevice"],
        check=True,
    )


def _race(
    group: str,
    items: Sequence[CorpusItem],
    setups: Sequence[Setup],
    weights: Path,
    options: argparse.Namespace,
    folder: str,
) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {setup.name: [] for setup in setups}
    texts: dict[str, dict[str, str]] = {}
    for repeat in range(options.repeats):
        for setup in setups:
            lap = run_setup(setup, items, weights, words=options.words, extra_path=folder)
            spent_s = lap.seconds
            if setup.contestant == "command_line":
                spent_s -= _start(setup, weights, folder)
            seconds[setup.name].append(round(spent_s, 2))
            texts.setdefault(setup.name, lap.texts)
            print(f"{group}, repeat {repeat + 1}: {setup.name} {spent_s:.1f} s", file=sys.stderr, flush=True)
    return {
        "group": group,
        "words": options.words,
        "commit": collect_facts()["commit"],
        "recordings": len(items),
        "audio_seconds": round(sum(item.seconds for item in items), 1),
        "setups": {
            setup.name: {"seconds": seconds[setup.name], **report.accuracy(items, texts[setup.name])}
            for setup in setups
        },
    }


def _start(setup: Setup, weights: Path, folder: str) -> float:
    """Seconds that a command takes for a tenth of a second of silence: its start, imports and loading the model."""
    (quiet,) = _as_items([("quiet", np.zeros(RATE // 10, np.float32))], Path(folder))
    return run_setup(setup, [quiet], weights, words=False, extra_path=folder).seconds


def _invented(count: int, setups: Sequence[Setup], weights: Path, folder: str) -> dict[str, Any]:
    clips = list(generate_clips(count))
    items = _as_items(clips, Path(folder))
    figures = {}
    for setup in setups:
        texts = run_setup(setup, items, weights, words=False, extra_path=folder).texts
        word_counts = [len(split_words(text)) for text in texts.values()]
        figures[setup.name] = {"words": sum(word_counts), "clips": sum(word_count > 0 for word_count in word_counts)}
        print(f"invented: {setup.name} {figures[setup.name]}", file=sys.stderr, flush=True)
    return {"clips": count, "audio_seconds": round(sum(len(sound) for _, sound in clips) / RATE, 1), "setups": figures}


def _as_items(sounds: Sequence[tuple[str, Any]], folder: Path) -> list[CorpusItem]:
    items = []
    for name, sound in sounds:
        path = folder / f"{name}.wav"
        with wave.open(str(path), "wb") as wav:
            wav.setparams((1, 2, RATE, 0, "NONE", ""))
            wav.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
        items.append(CorpusItem(path, "generated", len(sound) / RATE, "en", "", "other"))
    return items


def _write(target: Path, result: dict[str, Any]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    target.with_suffix(".md").write_text(
        "\n".join([f"* {name}: {value}" for name, value in result["machine"].items()] + [report.format_table(result)])
        + "\n",
        encoding="utf-8",
    )
    if result["races"]:
        report.plot(result, target.with_suffix(".svg"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
