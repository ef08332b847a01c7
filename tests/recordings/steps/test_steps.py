"""The four steps over a batch: what is done once, what is done again, and whose fault an error is."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from recordings.batches import BatchLimits
from recordings.intake import intake
from recordings.intake.backoff import PastRuns
from recordings.intake.intake import (
    find_unattended_batches,
    form_batches,
    register_old_enough,
    run_intake,
    scan_folder,
)
from recordings.intake.reprocess import CurrentOptions, plan
from recordings.intake.settling import SettlingCursor, SettlingLimits
from recordings.intake.upload import UploadError, upload_files
from recordings.layout import EXPORTS
from recordings.ledger.ledger import Ledger
from recordings.states import State
from recordings.steps import enriched, normalized, raw, transcript
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from recordings.steps.report import StepReport
from recordings.steps.runner import StepFailedError
from recordings.storage.directory import DirectoryStore
from recordings.workspace import Workspace
from speech.asr.engine import Engine
from speech.asr.whisper import DeviceUnavailableError
from speech.models.registry import Weights
from speech.transcript import Options

PROJECT = Path(__file__).resolve().parents[3]
SAMPLES = PROJECT / "samples"
STEPS = ("raw", "normalized", "transcript", "enriched")
NO_WEIGHTS = Weights(name="none", path=Path("/nonexistent"), sha256="0" * 64, revision=None, source="model directory")
"""Silence never reaches the model; were it asked for, loading these would fail."""


@dataclass
class Place:
    """A data folder, its ledger, and every engine that a step asked for."""

    root: Path
    workspace: Workspace
    weights: Weights = NO_WEIGHTS
    engines: list[Engine] = field(default_factory=list)
    seconds: float = 0.1

    def write(self, *names: str) -> None:
        """Silence, of another length at each call, so of other bytes."""
        self.seconds += 0.01
        for name in names:
            path = self.root / "raw_audio" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.zeros(round(16_000 * self.seconds), np.int16), 16_000, format="WAV")

    def say(self, *names: str) -> None:
        """Three seconds of Kennedy."""
        sound, rate = soundfile.read(SAMPLES / "jfk.opus", dtype="int16")
        for name in names:
            path = self.root / "raw_audio" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound[round(7.5 * rate) :], rate, format="WAV")

    def batch(self) -> str:
        """All that waits, as one batch."""
        cursor = SettlingCursor()
        for _ in range(2):
            cursor = scan_folder(self.workspace, cursor, SettlingLimits()).cursor
        (key,) = form_batches(self.workspace, BatchLimits(), "test", max_batches=10)
        return key

    def run(
        self,
        key: str,
        steps: Sequence[str] = STEPS,
        *,
        normalize: NormalizeOptions | None = None,
        options: Options | None = None,
        enrich: EnrichOptions | None = None,
    ) -> dict[str, StepReport]:
        heard = options or Options(language="en")
        recipe = transcript.EngineFactory(self.weights.sha256, heard, lambda: self.engine(heard))
        ways = {
            "raw": lambda: raw.run(self.workspace, key, quiet),
            "normalized": lambda: normalized.run(
                self.workspace, key, normalize or NormalizeOptions(), quiet, workers=2
            ),
            "transcript": lambda: transcript.run(self.workspace, key, recipe, quiet),
            "enriched": lambda: enriched.run(self.workspace, key, enrich or EnrichOptions(), quiet, workers=2),
        }
        return {step: ways[step]() for step in steps}

    def engine(self, options: Options) -> Engine:
        self.engines.append(Engine(self.weights, options, workers=2))
        return self.engines[-1]

    def states(self, key: str) -> dict[str, State]:
        return {member.delivery.name: member.state for member in self.workspace.ledger.list_members(key)}

    def told(self, name: str) -> tuple[State, str | None, str]:
        """State, kind and reason of a name's newest delivery."""
        (member, *_) = self.workspace.ledger.find(name)
        kind = member.recording.kind if member.recording else member.kind
        return member.state, kind, member.shown_reason or ""

    def outputs(self) -> dict[str, int]:
        folders = ("input_audio", "whisper_json", "transcripts")
        files = (p for folder in folders for p in (self.root / folder).rglob("*") if p.is_file())
        return {str(path.relative_to(self.root)): path.stat().st_mtime_ns for path in files}


def quiet(line: str) -> None:
    """Nobody listens."""


def worked(reports: dict[str, StepReport]) -> dict[str, int]:
    return {step: report.worked for step, report in reports.items() if step != "raw"}


def outputs_of(name: str) -> set[str]:
    return {
        f"input_audio/{name}.wav",
        f"whisper_json/{name}.json",
        *(f"transcripts/{name}{export.suffix}" for export in EXPORTS),
    }


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    store = DirectoryStore(tmp_path / "data")
    store.prepare()
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield Place(tmp_path / "data", Workspace(store, ledger))
    ledger.close()


# Once for all


def test_same_bytes_are_heard_once_and_every_name_gets_its_outputs(place: Place, base_weights: Weights) -> None:
    """Within a batch and in a later one; inside, each output bears the name it stands under."""
    place.weights = base_weights
    place.say("a.wav", "team/a.wav")
    first = place.batch()
    assert worked(place.run(first)) == {"normalized": 1, "transcript": 1, "enriched": 1}
    place.say("later.wav")
    second = place.batch()
    assert worked(place.run(second))["transcript"] == 0
    assert len(place.engines) == 1

    names = ("a.wav", "team/a.wav", "later.wav")
    assert set(place.outputs()) == set().union(*map(outputs_of, names))
    texts = set()
    for name in names:
        for output in (f"whisper_json/{name}.json", f"transcripts/{name}.json"):
            told = json.loads((place.root / output).read_text())
            assert (told["file"], told["meta"]["audio_file"]) == (name, name)
        assert f"<title>{name}" in (place.root / "transcripts" / f"{name}.html").read_text()
        texts.add((place.root / "transcripts" / f"{name}.txt").read_text())
    assert len(texts) == 1
    assert "you can do for your country" in texts.pop()
    members = [*place.workspace.ledger.list_members(first), *place.workspace.ledger.list_members(second)]
    assert {m.delivery.name: dict(m.flags) for m in members} == {
        "a.wav": {},
        "team/a.wav": {"duplicate": "same bytes as a.wav"},
        "later.wav": {"duplicate": "same bytes as a.wav"},
    }


def test_a_duplicate_bears_its_whole_name_where_that_of_its_file_is_shortened(place: Place) -> None:
    place.write("a.wav")
    name = f"{'x' * 250}.wav"
    (place.root / "raw_audio" / name).write_bytes((place.root / "raw_audio" / "a.wav").read_bytes())
    place.run(place.batch())
    for folder in ("whisper_json", "transcripts"):
        (told,) = (json.loads(path.read_text()) for path in (place.root / folder).glob("x*.json"))
        assert (told["file"], told["meta"]["audio_file"]) == (name, name)


def test_a_finished_batch_is_left_as_it_is_and_asks_for_no_engine(place: Place) -> None:
    """A retry or an impatient operator must not cost a model or change a file."""
    place.write("a.wav")
    place.write("b/b.wav")
    key = place.batch()
    place.run(key)
    before = place.outputs()
    assert worked(place.run(key)) == {"normalized": 0, "transcript": 0, "enriched": 0}
    assert place.outputs() == before
    assert len(place.engines) == 1


def test_a_silent_batch_loads_no_model(place: Place, base_weights: Weights) -> None:
    place.weights = base_weights
    place.write("a.wav")
    key = place.batch()
    place.run(key)
    assert [engine.is_loaded for engine in place.engines] == [False]
    assert place.states(key) == {"a.wav": State.DONE}


def test_a_changed_option_does_again_exactly_what_lies_below_it(place: Place) -> None:
    place.write("a.wav", "twin.wav")
    place.write("b.wav")
    key = place.batch()
    assert worked(place.run(key)) == {"normalized": 2, "transcript": 2, "enriched": 2}

    enrich = EnrichOptions(prosody=False)
    before = place.outputs()
    assert worked(place.run(key, enrich=enrich)) == {"normalized": 0, "transcript": 0, "enriched": 2}
    assert len(place.engines) == 1, "nothing to hear"
    changed = {name.split("/")[0] for name, when in place.outputs().items() if before[name] != when}
    assert changed == {"transcripts"}
    assert "pauses" not in json.loads((place.root / "transcripts" / "twin.wav.json").read_text())["annotations"]

    careful = Options(language="en", beam_size=1)
    again = place.run(key, enrich=enrich, options=careful)
    assert worked(again) == {"normalized": 0, "transcript": 2, "enriched": 2}
    assert len(place.engines) == 2
    for name in ("a.wav", "twin.wav", "b.wav"):
        for folder in ("whisper_json", "transcripts"):
            told = json.loads((place.root / folder / f"{name}.json").read_text())
            assert told["meta"]["options"]["beam_size"] == 1

    mono = NormalizeOptions(keep_channels=False)
    again = place.run(key, enrich=enrich, options=careful, normalize=mono)
    assert worked(again) == {"normalized": 2, "transcript": 2, "enriched": 2}
    assert set(place.states(key).values()) == {State.DONE}


WANTED = CurrentOptions(NormalizeOptions(), NO_WEIGHTS.sha256, Options(language="en"), EnrichOptions())


def again(place: Place, wanted: CurrentOptions, *names: str) -> tuple[dict[str, int], list[set[str]]]:
    """Step -> recordings done again from there, and the names in each batch made of them."""
    meant = set(names).__contains__ if names else lambda _: True
    found = plan(place.workspace, wanted, meant, BatchLimits(max_recordings=2), "test")
    return dict(found.recordings_by_step), [set(place.states(key)) for key in found.batches]


def test_what_other_options_made_is_gathered_and_finished_only_where_they_differ(place: Place) -> None:
    """A batch holds strangers; who asks for one recording under another option must not change the others."""
    place.write("a.wav", "twin.wav")
    place.write("b.wav")
    first = place.batch()
    place.run(first)
    assert again(place, WANTED) == ({}, [])
    plain = replace(WANTED, enrich=EnrichOptions(prosody=False))
    assert again(place, plain, "nobody.wav") == ({}, [])
    found = plan(place.workspace, plain, {"b.wav"}.__contains__, BatchLimits(), "test")
    (key,) = found.batches
    assert place.workspace.ledger.count_totals().is_consistent
    assert worked(place.run(key, enrich=plain.enrich)) == {"normalized": 0, "transcript": 0, "enriched": 1}
    assert again(place, plain) == ({"enriched": 1}, [{"a.wav", "twin.wav"}]), "under all its names"
    narrow = replace(WANTED, transcribe=Options(language="en", beam_size=1))
    assert again(place, narrow) == ({"transcript": 2}, [{"a.wav", "twin.wav"}, {"b.wav"}])
    other = replace(WANTED, model_sha256="1" * 64)
    assert again(place, other)[0] == {"transcript": 2}
    mono = replace(WANTED, normalize=NormalizeOptions(keep_channels=False))
    assert again(place, mono)[0] == {"normalized": 2}
    assert place.workspace.ledger.list_open_batches(2e9, 10) == [], "nothing is unfinished before a run begins"


def test_what_cannot_be_made_again_is_not_gathered(place: Place) -> None:
    """Else every ``stt run`` would begin a run that can do nothing."""
    place.write("a.wav")
    place.run(place.batch())
    mono = replace(WANTED, normalize=NormalizeOptions(keep_channels=False))
    (place.root / "raw_audio" / "a.wav").unlink()
    assert again(place, mono) == ({}, [])
    assert again(place, replace(mono, model_sha256="1" * 64))[0] == {"transcript": 1}, "of the audio that is there"
    (place.root / "input_audio" / "a.wav.wav").unlink()
    assert again(place, replace(mono, model_sha256="2" * 64)) == ({}, [])


def test_of_two_that_gather_the_same_one_gets_it(place: Place) -> None:
    place.write("a.wav")
    place.run(place.batch())
    (member,) = place.workspace.ledger.iter_finished()
    mine = replace(member.delivery, attempt=1)
    assert place.workspace.ledger.reclaim("mine", [mine], "test")
    assert not place.workspace.ledger.reclaim("too late", [mine], "test")
    assert set(place.states("mine")) == {"a.wav"}


@pytest.mark.parametrize(
    ("lost", "again"),
    [
        ("transcripts/a.wav.srt", {"normalized": 0, "transcript": 0, "enriched": 1}),
        ("whisper_json/a.wav.json", {"normalized": 0, "transcript": 1, "enriched": 1}),
        ("input_audio/a.wav.wav", {"normalized": 1, "transcript": 1, "enriched": 1}),
    ],
)
def test_a_lost_output_is_made_again(place: Place, lost: str, again: dict[str, int]) -> None:
    place.write("a.wav")
    key = place.batch()
    place.run(key)
    (place.root / lost).unlink()
    assert worked(place.run(key)) == again
    assert set(place.outputs()) == outputs_of("a.wav")


def test_a_result_is_never_given_up_for_one_that_cannot_be_made(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Users move recordings away when they are done; a changed option must then not undo them."""
    place.write("a.wav")
    key = place.batch()
    place.run(key)
    before = place.outputs()
    (place.root / "raw_audio" / "a.wav").unlink()
    with caplog.at_level(logging.WARNING, "stt"):
        place.run(key, normalize=NormalizeOptions(max_hours=1))
    assert "a.wav stays as it is" in caplog.text
    assert place.states(key) == {"a.wav": State.DONE}
    assert place.outputs() == before


# The recording's trouble


def test_what_is_no_recording_is_quarantined_and_the_others_go_on(place: Place) -> None:
    place.write("good.wav")
    (place.root / "raw_audio" / "page.mp3").write_text("<html>Please log in</html>")
    (place.root / "raw_audio" / "empty.wav").touch()
    key = place.batch()
    report = place.run(key)["enriched"]
    assert place.states(key) == {"good.wav": State.DONE, "page.mp3": State.QUARANTINED, "empty.wav": State.QUARANTINED}
    assert {m.delivery.name for m in report.broken} == {"page.mp3", "empty.wav"}
    assert (report.counts[State.DONE], report.counts[State.QUARANTINED]) == (1, 2)
    assert place.told("page.mp3")[1] == "not_audio"
    assert place.told("empty.wav")[1] == "empty"
    assert set(place.outputs()) == outputs_of("good.wav")


def test_what_only_decoding_shows_is_quarantined_in_its_step_and_a_retry_under_other_options_heals_it(
    place: Place,
) -> None:
    place.write("long.wav")
    place.write("longer.wav")
    key = place.batch()
    with_limit = NormalizeOptions(max_hours=0.115 / 3600)  # between the two
    assert worked(place.run(key, normalize=with_limit)) == {"normalized": 1, "transcript": 1, "enriched": 1}
    state, kind, why = place.told("longer.wav")
    assert (state, kind) == (State.QUARANTINED, "too_long")
    assert why
    assert place.told("long.wav")[0] is State.DONE
    assert set(place.outputs()) == outputs_of("long.wav")
    place.workspace.ledger.reset_for_retry(place.workspace.ledger.list_broken())
    again = place.batch()
    place.run(again)
    assert place.states(again) == {"longer.wav": State.DONE}


@pytest.mark.parametrize("when", ["before it was ever read", "before it was normalized"])
def test_a_recording_that_vanished_says_so(place: Place, when: str) -> None:
    place.write("gone.wav")
    place.write("good.wav")
    key = place.batch()
    if when == "before it was normalized":
        place.run(key, ["raw"])
    (place.root / "raw_audio" / "gone.wav").unlink()
    place.run(key)
    removed = "gone.wav was removed before it could be read. Deliver it again."
    assert place.told("gone.wav") == (State.QUARANTINED, "changed", removed)
    assert place.told("good.wav")[0] is State.DONE
    assert set(place.outputs()) == outputs_of("good.wav")


@pytest.mark.parametrize("when", ["before it was ever read", "before it was normalized"])
def test_a_recording_that_was_written_to_meanwhile_says_so_and_its_new_bytes_are_a_delivery(
    place: Place, when: str
) -> None:
    """Half of the old bytes and half of the new ones would be a recording that nobody delivered."""
    place.write("a.wav")
    size = (place.root / "raw_audio" / "a.wav").stat().st_size
    key = place.batch()
    if when == "before it was normalized":
        place.run(key, ["raw"])
    place.write("a.wav")
    place.run(key)
    state, kind, why = place.told("a.wav")
    assert (state, kind) == (State.QUARANTINED, "changed")
    assert f"a.wav changed after it was seen with {size} bytes" in why
    assert place.outputs() == {}

    newer = place.batch()
    place.run(newer)
    assert place.states(newer) == {"a.wav": State.DONE}
    assert place.states(key) == {"a.wav": State.QUARANTINED}


def test_a_delivery_overtaken_by_a_newer_one_of_its_name_ends_and_touches_no_output(place: Place) -> None:
    place.write("a.wav")
    older = place.batch()
    place.run(older, ["raw", "normalized"])
    place.write("a.wav")
    newer = place.batch()
    place.run(newer)
    before = place.outputs()
    place.run(older)
    (member,) = place.workspace.ledger.list_members(older)
    assert member.state is State.QUARANTINED
    assert "a.wav was replaced by newer bytes before it was finished" in str(member.shown_reason)
    assert place.states(newer) == {"a.wav": State.DONE}
    assert place.outputs() == before


def test_older_bytes_put_back_under_their_name_with_their_old_time_are_worked_on_again(place: Place) -> None:
    place.write("a.wav")
    path = place.root / "raw_audio" / "a.wav"
    older, status = path.read_bytes(), path.stat()
    place.run(place.batch())
    place.write("a.wav")
    place.run(place.batch())
    path.write_bytes(older)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = place.batch()
    place.run(again)
    assert place.states(again) == {"a.wav": State.DONE}
    assert soundfile.info(place.root / "input_audio" / "a.wav.wav").duration == soundfile.info(path).duration
    assert place.workspace.ledger.count_totals().inputs == 2
    place.run(again)
    with pytest.raises(ValueError, match="not enough values"):
        place.batch()  # it is known again


def test_a_delivery_that_was_gone_and_comes_back_as_it_was_is_new(place: Place) -> None:
    place.write("a.wav")
    path = place.root / "raw_audio" / "a.wav"
    key = place.batch()
    path.rename(place.root / "away.wav")
    place.run(key)
    assert place.told("a.wav")[:2] == (State.QUARANTINED, "changed")
    (place.root / "away.wav").rename(path)
    place.run(place.batch())
    assert place.told("a.wav")[0] is State.DONE


@pytest.mark.parametrize("first", ["the file", "the folder", "both at once"])
def test_a_name_whose_outputs_have_no_place_ends_alone(place: Place, first: str) -> None:
    """``x.wav`` needs a file ``input_audio/x.wav.wav``, where the recordings of a folder of that name need a folder."""
    files = {"the file": ["x.wav"], "the folder": ["x.wav.wav/y.wav"], "both at once": ["x.wav", "x.wav.wav/y.wav"]}[
        first
    ]
    place.write(*files)
    place.run(place.batch())
    place.write("good.wav", *({"x.wav", "x.wav.wav/y.wav"} - set(files)))
    place.run(place.batch())
    loser = "x.wav.wav/y.wav" if first == "the file" else "x.wav"
    state, kind, why = place.told(loser)
    assert (state, kind) == (State.QUARANTINED, "name")
    assert "x.wav.wav" in why
    assert "Rename the recording" in why
    winner = ({"x.wav", "x.wav.wav/y.wav"} - {loser}).pop()
    found = {m.delivery.name: m.state for m in place.workspace.ledger.list_newest(10)}
    assert (found[winner], found["good.wav"]) == (State.DONE, State.DONE)


def test_a_path_too_long_for_an_output_ends_alone(place: Place) -> None:
    """The input's path is just short enough for the file system, that of an output in a folder of a longer name is not."""
    room = 4095 - len(os.fsencode(place.root / "raw_audio")) - len("/x.wav") - 1
    parts = ["d" * 200] * (room // 201)
    parts.append("d" * (room - 201 * len(parts)))
    deep = "/".join(part for part in parts if part)
    place.write("good.wav")
    long = place.root / "raw_audio" / deep / "x.wav"
    long.parent.mkdir(parents=True)
    long.write_bytes((place.root / "raw_audio" / "good.wav").read_bytes())
    key = place.batch()
    place.run(key)
    state, kind, why = place.told(f"{deep}/x.wav")
    assert (state, kind) == (State.QUARANTINED, "name")
    assert "longer than the file system allows" in why
    assert place.told("good.wav")[0] is State.DONE


def corrupt(place: Place, *names: str) -> None:
    for name in names:
        (place.root / "input_audio" / f"{name}.wav").write_bytes(b"a bad sector was here")


def five(place: Place) -> list[str]:
    names = [f"{i}.wav" for i in range(5)]
    for name in names:
        place.write(name)
    return names


def test_a_few_unexpected_failures_are_the_recordings_and_a_retry_heals_them(place: Place) -> None:
    names = five(place)
    key = place.batch()
    place.run(key, ["raw", "normalized"])
    corrupt(place, names[0])
    place.run(key, ["transcript", "enriched"])
    state, kind, why = place.told(names[0])
    assert (state, kind) == (State.FAILED, "error")
    assert why.startswith("The transcript step failed on it: ValueError: ")
    assert "is no normalized audio" in why
    assert "`stt retry`" in why
    assert [place.told(name)[0] for name in names[1:]] == [State.DONE] * 4

    assert place.workspace.ledger.reset_for_retry(place.workspace.ledger.list_broken()) == 1
    again = place.batch()
    place.run(again)
    assert place.states(again) == {names[0]: State.DONE}


def test_more_than_half_failing_is_the_machine_and_they_keep_their_state(place: Place) -> None:
    """A lost mount or a bad build hits all of a batch; nobody wants to re-arm ten thousand recordings after it."""
    names = five(place)
    key = place.batch()
    place.run(key, ["raw", "normalized"])
    corrupt(place, *names[:3])
    with pytest.raises(
        StepFailedError, match=r"^3 of 5 recordings failed in the transcript step.*is no normalized audio"
    ):
        place.run(key, ["transcript"])
    assert place.states(key) == dict.fromkeys(names[:3], State.NORMALIZED) | dict.fromkeys(names[3:], State.TRANSCRIBED)
    assert place.workspace.ledger.list_broken() == []

    for name in names[:3]:
        (place.root / "input_audio" / f"{name}.wav").unlink()
    place.run(key)
    assert set(place.states(key).values()) == {State.DONE}


def test_the_enriched_step_tells_a_few_from_many_too(place: Place) -> None:
    names = five(place)
    key = place.batch()
    place.run(key, STEPS[:3])
    for name in names[:3]:
        (place.root / "whisper_json" / f"{name}.json").write_text("{}")
    with pytest.raises(StepFailedError, match="3 of 5 recordings failed in the enriched step"):
        place.run(key, ["enriched"])
    assert [place.told(name)[0] for name in names] == [State.TRANSCRIBED] * 3 + [State.DONE] * 2


# The machine's trouble


def test_a_gpu_that_is_not_there_fails_the_step_and_no_recording(place: Place) -> None:
    """One recording in the batch or a thousand: they are sound, and wait for the GPU."""
    import ctranslate2

    if ctranslate2.get_cuda_device_count() > 0:
        pytest.skip("there is a GPU, so it is not unavailable")
    place.say("a.wav")
    key = place.batch()
    with pytest.raises(DeviceUnavailableError, match="none is visible here"):
        place.run(key, options=Options(language="en", device="cuda", compute_type="float16"))
    assert place.states(key) == {"a.wav": State.NORMALIZED}


def test_an_output_lost_between_two_steps_fails_the_step_with_what_to_do(place: Place) -> None:
    place.write("a.wav")
    key = place.batch()
    place.run(key, STEPS[:2])
    (place.root / "input_audio" / "a.wav.wav").unlink()
    with pytest.raises(
        StepFailedError, match=r"a\.wav\.wav is gone\. Run the whole batch again: the normalized step makes it"
    ):
        place.run(key, ["transcript"])
    assert place.states(key) == {"a.wav": State.NORMALIZED}
    place.run(key)
    assert place.states(key) == {"a.wav": State.DONE}


def test_a_batch_that_nobody_made_is_said_to_be_none(place: Place) -> None:
    with pytest.raises(LookupError, match="There is no batch 'batch-x'"):
        place.run("batch-x", ["transcript"])


LIMITED = """
import resource, sys
from pathlib import Path
from recordings.layout import EXPORTS
from recordings.ledger.ledger import Ledger
from recordings.steps import normalized, raw
from recordings.storage.directory import DirectoryStore
from recordings.workspace import Workspace

root, ledger, key, step, limit = sys.argv[1:]
workspace = Workspace(DirectoryStore(Path(root)), Ledger.open(ledger))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
if step == "raw":
    raw.run(workspace, key, print)
else:
    normalized.run(workspace, key, normalized.NormalizeOptions(), print)
"""


@pytest.mark.parametrize(
    ("step", "limit", "error"),
    [
        ("normalized", 500_000, "OSError: [Errno 27] File too large"),
        ("raw", 4096, "LedgerError: The ledger sqlite:///"),
    ],
)
def test_a_full_disk_fails_the_step_keeps_every_state_and_is_forgotten_when_there_is_room(
    place: Place, step: str, limit: int, error: str
) -> None:
    """No file may grow beyond the limit, as on a full disk: a minute of audio does not fit, or the ledger's own page."""
    minute = place.root / "raw_audio" / "minute.flac"
    soundfile.write(minute, np.zeros(60 * 16_000, np.int16), 16_000)
    key = place.batch()
    if step == "normalized":
        place.run(key, ["raw"])
    ledger = place.workspace.ledger.address
    died = subprocess.run(
        [sys.executable, "-c", LIMITED, str(place.root), ledger, key, step, str(limit)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert died.returncode == 1
    assert error in died.stderr.splitlines()[-1]
    assert place.states(key) == {"minute.flac": State.RECEIVED}
    assert place.outputs() == {}, "not even half a file"
    place.run(key)
    assert place.states(key) == {"minute.flac": State.DONE}


# Taking in


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder of a user's, with what such folders hold."""
    desk = tmp_path / "desk"
    (desk / "calls" / "monday").mkdir(parents=True)
    (desk / "calls" / ".trash").mkdir()
    for name in ("calls/1.wav", "calls/monday/1.wav", "calls/.trash/0.wav", "calls/.hidden.wav", "single.wav"):
        (desk / name).write_text(name)
    for name in ("calls/2.wav.part", "calls/1.wav.ref.txt", "calls/2.wav.ref.txt", "calls/README.md"):
        (desk / name).write_text(name)
    (desk / "calls/monday/1.wav.ref.txt").symlink_to(desk / "single.wav")
    (desk / "calls" / "link.wav").symlink_to(desk / "single.wav")
    return desk


def test_delivered_folders_keep_their_paths_and_what_is_no_input_stays_behind(place: Place, desk: Path) -> None:
    os.utime(desk / "single.wav", (1_000_000_000, 1_000_000_000))
    names = list(upload_files(place.workspace.store, [desk / "calls", desk / "single.wav"]).names)
    assert names == ["calls/1.wav", "calls/monday/1.wav", "single.wav"]
    raw_audio = place.root / "raw_audio"
    found = {str(p.relative_to(raw_audio)) for p in raw_audio.rglob("*") if p.is_file()}
    assert found == {*names, "calls/1.wav.ref.txt"}
    assert all((raw_audio / name).read_text() == name for name in found)
    assert (raw_audio / "single.wav").stat().st_mtime == 1_000_000_000


def test_delivering_again_is_one_delivery_and_a_name_taken_by_other_bytes_is_refused(place: Place, desk: Path) -> None:
    single = desk / "single.wav"
    for _ in range(2):
        assert upload_files(place.workspace.store, [single]).names == ("single.wav",)
    there = place.root / "raw_audio" / "single.wav"
    single.write_text("other.wav!")  # as long as before, so the size alone tells nothing
    with pytest.raises(UploadError, match=r"single\.wav would overwrite .*which holds other bytes\. Rename it"):
        upload_files(place.workspace.store, [single])
    assert there.read_text() == "single.wav"


def test_a_reference_comes_along_with_its_recording_and_a_better_one_replaces_it(place: Place, desk: Path) -> None:
    reference, there = desk / "single.wav.ref.txt", place.root / "raw_audio" / "single.wav.ref.txt"
    for text in (None, "what was said", "what was really said"):
        if text:
            reference.write_text(text)
        assert upload_files(place.workspace.store, [desk / "single.wav"]).names == ("single.wav",)
        assert (there.read_text() if there.exists() else None) == text
    # Beside a name as long as may be there cannot be a reference, and none is looked for.
    longest = desk / f"{'x' * 251}.wav"
    longest.write_text("sound")
    assert upload_files(place.workspace.store, [longest]).names == (longest.name,)


def test_a_refused_file_does_not_hold_up_its_folder(place: Place, desk: Path) -> None:
    (place.root / "raw_audio" / "calls").mkdir()
    (place.root / "raw_audio" / "calls" / "1.wav").write_text("other bytes")
    reference = desk / "calls" / "monday" / "1.wav.ref.txt"
    reference.unlink()
    reference.write_text("what was said")
    (place.root / "raw_audio" / "calls" / "monday" / "1.wav.ref.txt").mkdir(parents=True)
    delivered = upload_files(place.workspace.store, [desk / "calls"])
    assert delivered.names == ("calls/monday/1.wav",)
    taken, no_place = delivered.refused
    assert "1.wav would overwrite" in taken
    assert "1.wav.ref.txt has no place" in no_place


def test_what_is_not_there_cannot_be_delivered_and_what_lies_inside_is_delivered_already(
    place: Place, desk: Path
) -> None:
    with pytest.raises(UploadError, match=r"nothing\.wav does not exist"):
        upload_files(place.workspace.store, [desk / "nothing.wav"])
    os.mkfifo(desk / "pipe.wav")
    with pytest.raises(UploadError, match="neither a file nor a folder"):
        upload_files(place.workspace.store, [desk / "pipe.wav"])
    place.write("a.wav")
    inside = place.root / "raw_audio"
    assert upload_files(place.workspace.store, [inside / "a.wav", inside]).names == ()


@pytest.mark.parametrize("name", ["calls/.hidden.wav", "calls/2.wav.part", "calls/1.wav.ref.txt", "calls/README.md"])
def test_a_shells_star_delivers_no_more_than_its_folder_would(place: Place, desk: Path, name: str) -> None:
    """``stt run calls/*`` names every file there; references and half downloads are no recordings for that."""
    with suppress(UploadError):
        assert upload_files(place.workspace.store, [desk / name]).names == ()
    assert list((place.root / "raw_audio").iterdir()) == []


@pytest.mark.parametrize("way", ["..", "../calls", "../single.wav"])
def test_a_way_up_never_leads_out_of_the_input_folder(
    place: Place, desk: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk / "calls")
    before = sorted(place.root.iterdir())
    with suppress(UploadError):
        names = upload_files(place.workspace.store, [Path(way)]).names
        assert not any(".." in name.split("/") for name in names), names
    assert sorted(place.root.iterdir()) == before


def test_a_way_that_only_passes_the_input_folder_is_not_inside_it(place: Place, desk: Path) -> None:
    way_round = place.root / "raw_audio" / ".." / ".." / "desk" / "single.wav"
    assert upload_files(place.workspace.store, [way_round]).names == ("single.wav",)


@pytest.mark.parametrize("way", ["a folder above it", "the data folder itself", "above it, by its real name"])
def test_the_input_folder_is_not_delivered_into_itself(place: Place, tmp_path: Path, way: str) -> None:
    """``stt run .`` in a project whose data folder lies below it would copy the copies until the disk is full."""
    place.write("a.wav")
    (place.root / "input_audio" / "a.wav.wav").write_text("an output, met before the input folder")
    store = place.workspace.store
    if way == "above it, by its real name":
        (tmp_path / "mounted").symlink_to(tmp_path)
        store = DirectoryStore(tmp_path / "mounted" / "data")
    with suppress(UploadError):
        upload_files(store, [place.root if way == "the data folder itself" else place.root.parent])
    raw_audio = place.root / "raw_audio"
    assert [p for p in raw_audio.rglob("*") if "raw_audio" in p.relative_to(raw_audio).parts] == []


def test_a_command_takes_in_what_it_is_given_and_what_has_arrived(
    place: Place, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one go and once: a person who typed it does not wait for two looks of a sensor."""
    monkeypatch.setattr(intake, "_SETTLE_S", 0)
    place.write("here.wav")
    taken = run_intake(place.workspace, [desk / "calls"], BatchLimits(max_recordings=2), "test")
    assert (taken.unsettled, taken.refused) == (0, ())
    batches = place.workspace.ledger.list_open_batches(2e9, 10)
    members = [sorted(place.states(key)) for key in batches]
    assert sorted(name for names in members for name in names) == ["calls/1.wav", "calls/monday/1.wav", "here.wav"]
    assert max(map(len, members)) == 2
    run_intake(place.workspace, [desk / "calls"], BatchLimits(), "test")
    assert place.workspace.ledger.count_totals().inputs == 3


def test_a_caller_that_looks_rarely_takes_what_nobody_has_written_to_for_long(place: Place) -> None:
    place.write("old.wav")
    place.write("young.wav")
    os.utime(place.root / "raw_audio" / "old.wav", (1_000_000_000, 1_000_000_000))
    assert register_old_enough(place.workspace, 60) == 1
    assert [delivery.name for delivery in place.workspace.ledger.list_waiting(10)] == ["old.wav"]
    assert register_old_enough(place.workspace, 0) == 0
    assert register_old_enough(place.workspace, 1e6) == 0, "known already, so it waits for nothing"


def test_only_unfinished_batches_that_nobody_works_on_are_asked_for_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    for name in ("a.wav", "b.wav", "c.wav"):
        place.write(name)
        keys.append(place.batch())
    place.run(keys[0])

    def never_run(_: str) -> PastRuns:
        return PastRuns()

    assert find_unattended_batches(place.workspace, (), never_run, 10) == {}, (
        "their maker may be about to ask for a run"
    )
    monkeypatch.setattr(intake, "_ORPHANED_AFTER_S", -1)
    assert find_unattended_batches(place.workspace, (), never_run, 10) == {key: key for key in keys[1:]}
    assert find_unattended_batches(place.workspace, {keys[1]}, never_run, 10) == {keys[2]: keys[2]}
    assert find_unattended_batches(place.workspace, (), never_run, 1) == {keys[1]: keys[1]}
    assert find_unattended_batches(place.workspace, (), never_run, -1) == {}
    failed = {keys[1]: PastRuns(1, "just", time.time()), keys[2]: PastRuns(1, "long-ago", 0.0)}
    assert find_unattended_batches(place.workspace, (), failed.__getitem__, 1) == {keys[2]: f"{keys[2]}-after-long-ago"}
