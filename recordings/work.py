"""Work keys: what must be equal for finished work to stay finished. Pure.

A step's key is made from the key of the step above it, the step's own version and its options, and begins with the sha256 of the
bytes; so a changed option changes the keys of its step and of all below it, and of none above.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


def work_key(above: str, step: str, version: str, options: Any) -> str:
    """The key of a step's work on a recording.

    Args:
        above: Key of the step above; for the first step the sha256 of the recording's bytes.
        step: Name of the step.
        version: Version of the step's code, raised when its results can change.
        options: The step's options, as JSON can hold them.
    """
    text = json.dumps([above, step, version, options], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
