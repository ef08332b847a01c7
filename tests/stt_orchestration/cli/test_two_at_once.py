"""Two processes on one data folder: both end well, each recording is worked on once, and a dead one stops nobody."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
import soundfile
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from recordings.batches import BatchLimits
from recordings.intake.intake import run_intake
from recordings.ledger.ledger import Ledger
from recordings.states import PIPELINE, State, has_reached
from recordings.storage.open import open_store
from recordings.workspace import Workspace
from speech.models.registry import Weights
from stt_orchestration.definitions import build_defs
from stt_orchestration.instance import open_instance
from stt_orchestration.jobs import JOB_NAME
from stt_orchestration.runs import find_live_runs
from stt_orchestration.settings import Settings
from tests import warm
from tests.warm import Running

PROJECT = Path(__file__).resolve().parents[3]
STEPS = ("normalized", "transcript", "enriched")
OUTPUTS = ("input_audio", "whisper_json", "transcripts")
COUNT = 16


def stt(*arguments: str) -> None:
    """The command, to be called in a process of its own."""
    from stt_orchestration.cli.app import app

    app(arguments)


def stt_in_steps(go: Path, *arguments: str) -> None:
    """The command, in a process that stops itself before each output that it puts in its place, until ``go`` exists."""

    def stop(event: str, about: tuple[object, ...]) -> None:
        if event in {"os.rename", "os.link"} and Path(str(about[1])).parent.name in OUTPUTS and not go.exists():
            os.kill(os.getpid(), signal.SIGSTOP)

    sys.addaudithook(stop)
    stt(*arguments)


@dataclass
class Installation:
    """A data folder, and processes that work on it."""

    root: Path
    weights: Path
    stack: ExitStack

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def ledger(self) -> Ledger:
        opened = Ledger.open(f"sqlite:///{self.data / 'ledger.db'}")
        self.stack.callback(opened.close)
        return opened

    @contextmanager
    def dagster(self, home: str) -> Iterator[dg.DagsterInstance]:
        """The Dagster instance of a home."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DAGSTER_HOME", str(self.root / home))
            with open_instance() as opened:
                yield opened

    def silences(self, count: int) -> None:
        """Recordings that need no model, each of another length."""
        (self.data / "raw_audio").mkdir(parents=True)
        for i in range(count):
            path = self.data / "raw_audio" / f"{i}.wav"
            soundfile.write(path, np.zeros(1600 + 16 * i, np.int16), 16_000)

    @property
    def go(self) -> Path:
        """As long as it is missing, processes started with ``stops`` stop at each output."""
        return self.root / "go"

    def start(self, home: str, *, stops: bool = False) -> Running:
        """``stt run`` with a Dagster home of that name: processes with different homes do not know of each other's runs."""
        folder = self.root / home
        folder.mkdir(exist_ok=True)
        shutil.copyfile(PROJECT / "dagster.yaml", folder / "dagster.yaml")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("STT_", "WHISPER_", "ENABLE_"))}
        environment |= {"STT_DATA_DIR": str(self.data), "DAGSTER_HOME": str(folder), "STT_MODEL_DIR": str(self.weights)}
        environment |= {"STT_SENSOR_ENABLED": "false"}
        said = Path(tempfile.mkdtemp(prefix="said-", dir=self.root))
        command = (stt_in_steps, self.go, "run") if stops else (stt, "run")
        running = warm.start(*command, output_dir=said, environment=environment)
        self.stack.callback(running.kill)
        return running

    def worked_on(self, *homes: str) -> dict[str, int]:
        """Step -> recordings worked on, over all runs in these homes. The first step is left out: it only reads."""
        found = dict.fromkeys(STEPS, 0)
        for home in homes:
            with self.dagster(home) as home_instance:
                for run in home_instance.get_runs():
                    for entry in home_instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
                        made = entry.dagster_event.step_materialization_data.materialization  # type: ignore[union-attr]
                        step = made.asset_key.to_user_string()
                        if step in STEPS:
                            found[step] += int(made.metadata["worked_on"].value)  # type: ignore[arg-type]
        return found

    def log_of(self, home: str) -> str:
        """The log lines of all runs in a home."""
        with self.dagster(home) as home_instance:
            return "\n".join(
                e.user_message for run in home_instance.get_runs() for e in home_instance.all_logs(run.run_id)
            )

    def outputs(self) -> dict[str, bytes]:
        found = [path for folder in OUTPUTS for path in (self.data / folder).rglob("*") if path.is_file()]
        return {str(path.relative_to(self.data)): path.read_bytes() for path in found}


@pytest.fixture
def place(tmp_path: Path, base_weights: Weights) -> Iterator[Installation]:
    with ExitStack() as stack:
        yield Installation(tmp_path, base_weights.path, stack)


def ended(running: Running) -> tuple[int, str]:
    out, err = running.communicate(timeout=200)
    assert "Traceback" not in err, err
    return running.returncode, out + err


def until(true: Callable[[], object], what: str) -> None:
    limit = time.monotonic() + 100
    while not true():
        assert time.monotonic() < limit, f"never: {what}"
        time.sleep(0.02)


def stands_still(pid: int) -> bool:
    """Whether all threads have stopped: a signal takes effect some time after it was sent."""
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.is_dir():  # not Linux, which cannot be asked
        time.sleep(0.5)
        return True
    stats = [(task / "stat").read_text() for task in tasks.iterdir()]
    return {stat.rpartition(")")[2].split()[0] for stat in stats} == {"T"}


def frozen_at_work(running: Running, place: Installation) -> dict[str, int]:
    """Wait until a process, started with ``stops``, stands in the middle of a step, holding its batch and not the ledger.

    Returns:
        Step -> recordings past it.
    """

    def frozen() -> bool:
        assert running.returncode is None, running.err.read_text()
        if not stands_still(running.pid):
            return False
        locks = (place.data / "ledger.db.locks").glob("*")
        if any(str(running.pid) in lock.read_text() for lock in locks) and not held(place.data / "ledger.db"):
            states = place.ledger.count_totals().states
            if 0 < states[State.RECEIVED] < COUNT:
                place.go.touch()  # the next signal to continue is to the end
                return True
        running.send_signal(signal.SIGCONT)
        return False

    until(frozen, "a process in the middle of a step")
    states = [m.state for m in place.ledger.list_newest(COUNT)]
    return {
        step: sum(has_reached(state, past) for state in states) for step, past in zip(STEPS, PIPELINE[1:], strict=True)
    }


def held(ledger: Path) -> bool:
    """Whether a thread was stopped while it was writing to the ledger."""
    try:
        with sqlite3.connect(ledger, timeout=0, isolation_level=None) as connection:
            connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    return False


def test_two_started_on_an_empty_installation_in_the_same_moment_both_end_well(place: Installation) -> None:
    place.silences(COUNT)
    both = [place.start("home") for _ in range(2)]
    assert [ended(running)[0] for running in both] == [0, 0]
    assert place.ledger.count_totals().states[State.DONE] == COUNT
    assert place.worked_on("home") == dict.fromkeys(STEPS, COUNT)


def test_two_that_know_nothing_of_each_other_do_together_what_one_would_do(tmp_path: Path, place: Installation) -> None:
    place.silences(COUNT)
    both = [place.start("one"), place.start("two")]
    assert [ended(running)[0] for running in both] == [0, 0]
    assert place.ledger.count_totals().states[State.DONE] == COUNT
    assert place.worked_on("one", "two") == dict.fromkeys(STEPS, COUNT)
    alone = Installation(tmp_path / "alone", place.weights, place.stack)
    alone.silences(COUNT)
    assert ended(alone.start("home"))[0] == 0
    assert alone.outputs() == place.outputs() != {}


def says(running: Running, sentence: str) -> None:
    """Wait until a process has printed it."""
    until(lambda: sentence in running.out.read_text(), f"{sentence!r}")


def test_the_second_on_the_same_home_waits_for_the_first_and_says_so(place: Installation) -> None:
    """It left the batch to the other, said that nothing was new, and ended well before anything was done."""
    place.silences(COUNT)
    first = place.start("home", stops=True)
    frozen_at_work(first, place)
    second, third = place.start("home"), place.start("home")
    by = f"being worked on by another process ({first.pid} on {os.uname().nodename})"
    says(second, by)
    says(third, by)
    third.send_signal(signal.SIGINT)
    code, said = ended(third)
    assert code == 130, said
    assert place.ledger.count_totals().states[State.DONE] < COUNT
    first.send_signal(signal.SIGCONT)
    assert ended(first)[0] == 0
    code, said = ended(second)
    assert code == 0
    assert said.count("done") >= COUNT
    assert "Nothing new" not in said
    assert place.worked_on("home") == dict.fromkeys(STEPS, COUNT)
    with place.dagster("home") as home_instance:
        assert len(home_instance.get_runs()) == 1


def test_who_waits_for_one_that_is_killed_goes_on_itself(place: Installation) -> None:
    place.silences(COUNT)
    first = place.start("home", stops=True)
    before = frozen_at_work(first, place)
    second = place.start("home")
    says(second, "being worked on by another process")
    first.send_signal(signal.SIGKILL)
    first.process.join()
    assert ended(second)[0] == 0
    assert place.ledger.count_totals().states[State.DONE] == COUNT
    assert place.worked_on("home") == {step: COUNT - before[step] for step in STEPS}


def test_what_stands_in_a_queue_that_nobody_serves_is_worked_on_here(place: Installation) -> None:
    """The UI was closed after somebody had launched a batch in it."""
    place.silences(1)
    (place.root / "home").mkdir()
    shutil.copyfile(PROJECT / "dagster.yaml", place.root / "home" / "dagster.yaml")
    workspace = Workspace(open_store(place.data.as_uri()), place.ledger)
    run_intake(workspace, [], BatchLimits(), "test")
    (key,) = place.ledger.list_open_batches(2e9, 10)
    with place.dagster("home") as home_instance:
        job = build_defs(Settings()).resolve_job_def(JOB_NAME)
        of_server = RemoteJobOrigin(
            RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("stt"), "__repository__"), JOB_NAME
        )
        home_instance.create_run_for_job(
            job, status=dg.DagsterRunStatus.QUEUED, tags={"dagster/partition": key}, remote_job_origin=of_server
        )
        assert [each.status for each in find_live_runs(home_instance, key)] == [dg.DagsterRunStatus.QUEUED]
    code, said = ended(place.start("home"))
    assert code == 0, said
    assert f"{key} waits in Dagster's queue, and no daemon is there" in said
    assert place.ledger.count_totals().states[State.DONE] == 1


def test_when_the_one_at_work_is_killed_the_one_that_waits_goes_on(place: Installation) -> None:
    place.silences(COUNT)
    first = place.start("one", stops=True)
    before = frozen_at_work(first, place)
    assert 0 < sum(before.values()) < len(STEPS) * COUNT
    second = place.start("two")
    holder = f"worked on by {os.uname().nodename}:{first.pid}"
    until(
        lambda: (place.root / "two" / "history").exists() and holder in place.log_of("two"),
        "the second says who holds it",
    )
    first.send_signal(signal.SIGKILL)
    assert ended(second)[0] == 0
    assert place.ledger.count_totals().states[State.DONE] == COUNT
    assert place.worked_on("two") == {step: COUNT - before[step] for step in STEPS}, "the rest, and nothing twice"
    assert list((place.data / "ledger.db.locks").iterdir()) == []


def open_home(go: Path) -> None:
    """Wait for the file, then open the home: in a process of its own."""
    import alembic.command  # noqa: F401 - what the opening needs is there when it begins

    os.write(1, b"ready\n")
    while not go.exists():
        time.sleep(0.001)
    with open_instance() as opened:
        opened.get_runs()


def test_many_that_open_a_new_dagster_home_at_once_all_can(tmp_path: Path) -> None:
    """Unguarded, Dagster makes its databases several times over, and may leave one that never opens again."""
    shutil.copyfile(PROJECT / "dagster.yaml", tmp_path / "dagster.yaml")
    environment, go = {**os.environ, "DAGSTER_HOME": str(tmp_path)}, tmp_path / "go"
    openers = [warm.start(open_home, go, output_dir=tmp_path / str(i), environment=environment) for i in range(3)]
    for opener in openers:
        until(lambda opener=opener: opener.out.read_text() == "ready\n", "an opener stands ready")
    go.touch()
    for opener in openers:
        _, err = opener.communicate(timeout=100)
        assert opener.returncode == 0, err


def test_an_interrupt_ends_a_run_soon_and_loses_nothing(place: Installation) -> None:
    """The detector alone takes many seconds over an hour; it is left between two minutes of it, and the step does not end."""
    (place.data / "raw_audio").mkdir(parents=True)
    soundfile.write(place.data / "raw_audio" / "hour.wav", np.zeros(3600 * 16_000, np.int16), 16_000)
    running = place.start("home")
    until(
        lambda: (place.data / "ledger.db").exists() and place.ledger.count_totals().states[State.NORMALIZED],
        "a step at work",
    )
    running.send_signal(signal.SIGINT)
    code, said = ended(running)
    assert code == 130, said
    assert "Interrupted. Nothing is lost: `stt run` goes on where this stopped." in said, "not by itself, but by force"
    assert place.ledger.count_totals().states[State.NORMALIZED] == 1
    with place.dagster("home") as home_instance:
        assert find_live_runs(home_instance) == []


DEAF = """
import signal, sys, time
from stt_orchestration.cli import interrupts
from stt_orchestration.cli.console import make_console
interrupts._GRACE_S = float(sys.argv[1])
signal.signal(signal.SIGINT, lambda *_: None)
with interrupts.watch_interrupts(make_console()):
    print("ready", flush=True)
    for _ in range(600):
        time.sleep(0.1)
"""


@pytest.mark.parametrize(("grace", "interrupts"), [("60", 2), ("0.5", 1)], ids=["second", "late"])
def test_whatever_does_not_end_by_itself_is_ended(grace: str, interrupts: int) -> None:
    with subprocess.Popen([sys.executable, "-c", DEAF, grace], stdout=subprocess.PIPE, text=True) as deaf:
        assert deaf.stdout is not None
        assert deaf.stdout.readline() == "ready\n"
        deaf.send_signal(signal.SIGINT)
        assert deaf.stdout.readline().startswith("Stopping")
        for _ in range(interrupts - 1):
            deaf.send_signal(signal.SIGINT)
        assert "goes on where this stopped" in deaf.communicate(timeout=50)[0]
        assert deaf.returncode == 130
