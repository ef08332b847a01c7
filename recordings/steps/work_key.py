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
    text = json.dumps([parent_key, step, version, options], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
