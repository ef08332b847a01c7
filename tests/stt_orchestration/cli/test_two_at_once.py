"""Two processes on one data folder: both succeed, each recording is worked on once, and a killed process blocks nobody."""

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
    """The command, in a process that stops itself before it moves an output to its place, until ``go`` exists."""

    def stop(event: str, arguments: tuple[object, ...]) -> None:
        if event in {"os.rename", "os.link"} and Path(str(arguments[1])).parent.name in OUTPUTS and not go.exists():
            os.kill(os.getpid(), signal.SIGSTOP)

    sys.addaudithook(stop)
    stt(*arguments)


@dataclass
class SharedInstallation:
    """A data folder that several processes work on."""

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

    def write_silences(self, count: int) -> None:
        """Write recordings of silence, which need no model, each of another length."""
        (self.data / "raw_audio").mkdir(parents=True)
        for i in range(count):
            path = self.data / "raw_audio" / f"{i}.wav"
            soundfile.write(path, np.zeros(1600 + 16 * i, np.int16), 16_000)

    @property
    def go(self) -> Path:
        """The file that lets processes started with ``stops`` continue; without it they stop at each output."""
        return self.root / "go"

    def start(self, home: str, *, stops: bool = False) -> Running:
        """Start ``stt run`` with a Dagster home of that name. Processes with different homes do not see each other's runs."""
        folder = self.root / home
        folder.mkdir(exist_ok=True)
        shutil.copyfile(PROJECT / "dagster.yaml", folder / "dagster.yaml")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("STT_", "WHISPER_", "ENABLE_"))}
        environment |= {"STT_DATA_DIR": str(self.data), "DAGSTER_HOME": str(folder), "STT_MODEL_DIR": str(self.weights)}
        environment |= {"STT_SENSOR_ENABLED": "false"}
        output_dir = Path(tempfile.mkdtemp(prefix="output-", dir=self.root))
        command = (stt_in_steps, self.go, "run") if stops else (stt, "run")
        running = warm.start(*command, output_dir=output_dir, environment=environment)
        self.stack.callback(running.kill)
        return running

    def count_worked_on(self, *homes: str) -> dict[str, int]:
        """Step -> recordings worked on, over all runs in these homes. The first step is left out because it only reads."""
        counts = dict.fromkeys(STEPS, 0)
        for home in homes:
            with self.dagster(home) as home_instance:
                for run in home_instance.get_runs():
                    for entry in home_instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
                        materialization = entry.dagster_event.step_materialization_data.materialization  # type: ignore[union-attr]
                        step = materialization.asset_key.to_user_string()
                        if step in STEPS:
                            counts[step] += int(materialization.metadata["worked_on"].value)  # type: ignore[arg-type]
        return counts

    def read_log(self, home: str) -> str:
        """The log lines of all runs in a home."""
        with self.dagster(home) as home_instance:
            return "\n".join(
                e.user_message for run in home_instance.get_runs() for e in home_instance.all_logs(run.run_id)
            )

    def read_outputs(self) -> dict[str, bytes]:
        paths = [path for folder in OUTPUTS for path in (self.data / folder).rglob("*") if path.is_file()]
        return {str(path.relative_to(self.data)): path.read_bytes() for path in paths}


@pytest.fixture
def shared(tmp_path: Path, base_weights: Weights) -> Iterator[SharedInstallation]:
    with ExitStack() as stack:
        yield SharedInstallation(tmp_path, base_weights.path, stack)


def wait_for_exit(running: Running) -> tuple[int, str]:
    out, err = running.communicate(timeout=200)
    assert "Traceback" not in err, err
    return running.returncode, out + err


def wait_until(condition: Callable[[], object], description: str) -> None:
    limit = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < limit, f"never: {description}"
        time.sleep(0.02)


def is_stopped(pid: int) -> bool:
    """Whether all threads of the process have stopped. A signal takes effect some time after it was sent."""
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.is_dir():  # other systems than Linux do not tell
        time.sleep(0.5)
        return True
    stats = [(task / "stat").read_text() for task in tasks.iterdir()]
    return {stat.rpartition(")")[2].split()[0] for stat in stats} == {"T"}


def freeze_at_work(running: Running, shared: SharedInstallation) -> dict[str, int]:
    """Wait until a process started with ``stops`` has stopped in the middle of a step, with its batch locked and the ledger free.

    Returns:
        Step -> recordings that have passed it.
    """

    def frozen() -> bool:
        assert running.returncode is None, running.err.read_text()
        if not is_stopped(running.pid):
            return False
        locks = (shared.data / "ledger.db.locks").glob("*")
        if any(str(running.pid) in lock.read_text() for lock in locks) and not is_ledger_locked(
            shared.data / "ledger.db"
        ):
            states = shared.ledger.count_totals().states
            if 0 < states[State.RECEIVED] < COUNT:
                shared.go.touch()  # after the next SIGCONT it runs to its end
                return True
        running.send_signal(signal.SIGCONT)
        return False

    wait_until(frozen, "a process in the middle of a step")
    states = [m.state for m in shared.ledger.list_newest(COUNT)]
    return {
        step: sum(has_reached(state, later_state) for state in states)
        for step, later_state in zip(STEPS, PIPELINE[1:], strict=True)
    }


def is_ledger_locked(ledger: Path) -> bool:
    """Whether a thread was stopped while it was writing to the ledger."""
    try:
        with sqlite3.connect(ledger, timeout=0, isolation_level=None) as connection:
            connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    return False


def test_two_processes_started_at_once_on_an_empty_installation_both_succeed(shared: SharedInstallation) -> None:
    shared.write_silences(COUNT)
    processes = [shared.start("home") for _ in range(2)]
    ended = [wait_for_exit(running) for running in processes]
    assert [code for code, _ in ended] == [0, 0], "\n".join(output for _, output in ended)
    assert shared.ledger.count_totals().states[State.DONE] == COUNT
    assert shared.count_worked_on("home") == dict.fromkeys(STEPS, COUNT)


def test_two_processes_with_different_homes_share_the_work_and_give_the_same_outputs(
    tmp_path: Path, shared: SharedInstallation
) -> None:
    shared.write_silences(COUNT)
    processes = [shared.start("one"), shared.start("two")]
    ended = [wait_for_exit(running) for running in processes]
    assert [code for code, _ in ended] == [0, 0], "\n".join(output for _, output in ended)
    assert shared.ledger.count_totals().states[State.DONE] == COUNT
    assert shared.count_worked_on("one", "two") == dict.fromkeys(STEPS, COUNT)
    alone = SharedInstallation(tmp_path / "alone", shared.weights, shared.stack)
    alone.write_silences(COUNT)
    assert wait_for_exit(alone.start("home"))[0] == 0
    assert alone.read_outputs() == shared.read_outputs() != {}


def wait_for_output(running: Running, sentence: str) -> None:
    """Wait until a process has printed the sentence."""
    wait_until(lambda: sentence in running.out.read_text(), f"{sentence!r}")


def test_a_second_process_on_the_same_home_waits_and_names_the_first(shared: SharedInstallation) -> None:
    """A regression test: the second process once reported that nothing was new, and ended while the first was at work."""
    shared.write_silences(COUNT)
    first = shared.start("home", stops=True)
    freeze_at_work(first, shared)
    second, third = shared.start("home"), shared.start("home")
    message = f"being worked on by another process ({first.pid} on {os.uname().nodename})"
    wait_for_output(second, message)
    wait_for_output(third, message)
    third.send_signal(signal.SIGINT)
    code, output = wait_for_exit(third)
    assert code == 130, output
    assert shared.ledger.count_totals().states[State.DONE] < COUNT
    first.send_signal(signal.SIGCONT)
    assert wait_for_exit(first)[0] == 0
    code, output = wait_for_exit(second)
    assert code == 0
    assert output.count("done") >= COUNT
    assert "Nothing new" not in output
    assert shared.count_worked_on("home") == dict.fromkeys(STEPS, COUNT)
    with shared.dagster("home") as home_instance:
        assert len(home_instance.get_runs()) == 1


def test_a_process_that_waits_on_the_same_home_continues_when_the_first_is_killed(shared: SharedInstallation) -> None:
    shared.write_silences(COUNT)
    first = shared.start("home", stops=True)
    finished = freeze_at_work(first, shared)
    second = shared.start("home")
    wait_for_output(second, "being worked on by another process")
    first.send_signal(signal.SIGKILL)
    first.process.join()
    assert wait_for_exit(second)[0] == 0
    assert shared.ledger.count_totals().states[State.DONE] == COUNT
    assert shared.count_worked_on("home") == {step: COUNT - finished[step] for step in STEPS}


def test_a_queued_run_without_a_daemon_is_executed_by_the_command(shared: SharedInstallation) -> None:
    """As after the UI launched a batch and was closed."""
    shared.write_silences(1)
    (shared.root / "home").mkdir()
    shutil.copyfile(PROJECT / "dagster.yaml", shared.root / "home" / "dagster.yaml")
    workspace = Workspace(open_store(shared.data.as_uri()), shared.ledger)
    run_intake(workspace, [], BatchLimits(), "test")
    (key,) = shared.ledger.list_open_batches(2e9, 10)
    with shared.dagster("home") as home_instance:
        job = build_defs(Settings()).resolve_job_def(JOB_NAME)
        origin = RemoteJobOrigin(
            RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("stt"), "__repository__"), JOB_NAME
        )
        home_instance.create_run_for_job(
            job, status=dg.DagsterRunStatus.QUEUED, tags={"dagster/partition": key}, remote_job_origin=origin
        )
        assert [run.status for run in find_live_runs(home_instance, key)] == [dg.DagsterRunStatus.QUEUED]
    code, output = wait_for_exit(shared.start("home"))
    assert code == 0, output
    assert f"{key} waits in Dagster's queue, and no daemon is there" in output
    assert shared.ledger.count_totals().states[State.DONE] == 1


def test_a_process_that_waits_on_another_home_continues_when_the_first_is_killed(shared: SharedInstallation) -> None:
    shared.write_silences(COUNT)
    first = shared.start("one", stops=True)
    finished = freeze_at_work(first, shared)
    assert 0 < sum(finished.values()) < len(STEPS) * COUNT
    second = shared.start("two")
    holder = f"worked on by {os.uname().nodename}:{first.pid}"
    wait_until(
        lambda: (shared.root / "two" / "history").exists() and holder in shared.read_log("two"),
        "the second says who holds it",
    )
    first.send_signal(signal.SIGKILL)
    assert wait_for_exit(second)[0] == 0
    assert shared.ledger.count_totals().states[State.DONE] == COUNT
    assert shared.count_worked_on("two") == {step: COUNT - finished[step] for step in STEPS}, (
        "only what the first process had left to do"
    )
    assert list((shared.data / "ledger.db.locks").iterdir()) == []


def open_home(go: Path) -> None:
    """Wait for the file, then open the Dagster home. Runs in a process of its own."""
    import alembic.command  # noqa: F401 - imported before the start signal

    os.write(1, b"ready\n")
    while not go.exists():
        time.sleep(0.001)
    with open_instance() as opened:
        opened.get_runs()


def test_several_processes_can_open_a_new_dagster_home_at_once(tmp_path: Path) -> None:
    """Without a lock, Dagster makes its databases several times, and may leave one that cannot be opened."""
    shutil.copyfile(PROJECT / "dagster.yaml", tmp_path / "dagster.yaml")
    environment, go = {**os.environ, "DAGSTER_HOME": str(tmp_path)}, tmp_path / "go"
    openers = [warm.start(open_home, go, output_dir=tmp_path / str(i), environment=environment) for i in range(3)]
    for opener in openers:
        wait_until(lambda opener=opener: opener.out.read_text() == "ready\n", "an opener stands ready")
    go.touch()
    for opener in openers:
        _, err = opener.communicate(timeout=100)
        assert opener.returncode == 0, err


def test_an_interrupt_ends_a_run_soon_and_loses_nothing(shared: SharedInstallation) -> None:
    """The speech detector takes many seconds for an hour of audio. The interrupt ends it in the middle of the recording."""
    (shared.data / "raw_audio").mkdir(parents=True)
    soundfile.write(shared.data / "raw_audio" / "hour.wav", np.zeros(3600 * 16_000, np.int16), 16_000)
    running = shared.start("home")
    wait_until(
        lambda: (shared.data / "ledger.db").exists() and shared.ledger.count_totals().states[State.NORMALIZED],
        "a step at work",
    )
    running.send_signal(signal.SIGINT)
    code, output = wait_for_exit(running)
    assert code == 130, output
    assert "Interrupted. Nothing is lost: `stt run` goes on where this stopped." in output, (
        "not by itself, but by force"
    )
    assert shared.ledger.count_totals().states[State.NORMALIZED] == 1
    with shared.dagster("home") as home_instance:
        assert find_live_runs(home_instance) == []


IGNORES_INTERRUPTS = """
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
def test_a_command_that_ignores_interrupts_is_ended(grace: str, interrupts: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", IGNORES_INTERRUPTS, grace], stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "ready\n"
        command.send_signal(signal.SIGINT)
        assert command.stdout.readline().startswith("Stopping")
        for _ in range(interrupts - 1):
            command.send_signal(signal.SIGINT)
        assert "goes on where this stopped" in command.communicate(timeout=50)[0]
        assert command.returncode == 130
