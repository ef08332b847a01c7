"""Of everything that is said in a generated recording, somebody is told. See ``recordings.py`` and ``oracle.py``.

Here each kind comes once. ``python -m tests.hostile.generated --seeds 0-50`` makes many more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recordings.layout import TRANSCRIPT_JSON
from recordings.storage.directory import DirectoryStore
from speech.asr.engine import Engine
from speech.models.registry import Weights
from speech.transcript import Dropped, Transcript
from tests.hostile.generated.hearing import hear
from tests.hostile.generated.oracle import FLAGS, Outcome, judge
from tests.hostile.generated.recordings import KINDS, Recording, make_recording
from tests.project import PROJECT, Project

CASES = (
    ("silences", 5),
    ("no silence", 18),
    ("noise", 23),
    ("music", 2),
    ("beeps", 9),
    ("echo", 16),
    ("clipped", 14),
    ("call", 6),
    ("quiet side", 13),
    ("one answer", 13),
    ("opposite", 5),
    ("surround", 4),
    ("level", 4),
    ("quiet and loud", 18),
    ("ground", 1),
    ("late", 12),
    ("gaps", 6),
    ("tracks", 16),
    ("uneven tracks", 4),
    ("header", 23),
    ("header", 14),
    ("joined", 21),
    ("repeated", 8),
    ("short", 10),
    ("language", 8),
    ("two languages", 22),
    ("rate", 20),
)
"""Kind and a seed of which the recording is short. Recordings of the kind ``long`` never are."""

BY_COMMAND = (("call", 6), ("tracks", 16), ("short", 10))
"""What the whole command transcribes."""


@pytest.fixture(scope="module")
def engine(base_weights: Weights) -> Iterator[Engine]:
    with Engine(base_weights) as engine:
        yield engine


@pytest.fixture(scope="module")
def conversation(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, Transcript]:
    """A recording of three utterances, of which all is told."""
    recording = make_recording("call", 0)
    outcome = hear(engine, recording, tmp_path_factory.mktemp("conversation"))
    assert outcome.transcript is not None
    return recording, outcome.transcript


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_somebody_is_told_of_all_speech(kind: str, seed: int, engine: Engine, tmp_path: Path) -> None:
    recording = make_recording(kind, seed)
    findings = judge(recording, hear(engine, recording, tmp_path))
    assert not findings, [recording.plan, *map(str, findings)]


def test_the_whole_command_tells_of_all_speech(project: Project) -> None:
    made = [make_recording(*case) for case in BY_COMMAND]
    for recording in made:
        (project.raw / recording.name).write_bytes(recording.content)
    code, output = project.stt("run", STT_LANGUAGE="auto")
    assert code in (0, 3), output
    store, members = DirectoryStore(project.data), project.read_members()
    for recording in made:
        member = members[recording.name]
        transcript = None
        if member.state == "done":
            content = Path(store.locate(TRANSCRIPT_JSON.key(recording.name))).read_bytes()
            transcript = Transcript.model_validate_json(content)
            assert member.recording is not None
            assert member.recording.flags == transcript.meta.flags
        assert not judge(recording, Outcome(transcript, member.shown_reason or "")), recording.plan


def test_every_kind_is_tested() -> None:
    assert {kind for kind, _ in CASES} == set(KINDS) - {"long"}


def test_the_same_seed_makes_the_same_recording() -> None:
    first, second = (make_recording("noise", 3) for _ in range(2))
    assert first == second
    assert make_recording("noise", 4).content != first.content


def change(transcript: Transcript, **changes: object) -> Outcome:
    """A transcript with other segments, or with other ``flags`` or ``dropped`` of its ``meta``."""
    meta = transcript.meta.model_copy(update={key: value for key, value in changes.items() if key != "segments"})
    return Outcome(
        transcript.model_copy(update={"meta": meta, "segments": changes.get("segments", transcript.segments)})
    )


def test_a_lost_segment_is_found(conversation: tuple[Recording, Transcript]) -> None:
    recording, transcript = conversation
    first, *others = transcript.segments
    assert judge(recording, change(transcript)) == []
    lost = judge(recording, change(transcript, segments=tuple(others)))
    assert {finding.what for finding in lost} == {"lost", "other words"}
    dropped = Dropped(start=first.start, end=first.end, channel=0, text=first.text, reasons=("improbable",))
    assert judge(recording, change(transcript, segments=tuple(others), dropped=(dropped,))) == []
    assert judge(recording, change(transcript, segments=tuple(others), flags={"partial": "Some is missing."})) == []


def test_no_speech_says_nothing_of_speech(conversation: tuple[Recording, Transcript]) -> None:
    recording, transcript = conversation
    silent = change(transcript, segments=(), flags={"no_speech": "Nothing was heard."})
    assert [finding.what for finding in judge(recording, silent)] == ["no speech"]


def test_words_of_something_else_are_found(conversation: tuple[Recording, Transcript]) -> None:
    recording, transcript = conversation
    segments = tuple(segment.model_copy(update={"text": "Thank you for watching."}) for segment in transcript.segments)
    assert {finding.what for finding in judge(recording, change(transcript, segments=segments))} == {"other words"}


def test_another_language_is_found(conversation: tuple[Recording, Transcript]) -> None:
    recording, transcript = conversation
    outcome = Outcome(transcript.model_copy(update={"language": "cy"}))
    assert {finding.what for finding in judge(recording, outcome)} == {"other words"}


def test_words_where_nobody_speaks_are_found(conversation: tuple[Recording, Transcript]) -> None:
    recording, transcript = conversation
    late = recording.spoken[-1].end_s + 1.5
    invented = transcript.segments[-1].model_copy(update={"start": late, "end": late + 1, "words": ()})
    findings = judge(recording, change(transcript, segments=(*transcript.segments, invented)))
    assert [finding.what for finding in findings] == ["invented"]


def test_a_good_file_must_not_be_refused(conversation: tuple[Recording, Transcript]) -> None:
    recording, _ = conversation
    assert [finding.what for finding in judge(recording, Outcome(None, "It is damaged."))] == ["refused"]
    broken = replace(recording, is_valid=False)
    assert judge(broken, Outcome(None, "It is damaged.")) == []
    assert [finding.what for finding in judge(broken, Outcome(None, "Input/output error", is_refused=False))] == [
        "error"
    ]


def test_the_judge_knows_every_flag_that_the_documentation_lists() -> None:
    page = (PROJECT / "docs/outputs.md").read_text(encoding="utf-8")
    table = page.split("| flag | what it means | what to do |")[1].split("\n\n", maxsplit=1)[0]
    assert set(re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE)) == set(FLAGS)


def test_a_flag_of_unknown_meaning_is_not_taken_for_an_answer(conversation: tuple[Recording, Transcript]) -> None:
    recording, transcript = conversation
    with pytest.raises(KeyError, match="new_flag"):
        judge(recording, change(transcript, flags={"new_flag": "Something happened."}))
