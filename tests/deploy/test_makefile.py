"""The Makefile: which Pythons it accepts, and its message for an unsupported one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

PROJECT = Path(__file__).resolve().parents[2]
SUPPORTED = re.findall(r"^SUPPORTED := (.*)$", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE)[0].split()


def make(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    # Without the variables of the make that runs the tests.
    inherited = {
        name: value for name, value in os.environ.items() if name not in {"PYTHON", "VENV"} and "MAKE" not in name
    }
    environment = {**inherited, **({"PATH": path} if path else {})}
    command = [shutil.which("make") or "make", "-C", str(PROJECT), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def find_unsupported_python() -> str | None:
    """Find a Python on this machine that the project does not support."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [*(f"python3.{minor}" for minor in (8, 9, 10, 14, 15)), *pyenv.glob("versions/3.*/bin/python3.*")]
    for candidate in map(str, candidates):
        if re.fullmatch(r".*python3\.\d+", candidate) and candidate.rpartition("python")[2] not in SUPPORTED:
            python = shutil.which(candidate)
            if python and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
                return python
    return None


def test_an_unsupported_python_is_refused_with_its_version_and_no_venv_is_made(tmp_path: Path) -> None:
    python = find_unsupported_python()
    if python is None:
        pytest.skip("every Python of this machine is supported")
    refused = make("setup", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    assert refused.returncode == 2
    version = python.rpartition("python")[2]
    assert f"Python {version} (" in refused.stderr
    assert f"is not supported: this project runs on {', '.join(SUPPORTED)}." in refused.stderr
    assert "make run PYTHON=" in refused.stderr
    assert not (tmp_path / "venv").exists()


def test_without_any_python_the_supported_versions_are_named(tmp_path: Path) -> None:
    for tool in ("sh", "test", "echo"):
        path = shutil.which(tool)
        assert path
        (tmp_path / tool).symlink_to(path)
    refused = make("setup", f"VENV={tmp_path / 'venv'}", path=str(tmp_path))
    assert refused.returncode == 2
    assert f"None of these Pythons is here: {' '.join(SUPPORTED)}." in refused.stdout


def test_the_package_and_the_makefile_support_the_same_pythons() -> None:
    required = SpecifierSet(tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["requires-python"])
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}.0" in required] == SUPPORTED
