"""Sockets to serve on; a port that is taken gives a sentence that names who has it."""

from __future__ import annotations

import socket
from pathlib import Path

_LISTENING = "0A"
"""State of a socket in ``/proc/net/tcp`` (Linux, ``include/net/tcp_states.h``)."""


class PortUnavailableError(OSError):
    """Nothing can be served at an address. The message says where, why, who has the port and what to do."""


def listen(host: str, port: int, what: str, remedy: str) -> socket.socket:
    """A socket that listens there.

    Args:
        host: Name or address of this machine.
        port: Which.
        what: Who wants to serve there, as the beginning of a sentence.
        remedy: How another port is chosen, as a sentence.

    Raises:
        PortUnavailableError: The port is taken, or the address is not this machine's.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (")[0]  # what follows names the address once more
        owner = _find_listener(port)
        by = f", by {owner}" if owner else ""
        raise PortUnavailableError(
            error.errno, f"{what} cannot be served at {host}:{port} ({why}{by}). {remedy}"
        ) from error


def check_free(host: str, port: int, what: str, remedy: str) -> None:
    """Raise ``PortUnavailableError`` if nothing could listen there now; see ``listen``."""
    listen(host, port, what, remedy).close()


def _find_listener(port: int) -> str | None:
    """The program that listens on a port of this machine; None where it cannot be told, such as on macOS or for another user's."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", table).read_text().splitlines()[1:]
        except OSError:
            continue
        rows = (line.split() for line in lines)
        inodes |= {f"socket:[{row[9]}]" for row in rows if row[3] == _LISTENING and row[1].endswith(f":{port:04X}")}
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        try:
            if any(str(each.readlink()) in inodes for each in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()}, process {process.name}"
        except OSError:
            continue  # it has ended, or is another user's
    return None
