"""The recordings of the comparison and their references: a folder with a ``manifest.tsv``, halved by recording. Pure reading."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

SETS: dict[str, tuple[str, ...]] = {
    "short English": ("librispeech_test_other", "ljspeech", "librivox_austen"),
    "13 minutes": ("long_13min",),
    "Vietnamese": ("vivos_vi", "vi_30s"),
    "telephone": ("asterisk_tel8k",),
    "Spanish": ("prompts_es",),
    "French": ("prompts_fr",),
    "Italian": ("prompts_it",),
    "Russian": ("prompts_ru",),
}
"""What is compared -> the sets of the manifest it is made of."""


@dataclass(frozen=True, slots=True)
class CorpusItem:
    """A recording with its reference.

    Attributes:
        path: The file.
        group: A name of ``SETS``.
        seconds: Its length.
        language: Whisper's code; it is given to every contestant.
        reference: What is said.
        half: ``tuned`` for the half that constants were chosen on, ``other`` for the rest.
    """

    path: Path
    group: str
    seconds: float
    language: str
    reference: str
    half: str


def read_corpus(folder: Path, groups: list[str], every: int = 1) -> list[CorpusItem]:
    """The recordings of some groups, every n-th of each set, in the manifest's order.

    Args:
        folder: Holds ``manifest.tsv`` with the columns file, set, duration_s, lang, and the reference as sixth.
        groups: Names of ``SETS``.
        every: The n: 1 takes all recordings, 2 every second one.

    Raises:
        FileNotFoundError: There is no manifest.
        ValueError: A group has no recordings.
    """
    with (folder / "manifest.tsv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t"))
    header, items = rows[0], []
    columns = {name: header.index(name) for name in ("file", "set", "duration_s", "lang")}
    for group in groups:
        for name in SETS[group]:
            members = [row for row in rows[1:] if row[columns["set"]] == name]
            for i, row in list(enumerate(members))[::every]:
                items.append(
                    CorpusItem(
                        path=folder / row[columns["file"]],
                        group=group,
                        seconds=float(row[columns["duration_s"]]),
                        language=row[columns["lang"]],
                        reference=row[5],
                        half="tuned" if i % 2 == 0 else "other",
                    )
                )
        if not any(item.group == group for item in items):
            raise ValueError(f"{folder / 'manifest.tsv'} has no recordings of {group!r} ({', '.join(SETS[group])}).")
    return items
