"""The comparison's figures: speed ratios and word error rates with their intervals, as JSON, a table and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.lab.peers.corpus import CorpusItem
from speech.evaluation.wer import (
    WordErrors,
    compute_confidence_interval,
    count_word_errors,
    get_normalizer,
    sum_word_errors,
)

_BLOCK_WORDS = 25
"""A single long recording is cut into blocks of so many reference words, and those are what the bootstrap draws."""


_TYPED_WITHOUT_ACCENTS = frozenset({"es"})
"""Languages whose references in the corpus mostly lack accents."""


def errors_of(items: Sequence[CorpusItem], texts: Mapping[str, str]) -> list[WordErrors]:
    """Word errors of each recording."""
    return [
        count_word_errors(
            item.reference,
            texts[str(item.path)],
            item.language,
            keep_parenthesised=True,
            ignore_accents=item.language in _TYPED_WITHOUT_ACCENTS,
        )
        for item in items
    ]


def accuracy(items: Sequence[CorpusItem], texts: Mapping[str, str]) -> dict[str, Any]:
    """Word error rates in percent: of all recordings, of both halves, and the 95 % interval."""
    counts = errors_of(items, texts)
    drawn = blocks(items[0], texts[str(items[0].path)]) if len(items) == 1 else counts
    low, high = compute_confidence_interval(drawn, resamples=2000)
    figures: dict[str, Any] = {
        "wer": _percent(sum_word_errors(counts)),
        "interval": [round(100 * low, 2), round(100 * high, 2)],
    }
    total = sum_word_errors(counts)
    figures.update(substitutions=total.substitutions, deletions=total.deletions, insertions=total.insertions)
    for half in ("tuned", "other"):
        half_counts = [count for item, count in zip(items, counts, strict=True) if item.half == half]
        if half_counts and len(items) > 1:
            figures[half] = _percent(sum_word_errors(half_counts))
    return figures


def blocks(item: CorpusItem, text: str) -> list[WordErrors]:
    """Errors of a long recording by blocks of reference words, in order."""
    import jiwer

    normalize = get_normalizer(item.language)
    aligned = jiwer.process_words(normalize(item.reference), normalize(text))
    word_count = len(aligned.references[0])
    table = np.zeros((word_count // _BLOCK_WORDS + 1, 3), int)
    for edit in aligned.alignments[0]:
        kind = {"substitute": 0, "delete": 1, "insert": 2}.get(edit.type)
        if kind is None:
            continue
        for i in range(max(edit.ref_end_idx - edit.ref_start_idx, edit.hyp_end_idx - edit.hyp_start_idx)):
            table[min(edit.ref_start_idx + (i if kind < 2 else 0), word_count - 1) // _BLOCK_WORDS][kind] += 1
    return [
        WordErrors(int(s), int(d), int(i), min(_BLOCK_WORDS, word_count - n * _BLOCK_WORDS))
        for n, (s, d, i) in enumerate(table)
        if word_count > n * _BLOCK_WORDS
    ]


def _percent(count: WordErrors) -> float | None:
    return None if count.rate is None else round(100 * count.rate, 2)


def format_table(result: Mapping[str, Any]) -> str:
    """The result as Markdown: a table per group and row, speeds as ratios to ours."""
    lines = []
    for race in result["races"]:
        our_seconds = race["setups"]["ours"]["seconds"]
        row = "with word times" if race["words"] else "text"
        lines += [
            "",
            f"**{race['group']}**, {row}: {race['recordings']} recordings, {race['audio_seconds']:.0f} s, commit {race['commit']}",
            "",
            "| setup | seconds (all repeats) | times real time | ours is faster by | WER % (95 %) | tuned / other half | S D I |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, figures in race["setups"].items():
            seconds = figures["seconds"]
            ratios = sorted(s / o for s, o in zip(seconds, our_seconds, strict=False))
            ratio = "" if name == "ours" else f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            halves = " / ".join(f"{figures[half]:.2f}" for half in ("tuned", "other") if figures.get(half) is not None)
            low, high = figures["interval"]
            lines.append(
                f"| {name} | {', '.join(f'{s:.1f}' for s in seconds)} | {race['audio_seconds'] / median(seconds):.1f} | {ratio} "
                f"| {figures['wer']:.2f} ({low:.1f} to {high:.1f}) | {halves} "
                f"| {figures['substitutions']} {figures['deletions']} {figures['insertions']} |"
            )
    invented = result.get("invented")
    if invented:
        lines += [
            "",
            f"**Words invented** on {invented['clips']} clips without speech ({invented['audio_seconds']:.0f} s):",
            "",
        ]
        lines += ["| setup | words | clips with words |", "|---|---|---|"]
        lines += [
            f"| {name} | {figures['words']} | {figures['clips']} |" for name, figures in invented["setups"].items()
        ]
    return "\n".join(lines)


def plot(result: Mapping[str, Any], target: Path) -> None:
    """Speed against word error rate, a panel per group: further right is faster, lower is more accurate."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    races = [race for race in result["races"] if not race["words"]] or result["races"]
    figure, panels = plt.subplots(1, len(races), figsize=(4.2 * len(races), 4.2), squeeze=False)
    for panel, race in zip(panels[0], races, strict=True):
        for name, figures in race["setups"].items():
            speeds = [race["audio_seconds"] / s for s in figures["seconds"]]
            low, high = figures["interval"]
            panel.errorbar(
                median(speeds),
                figures["wer"],
                xerr=[[median(speeds) - min(speeds)], [max(speeds) - median(speeds)]],
                yerr=[[max(0.0, figures["wer"] - low)], [max(0.0, high - figures["wer"])]],
                fmt="D" if name == "ours" else "o",
                capsize=3,
                label=name,
            )
        panel.set_title(race["group"])
        panel.set_xlabel("seconds of audio per second")
        panel.set_ylabel("word error rate, %")
        panel.set_xlim(left=0)
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.tight_layout()
    figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, frameon=False)
    figure.savefig(target, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
