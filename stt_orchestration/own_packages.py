"""Makes the names of this project's packages mean this project's, also where another project has packages of the same names.

Names such as ``recordings`` and ``assets`` are common. One that stands earlier in ``PYTHONPATH`` would be imported in place of
ours.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_OWN = frozenset({"assets", "serving", "k8s_run_launcher", "benchmarks", "recordings", "speech"})
_ROOT = Path(__file__).resolve().parents[1]


class _OwnPackageFinder:
    """Finds our packages beside this one, before ``sys.path`` is looked through."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As ``importlib.abc.MetaPathFinder.find_spec``; None for everything that is not ours."""
        return PathFinder.find_spec(fullname, [str(_ROOT)], target) if path is None and fullname in _OWN else None


def prefer_own_packages() -> None:
    """Let our packages be found first, in this process."""
    if _OwnPackageFinder not in sys.meta_path:
        sys.meta_path.insert(0, _OwnPackageFinder)
