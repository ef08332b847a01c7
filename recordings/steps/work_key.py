"""Work keys: a hash of everything a step's result depends on. If the key is unchanged, the result is kept and not computed again.

A step's key is made from the key of the step above it, the step's own version and its options, and begins with the sha256 of the
bytes; so a changed option changes the keys of its step and of all later steps, but not of earlier ones. Pure.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


def make_work_key(parent_key: str, step: str, version: str, options: Any) -> str:
    """The key of a step's work on a recording.

    Args:
        parent_key: Work key of the previous step; for the first step the sha256 of the recording's bytes.
        step: Name of the step.
        version: Version of the step's code, raised when its results can change.
        options: The step's options, as JSON can hold them.
    """
    return _hash([parent_key, step, version, options])


def make_recipe(step: str, version: str, options: Any) -> str:
    """What goes into every work key of a step: 16 hexadecimal digits.

    The ledger keeps it beside the key. A recording whose recipes are today's need not be looked at: it is up to date.

    Args:
        step: Name of the step.
        version: Version of the step's code.
        options: Those of everybody, without what a recording has of its own; what came with its bytes never changes.
    """
    return _hash([step, version, options])[:16]


def _hash(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
