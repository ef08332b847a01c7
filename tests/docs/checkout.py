"""A copy of the project in which shell blocks run as a reader would run them, apart from the developer's own data."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from speech.models.registry import Weights, get_default_cache_dir
from tests.docs.shell_blocks import PROJECT, ShellBlock, read_ignored_names

STAND_INS = Path(__file__).parent / "bin"
BLOCK_TIMEOUT_S = 240  # below the time limit of a test, so that the message names the block

# Of the developer's settings, and of the make and the environment that run the tests, nothing is passed on.
_PREFIXES = ("STT_", "WHISPER_", "ENABLE_", "DAGSTER", "XDG_", "PYTEST", "VIRTUAL_ENV", "NO_COLOR", "FORCE_COLOR")
_NAMES = frozenset({"PYTHON", "VENV", "PYTHONHOME", "COLUMNS"})


class ShellBlockError(AssertionError):
    """A block did not run to its end. The message has its place, its text and what it printed."""


@dataclass(frozen=True)
class Checkout:
    """A copy of the project, and a home folder beside it.

    Attributes:
        root: The copy, in which blocks run. ``data/`` and ``.dagster/`` are made in it, as in a clone.
        environment: The environment of every block.
    """

    root: Path
    environment: dict[str, str]

    def run(self, block: ShellBlock, timeout_s: float = BLOCK_TIMEOUT_S) -> str:
        """Run a block in bash, which stops at the first command that fails. Returns everything that it printed.

        What it leaves running is ended with it.

        Raises:
            ShellBlockError: It exits with another code than 0, or not in time.
        """
        __tracebackhide__ = True  # pytest shows the message alone
        log = self.root.parent / "output"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", block.text],
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the group of processes that is ended below
            )
            try:
                problem = f"exits with {code}" if (code := process.wait(timeout_s)) else ""
            except subprocess.TimeoutExpired:
                problem = f"has not ended after {timeout_s:.0f} s"
            finally:
                _end_group(process)
        printed = log.read_text(encoding="utf-8", errors="replace")
        if problem:
            raise ShellBlockError(
                f"{block.page}:{block.line}: this block {problem}. Mend it, or say on the line before it why it is not run.\n\n"
                f"{block.text}\nWhat it printed:\n\n{printed}"
            )
        return printed


def make_checkout(folder: Path, weights: Weights, variables: Mapping[str, str] | None = None) -> Checkout:
    """Copy the project into ``folder``, with the environment that runs the tests as its ``.venv``.

    The home folder of its blocks has one recording in ``recordings/``. Weights come from where the tests have them.

    Args:
        folder: An empty folder.
        weights: The weights of ``base``.
        variables: Further environment variables.
    """
    root, home, models = folder / "stt-orchestration", folder / "home", folder / "models"
    shutil.copytree(PROJECT, root, ignore=shutil.ignore_patterns(*read_ignored_names(PROJECT)), symlinks=True)
    _link_environment(root / ".venv")
    (home / "recordings").mkdir(parents=True)
    shutil.copy(PROJECT / "samples" / "jfk.opus", home / "recordings" / "speech.opus")
    models.mkdir()
    (models / weights.name).symlink_to(weights.path)
    (folder / "tmp").mkdir()

    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_PREFIXES) and name not in _NAMES and "MAKE" not in name
    }
    ours = {
        "HOME": str(home),
        "TMPDIR": str(folder / "tmp"),
        "STT_MODEL_DIR": str(models),
        "STT_CACHE_DIR": os.environ.get("STT_CACHE_DIR") or str(get_default_cache_dir()),
        # The installed package is the tree that is tested, not its copy: the copy comes before it.
        "PYTHONPATH": str(root),
        # The environment is shared with the tests: a block cannot install anything into it.
        "PIP_DRY_RUN": "1",
        "PATH": f"{STAND_INS}{os.pathsep}{os.environ['PATH']}",
    }
    return Checkout(root, inherited | ours | dict(variables or {}))


def _link_environment(venv: Path) -> None:
    """Make ``venv`` a view of the environment that runs the tests, which ``make`` takes for complete."""
    venv.mkdir()
    for entry in Path(sys.prefix).iterdir():
        (venv / entry.name).symlink_to(entry)
    for name in ("ready", "ready-dev"):
        (venv / name).unlink(missing_ok=True)
        (venv / name).touch()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()
