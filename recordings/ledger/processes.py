"""Identifies a process uniquely, also when the operating system gives its process id to a later process."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STATE, _STARTED = 0, 19  # fields of /proc/PID/stat behind the command's closing bracket; see proc_pid_stat(5)
_DEAD_STATES = ("Z", "X")


def get_process_identity() -> str:
    """Host, process id, boot id and start time, joined by colons; the last two are empty where the system has no ``/proc``."""
    stat = _read_proc_stat(os.getpid())
    return f"{host_and_pid()}:{_read_boot_id()}:{stat[_STARTED] if stat else ''}"


def host_and_pid() -> str:
    """The part of the identity that a person needs to find the process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def is_gone(identity: str) -> bool:
    """Whether a process of this host has ended.

    False for processes of other hosts and for text that is not an identity: they cannot be checked here.

    The system may give a process id to another process later, so boot id and start time are compared too, where both are known. A
    zombie (a process that has ended, but whose parent has not read its exit status) counts as ended.
    """
    host, pid, boot, started = (*identity.split(":"), "", "", "", "")[:4]
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    if boot and _read_boot_id() and boot != _read_boot_id():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it is alive and belongs to another user
    stat = _read_proc_stat(int(pid))
    return bool(stat and (stat[_STATE] in _DEAD_STATES or (started and stat[_STARTED] != started)))


def _read_boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _read_proc_stat(pid: int) -> list[str]:
    """The fields behind the command's name, which may hold anything; empty where they cannot be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
