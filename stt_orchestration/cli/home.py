"""A home folder for a user who has none, such as a container's user whose id is in no user database."""

from __future__ import annotations

import os

from speech.models.registry import find_home, get_temporary_home


def ensure_home() -> None:
    """Where the user has no home, let ``HOME`` name a folder below ``TMPDIR``.

    pip, the model hub's library and Dagster write to the home and fail without one. Processes that are started later inherit it.

    Raises:
        OSError: The folder cannot be made, or belongs to another user.
    """
    if find_home() is not None:
        return
    home = get_temporary_home()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if home.stat().st_uid != os.getuid():
        raise PermissionError(f"{home} belongs to another user: set HOME, or TMPDIR, to a folder that you may write to")
    os.environ["HOME"] = str(home)
