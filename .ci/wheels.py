"""Proves that one lock serves every Python and platform: a wheel of everything exists, and no library has two versions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from packaging.requirements import Requirement

LOCK = Path("requirements-dev.lock")  # has all of requirements.lock
PLATFORMS = {  # uv's name -> what markers see
    "x86_64-manylinux_2_28": {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"},
    "aarch64-manylinux_2_28": {"sys_platform": "linux", "platform_machine": "aarch64", "platform_system": "Linux"},
    "aarch64-apple-darwin": {"sys_platform": "darwin", "platform_machine": "arm64", "platform_system": "Darwin"},
}
MACOS = "14.0"
"""The oldest macOS that wheels are asked for: those of ``av`` and ``onnxruntime`` start there."""

TWO_VERSIONS: dict[str, str] = {}
"""Libraries that may differ from one Python to another -> why no version serves all. Both are then what tests run on."""


def main(pythons: list[str]) -> int:
    """Look at each pair of Python and platform; 1 when a wheel is missing or a library has a second version."""
    wrong = 0
    versions: dict[str, set[str]] = defaultdict(set)
    for platform, markers in PLATFORMS.items():
        for python in pythons:
            for pin in pins(python, markers):
                versions[pin.name].add(str(pin.specifier))
            code, answer = wheels(platform, python)
            print(f"Python {python}, {platform}: {'a wheel of everything' if code == 0 else answer}", flush=True)
            wrong |= code
    for name, several in sorted(versions.items()):
        if len(several) > 1:
            why = TWO_VERSIONS.get(name)
            print(
                f"{name} has {', '.join(sorted(several))}: {why or 'one version for all Pythons is wanted; see `make lock`.'}"
            )
            wrong |= why is None
    return int(wrong)


def pins(python: str, markers: dict[str, str]) -> list[Requirement]:
    """What the lock installs on a Python and platform."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", **markers}
    lines = re.findall(r"^([a-z0-9].*?) *\\?$", LOCK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    every = [Requirement(line) for line in lines]
    return [pin for pin in every if pin.marker is None or pin.marker.evaluate(environment)]


def wheels(platform: str, python: str) -> tuple[int, str]:
    """Let uv look for them, without fetching or installing any."""
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "pip", "install", "--dry-run", "--no-deps", "--only-binary", ":all:", "-r", LOCK]
    command += ["--python-platform", platform, "--python-version", python]
    environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": MACOS}
    with tempfile.TemporaryDirectory() as empty:
        command += ["--target", empty]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stderr.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
