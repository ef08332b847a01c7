"""The step profiles that were built into 0.1.0. To be deleted in 0.3.0.

Now ``dagster.yaml`` states the profiles. But a ``dagster.yaml`` that was deployed with 0.1.0 states none, or only the keys that
differ. Its steps must not lose their GPU and memory by an upgrade, so these profiles are the layer below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEPRECATED_PROFILES: Mapping[str, Mapping[str, Any]] = {
    "raw": {"cpu": "500m", "cpu_limit": "2", "memory": "512Mi", "memory_limit": "1Gi", "memory_cap": "4Gi"},
    "normalized": {"cpu": "1", "cpu_limit": "4", "memory": "512Mi", "memory_limit": "1Gi", "memory_cap": "4Gi"},
    "transcript": {
        "cpu": "4",
        "cpu_limit": "8",
        "memory": "16Gi",
        "memory_limit": "32Gi",
        "memory_cap": "48Gi",
        "gpu": 1,
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    },
    "enriched": {"cpu": "500m", "cpu_limit": "2", "memory": "512Mi", "memory_limit": "1Gi", "memory_cap": "4Gi"},
    "benchmark": {"cpu": "1", "memory": "2Gi", "memory_cap": "8Gi", "guaranteed": True},
}
"""The first layer of ``read_profiles``: step -> keys of its profile. ``deploy/base/dagster.yaml`` states the same."""


def list_unstated_steps(stated: Mapping[str, Mapping[str, Any]] | None) -> list[str]:
    """Steps that get a value from ``DEPRECATED_PROFILES``.

    Args:
        stated: ``step_profiles`` of ``dagster.yaml``.
    """
    return [step for step, keys in DEPRECATED_PROFILES.items() if keys.keys() - (stated or {}).get(step, {}).keys()]
